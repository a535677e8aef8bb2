//! Starts a cluster, knows where its things are, and ends it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use parking_lot::Mutex;
use tokio::runtime::Runtime;

use crate::components::Components;
use crate::control::{Control, Request};
use crate::options::Options;
use crate::pki::Pki;
use crate::plan::{Component, Plan};
use crate::registry::{Record, cgroup_name, claim, clean_up_after_the_dead, running};
use crate::{SUPERVISE, cgroup, forward, images, packages, paths};

const ENDS_WITHIN: Duration = Duration::from_secs(30);
pub(crate) const API: ([u8; 4], u16) = ([127, 0, 0, 1], 6443);

/// A running cluster. It ends when this is dropped, or when the process that
/// started it ends in whatever way, unless it is kept.
pub struct Cluster {
    pub(crate) state: PathBuf,
    logs: PathBuf,
    pub(crate) control: Control,
    pub(crate) components: Components,
    pub(crate) pki: Pki,
    pub(crate) api: SocketAddr,
    /// The host's pid of `unshare`, whose one child is the supervisor. Its
    /// standard input is the pipe that it watches.
    starter: Option<Child>,
    kept: AtomicBool,
    /// Carries forwards and clean-ups, whatever runtime the caller uses.
    background: Option<Runtime>,
    forwards: Mutex<HashMap<SocketAddr, SocketAddr>>,
    serial: AtomicU32,
}

impl Cluster {
    /// Starts a cluster: what is missing is built first, then it takes about
    /// six seconds until the node is ready and DNS answers.
    pub async fn start(options: Options) -> Result<Self> {
        let (components, pause) = tokio::task::spawn_blocking(|| -> Result<_> {
            packages::install_missing()?;
            Ok((Components::build()?, images::pause()?))
        })
        .await??;
        let cluster = Self::launch(&options, components)?;
        cluster
            .bring_up(&options, &pause)
            .await
            .with_context(|| cluster.where_to_look())?;
        if options.keep {
            cluster.keep(&options.name)?;
        }
        Ok(cluster)
    }

