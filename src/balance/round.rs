//! What one backend is judged by, and what a round of looking at it brings.

use std::time::Duration;

use jiff::Timestamp;

use super::exposition::{Counters, Flaw, ReadError};
use super::report::MetricsState;
use super::verdict::Thresholds;

/// What is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Numbers and a verdict.
    #[default]
    Judge,
    /// Numbers without a verdict.
    Observe,
    /// Nothing.
    Off,
}

/// How a backend is judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// From one scrape to the next.
    pub interval: Duration,
    /// How far back requests are counted; at least two intervals.
    pub window: Duration,
    /// What is large.
    pub thresholds: Thresholds,
    /// What is wanted.
    pub mode: Mode,
    /// The age that the pods run with, where it is one.
    pub age: Option<Duration>,
    /// How long streams may then hold a connection.
    pub grace: Duration,
    /// Within what time every kind of client that goes by the age finds a new pod; `None` where nothing promises it: two windows.
    pub promise: Option<Duration>,
    /// What people are told beside the times that were seen: the promise to most clients, where one age runs.
    pub promised: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(15),
            window: Duration::from_mins(1),
            thresholds: Thresholds::default(),
            mode: Mode::Judge,
            age: None,
            grace: Duration::ZERO,
            promise: None,
            promised: None,
        }
    }
}

impl Settings {
    /// The age from which on a pod is judged: the promise, and never less than a window.
    pub fn promise(&self) -> Duration {
        self.promise
            .unwrap_or(self.window.saturating_mul(2))
            .max(self.window)
    }
}

/// A ready, selected pod that may be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What tells it from a later pod of the same name.
    pub uid: String,
    /// As people know it.
    pub name: String,
    /// Since when it exists.
    pub created: Timestamp,
    /// Since when it is ready.
    pub ready_since: Timestamp,
    /// Restarts of its containers.
    pub restarts: u32,
    /// Thousandths of a processor that its containers request together, where they request any.
    pub capacity: Option<u32>,
}

/// Why a scrape gave no numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScrapeError {
    /// The pod has no declared port for metrics.
    NoMetricsPort,
    /// The port that the spec or the pod's annotation names is not among the declared ones.
    UndeclaredPort(u16),
    /// The pod is on its node's network, where its ports are the node's.
    HostNetwork,
    /// No answer in time.
    Timeout,
    /// Nobody listens on the port.
    Refused,
    /// The connection broke, or could not be made.
    Unreachable,
    /// The answer sends elsewhere, which is not followed.
    Redirected(u16),
    /// Another HTTP status than 200.
    HttpStatus(u16),
    /// The port speaks TLS.
    Tls,
    /// The port answers in something else than HTTP/1.1, or not so that it can be read.
    NotHttp,
    /// The port does not speak TLS, which was asked for.
    NoTls,
    /// The TLS handshake failed for another reason than the certificate.
    TlsFailed,
    /// The certificate does not come from the authority that was named.
    Untrusted,
    /// The certificate is not valid yet, or no more.
    Expired,
    /// The certificate is for another name.
    OtherServerName,
    /// Prometheus has no series of the pod.
    NotInPrometheus,
    /// Prometheus has no sample of the pod that is recent, or too few.
    OldInPrometheus,
    /// No request was made: see [`Round::obstacle`].
    NotAsked,
    /// The mesh's proxy in the pod ended the connection: it asks for the mesh's own TLS.
    MeshTls,
    /// The request was forbidden in a pod of a mesh: by a policy of the mesh, as far as can be told.
    MeshForbidden,
    /// The page is over a limit.
    TooLarge,
    /// The page cannot be read.
    Malformed,
    /// The page counts by a number that no counter can have.
    NotACount,
    /// The page ends before its end.
    CutOff,
    /// The page is packed in another way than was asked for, or than it says.
    Encoding,
    /// The page counts requests, but by another family than the backend's other pods.
    OtherFamily,
    /// The counts fall again and again, so that they are not of one process.
    KeepsFalling,
}

impl ScrapeError {
    /// Whether it stays so as long as the pod is as it is.
    pub fn is_of_the_pod(&self) -> bool {
        matches!(
            self,
            Self::NoMetricsPort | Self::UndeclaredPort(_) | Self::HostNetwork
        )
    }

    /// Whether it may come of what the pod was asked with.
    pub fn is_of_credentials(&self) -> bool {
        matches!(
            self,
            Self::Untrusted | Self::HttpStatus(401 | 403) | Self::MeshForbidden
        )
    }
}

impl From<ReadError> for ScrapeError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Malformed {
                what: Flaw::NotACount,
                ..
            } => Self::NotACount,
            ReadError::Malformed { .. } => Self::Malformed,
            ReadError::CutOff => Self::CutOff,
            ReadError::BadGzip => Self::Encoding,
            ReadError::BodyTooLarge(_)
            | ReadError::LineTooLong { .. }
            | ReadError::TooManySeries(_) => Self::TooLarge,
        }
    }
}

/// One attempt to read a pod's counters.
#[derive(Clone, Debug, PartialEq)]
pub struct Scrape {
    /// The pod's uid.
    pub uid: String,
    /// When the answer came.
    pub at: Timestamp,
    /// What it said. Counters without any family are no error: many servers show none before their first request.
    pub outcome: Result<Counters, ScrapeError>,
}

/// One look at a backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Round {
    /// The time.
    pub now: Timestamp,
    /// The pods that count.
    pub targets: Vec<Target>,
    /// What was scraped since the last round; scrapes of other pods are ignored.
    pub scrapes: Vec<Scrape>,
    /// Whether a server's rollout is under way.
    pub rolling_out: bool,
    /// Why none of the pods could be asked, or not all of them.
    pub obstacle: Option<MetricsState>,
}
