//! Programs that run inside of the cluster's namespaces without being pods,
//! above all the operator under test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cluster::Cluster;
use crate::control::{Control, ProcessSpec, ProcessState, Request};

/// What can be sent to a process or container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ends it without a chance to react.
    Kill,
    /// Asks it to end.
    Term,
    /// Ctrl-C.
    Int,
    /// Ends it as a crash does: the supervisor takes it for its own doing.
    Abort,
    /// Freezes it.
    Stop,
    /// Lets it go on.
    Cont,
}

impl Signal {
    pub(crate) fn number(self) -> i32 {
        use nix::sys::signal::Signal as Number;
        match self {
            Self::Kill => Number::SIGKILL as i32,
            Self::Term => Number::SIGTERM as i32,
            Self::Int => Number::SIGINT as i32,
            Self::Abort => Number::SIGABRT as i32,
            Self::Stop => Number::SIGSTOP as i32,
            Self::Cont => Number::SIGCONT as i32,
        }
    }
}

/// A program inside of the cluster; killed when dropped, and in any case when
/// the cluster ends.
#[derive(Debug)]
pub struct Process {
    control: Control,
    name: String,
    log: PathBuf,
}

impl Cluster {
    /// Starts a program in the cluster's network: it reaches pods, Services and
    /// the API server (with a kubeconfig [`crate::From::Inside`]). Of `command`
    /// the program, arguments, variables and directory count; of the test's own
    /// environment nothing is inherited. What it prints is in [`Process::log`].
    pub fn spawn_in_net(&self, name: &str, command: &Command) -> Result<Process> {
        let directory = self.logs_dir().join("processes");
        std::fs::create_dir_all(&directory)?;
        let name = format!("{name}-{}-{}", std::process::id(), self.next_serial());
        let log = directory.join(format!("{name}.log"));
        let spec = specification(&name, command, &log)?;
        self.control.ask(&Request::Start(spec))?;
        Ok(Process {
            control: self.control.clone(),
            name,
            log,
        })
    }

    /// Runs a program in the cluster's network to its end and returns what it
    /// printed; fails if it fails.
    pub async fn run_in_net(&self, command: &Command, limit: Duration) -> Result<String> {
        let name = Path::new(command.get_program())
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let process = self.spawn_in_net(&name, command)?;
        let state = process.wait(limit).await?;
        let printed = process.log_text()?;
        if !state.success {
            bail!(
                "{name}: {}: {}",
                state.exit.unwrap_or_default(),
                printed.trim()
            );
        }
        std::fs::remove_file(&process.log)?;
        Ok(printed)
    }
}

fn specification(name: &str, command: &Command, log: &Path) -> Result<ProcessSpec> {
    let text = |value: &std::ffi::OsStr| {
        value
            .to_str()
            .map(str::to_owned)
            .context("an argument is not UTF-8")
    };
    let mut env = BTreeMap::from([(
        "PATH".to_owned(),
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
    )]);
    for (variable, value) in command.get_envs() {
        if let Some(value) = value {
            env.insert(text(variable)?, text(value)?);
        }
    }
    let argv = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(text)
        .collect::<Result<_>>()?;
    let directory = Some(
        command
            .get_current_dir()
            .unwrap_or(Path::new("/"))
            .to_owned(),
    );
    Ok(ProcessSpec {
        name: name.to_owned(),
        argv,
        env,
        directory,
        log: log.to_owned(),
        restart: false,
    })
}

impl Process {
    /// How it is doing.
    pub fn state(&self) -> Result<ProcessState> {
        self.control.status(&self.name)
    }

    /// Whether it has not ended.
    pub fn is_running(&self) -> bool {
        self.state().is_ok_and(|state| state.pid.is_some())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.control
            .ask(&Request::Signal {
                name: self.name.clone(),
                signal: signal.number(),
            })
            .map(drop)
    }

    /// Waits until it has ended.
    pub async fn wait(&self, limit: Duration) -> Result<ProcessState> {
        self.control.wait(&self.name, limit).await
    }

    /// Starts it once more after it ended, the same way, into the same log.
    pub fn start_again(&self) -> Result<()> {
        self.control
            .ask(&Request::Again {
                name: self.name.clone(),
            })
            .map(drop)
    }

    /// The file with what it printed.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// What it printed so far.
    pub fn log_text(&self) -> Result<String> {
        let text =
            std::fs::read(&self.log).with_context(|| format!("read {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    pub(crate) fn handle(&self) -> (Control, String) {
        (self.control.clone(), self.name.clone())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.control.ask(&Request::Forget {
            name: self.name.clone(),
        });
    }
}
