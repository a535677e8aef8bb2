//! From a report to what the status shows, so that steady traffic writes nothing.
//!
//! Every window's figures differ by chance. What is published stays as it is until something has
//! happened: another verdict, other pods, or a figure that moved by more than chance moves it (the bands
//! below, five standard deviations wide and never less than what a reader would care about). Then everything
//! is taken from the same report, so that the figures belong together. So they are at most ten minutes old,
//! because the time of evaluation is refreshed that often.
//!
//! Where clients are dealt to other pods all the time, something has happened all the time: figures and names follow at
//! most once in the time that another verdict takes. What is said itself, and of how many pods, waits for nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::arrivals::Histogram;
use super::evidence::WINDOWS;
use super::report::{MetricsReason, MetricsState, Report, Share};
use super::time::elapsed;
use super::turnover::Turnover;
use super::verdict::Verdict;

/// How old what is published may become.
pub const REFRESH: Duration = Duration::from_mins(10);

/// Standard deviations that a figure must move by.
const SIGMAS: f64 = 5.0;

/// A pod's part of all requests, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedShare {
    /// Its name.
    pub pod: String,
    /// 0 … 1, two decimals.
    pub share: String,
}

/// How new pods were found, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedDiscovery {
    /// Seconds of the slowest of the last new pods, one decimal.
    pub max_seconds: String,
    /// Seconds to a fair share, of the slowest, one decimal.
    pub fair_seconds: Option<String>,
    /// Whole seconds, if anything promises it.
    pub promise_seconds: Option<u64>,
    /// Whole seconds from one scrape to the next.
    pub resolution_seconds: u64,
    /// All new pods.
    pub histogram: Histogram,
}

impl PublishedDiscovery {
    /// To go on from after a restart: to the first request, to a fair share, and the histogram.
    pub(super) fn times(&self) -> Option<(Duration, Option<Duration>, Histogram)> {
        let read = |text: &String| Duration::try_from_secs_f64(text.parse().ok()?).ok();
        let fair = self.fair_seconds.as_ref().and_then(read);
        Some((read(&self.max_seconds)?, fair, self.histogram))
    }
}

/// How many pods there are of each sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Ready pods.
    pub pods: u32,
    /// Pods too young to be judged.
    pub warming: u32,
    /// Pods that give numbers.
    pub scraped: u32,
}

impl From<&Report> for Counts {
    fn from(report: &Report) -> Self {
        Self {
            pods: report.pods,
            warming: report.warming,
            scraped: report.scraped,
        }
    }
}

/// What the status shows. Decimals are strings, as the API conventions ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The verdict.
    pub verdict: Verdict,
    /// In a sentence.
    pub message: String,
    /// Behind the sentences; `None` where this was read back from a status, which does not have them.
    pub counts: Option<Counts>,
    /// Pods the figures are of.
    pub judged: u32,
    /// Two decimals.
    pub effective_pods: Option<String>,
    /// Two decimals.
    pub max_over_mean: Option<String>,
    /// Two decimals.
    pub min_over_mean: Option<String>,
    /// Two significant digits.
    pub requests_per_second: Option<String>,
    /// The family that was counted.
    pub metric: Option<String>,
    /// Busiest first.
    pub hottest: Vec<PublishedShare>,
    /// Idlest first.
    pub starved: Vec<PublishedShare>,
    /// How many are idle, named or not.
    pub starved_pods: u32,
    /// How the last new pods were found.
    pub discovery: Option<PublishedDiscovery>,
    /// Whether the pods give numbers.
    pub metrics: MetricsState,
    /// Whether connections end at the age, by the pod's name.
    pub turnover: BTreeMap<String, Turnover>,
    /// Connections that the age ends in a second on the pod with most of them: 0 where that is bearable, none before the first look.
    pub reconnects: Option<u32>,
    /// Open connections of the pod with most of them: 0 where they are few, none before the first look.
    pub crowd: Option<u32>,
    /// Whether any pod has ever served a stream.
    pub streams: bool,
    /// When the figures were taken.
    pub last_evaluated: Timestamp,
}

