//! The sampler's findings as conditions and figures, and the spec as the judge's settings.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::conditions::Statement;
use crate::api::{
    Balance, BalanceMode, BalanceStatus, ConditionType, Discovery, DiscoveryBucket, GoDuration,
    GrpcBackend, PodShare, Reason,
};
use crate::balance::arrivals::{BOUNDS, Histogram};
use crate::balance::report::{MetricsReason, MetricsState};
use crate::balance::{
    Mode, Published, PublishedDiscovery, PublishedShare, Settings, Thresholds, Verdict,
};
use crate::connection_age::timing;

/// How the spec wants it judged. A value from before the schema's rule counts as absent.
/// `age`: the one that all pods run with, where it is one; `longest`: the longest that any do.
pub fn settings(
    backend: &GrpcBackend,
    age: Option<Duration>,
    longest: Option<Duration>,
) -> Settings {
    let balance = backend.spec.balance.clone().unwrap_or_default();
    let defaults = Settings::default();
    let duration = |given: &Option<GoDuration>| given.as_ref().and_then(|given| given.get().ok());
    let interval = duration(&balance.interval).unwrap_or(defaults.interval);
    Settings {
        interval,
        window: duration(&balance.window)
            .unwrap_or(defaults.window)
            .max(interval * 2),
        thresholds: thresholds(&balance),
        mode: match balance.mode.unwrap_or_default() {
            BalanceMode::Judge => Mode::Judge,
            BalanceMode::Observe => Mode::Observe,
            BalanceMode::Disabled => Mode::Off,
        },
        age,
        grace: backend
            .spec
            .connection_age
            .as_ref()
            .and_then(|asked| asked.grace.as_ref()?.get().ok())
            .unwrap_or_default(),
        promise: longest.and_then(timing::patience),
        promised: age.and_then(timing::promise),
    }
}

