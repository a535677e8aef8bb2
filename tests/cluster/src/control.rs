//! What a cluster's supervisor can be asked, and the client's side of it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// A process to keep inside the cluster's namespaces.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ProcessSpec {
    pub name: String,
    pub argv: Vec<String>,
    /// The whole environment: nothing is inherited.
    pub env: BTreeMap<String, String>,
    pub directory: Option<PathBuf>,
    /// Receives standard output and standard error, appended.
    pub log: PathBuf,
    /// Whether to start it again when it ends by itself.
    pub restart: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Turns the connection into one to this address inside.
    Connect {
        address: SocketAddr,
    },
    Start(ProcessSpec),
    /// Starts a process that ended once more.
    Again {
        name: String,
    },
    Signal {
        name: String,
        signal: i32,
    },
    Status {
        name: String,
    },
    Wait {
        name: String,
        milliseconds: u64,
    },
    /// Kills a process if it still runs, and drops what is known of it.
    Forget {
        name: String,
    },
    /// Opens a port on the inner loopback that leads to this unix socket.
    Expose {
        socket: PathBuf,
    },
    /// From now on the cluster outlives its starter.
    Keep,
    Stop,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Done,
    Status(ProcessState),
    Address(SocketAddr),
    Failed(String),
}

/// How a process inside the cluster is doing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProcessState {
    /// Its pid in the cluster's own pid namespace; none once it ended.
    pub pid: Option<i32>,
    /// How it last ended, in words.
    pub exit: Option<String>,
    /// Whether it last ended with code 0.
    pub success: bool,
    /// How often it was started again after it ended by itself.
    pub restarts: u32,
}

/// Speaks to the supervisor. Every question but [`Control::wait`] is answered
/// at once, so the calls block.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    socket: PathBuf,
}

impl Control {
    pub fn new(state: &Path) -> Self {
        Self {
            socket: state.join("control.sock"),
        }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    fn ask_within(&self, request: &Request, limit: Duration) -> Result<Reply> {
        let mut stream = UnixStream::connect(&self.socket).with_context(|| {
            format!(
                "the cluster behind {} does not answer",
                self.socket.display()
            )
        })?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        let mut text = serde_json::to_vec(request)?;
        text.push(b'\n');
        stream.write_all(&text)?;
        let mut line = String::new();
        BufReader::new(stream)
            .read_line(&mut line)
            .context("the cluster's supervisor did not answer")?;
        match serde_json::from_str(&line).context("the cluster's supervisor is gone")? {
            Reply::Failed(why) => bail!("{why}"),
            reply => Ok(reply),
        }
    }

    pub fn ask(&self, request: &Request) -> Result<Reply> {
        self.ask_within(request, Duration::from_secs(10))
    }

    pub fn status(&self, name: &str) -> Result<ProcessState> {
        match self.ask(&Request::Status {
            name: name.to_owned(),
        })? {
            Reply::Status(state) => Ok(state),
            other => bail!("unexpected answer {other:?}"),
        }
    }

    /// Waits until the process has ended.
    pub async fn wait(&self, name: &str, limit: Duration) -> Result<ProcessState> {
        let milliseconds = u64::try_from(limit.as_millis())?;
        let (control, name) = (self.clone(), name.to_owned());
        let asked = tokio::task::spawn_blocking(move || {
            control.ask_within(
                &Request::Wait { name, milliseconds },
                limit + Duration::from_secs(5),
            )
        });
        match asked.await?? {
            Reply::Status(state) => Ok(state),
            other => bail!("unexpected answer {other:?}"),
        }
    }

    pub fn expose(&self, socket: &Path) -> Result<SocketAddr> {
        match self.ask(&Request::Expose {
            socket: socket.to_owned(),
        })? {
            Reply::Address(address) => Ok(address),
            other => bail!("unexpected answer {other:?}"),
        }
    }
}
