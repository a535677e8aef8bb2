//! What a round came to, in numbers and in words.

use std::collections::BTreeMap;
use std::time::Duration;

use super::arrivals::Histogram;
use super::choice;
use super::exposition::{Counters, Family};
use super::round::{ScrapeError, Settings};
use super::turnover::Turnover;
use super::verdict::Verdict;

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
            Self::WarmingUp => "WarmingUp",
        }
    }

    /// The status of the condition: `None` is Unknown.
    pub fn is_available(self) -> Option<bool> {
        match self {
            Self::Scraped | Self::PartlyScraped | Self::Off => Some(true),
            Self::NoMetricsPort | Self::NoKnownMetric | Self::ScrapeFailed | Self::Refused => {
                Some(false)
            }
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
}

impl MetricsState {
    pub(super) fn new(reason: MetricsReason, message: String) -> Self {
        Self { reason, message }
    }

    /// Some pods gave no number; `pod` is one of them.
    pub(super) fn failing(
        scraped: u32,
        failing: usize,
        pod: &str,
        error: Option<ScrapeError>,
    ) -> Self {
        let error = error.unwrap_or(ScrapeError::Unreachable);
        let reason = match error {
            _ if scraped > 0 => MetricsReason::PartlyScraped,
            ScrapeError::NoMetricsPort
            | ScrapeError::UndeclaredPort(_)
            | ScrapeError::HostNetwork => MetricsReason::NoMetricsPort,
            ScrapeError::Refused
            | ScrapeError::HttpStatus(401 | 403)
            | ScrapeError::MeshTls
            | ScrapeError::Tls => MetricsReason::Refused,
            ScrapeError::OtherFamily => MetricsReason::NoKnownMetric,
            _ => MetricsReason::ScrapeFailed,
        };
        let others = match failing - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        Self::new(reason, format!("pod {pod}{others} {}", error.remedy()))
    }
}

impl ScrapeError {
    /// What happened to the pod's metrics page, and what to do.
    fn remedy(self) -> String {
        match self {
            Self::NoMetricsPort => {
                "declares no port for metrics: name it in spec.balance.metrics.port and in the container's ports".into()
            }
            Self::UndeclaredPort(port) => format!(
                "declares no port {port}, which spec.balance.metrics.port or its annotation prometheus.io/port names: \
                 only declared ports are asked, so add it to the container's ports"
            ),
            Self::HostNetwork => {
                "is on its node's network, where only the node's ports could be asked: its metrics are not read".into()
            }
            Self::Timeout => "did not answer the scrape in time: see whether the server or a network policy holds it up".into(),
            Self::Refused => "refuses connections on the metrics port: check spec.balance.metrics.port".into(),
            Self::Unreachable => "could not be reached on the metrics port: see whether a network policy forbids it".into(),
            Self::Redirected(code) => format!(
                "answered the scrape with a redirect (HTTP status {code}), which is never followed: \
                 name the page itself in spec.balance.metrics.path"
            ),
            Self::Tls => "speaks TLS on the metrics port: name a port that serves metrics without it in spec.balance.metrics.port".into(),
            Self::MeshTls => {
                "refuses the scrape by its mesh's proxy, which asks for mutual TLS: except the metrics port from it \
                 (Istio: a port-level PeerAuthentication; Linkerd: config.linkerd.io/skip-inbound-ports), or name the \
                 proxy's own metrics port in spec.balance.metrics.port"
                    .into()
            }
            Self::OtherFamily => {
                "counts its requests in another metric than the other pods, and two ways of counting cannot be compared: \
                 have all pods serve the same metrics"
                    .into()
            }
            Self::HttpStatus(code) => {
                format!("answered the scrape with HTTP status {code}: check spec.balance.metrics.path")
            }
            Self::TooLarge => "has a metrics page over the size limit: point spec.balance.metrics at a smaller one".into(),
            Self::Malformed => "has a metrics page that is not in Prometheus text format: check spec.balance.metrics.path".into(),
        }
    }
}

/// What a round came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The verdict that is said.
    pub verdict: Verdict,
    /// The same in a sentence.
    pub message: String,
    /// The verdict was taken over from before a restart; nothing has been judged yet.
    pub restored: bool,
    /// Ready pods.
    pub pods: u32,
    /// Those the numbers are of.
    pub judged: u32,
    /// Those that are too young, or whose first window is not full.
    pub warming: u32,
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
    /// Standard deviation that chance gives one pod's count, relative to the mean: √(φ/m).
    pub noise: Option<f64>,
    /// Of all judged pods together.
    pub requests_per_second: Option<f64>,
    /// The ratios are to what the pods' CPU requests make fair, because those differ.
    pub by_capacity: bool,
    /// What the numbers were counted over.
    pub window: Duration,
    /// The family that was counted.
    pub metric: Option<&'static str>,
    /// Pods above the threshold, busiest first, while the verdict is trouble; at most ten.
    pub hottest: Vec<Share>,
    /// Idle pods while the verdict is trouble, idlest first; at most ten.
    pub starved: Vec<Share>,
    /// How many are idle, named or not.
    pub starved_pods: u32,
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
    /// Whether any pod has served a stream.
    pub streams: bool,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            verdict: Verdict::WarmingUp,
            message: "nothing has been scraped yet".to_owned(),
            restored: false,
            pods: 0,
            judged: 0,
            warming: 0,
            scraped: 0,
            effective_pods: None,
            max_over_mean: None,
            min_over_mean: None,
            cv: None,
            noise: None,
            requests_per_second: None,
            by_capacity: false,
            window: Duration::ZERO,
            metric: None,
            hottest: Vec::new(),
            starved: Vec::new(),
            starved_pods: 0,
            loads: Vec::new(),
            discovery: None,
            metrics: MetricsState::new(
                MetricsReason::WarmingUp,
                "no pod has been scraped yet".to_owned(),
            ),
            turnover: BTreeMap::new(),
            reconnects: None,
            streams: false,
        }
    }
}

