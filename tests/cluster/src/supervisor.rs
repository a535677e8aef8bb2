//! Pid 1 of a cluster: prepares the namespaces, keeps the processes, and takes
//! everything down when whoever started it is gone.
//!
//! It knows nothing of Kubernetes. It serves a unix socket in the state
//! directory ([`crate::control`] is the other end); the first line of a
//! connection is a [`Request`].

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::cgroup;
use crate::control::{ProcessSpec, ProcessState, Reply, Request};
use crate::setup;

/// Restarts of one process that died by itself: beyond that it is broken.
const RESTARTS: u32 = 5;
/// A component that ends as soon as it is started must not spin.
const BETWEEN_STARTS: Duration = Duration::from_millis(300);
/// A process that ended by itself and cannot be started for so long stays down.
const STARTS_AGAIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);
const CONNECT: Duration = Duration::from_secs(10);
const TEARDOWN: Duration = Duration::from_secs(20);

struct Entry {
    spec: ProcessSpec,
    pid: Option<Pid>,
    exit: Option<String>,
    success: bool,
    wanted: bool,
    started: Instant,
    restarts: u32,
}

struct Supervisor {
    processes: Mutex<HashMap<String, Entry>>,
    changed: watch::Sender<u64>,
    keep: AtomicBool,
    stop: Notify,
}

/// Runs as pid 1 of fresh namespaces until the pipe on stdin is closed or a
/// client asks to stop. Does not return: the namespaces end with the process.
pub fn run(state: &Path, cgroup_name: &str) -> Result<()> {
    setup::prepare()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(serve(state));
    end_all_processes();
    cgroup::remove(cgroup_name);
    let _ = fs::remove_dir_all(state);
    runtime.shutdown_background();
    outcome
}

async fn serve(state: &Path) -> Result<()> {
    let supervisor = Arc::new(Supervisor {
        processes: Mutex::default(),
        changed: watch::channel(0).0,
        keep: AtomicBool::new(false),
        stop: Notify::new(),
    });
    let listener = UnixListener::bind(state.join("control.sock")).context("control socket")?;
    let mut children = signal(SignalKind::child())?;
    let starter = Arc::clone(&supervisor);
    std::thread::spawn(move || starter.wait_for_end_of_pipe());
    loop {
        tokio::select! {
            () = supervisor.stop.notified() => return Ok(()),
            _ = children.recv() => Supervisor::reap(&supervisor),
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                let supervisor = Arc::clone(&supervisor);
                tokio::spawn(async move {
                    if let Err(error) = supervisor.answer(stream).await {
                        eprintln!("control connection: {error:#}");
                    }
                });
            }
        }
    }
}

impl Supervisor {
    /// Nothing is ever written into the pipe: it ends when the starter does,
    /// however that came about.
    fn wait_for_end_of_pipe(&self) {
        let _ = std::io::stdin().read(&mut [0_u8; 1]);
        if !self.keep.load(Ordering::SeqCst) {
            self.stop.notify_one();
        }
    }

