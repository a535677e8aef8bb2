//! The sampler's findings as conditions and figures, and the spec as the judge's settings.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::conditions::Statement;
use crate::api::{
    Balance, BalanceMode, BalanceStatus, ConditionType, Discovery, GoDuration, GrpcBackend,
    PodShare, Reason,
};
use crate::balance::{Mode, Published, RestoredVerdict, Settings, Thresholds, Verdict};
use crate::connection_age::timing;

/// How the spec wants it judged. A value from before the schema's rule counts as absent.
pub fn settings(backend: &GrpcBackend, age: Option<Duration>) -> Settings {
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
        promise: age.and_then(timing::promise),
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

/// The verdict that stands in the status, for an operator that has just started.
pub fn restored(backend: &GrpcBackend) -> Option<RestoredVerdict> {
    let condition = backend
        .status
        .as_ref()?
        .conditions
        .iter()
        .find(|condition| condition.type_ == ConditionType::Balanced.as_str())?;
    let verdict = *Verdict::ALL
        .iter()
        .find(|verdict| verdict.reason() == condition.reason)?;
    Some(RestoredVerdict {
        verdict,
        message: condition.message.clone(),
    })
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
    if settings(backend, None).mode == Mode::Off {
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
    if settings(backend, None).mode == Mode::Off {
        return None;
    }
    let Some(published) = published else {
        return before;
    };
    let shares = |shares: &[crate::balance::publish::PublishedShare]| {
        shares
            .iter()
            .map(|share| PodShare {
                pod: share.pod.clone(),
                share: share.share.clone(),
            })
            .collect::<Vec<_>>()
    };
    let starved = shares(&published.starved);
    Some(BalanceStatus {
        verdict: published.verdict.reason().into(),
        pods: i32::try_from(published.judged).unwrap_or(i32::MAX),
        effective_pods: published.effective_pods.clone(),
        max_over_mean: published.max_over_mean.clone(),
        min_over_mean: published.min_over_mean.clone(),
        requests_per_second: published.requests_per_second.clone(),
        metric: published.metric.clone(),
        hottest: shares(&published.hottest),
        starved_pods: i32::try_from(starved.len()).ok(),
        starved,
        discovery: published.discovery.as_ref().map(|discovery| Discovery {
            slowest: format!("{}s", discovery.max_seconds),
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
    use crate::balance::report::MetricsReason;

    #[test]
    fn every_verdict_is_a_reason() {
        for verdict in Verdict::ALL {
            assert!(Reason::named(verdict.reason()).is_some(), "{verdict}");
        }
        for reason in [
            MetricsReason::Scraped,
            MetricsReason::PartlyScraped,
            MetricsReason::Off,
            MetricsReason::NoMetricsPort,
            MetricsReason::NoKnownMetric,
            MetricsReason::ScrapeFailed,
            MetricsReason::Refused,
            MetricsReason::WarmingUp,
        ] {
            assert!(Reason::named(reason.reason()).is_some(), "{reason:?}");
        }
    }
}
