//! What a round came to, in numbers and in words.

mod remedy;
mod sentence;

use std::collections::BTreeMap;
use std::time::Duration;

use super::arrivals::Histogram;
use super::exposition::{Counters, Family};
use super::round::{ScrapeError, Settings};
use super::turnover::Turnover;
use super::verdict::Verdict;

pub(super) use sentence::{message, no_known_metric, scraped};

/// A pod's part of all requests of the window.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// Its name.
    pub pod: String,
    /// 0 … 1.
    pub share: f64,
}

/// What is known of one pod's load.
#[derive(Clone, Debug, PartialEq)]
pub struct PodLoad {
    /// Its name.
    pub pod: String,
    /// Whether it counts.
    pub standing: PodStanding,
    /// Over the window; of a pod that warms up, once its window is full.
    pub requests_per_second: Option<f64>,
}

/// Whether a pod counts for the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodStanding {
    /// It does.
    Judged,
    /// Too young, or its first window is not full.
    Warming,
    /// It gives no usable number.
    Failing,
}

/// How long the last new pods took from Ready to their first request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// How many pods came together.
    pub pods: u32,
    /// The median over them; of an even number the later.
    pub median: Duration,
    /// The slowest.
    pub max: Duration,
    /// From Ready to 80 % of a fair share, of the slowest; none while one of them has it not.
    pub fair_share: Option<Duration>,
    /// Within what time it should be, if anything promises it.
    pub promise: Option<Duration>,
    /// By how much the times may be wrong: from one scrape to the next.
    pub resolution: Duration,
    /// All new pods, those of before included.
    pub histogram: Histogram,
}

/// Of a window: RPCs that last as long are no calls.
const LONG: f64 = 0.25;

/// RPCs that have begun and not ended: what long streams are seen by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OpenRpcs {
    /// The servers count both.
    Seen {
        /// Of all judged pods.
        total: f64,
        /// On the pod with the fewest.
        fewest: f64,
        /// On the pod with the most.
        most: f64,
    },
    /// Streams were served, and the servers count only one of the two.
    Unseen,
}

impl OpenRpcs {
    /// Whether they are streams, with so many RPCs that `began` in the window: they last on average as long as RPCs that are open
    /// are of those that begin. Streams begin anew whenever the age ends their connection.
    pub(super) fn are_long(this: Option<Self>, began: f64) -> bool {
        match this {
            Some(Self::Seen { total, .. }) => total >= 1.0 && total >= LONG * began,
            Some(Self::Unseen) => began <= 0.0,
            None => false,
        }
    }
}

/// The reason of the condition `MetricsAvailable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MetricsReason {
    /// Every pod gives numbers.
    Scraped,
    /// Some pods do.
    PartlyScraped,
    /// Not wanted.
    Off,
    /// No pod declares a port for metrics.
    NoMetricsPort,
    /// The pages have no metric that counts RPCs: none is there, or none was served yet. A page does not tell which.
    NoKnownMetric,
    /// The pods do not answer properly.
    ScrapeFailed,
    /// The pods refuse the connection or the request.
    Refused,
    /// What the pods must be asked with is not there, or cannot be used.
    NoCredentials,
    /// The operator may not read what the pods must be asked with.
    Forbidden,
    /// Nothing was scraped yet.
    WarmingUp,
}

impl MetricsReason {
    /// Every reason.
    pub const ALL: &[Self] = &[
        Self::Scraped,
        Self::PartlyScraped,
        Self::Off,
        Self::NoMetricsPort,
        Self::NoKnownMetric,
        Self::ScrapeFailed,
        Self::Refused,
        Self::NoCredentials,
        Self::Forbidden,
        Self::WarmingUp,
    ];

    /// The reason with this name, as a status has it.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.reason() == name)
    }

    /// The reason of the condition.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Scraped => "Scraped",
            Self::PartlyScraped => "PartlyScraped",
            Self::Off => "Off",
            Self::NoMetricsPort => "NoMetricsPort",
            Self::NoKnownMetric => "NoKnownMetric",
            Self::ScrapeFailed => "ScrapeFailed",
            Self::Refused => "Refused",
            Self::NoCredentials => "NoCredentials",
            Self::Forbidden => "Forbidden",
            Self::WarmingUp => "WarmingUp",
        }
    }

    /// The status of the condition: `None` is Unknown.
    pub fn is_available(self) -> Option<bool> {
        match self {
            Self::Scraped | Self::PartlyScraped | Self::Off => Some(true),
            Self::NoMetricsPort
            | Self::NoKnownMetric
            | Self::ScrapeFailed
            | Self::Refused
            | Self::NoCredentials
            | Self::Forbidden => Some(false),
            Self::WarmingUp => None,
        }
    }
}

/// Whether the pods give numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsState {
    /// In a word.
    pub reason: MetricsReason,
    /// In a sentence.
    pub message: String,
    /// What is the matter with the pod that the sentence names, if it names one; a status does not have it.
    pub error: Option<ScrapeError>,
}

impl MetricsState {
    /// Both, of no pod.
    pub fn new(reason: MetricsReason, message: String) -> Self {
        Self {
            reason,
            message,
            error: None,
        }
    }