    /// Collects every child that ended, also the orphans that pid 1 inherits.
    fn reap(supervisor: &Arc<Self>) {
        loop {
            let (pid, exit, success) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => {
                    (pid, ExitStatus::from_raw(code << 8), code == 0)
                }
                Ok(WaitStatus::Signaled(pid, by, _)) => {
                    (pid, ExitStatus::from_raw(by as i32), false)
                }
                Ok(WaitStatus::StillAlive) | Err(_) => break,
                Ok(_) => continue,
            };
            let mut table = supervisor.processes.lock();
            let Some((name, entry)) = table.iter_mut().find(|(_, entry)| entry.pid == Some(pid))
            else {
                continue;
            };
            entry.pid = None;
            entry.exit = Some(exit.to_string());
            entry.success = success;
            if entry.wanted && entry.spec.restart {
                eprintln!("{name} ended by itself: {exit}");
                let (again, name) = (Arc::clone(supervisor), name.clone());
                tokio::spawn(async move { again.revive(&name).await });
            }
        }
        supervisor.changed.send_modify(|version| *version += 1);
    }

    async fn revive(&self, name: &str) {
        let deadline = Instant::now() + STARTS_AGAIN;
        let error = loop {
            match self.try_again(name) {
                Ok(true) => return,
                Err(error) if Instant::now() >= deadline => break error,
                Ok(false) | Err(_) => tokio::time::sleep(POLL).await,
            }
        };
        eprintln!("{name} stays down: {error:#}");
        if let Some(entry) = self.processes.lock().get_mut(name) {
            entry.exit = Some(format!("{error:#}"));
        }
    }

    /// Whether it is settled; what was stopped, started or forgotten meanwhile is left alone.
    fn try_again(&self, name: &str) -> Result<bool> {
        let mut table = self.processes.lock();
        let Some(entry) = table.get_mut(name) else {
            return Ok(true);
        };
        if !entry.wanted || entry.pid.is_some() {
            return Ok(true);
        }
        if entry.restarts >= RESTARTS {
            eprintln!("{name} stays down: it ended by itself after {RESTARTS} restarts");
            return Ok(true);
        }
        if entry.started.elapsed() < BETWEEN_STARTS {
            return Ok(false);
        }
        entry.pid = Some(spawn(&entry.spec)?);
        entry.started = Instant::now();
        entry.restarts += 1;
        Ok(true)
    }

    async fn answer(&self, stream: UnixStream) -> Result<()> {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        timeout(CONNECT, stream.read_line(&mut line))
            .await
            .context("no request came")??;
        let request = serde_json::from_str(&line).context("request")?;
        if let Request::Connect { address } = request {
            return relay(stream, address).await;
        }
        let reply = self
            .handle(request)
            .await
            .unwrap_or_else(|error| Reply::Failed(format!("{error:#}")));
        let mut text = serde_json::to_vec(&reply)?;
        text.push(b'\n');
        stream.get_mut().write_all(&text).await.context("reply")
    }

    async fn handle(&self, request: Request) -> Result<Reply> {
        match request {
            Request::Connect { .. } => bail!("connect is not a command"),
            Request::Start(spec) => self.start(spec).map(|()| Reply::Done),
            Request::Again { name } => {
                let spec = self
                    .processes
                    .lock()
                    .get(&name)
                    .map(|entry| entry.spec.clone());
                self.start(spec.with_context(|| format!("{name} was never started"))?)
                    .map(|()| Reply::Done)
            }
            Request::Signal { name, signal } => self.signal(&name, signal).map(|()| Reply::Done),
            Request::Status { name } => self.status(&name).map(Reply::Status),
            Request::Wait { name, milliseconds } => {
                self.wait(&name, milliseconds).await.map(Reply::Status)
            }
            Request::Forget { name } => {
                if let Some(pid) = self
                    .processes
                    .lock()
                    .remove(&name)
                    .and_then(|entry| entry.pid)
                {
                    kill(pid, Signal::SIGKILL).with_context(|| format!("kill {name}"))?;
                }
                Ok(Reply::Done)
            }
            Request::Expose { socket } => expose(socket).await.map(Reply::Address),
            Request::Keep => {
                self.keep.store(true, Ordering::SeqCst);
                Ok(Reply::Done)
            }
            Request::Stop => {
                self.stop.notify_one();
                Ok(Reply::Done)
            }
        }
    }

    fn start(&self, spec: ProcessSpec) -> Result<()> {
        let mut table = self.processes.lock();
        if table
            .get(&spec.name)
            .is_some_and(|entry| entry.pid.is_some())
        {
            bail!("{} runs already", spec.name);
        }
        let pid = spawn(&spec)?;
        let entry = Entry {
            spec,
            pid: Some(pid),
            exit: None,
            success: false,
            wanted: true,
            started: Instant::now(),
            restarts: 0,
        };
        table.insert(entry.spec.name.clone(), entry);
        Ok(())
    }

    fn signal(&self, name: &str, number: i32) -> Result<()> {
        let signal = Signal::try_from(number).context("signal")?;
        let mut table = self.processes.lock();
        let entry = table
            .get_mut(name)
            .with_context(|| format!("{name} was never started"))?;
        if matches!(signal, Signal::SIGKILL | Signal::SIGTERM | Signal::SIGINT) {
            entry.wanted = false;
        }
        let pid = entry.pid.with_context(|| format!("{name} does not run"))?;
        kill(pid, signal).with_context(|| format!("{signal} to {name}"))
    }

    fn status(&self, name: &str) -> Result<ProcessState> {
        let table = self.processes.lock();
        let entry = table
            .get(name)
            .ok_or_else(|| anyhow!("{name} was never started"))?;
        Ok(ProcessState {
            pid: entry.pid.map(Pid::as_raw),
            exit: entry.exit.clone(),
            success: entry.success,
            restarts: entry.restarts,
        })
    }

    async fn wait(&self, name: &str, milliseconds: u64) -> Result<ProcessState> {
        let mut changed = self.changed.subscribe();
        let ended = async {
            loop {
                let state = self.status(name)?;
                if state.pid.is_none() {
                    return Ok(state);
                }
                changed.changed().await?;
            }
        };
        timeout(Duration::from_millis(milliseconds), ended)
            .await
            .with_context(|| format!("{name} still runs after {milliseconds} ms"))?
    }
}

/// The reaper is the only one that waits for children, so only the pid is kept.
fn spawn(spec: &ProcessSpec) -> Result<Pid> {
    let program = spec.argv.first().context("no program given")?;
    let log: File = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&spec.log)
        .with_context(|| format!("log {}", spec.log.display()))?;
    let mut command = Command::new(program);
    command
        .args(&spec.argv[1..])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    command.env_clear().envs(&spec.env);
    if let Some(directory) = &spec.directory {
        command.current_dir(directory);
    }
    let child = command
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    Ok(Pid::from_raw(i32::try_from(child.id())?))
}

/// The buffered reader stays: it may hold what came right after the request.
async fn relay(mut client: BufReader<UnixStream>, address: SocketAddr) -> Result<()> {
    let Ok(Ok(mut server)) = timeout(CONNECT, TcpStream::connect(address)).await else {
        // Closing without a byte is what the caller sees as "refused".
        return Ok(());
    };
    server.set_nodelay(true)?;
    // A reset by either side is the ordinary end of a connection here.
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    Ok(())
}

/// The way out of the namespace: a port on its loopback that leads to a unix
/// socket, behind which a test listens.
async fn expose(socket: PathBuf) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let socket = socket.clone();
            tokio::spawn(async move {
                if let Ok(mut server) = UnixStream::connect(socket).await {
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                }
            });
        }
    });
    Ok(address)
}

/// Kills whatever lives in this pid namespace and waits until it is gone,
/// since a cgroup can only be removed once it is empty.
fn end_all_processes() {
    let deadline = Instant::now() + TEARDOWN;
    while Instant::now() < deadline {
        // To a process, pid -1 means every other one that it may signal.
        let everybody_gone = kill(Pid::from_raw(-1), Signal::SIGKILL) == Err(Errno::ESRCH);
        while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status != WaitStatus::StillAlive)
        {
        }
        if everybody_gone {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