    /// From now on it outlives this process, under a name by which it is found again.
    pub fn keep(&self, name: &str) -> Result<()> {
        let record = Record {
            name: name.to_owned(),
            logs: self.logs.clone(),
            kept: true,
        };
        fs::write(
            self.state.join("cluster.json"),
            serde_json::to_vec(&record)?,
        )?;
        self.control.ask(&Request::Keep)?;
        self.kept.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Where a kept cluster of this name has its files, if one runs.
    pub fn kept(name: &str) -> Result<Option<PathBuf>> {
        Ok(running()?
            .into_iter()
            .find(|(_, record)| record.name == name && record.kept)
            .map(|(state, _)| state))
    }

    /// Creates the namespaces with the supervisor in them, and nothing else.
    fn launch(options: &Options, components: Components) -> Result<Self> {
        let supervisor = supervisor_program(options)?;
        if options.keep
            && running()?
                .iter()
                .any(|(_, record)| record.name == options.name)
        {
            bail!(
                "a cluster of the name {} runs already: end it first",
                options.name
            );
        }
        let live = clean_up_after_the_dead()?;
        let (index, lock) = claim()?;
        let cgroup = cgroup_name(&index.to_string());
        let state = paths::clusters_dir()?.join(index.to_string());
        let logs = paths::new_logs_dir(&options.name, index, &live)?;
        fs::create_dir_all(state.join("config/cni"))?;
        let record = Record {
            name: options.name.clone(),
            logs: logs.clone(),
            kept: false,
        };
        fs::write(state.join("cluster.json"), serde_json::to_vec(&record)?)?;
        let pki = Pki::create(&state.join("pki"))?;
        let plan = Plan {
            state: &state,
            logs: &logs,
            cgroup: &cgroup,
            components: &components,
            options,
        };
        for (name, content) in plan.files() {
            fs::write(state.join("config").join(name), content)
                .with_context(|| format!("write {name}"))?;
        }
        cgroup::create(&cgroup)?;
        let starter = spawn_supervisor(&supervisor, &state, &logs, &cgroup, lock)?;
        let control = Control::new(&state);
        Self::assemble(state, logs, control, components, pki, Some(starter))
    }

    fn assemble(
        state: PathBuf,
        logs: PathBuf,
        control: Control,
        components: Components,
        pki: Pki,
        starter: Option<Child>,
    ) -> Result<Self> {
        let background = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let socket = control.socket().to_owned();
        // Not `block_on`: the caller may be on a runtime already.
        let (send, receive) = std::sync::mpsc::channel();
        background.spawn(async move { send.send(forward::forward(&socket, API.into()).await) });
        let api = receive.recv().context("forward to the API server")??;
        let forwards = Mutex::new(HashMap::from([(API.into(), api)]));
        let serial = AtomicU32::new(0);
        let background = Some(background);
        Ok(Self {
            state,
            logs,
            control,
            components,
            pki,
            api,
            starter,
            kept: AtomicBool::new(false),
            background,
            forwards,
            serial,
        })
    }

    /// Joins a cluster that is kept (or that another process runs).
    pub async fn attach(name: &str) -> Result<Self> {
        let (state, record) = running()?
            .into_iter()
            .find(|(_, record)| record.name == name)
            .with_context(|| format!("no cluster of the name {name} runs"))?;
        let components = tokio::task::spawn_blocking(Components::build).await??;
        let (control, pki) = (Control::new(&state), Pki::open(&state.join("pki"))?);
        Self::assemble(state, record.logs, control, components, pki, None)
    }

    /// Ends a kept cluster; tells whether there was one.
    pub fn stop_kept(name: &str) -> Result<bool> {
        let Some(state) = Self::kept(name)? else {
            return Ok(false);
        };
        Control::new(&state).ask(&Request::Stop)?;
        let lock = state.with_extension("lock");
        let deadline = Instant::now() + ENDS_WITHIN;
        while paths::try_lock(&lock)?.is_none() {
            ensure!(
                Instant::now() < deadline,
                "the cluster {name} did not end within {ENDS_WITHIN:?}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        clean_up_after_the_dead()?;
        Ok(true)
    }

    /// Keeps the logs for longer than those of the last few clusters: somebody is told to look into them.
    pub fn keep_logs(&self) -> Result<()> {
        paths::keep_logs(&self.logs)
    }

    /// Logs of every component and pod, and the audit log. They survive the
    /// cluster; those of the last few clusters are kept.
    pub fn logs_dir(&self) -> &Path {
        &self.logs
    }

    /// Files that live as long as the cluster does.
    pub fn state_dir(&self) -> &Path {
        &self.state
    }

    pub(crate) fn where_to_look(&self) -> String {
        format!("the logs are in {}", self.logs.display())
    }

    pub(crate) fn next_serial(&self) -> u32 {
        self.serial.fetch_add(1, Ordering::SeqCst)
    }

    pub(crate) fn background(&self) -> Result<&Runtime> {
        self.background
            .as_ref()
            .context("the cluster is being dropped")
    }

    /// A port on the host's loopback that leads to an address inside: a pod's,
    /// a Service's, a port of the node's loopback.
    pub async fn forward(&self, inside: SocketAddr) -> Result<SocketAddr> {
        if let Some(known) = self.forwards.lock().get(&inside) {
            return Ok(*known);
        }
        let socket = self.control.socket().to_owned();
        let opened = self
            .background()?
            .spawn(async move { forward::forward(&socket, inside).await });
        let address = opened.await??;
        self.forwards.lock().insert(inside, address);
        Ok(address)
    }

    pub(crate) fn start_component(&self, plan: &Plan<'_>, component: Component) -> Result<()> {
        self.control
            .ask(&Request::Start(plan.process(component)))
            .map(drop)
    }

    pub(crate) fn plan<'a>(&'a self, options: &'a Options, cgroup: &'a str) -> Plan<'a> {
        Plan {
            state: &self.state,
            logs: &self.logs,
            cgroup,
            components: &self.components,
            options,
        }
    }

    pub(crate) fn cgroup(&self) -> String {
        let index = self.state.file_name().unwrap_or_default();
        cgroup_name(&index.to_string_lossy())
    }

    /// The supervisor's pid on the host, for `nsenter`.
    pub(crate) fn supervisor_pid(&self) -> Result<u32> {
        let starter = self
            .starter
            .as_ref()
            .context("only known to the process that started it")?
            .id();
        let children = fs::read_to_string(format!("/proc/{starter}/task/{starter}/children"))?;
        children
            .split_whitespace()
            .next()
            .context("no supervisor")?
            .parse()
            .context("pid")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(background) = self.background.take() {
            background.shutdown_background();
        }
        let Some(mut starter) = self.starter.take() else {
            return;
        };
        if self.kept.load(Ordering::SeqCst) {
            return;
        }
        drop(starter.stdin.take());
        let deadline = Instant::now() + ENDS_WITHIN;
        while matches!(starter.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                eprintln!(
                    "the cluster did not end within {ENDS_WITHIN:?} and is killed; {}",
                    self.where_to_look()
                );
                let _ = starter.kill();
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = starter.wait();
        let _ = clean_up_after_the_dead();
    }
}

fn supervisor_program(options: &Options) -> Result<PathBuf> {
    if let Some(program) = &options.supervisor {
        return Ok(program.clone());
    }
    if let Some(program) = std::env::var_os("EVENKEEL_CLUSTER_BIN") {
        return Ok(program.into());
    }
    if !crate::can_supervise() {
        bail!(
            "call evenkeel_cluster::maybe_supervise() first thing in main, or set EVENKEEL_CLUSTER_BIN"
        );
    }
    std::env::current_exe().context("the running program's own path")
}

/// The lock of the cluster's number is handed over as standard output, which
/// is never written to: whoever holds the file holds the lock.
fn spawn_supervisor(
    program: &Path,
    state: &Path,
    logs: &Path,
    cgroup: &str,
    lock: File,
) -> Result<Child> {
    Command::new("setsid")
        .args([
            "unshare",
            "--mount",
            "--pid",
            "--net",
            "--ipc",
            "--fork",
            "--kill-child=KILL",
            "--mount-proc",
        ])
        .arg(program)
        .args([SUPERVISE.as_ref(), state.as_os_str(), cgroup.as_ref()])
        .stdin(Stdio::piped())
        .stdout(lock)
        .stderr(File::create(logs.join("supervisor.log"))?)
        .spawn()
        .context("setsid and unshare are needed")
}