fn thresholds(balance: &Balance) -> Thresholds {
    let given = balance.thresholds.clone().unwrap_or_default();
    let defaults = Thresholds::default();
    let decimal = |text: Option<String>, default: f64| {
        text.and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    Thresholds {
        max_over_mean: decimal(given.max_over_mean, defaults.max_over_mean),
        min_over_mean: decimal(given.min_over_mean, defaults.min_over_mean),
        cv: decimal(given.cv, defaults.cv),
        min_requests: given.min_requests.map_or(defaults.min_requests, f64::from),
    }
}

/// What stands in the status, for an operator that has just started: the other direction of [`statements`] and [`figures`].
pub fn restored(backend: &GrpcBackend) -> Option<Published> {
    let status = backend.status.as_ref()?;
    let condition = |kind: ConditionType| {
        let mut conditions = status.conditions.iter();
        conditions.find(|condition| condition.type_ == kind.as_str())
    };
    let (balanced, metrics) = (
        condition(ConditionType::Balanced)?,
        condition(ConditionType::MetricsAvailable)?,
    );
    let verdict = *Verdict::ALL
        .iter()
        .find(|verdict| verdict.reason() == balanced.reason && **verdict != Verdict::Off)?;
    let figures = status.balance.as_ref()?;
    Some(Published {
        verdict,
        message: balanced.message.clone(),
        counts: None,
        judged: u32::try_from(figures.pods).ok()?,
        effective_pods: figures.effective_pods.clone(),
        max_over_mean: figures.max_over_mean.clone(),
        min_over_mean: figures.min_over_mean.clone(),
        requests_per_second: figures.requests_per_second.clone(),
        metric: figures.metric.clone(),
        hottest: read_shares(&figures.hottest),
        starved: read_shares(&figures.starved),
        starved_pods: u32::try_from(figures.starved_pods?).ok()?,
        discovery: figures.discovery.as_ref().and_then(read_discovery),
        metrics: MetricsState::new(
            MetricsReason::of_name(&metrics.reason)?,
            metrics.message.clone(),
        ),
        turnover: BTreeMap::new(),
        reconnects: None,
        crowd: None,
        streams: status.findings.iter().any(|finding| finding.id == "GB025"),
        last_evaluated: figures.last_evaluated.as_ref()?.0,
    })
}

fn read_shares(shares: &[PodShare]) -> Vec<PublishedShare> {
    let read = |share: &PodShare| PublishedShare {
        pod: share.pod.clone(),
        share: share.share.clone(),
    };
    shares.iter().map(read).collect()
}

fn read_discovery(discovery: &Discovery) -> Option<PublishedDiscovery> {
    let promised = discovery.promised.as_ref();
    Some(PublishedDiscovery {
        max_seconds: discovery.slowest.strip_suffix('s')?.to_owned(),
        fair_seconds: discovery
            .fair_share
            .as_ref()
            .and_then(|fair| Some(fair.strip_suffix('s')?.to_owned())),
        promise_seconds: promised.and_then(|promised| promised.strip_suffix('s')?.parse().ok()),
        resolution_seconds: discovery
            .resolution
            .as_ref()
            .and_then(|resolution| resolution.strip_suffix('s')?.parse().ok())
            .unwrap_or_default(),
        histogram: read_histogram(&discovery.histogram),
    })
}

/// The buckets' names, in their order.
fn buckets() -> impl Iterator<Item = String> {
    let bounds = BOUNDS.iter().map(|seconds| format!("{seconds}s"));
    bounds.chain(["more".to_owned()])
}

fn read_histogram(written: &[DiscoveryBucket]) -> Histogram {
    let mut histogram = Histogram::default();
    let counted = |count: i32| u32::try_from(count).unwrap_or(0);
    for (place, name) in buckets().enumerate() {
        for bucket in written.iter().filter(|bucket| bucket.within == name) {
            histogram.first_request[place] = counted(bucket.first_request);
            histogram.fair_share[place] = counted(bucket.fair_share);
        }
    }
    histogram
}

fn write_histogram(histogram: &Histogram) -> Vec<DiscoveryBucket> {
    let counted = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    let pods = histogram.first_request.iter().zip(&histogram.fair_share);
    buckets()
        .zip(pods)
        .filter(|(_, (first, fair))| **first + **fair > 0)
        .map(|(within, (first, fair))| DiscoveryBucket {
            within,
            first_request: counted(*first),
            fair_share: counted(*fair),
        })
        .collect()
}

/// What the status says already, unless that was that nothing is wanted.
fn before(backend: &GrpcBackend, kind: ConditionType) -> Option<Statement> {
    let conditions = &backend.status.as_ref()?.conditions;
    let condition = conditions
        .iter()
        .find(|condition| condition.type_ == kind.as_str())?;
    let holds = match condition.status.as_str() {
        "True" => Some(true),
        "False" => Some(false),
        _ => None,
    };
    (condition.reason != Reason::Off.as_str())
        .then(|| statement(holds, &condition.reason, &condition.message))
}

fn statement(holds: Option<bool>, reason: &str, message: &str) -> Statement {
    let reason = Reason::named(reason).unwrap_or(Reason::Pending);
    match holds {
        Some(true) => Statement::yes(reason, message),
        Some(false) => Statement::no(reason, message),
        None => Statement::unknown(reason, message),
    }
}

/// MetricsAvailable and Balanced.
pub(super) fn statements(
    backend: &GrpcBackend,
    published: Option<&Published>,
) -> (Statement, Statement) {
    if settings(backend, None, None).mode == Mode::Off {
        let why = "spec.balance.mode is Disabled";
        return (
            Statement::yes(Reason::Off, why),
            Statement::unknown(Reason::Off, why),
        );
    }
    let Some(published) = published else {
        // What was said before a restart stands until something else can be said.
        let metrics = before(backend, ConditionType::MetricsAvailable).unwrap_or_else(|| {
            Statement::unknown(
                Reason::WarmingUp,
                "the pods' metrics have not been read yet",
            )
        });
        let balanced = before(backend, ConditionType::Balanced).unwrap_or_else(|| {
            Statement::unknown(
                Reason::WarmingUp,
                "the pods have not been watched for a whole window yet",
            )
        });
        return (metrics, balanced);
    };
    let metrics = &published.metrics;
    (
        statement(
            metrics.reason.is_available(),
            metrics.reason.reason(),
            &metrics.message,
        ),
        statement(
            published.verdict.is_balanced(),
            published.verdict.reason(),
            &published.message,
        ),
    )
}

/// The figures; those from before a restart stand until there are others.
pub(super) fn figures(
    backend: &GrpcBackend,
    published: Option<&Published>,
    before: Option<BalanceStatus>,
) -> Option<BalanceStatus> {
    if settings(backend, None, None).mode == Mode::Off {
        return None;
    }
    let Some(published) = published else {
        return before;
    };
    let shares = |shares: &[PublishedShare]| {
        shares
            .iter()
            .map(|share| PodShare {
                pod: share.pod.clone(),
                share: share.share.clone(),
            })
            .collect::<Vec<_>>()
    };
    Some(BalanceStatus {
        verdict: published.verdict.reason().into(),
        pods: i32::try_from(published.judged).unwrap_or(i32::MAX),
        effective_pods: published.effective_pods.clone(),
        max_over_mean: published.max_over_mean.clone(),
        min_over_mean: published.min_over_mean.clone(),
        requests_per_second: published.requests_per_second.clone(),
        metric: published.metric.clone(),
        hottest: shares(&published.hottest),
        starved_pods: i32::try_from(published.starved_pods).ok(),
        starved: shares(&published.starved),
        discovery: published.discovery.as_ref().map(|discovery| Discovery {
            slowest: format!("{}s", discovery.max_seconds),
            fair_share: discovery
                .fair_seconds
                .as_ref()
                .map(|seconds| format!("{seconds}s")),
            resolution: Some(format!("{}s", discovery.resolution_seconds)),
            histogram: write_histogram(&discovery.histogram),
            promised: discovery
                .promise_seconds
                .map(|seconds| format!("{seconds}s")),
        }),
        last_evaluated: Some(Time(
            jiff::Timestamp::from_second(published.last_evaluated.as_second())
                .unwrap_or(published.last_evaluated),
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::{Counters, Judge, Round, Scrape, Target};
    use crate::status::conditions;
    use jiff::Timestamp;

    fn published() -> Published {
        let text = |text: &str| Some(text.to_owned());
        let share = |pod: &str, share: &str| PublishedShare {
            pod: pod.into(),
            share: share.into(),
        };
        Published {
            verdict: Verdict::HotPod,
            message: "a has 1.9 times the mean of 3 pods".into(),
            counts: None,
            judged: 3,
            effective_pods: text("2.10"),
            max_over_mean: text("1.90"),
            min_over_mean: text("0.50"),
            requests_per_second: text("120"),
            metric: text("grpc_server_started_total"),
            hottest: vec![share("a", "0.63")],
            starved: vec![share("b", "0.00")],
            starved_pods: 1,
            discovery: Some(PublishedDiscovery {
                max_seconds: "14.3".into(),
                fair_seconds: text("38.0"),
                promise_seconds: Some(101),
                resolution_seconds: 15,
                histogram: Histogram {
                    first_request: [0, 1, 0, 0, 0, 0, 0, 2],
                    fair_share: [0, 0, 0, 1, 0, 0, 0, 0],
                },
            }),
            metrics: MetricsState::new(MetricsReason::Scraped, "3 pods scraped".into()),
            turnover: BTreeMap::new(),
            reconnects: None,
            crowd: None,
            streams: false,
            last_evaluated: Timestamp::from_second(1_800_000_000).unwrap(),
        }
    }

    fn with_status(published: &Published) -> GrpcBackend {
        let mut backend = GrpcBackend::default();
        let (metrics, balanced) = statements(&backend, Some(published));
        let statements = [
            (ConditionType::MetricsAvailable, Some(metrics)),
            (ConditionType::Balanced, Some(balanced)),
        ];
        backend.status = Some(crate::api::GrpcBackendStatus {
            conditions: conditions::merge(&[], statements, None, published.last_evaluated),
            balance: figures(&backend, Some(published), None),
            ..Default::default()
        });
        backend
    }

    #[test]
    fn a_restart_reads_back_what_the_status_says() {
        let mut nothing_known = published();
        nothing_known.verdict = Verdict::NoMetrics;
        nothing_known.effective_pods = None;
        nothing_known.metric = None;
        nothing_known.discovery = None;
        nothing_known.hottest.clear();
        for published in [published(), nothing_known] {
            let backend = with_status(&published);
            let read = restored(&backend).unwrap();
            assert_eq!(read, published);
            assert_eq!(with_status(&read).status, backend.status);
        }
        assert_eq!(restored(&GrpcBackend::default()), None);
        let mut off = published();
        off.verdict = Verdict::Off;
        assert_eq!(restored(&with_status(&off)), None);
    }

    #[test]
    fn pods_are_given_the_time_that_any_client_is_promised() {
        let minutes = |minutes| Some(Duration::from_mins(minutes));
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs());
        for (age, longest, promise, promised) in [
            (minutes(1), minutes(1), Some(156), Some(126)),
            // Workloads with 5m and 10m, or with 10m and none: nothing is promised, and who may still come is waited for.
            (None, minutes(10), Some(750), None),
            (None, None, None, None),
        ] {
            let settings = settings(&GrpcBackend::default(), age, longest);
            let told = (seconds(settings.promise), seconds(settings.promised));
            assert_eq!(told, (promise, promised), "{longest:?}");
        }
    }

    /// What is said of three pods with these requests in each interval, with these thresholds.
    fn said(thresholds: &serde_json::Value, requests: [f64; 3]) -> Verdict {
        let mut backend = GrpcBackend::default();
        backend.spec.balance = serde_json::from_value(serde_json::json!({
            "interval": "5s", "window": "10s", "thresholds": thresholds,
        }))
        .unwrap();
        let mut judge = Judge::new(settings(&backend, None, None), None);
        let begin = Timestamp::from_second(1_800_000_000).unwrap();
        let born = begin - jiff::SignedDuration::from_hours(1);
        for step in 1..=20_i32 {
            let now = begin + jiff::SignedDuration::from_secs(5 * i64::from(step));
            let target = |pod: usize| Target {
                uid: pod.to_string(),
                name: pod.to_string(),
                created: born,
                ready_since: born,
                restarts: 0,
                capacity: None,
            };
            let scrape = |pod: usize| Scrape {
                uid: pod.to_string(),
                at: now,
                outcome: Ok(Counters {
                    started: Some(1000.0 + requests[pod] * f64::from(step)),
                    ..Counters::default()
                }),
            };
            judge.round(&Round {
                now,
                targets: (0..3).map(target).collect(),
                scrapes: (0..3).map(scrape).collect(),
                rolling_out: false,
                obstacle: None,
            });
        }
        judge.report().verdict
    }

    #[test]
    fn each_threshold_of_the_spec_changes_what_is_said() {
        use serde_json::json;
        for (thresholds, requests, verdict) in [
            (json!({}), [140.0, 140.0, 320.0], Verdict::HotPod),
            (
                json!({"maxOverMean": "2.5", "cv": "0.9"}),
                [140.0, 140.0, 320.0],
                Verdict::Balanced,
            ),
            (json!({}), [240.0, 200.0, 160.0], Verdict::Balanced),
            (
                json!({"maxOverMean": "1.1"}),
                [240.0, 200.0, 160.0],
                Verdict::HotPod,
            ),
            (
                json!({"minOverMean": "0.9"}),
                [240.0, 200.0, 160.0],
                Verdict::HotPod,
            ),
            (json!({"cv": "0.1"}), [240.0, 200.0, 160.0], Verdict::HotPod),
            (json!({}), [10.0, 10.0, 10.0], Verdict::InsufficientData),
            (
                json!({"minRequests": 15}),
                [10.0, 10.0, 10.0],
                Verdict::Balanced,
            ),
        ] {
            assert_eq!(
                said(&thresholds, requests),
                verdict,
                "{thresholds} {requests:?}"
            );
        }
    }

    #[test]
    fn every_verdict_is_a_reason() {
        for verdict in Verdict::ALL {
            assert!(Reason::named(verdict.reason()).is_some(), "{verdict}");
        }
        for reason in MetricsReason::ALL {
            assert!(Reason::named(reason.reason()).is_some(), "{reason:?}");
        }
    }
}
