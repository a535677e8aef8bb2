//! Which changes of the status deserve an event.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::{ConditionType, Finding, GrpcBackendStatus};
use crate::findings::Severity;

/// One event to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    /// Whether somebody should look.
    pub warning: bool,
    /// The condition's reason, or the finding's id.
    pub reason: String,
    /// The message of it.
    pub message: String,
}

/// Conditions that people are told of when their reason changes.
const TOLD: [ConditionType; 6] = [
    ConditionType::ServicesReady,
    ConditionType::ConnectionAgeApplied,
    ConditionType::EndpointWatchReady,
    ConditionType::MetricsAvailable,
    ConditionType::Balanced,
    ConditionType::Ready,
];

/// Reasons that are only a way to somewhere.
const PASSING: [&str; 7] = [
    "WarmingUp",
    "InsufficientData",
    "NoTraffic",
    "NotRequested",
    "Pending",
    "NoMetrics",
    "Off",
];

/// An event for each condition and finding that changed.
pub fn notes(before: &GrpcBackendStatus, after: &GrpcBackendStatus) -> Vec<Note> {
    let mut notes = conditions(before, after);
    notes.extend(findings(&before.findings, &after.findings));
    notes
}

/// Findings that came or went. Each has a reason of its own: events of one reason are folded into one.
fn findings<'a>(before: &'a [Finding], after: &'a [Finding]) -> impl Iterator<Item = Note> + 'a {
    let lacks = |those: &'a [Finding]| {
        move |finding: &&Finding| !those.iter().any(|other| other.id == finding.id)
    };
    let come = after.iter().filter(lacks(before)).map(|finding| Note {
        warning: finding.severity != Severity::Info.as_str(),
        reason: finding.id.clone(),
        message: finding.message.clone(),
    });
    let gone = before.iter().filter(lacks(after)).map(|finding| Note {
        warning: false,
        reason: format!("{}Gone", finding.id),
        message: "it is not found any more, or is ignored by spec.ignoreFindings".into(),
    });
    come.chain(gone)
}

/// An event for each condition whose reason changed, unless it only passes by. Ready repeats the part that fails, so it
/// is told of only when all is well again. Of metrics it is told that they went and that they are back, not each other way in which they
/// fail: which pod fails, and how, may change often.
fn conditions(before: &GrpcBackendStatus, after: &GrpcBackendStatus) -> Vec<Note> {
    let find = |status: &GrpcBackendStatus, kind: ConditionType| -> Option<Condition> {
        status
            .conditions
            .iter()
            .find(|condition| condition.type_ == kind.as_str())
            .cloned()
    };
    TOLD.into_iter()
        .filter_map(|kind| {
            let now = find(after, kind)?;
            let was = find(before, kind);
            let changed = was.as_ref().is_none_or(|was| was.reason != now.reason);
            let passes = PASSING.contains(&now.reason.as_str());
            let told = match kind {
                ConditionType::Ready => now.status == "True",
                ConditionType::MetricsAvailable if was.as_ref().is_some_and(are_lost) => {
                    now.status == "True" && !passes
                }
                ConditionType::MetricsAvailable => are_lost(&now),
                _ => !passes,
            };
            (changed && told).then(|| Note {
                warning: now.status == "False" && !is_expected(&now.reason),
                reason: now.reason,
                message: now.message,
            })
        })
        .collect()
}

/// Of pages that count nothing yet nobody knows whether more than a first request is missing.
fn are_lost(metrics: &Condition) -> bool {
    metrics.status == "False" && metrics.reason != "NoKnownMetric"
}

/// False, but on the way to True.
fn is_expected(reason: &str) -> bool {
    ["RollingOut", "WaitingForRollout", "NotApplied"].contains(&reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(kind: &str, status: &str, reason: &str) -> GrpcBackendStatus {
        GrpcBackendStatus {
            conditions: vec![Condition {
                type_: kind.into(),
                status: status.into(),
                reason: reason.into(),
                message: "m".into(),
                last_transition_time: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
                    jiff::Timestamp::UNIX_EPOCH,
                ),
                observed_generation: None,
            }],
            ..GrpcBackendStatus::default()
        }
    }

    #[test]
    fn told_once_and_only_of_changes() {
        let nothing = GrpcBackendStatus::default();
        let hot = status("Balanced", "False", "HotPod");
        assert_eq!(notes(&nothing, &hot).len(), 1);
        assert!(notes(&nothing, &hot)[0].warning);
        assert!(notes(&hot, &hot).is_empty());
        assert!(notes(&hot, &status("Balanced", "Unknown", "WarmingUp")).is_empty());
        assert!(notes(&hot, &status("Balanced", "Unknown", "NoTraffic")).is_empty());
    }

    #[test]
    fn metrics_that_go_are_told_of_once_and_when_they_are_back() {
        const TOLD: Option<bool> = Some(false);
        const WARNED: Option<bool> = Some(true);
        let mut before = GrpcBackendStatus::default();
        for (is, reason, told) in [
            // As with each new backend.
            ("Unknown", "WarmingUp", None),
            ("False", "NoKnownMetric", None),
            ("True", "Scraped", None),
            ("True", "PartlyScraped", None),
            ("False", "ScrapeFailed", WARNED),
            ("False", "Refused", None),
            ("True", "PartlyScraped", TOLD),
            ("True", "Scraped", None),
            ("False", "NoKnownMetric", None),
            ("False", "Refused", WARNED),
            ("True", "Off", None),
            ("Unknown", "WarmingUp", None),
            ("False", "NoMetricsPort", WARNED),
            ("True", "Scraped", TOLD),
        ] {
            let after = status("MetricsAvailable", is, reason);
            let said: Vec<_> = notes(&before, &after)
                .into_iter()
                .map(|note| (note.reason, note.warning))
                .collect();
            let expected = told.map(|warning| (reason.to_owned(), warning));
            assert_eq!(said, Vec::from_iter(expected), "{reason}");
            before = after;
        }
        // As where a backend is made whose pods show no metrics at all.
        let nothing = GrpcBackendStatus::default();
        let lost = status("MetricsAvailable", "False", "NoMetricsPort");
        assert!(notes(&nothing, &lost)[0].warning);
    }

    #[test]
    fn findings_come_and_go() {
        let with = |found: &[(&str, &str)]| GrpcBackendStatus {
            findings: found
                .iter()
                .map(|(id, severity)| Finding {
                    id: (*id).into(),
                    severity: (*severity).into(),
                    message: format!("{id} is so"),
                })
                .collect(),
            ..GrpcBackendStatus::default()
        };
        let before = with(&[("GB021", "Warning"), ("GB030", "Info")]);
        let after = with(&[("GB003", "Error"), ("GB021", "Warning"), ("GB033", "Info")]);
        let told: Vec<_> = notes(&before, &after)
            .into_iter()
            .map(|note| (note.reason, note.warning))
            .collect();
        let expected = [("GB003", true), ("GB033", false), ("GB030Gone", false)];
        assert_eq!(
            told,
            expected.map(|(reason, warning)| (reason.to_owned(), warning))
        );
        assert!(notes(&after, &after).is_empty());
        // Other words about the same are no event.
        let mut reworded = after.clone();
        reworded.findings[1].message = "now of another pod".into();
        assert!(notes(&after, &reworded).is_empty());
    }
}
