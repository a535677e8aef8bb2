//! Everything known → the status a user reads; which changes deserve an event. No client, no clock.

mod balance;
mod conditions;
mod transitions;

pub use balance::{restored, settings};
pub use transitions::{Note, notes};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::api::conditions::{State, Statement, plain};
use crate::api::{AgeMode, ConditionType, Endpoints, GrpcBackendStatus, Reason, Server};
use crate::connection_age::{self, Plan, timing};
use crate::observed::{Observed, has_ended, is_serving};
use crate::{findings, services};

/// What the parts of a pass say.
pub struct Parts<'a> {
    /// ServicesReady.
    pub services: Statement,
    /// EndpointWatchReady.
    pub access: Statement,
    /// What was decided about the age.
    pub age: &'a Plan,
}

/// The status that the resource is to have. What it had before gives only the times of transitions.
pub fn build(observed: &Observed, parts: &Parts<'_>, now: Timestamp) -> GrpcBackendStatus {
    let backend = &observed.backend;
    let before = backend.status.clone().unwrap_or_default();
    let (metrics, balanced) = balance::statements(backend, observed.published.as_ref());
    let ready = ready(observed, parts);
    let reconciling = reconciling(&ready, parts);
    let stalled = stalled(&ready);
    let statements = [
        (ConditionType::Ready, Some(ready)),
        (ConditionType::ServicesReady, Some(parts.services.clone())),
        (
            ConditionType::ConnectionAgeApplied,
            Some(parts.age.statement.clone()),
        ),
        (
            ConditionType::EndpointWatchReady,
            Some(parts.access.clone()),
        ),
        (ConditionType::MetricsAvailable, Some(metrics)),
        (ConditionType::Balanced, Some(balanced)),
        (ConditionType::Reconciling, reconciling),
        (ConditionType::Stalled, stalled),
    ];
    let answers = findings::ask(observed);
    let findings = answers.told();
    let ignores = !backend.spec.ignore_findings.is_empty();
    GrpcBackendStatus {
        observed_generation: backend.metadata.generation,
        conditions: conditions::merge(
            &before.conditions,
            statements,
            backend.metadata.generation,
            now,
        ),
        services: Some(services::names(backend)),
        targets: services::targets(backend),
        servers: connection_age::confirmed(observed, parts.age.servers.clone(), &before.servers)
            .into_iter()
            .map(told_plainly)
            .collect(),
        running_max_age: parts.age.running_max_age.clone(),
        discovery: timing::promises(backend, parts.age.running_max_age.as_deref()),
        endpoints: Some(endpoints(&observed.pods)),
        balance: balance::figures(backend, observed.published.as_ref(), before.balance),
        findings_count: i32::try_from(findings.len()).ok(),
        worst_finding: findings.first().map(|worst| worst.severity.clone()),
        unchecked_findings: answers.unchecked_ids(),
        ignored_findings: i32::try_from(answers.ignored).ok().filter(|_| ignores),
        findings,
    }
}

/// These fields may repeat what stands in a workload.
fn told_plainly(server: Server) -> Server {
    let told = |text: Option<String>| text.as_deref().map(plain);
    Server {
        running: told(server.running),
        planned: told(server.planned),
        message: told(server.message),
        ..server
    }
}

fn endpoints(pods: &[Pod]) -> Endpoints {
    let all = pods
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none() && !has_ended(pod));
    let (ready, not_ready): (Vec<_>, Vec<_>) = all.partition(|pod| is_serving(pod));
    let count = |pods: Vec<_>| i32::try_from(pods.len()).unwrap_or(i32::MAX);
    let (ready, not_ready) = (count(ready), count(not_ready));
    Endpoints {
        ready,
        not_ready,
        summary: format!("{ready}/{}", ready.saturating_add(not_ready)),
    }
}

/// Services, endpoint access, and the age where it is enforced. Metrics and balance are no part of it: a skewed backend
/// still serves.
fn ready(observed: &Observed, parts: &Parts<'_>) -> Statement {
    let spec = &observed.backend.spec;
    if observed.terminating() {
        let age = &parts.age.statement;
        let waits = matches!(
            age.reason,
            Reason::Forbidden | Reason::UnsupportedWorkload | Reason::WaitingForRollout
        );
        if waits {
            return Statement::no(Reason::Terminating, age.message.clone());
        }
        return Statement::no(
            Reason::Terminating,
            "the connection age is being taken back from the workloads, then the resource goes",
        );
    }
    if spec.suspend {
        return Statement::no(
            Reason::Suspended,
            "spec.suspend is true: nothing is written but this status; set it to false to go on",
        );
    }
    let enforced = spec
        .connection_age
        .as_ref()
        .is_some_and(|age| age.mode.unwrap_or_default() == AgeMode::Enforce);
    let age = enforced.then_some(&parts.age.statement);
    [Some(&parts.services), Some(&parts.access), age]
        .into_iter()
        .flatten()
        .find(|statement| statement.state != State::True)
        .cloned()
        .unwrap_or_else(|| {
            Statement::yes(
                Reason::AllReady,
                "everything that was asked for is in place",
            )
        })
}

/// What comes to its end by itself.
fn reconciling(ready: &Statement, parts: &Parts<'_>) -> Option<Statement> {
    let under_way = matches!(
        ready.reason,
        Reason::RollingOut | Reason::WaitingForRollout | Reason::Terminating | Reason::Pending
    );
    let restoring = parts.age.holds && parts.age.statement.reason == Reason::RollingOut;
    (under_way || restoring).then(|| Statement::yes(ready.reason, ready.message.clone()))
}

/// What needs somebody.
fn stalled(ready: &Statement) -> Option<Statement> {
    let waits = ready.state == State::True
        || matches!(
            ready.reason,
            Reason::RollingOut
                | Reason::WaitingForRollout
                | Reason::Terminating
                | Reason::Pending
                | Reason::Suspended
                | Reason::NoServer
        );
    (!waits).then(|| Statement::yes(ready.reason, ready.message.clone()))
}

/// The status where the pass could not even read what exists: all as it was, but for Ready.
pub fn unreadable(
    observed_generation: Option<i64>,
    before: &GrpcBackendStatus,
    why: &Statement,
    now: Timestamp,
) -> GrpcBackendStatus {
    let mut after = before.clone();
    let kept = before
        .conditions
        .iter()
        .filter(|condition| condition.type_ != ConditionType::Ready.as_str())
        .cloned();
    let ready = conditions::merge(
        &before.conditions,
        [(ConditionType::Ready, Some(why.clone()))],
        observed_generation,
        now,
    );
    after.conditions = ready.into_iter().chain(kept).collect();
    after
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// After a node was short of memory they stay for days, and those of a Job for ever.
    #[test]
    fn pods_that_have_ended_are_no_endpoints() {
        let pods = [
            ("Running", "True"),
            ("Running", "False"),
            ("Pending", "False"),
            ("Failed", "False"),
            ("Succeeded", "False"),
        ]
        .map(|(phase, ready)| {
            let ready = json!([{"type": "Ready", "status": ready}]);
            let pod = json!({"metadata": {}, "status": {"phase": phase, "conditions": ready}});
            serde_json::from_value(pod).unwrap()
        });
        let counted = endpoints(&pods);
        assert_eq!((counted.ready, counted.not_ready), (1, 2));
        assert_eq!(counted.summary, "1/3");
    }
}