    /// Some pods gave no number; `pod` is one of them.
    pub(super) fn failing(
        (scraped, pods): (u32, usize),
        failing: usize,
        pod: &str,
        error: ScrapeError,
    ) -> Self {
        let reason = match error {
            _ if scraped > 0 => MetricsReason::PartlyScraped,
            ScrapeError::NoMetricsPort
            | ScrapeError::UndeclaredPort(_)
            | ScrapeError::HostNetwork => MetricsReason::NoMetricsPort,
            ScrapeError::Refused
            | ScrapeError::HttpStatus(401 | 403)
            | ScrapeError::MeshTls
            | ScrapeError::MeshForbidden
            | ScrapeError::Tls
            | ScrapeError::NotHttp
            | ScrapeError::NoTls
            | ScrapeError::TlsFailed
            | ScrapeError::Untrusted
            | ScrapeError::Expired
            | ScrapeError::OtherServerName => MetricsReason::Refused,
            ScrapeError::OtherFamily => MetricsReason::NoKnownMetric,
            _ => MetricsReason::ScrapeFailed,
        };
        let others = match failing - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        let counted = if scraped > 0 {
            format!("{scraped}/{pods} pods scraped: ")
        } else {
            String::new()
        };
        Self {
            reason,
            message: format!("{counted}pod {pod}{others} {}", error.remedy()),
            error: Some(error),
        }
    }
}

/// What a round came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The verdict that is said.
    pub verdict: Verdict,
    /// What the last window alone comes to, by chance as it most likely is.
    pub last_window: Verdict,
    /// The verdict in a sentence.
    pub message: String,
    /// The verdict was taken over from before a restart; nothing has been judged yet.
    pub restored: bool,
    /// Ready pods.
    pub pods: u32,
    /// Ready pods that are not looked at, since they are too many.
    pub left_out: usize,
    /// Those the numbers are of.
    pub judged: u32,
    /// Those that are too young, or whose first window is not full.
    pub warming: u32,
    /// Those of them that are too young.
    pub young: u32,
    /// Those that give numbers.
    pub scraped: u32,
    /// 1 … `judged`.
    pub effective_pods: Option<f64>,
    /// 1 … `judged`.
    pub max_over_mean: Option<f64>,
    /// 0 … 1.
    pub min_over_mean: Option<f64>,
    /// With chance taken out.
    pub cv: Option<f64>,
    /// Variance over mean of a pod's count, φ, as it most likely is: so many requests come to one pod together, 1 … 100.
    pub dispersion: f64,
    /// Of all judged pods together.
    pub requests_per_second: Option<f64>,
    /// The ratios are to what the pods' CPU requests make fair, because those differ.
    pub by_capacity: bool,
    /// What the numbers were counted over.
    pub window: Duration,
    /// The family that was counted.
    pub metric: Option<&'static str>,
    /// Pods above the threshold, busiest first, while the verdict is trouble; at most ten. A hot pod comes before all.
    pub hottest: Vec<Share>,
    /// What that one has, beside its fair share.
    pub culprit: Option<f64>,
    /// Idle pods while the verdict is trouble, idlest first; at most ten.
    pub starved: Vec<Share>,
    /// How many are idle, named or not.
    pub starved_pods: u32,
    /// Those of them that have never shown a metric that is known: they may count otherwise.
    pub uncounted: u32,
    /// Pods that were hot or idle when they were judged last, and that give no numbers now, while the verdict is trouble.
    pub missing: u32,
    /// Every pod that is followed, by name.
    pub loads: Vec<PodLoad>,
    /// How the last new pods were found.
    pub discovery: Option<Discovery>,
    /// Whether the pods give numbers.
    pub metrics: MetricsState,
    /// Whether connections end at the age, by the pod's name.
    pub turnover: BTreeMap<String, Turnover>,
    /// Connections that the age ends in a second on the pod with most of them: 0 where that is bearable, none before the first look.
    pub reconnects: Option<u32>,
    /// Open connections of the pod with most of them: 0 where they are few, none before the first look.
    pub crowd: Option<u32>,
    /// Whether any pod has served a stream.
    pub streams: bool,
    /// RPCs that are open on the judged pods.
    pub open_rpcs: Option<OpenRpcs>,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            verdict: Verdict::WarmingUp,
            last_window: Verdict::WarmingUp,
            message: "nothing has been scraped yet".to_owned(),
            restored: false,
            pods: 0,
            left_out: 0,
            judged: 0,
            warming: 0,
            young: 0,
            scraped: 0,
            effective_pods: None,
            max_over_mean: None,
            min_over_mean: None,
            cv: None,
            dispersion: 1.0,
            requests_per_second: None,
            by_capacity: false,
            window: Duration::ZERO,
            metric: None,
            hottest: Vec::new(),
            culprit: None,
            starved: Vec::new(),
            starved_pods: 0,
            uncounted: 0,
            missing: 0,
            loads: Vec::new(),
            discovery: None,
            metrics: MetricsState::new(
                MetricsReason::WarmingUp,
                "no pod has been scraped yet".to_owned(),
            ),
            turnover: BTreeMap::new(),
            reconnects: None,
            crowd: None,
            streams: false,
            open_rpcs: None,
        }
    }
}

impl Report {
    /// Standard deviation that chance gives one pod's count, relative to the mean: √(φ/m); 0 without requests.
    pub(super) fn noise(&self) -> f64 {
        let requests = self.requests_per_second.unwrap_or(0.0) * self.window.as_secs_f64();
        let mean = requests / f64::from(self.judged.max(1));
        if mean > 0.0 {
            (self.dispersion / mean).sqrt()
        } else {
            0.0
        }
    }

    pub(super) fn off() -> Self {
        let message = "balance is not observed: spec.balance.mode is Disabled".to_owned();
        Self {
            verdict: Verdict::Off,
            metrics: MetricsState::new(MetricsReason::Off, message.clone()),
            message,
            ..Self::default()
        }
    }
}