/// What to show now: `last` itself where nothing has happened, so that equality means "write nothing".
pub fn publish(last: Option<&Published>, report: &Report, now: Timestamp) -> Published {
    // A status has only the sentence: what it is of is learnt where the same is said.
    let is_same = |last: &Published| last.metrics.message == report.metrics.message;
    let learnt = report.metrics.error.filter(|_| last.is_some_and(is_same));
    match last {
        // Nothing was judged since the restart: there is nothing to say.
        Some(last) if report.restored && last.verdict == report.verdict => last.clone(),
        Some(last) if !is_due(last, now) && !has_happened(last, report, now) => Published {
            metrics: MetricsState {
                error: last.metrics.error.or(learnt),
                ..last.metrics.clone()
            },
            counts: Some(report.into()),
            turnover: report.turnover.clone(),
            reconnects: report.reconnects,
            crowd: report.crowd,
            streams: last.streams || report.streams,
            ..last.clone()
        },
        Some(last) => Published {
            streams: last.streams || report.streams,
            ..snapshot(report, now)
        },
        None => snapshot(report, now),
    }
}

/// Also where the clock was set back: in times to come nothing has been evaluated.
fn is_due(last: &Published, now: Timestamp) -> bool {
    now < last.last_evaluated || elapsed(last.last_evaluated, now) >= REFRESH
}

fn has_happened(last: &Published, report: &Report, now: Timestamp) -> bool {
    let is_rested = elapsed(last.last_evaluated, now) >= report.window * WINDOWS;
    last.verdict != report.verdict
        || last.judged != report.judged
        || last.counts.is_some_and(|counts| counts != report.into())
        || last.metric.as_deref() != report.metric
        || metrics_changed(&last.metrics, &report.metrics)
        || last.discovery != discovery(report)
        || is_rested
            && (has_moved(last, report)
                || fails_otherwise(&last.metrics, &report.metrics)
                || names_moved(&last.hottest, &report.hottest, report)
                || names_moved(&last.starved, &report.starved, report)
                || idle_moved(last.starved_pods, report))
}

/// More idle pods, or fewer, by a tenth of all, or where there were none.
fn idle_moved(last: u32, report: &Report) -> bool {
    let now = report.starved_pods;
    (last == 0) != (now == 0) || last.abs_diff(now).saturating_mul(10) > report.judged
}

/// Of pods that fail the sentence names one of many: it may be another in each round.
fn metrics_changed(last: &MetricsState, now: &MetricsState) -> bool {
    use MetricsReason::{Forbidden, NoCredentials, Scraped};
    let is_one = matches!(now.reason, Scraped | NoCredentials | Forbidden);
    last.reason != now.reason || (is_one && last.message != now.message)
}

/// Whether pods fail in another way, so that there is something else to do. Of what was read back from a status only the words are known.
fn fails_otherwise(last: &MetricsState, now: &MetricsState) -> bool {
    match (last.error, now.error) {
        (Some(last), Some(now)) => last != now,
        (None, Some(_)) => last.message != now.message,
        (_, None) => false,
    }
}

/// Whether a figure left its band. A figure that is missing on either side did not move: traffic
/// that comes or goes is the verdict's business.
fn has_moved(last: &Published, report: &Report) -> bool {
    let moved = |published: &Option<String>, figure: Option<f64>, band: f64| {
        let published = published
            .as_deref()
            .and_then(|text| text.parse::<f64>().ok());
        published
            .zip(figure)
            .is_some_and(|(before, after)| (after - before).abs() > band)
    };
    let published = |text: &Option<String>| {
        text.as_deref()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0.0)
    };
    let noise = report.noise();
    let pods = f64::from(report.judged.max(1));
    // A pod with k times the mean has √k times the noise of the others.
    let peak = report
        .max_over_mean
        .unwrap_or(1.0)
        .max(published(&last.max_over_mean))
        .max(1.0);
    let ratio = (SIGMAS * noise * peak.sqrt()).max(0.1);
    moved(&last.max_over_mean, report.max_over_mean, ratio)
        || moved(
            &last.min_over_mean,
            report.min_over_mean,
            (SIGMAS * noise).max(0.1),
        )
        || moved(
            &last.effective_pods,
            report.effective_pods,
            effective_band(report, noise, pods, peak),
        )
        || moved(
            &last.requests_per_second,
            report.requests_per_second,
            rate_band(last, report),
        )
}