impl Report {
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

pub(super) fn scraped(pods: u32, by: Option<(Family, Counters)>, without: usize) -> String {
    let (name, why) = by.map_or_else(Default::default, |(family, counters)| {
        (
            counters.name(family),
            choice::reason(counters.meter, family),
        )
    });
    let idle = match without {
        0 => String::new(),
        some => format!("; {some} of them do not show it yet and count as idle"),
    };
    format!("{pods} pods scraped for {name}: {why}{idle}")
}

pub(super) fn no_known_metric(pods: u32) -> String {
    format!(
        "{pods} pods answered, but none shows a metric that is known to count RPCs, such as grpc_server_started_total: \
         either no request has been served yet (many servers show the metric only then), or the servers do not count \
         requests on this page: have them expose one (docs/metrics.md lists them), or name the port that has it in \
         spec.balance.metrics.port"
    )
}

/// The verdict in a sentence that ends in what to do, where there is something to do.
pub(super) fn message(report: &Report, settings: &Settings) -> String {
    let message = sentence(report, settings);
    if report.by_capacity && (report.verdict.is_trouble() || report.verdict == Verdict::Balanced) {
        return format!(
            "{message}; a pod's fair share is its part of all CPU requests, because those differ"
        );
    }
    message
}

fn sentence(report: &Report, settings: &Settings) -> String {
    let Report {
        judged,
        warming,
        pods,
        ..
    } = report;
    let max = report.max_over_mean.unwrap_or(1.0);
    let min = report.min_over_mean.unwrap_or(1.0);
    let hottest = names(&report.hottest, "one pod");
    let starved = names(&report.starved, "a pod");
    match report.verdict {
        Verdict::Balanced => format!("requests are spread evenly over {judged} pods"),
        Verdict::SinglePod => "one pod is judged: there is nothing to balance".into(),
        Verdict::Skewed => format!(
            "requests are uneven over {judged} pods: from {min:.2} to {max:.2} times the mean; \
             look for clients that do not use round_robin on the headless Service"
        ),
        Verdict::HotPod => format!(
            "{hottest} has {max:.2} times the mean of {judged} pods; look for a client that keeps one connection to it"
        ),
        Verdict::NewPodsStarved => format!(
            "{starved} served no request since becoming ready: clients have not found it; \
             set spec.connectionAge so that they look again, or use clients that watch endpoints"
        ),
        Verdict::FewClients => format!(
            "{}; the connections are too few to reach every pod: dial the headless Service with round_robin, \
             and if the clients do, set spec.connectionAge so that they look again",
            if report.hottest.is_empty() {
                format!("{starved} is idle")
            } else {
                format!("{hottest} has nearly all requests")
            }
        ),
        Verdict::InsufficientData if report.scraped < 2 || 2 * report.scraped < *pods => {
            format!(
                "only {} of {pods} pods could be scraped: {}",
                report.scraped, report.metrics.message
            )
        }
        Verdict::InsufficientData => format!(
            "too few requests to tell: at least {} per pod in {} s are needed",
            settings.thresholds.min_requests,
            settings.window.as_secs()
        ),
        Verdict::NoTraffic => format!(
            "{judged} pods, and no request in the last {} s",
            settings.window.as_secs()
        ),
        Verdict::NoPods => "no ready pod matches spec.selector".into(),
        Verdict::RollingOut => {
            "the pods are being replaced; balance is judged once that is done".into()
        }
        Verdict::StreamsOnly => {
            "only long streams are open and nothing new begins: counting requests says nothing here"
                .into()
        }
        Verdict::WarmingUp if *judged > 0 => {
            "the requests are uneven; whether that lasts is being watched".into()
        }
        Verdict::WarmingUp => format!(
            "{warming} pods are warming up: they are judged {} s after becoming ready",
            settings.promise().as_secs()
        ),
        Verdict::NoMetrics => format!("no pod gives numbers: {}", report.metrics.message),
        Verdict::Off => "balance is not observed: spec.balance.mode is Disabled".into(),
        Verdict::Observed => "spec.balance.mode is Observe: numbers without a verdict".into(),
    }
}

/// The first pods by name; a message is no list.
fn names(shares: &[Share], unknown: &str) -> String {
    const SOME: usize = 3;
    if shares.is_empty() {
        return unknown.to_owned();
    }
    let some: Vec<&str> = shares
        .iter()
        .take(SOME)
        .map(|share| share.pod.as_str())
        .collect();
    match shares.len().saturating_sub(SOME) {
        0 => some.join(", "),
        more => format!("{} and {more} more", some.join(", ")),
    }
}
