//! Which changes of the status deserve an event.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::{ConditionType, GrpcBackendStatus};

/// One event to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    /// Whether somebody should look.
    pub warning: bool,
    /// The condition's reason.
    pub reason: String,
    /// The condition's message.
    pub message: String,
}

/// Conditions that people are told of when their reason changes.
const TOLD: [ConditionType; 5] = [
    ConditionType::ServicesReady,
    ConditionType::ConnectionAgeApplied,
    ConditionType::EndpointWatchReady,
    ConditionType::Balanced,
    ConditionType::Ready,
];

/// Reasons that are only a way to somewhere.
const PASSING: [&str; 6] = [
    "WarmingUp",
    "InsufficientData",
    "NotRequested",
    "Pending",
    "NoMetrics",
    "Off",
];

/// An event for each condition whose reason changed, unless it only passes by. Ready repeats the part that fails, so it
/// is told of only when all is well again.
pub fn notes(before: &GrpcBackendStatus, after: &GrpcBackendStatus) -> Vec<Note> {
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
            let told = match kind {
                ConditionType::Ready => now.status == "True",
                _ => !PASSING.contains(&now.reason.as_str()),
            };
            (changed && told).then(|| Note {
                warning: now.status == "False" && !is_expected(&now.reason),
                reason: now.reason,
                message: now.message,
            })
        })
        .collect()
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
    }
}