/// Effective pods are N/(1 + CV²). Chance moves CV² by a χ² of its own, and a CV that is there by 2·CV·δ.
fn effective_band(report: &Report, noise: f64, pods: f64, peak: f64) -> f64 {
    let effective = report.effective_pods.unwrap_or(pods).max(1.0);
    let variation = (pods / effective - 1.0).max(0.0).sqrt();
    let by_chance = 2.0 * SIGMAS * noise * noise * (2.0 / pods).sqrt();
    let by_skew = 2.0 * variation * SIGMAS * noise * (peak / pods).sqrt();
    let slope = effective * effective / pods;
    (slope * (by_chance + by_skew)).max(0.03 * pods).max(0.1)
}

/// A fifth, or what chance does to so few requests.
fn rate_band(last: &Published, report: &Report) -> f64 {
    let before: f64 = last
        .requests_per_second
        .as_deref()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0.0);
    let after = report.requests_per_second.unwrap_or(0.0);
    let seconds = report.window.as_secs_f64().max(1.0);
    let requests = (before.max(after) * seconds).max(1.0);
    (0.2 * before.max(after)).max(SIGMAS * (report.dispersion * requests).sqrt() / seconds)
}

/// Other pods, or a share that moved. A pod that is no longer over the threshold stays
/// until another takes its place: on the border it would come and go.
fn names_moved(last: &[PublishedShare], now: &[Share], report: &Report) -> bool {
    let noise = report.noise() / f64::from(report.judged.max(1)).max(1.0);
    now.iter().any(|share| {
        let published = last.iter().find(|published| published.pod == share.pod);
        let before = published.and_then(|published| published.share.parse::<f64>().ok());
        let spread = SIGMAS * noise * (share.share * f64::from(report.judged)).max(1.0).sqrt();
        before.is_none_or(|before| (before - share.share).abs() > spread.max(0.05))
    })
}

fn snapshot(report: &Report, now: Timestamp) -> Published {
    let decimals = |figure: Option<f64>| figure.map(|figure| format!("{figure:.2}"));
    let shares = |shares: &[Share]| {
        let written = |share: &Share| PublishedShare {
            pod: share.pod.clone(),
            share: format!("{:.2}", share.share),
        };
        shares.iter().map(written).collect()
    };
    Published {
        verdict: report.verdict,
        message: report.message.clone(),
        counts: Some(report.into()),
        judged: report.judged,
        effective_pods: decimals(report.effective_pods),
        max_over_mean: decimals(report.max_over_mean),
        min_over_mean: decimals(report.min_over_mean),
        requests_per_second: report.requests_per_second.map(two_digits),
        metric: report.metric.map(str::to_owned),
        hottest: shares(&report.hottest),
        starved: shares(&report.starved),
        starved_pods: report.starved_pods,
        discovery: discovery(report),
        metrics: report.metrics.clone(),
        turnover: report.turnover.clone(),
        reconnects: report.reconnects,
        crowd: report.crowd,
        streams: report.streams,
        last_evaluated: now,
    }
}

fn discovery(report: &Report) -> Option<PublishedDiscovery> {
    let seconds = |duration: Duration| format!("{:.1}", duration.as_secs_f64());
    report.discovery.map(|discovery| PublishedDiscovery {
        max_seconds: seconds(discovery.max),
        fair_seconds: discovery.fair_share.map(seconds),
        promise_seconds: discovery.promise.map(|promise| promise.as_secs()),
        resolution_seconds: discovery.resolution.as_secs(),
        histogram: discovery.histogram,
    })
}

/// Two significant digits, without an exponent.
fn two_digits(figure: f64) -> String {
    if !figure.is_finite() || figure <= 0.0 {
        return "0".to_owned();
    }
    // Through the decimal form, which rounds before it tells the magnitude: 99.9 is 100, not 99.
    let rounded: f64 = format!("{figure:.1e}").parse().unwrap_or(figure);
    let decimals = if rounded >= 10.0 {
        0
    } else if rounded >= 1.0 {
        1
    } else if rounded >= 0.1 {
        2
    } else {
        3
    };
    format!("{rounded:.decimals$}")
}

#[cfg(test)]
#[path = "publish_tests.rs"]
mod tests;
