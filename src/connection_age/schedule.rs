//! All workloads together: what is done now, and what waits.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt as _;

use super::rollout::{self, Busy};
use super::workload::{self, Outcome};
use super::{Change, MIXED, Permit, Plan, Step, owner, target};
use crate::api::conditions::Statement;
use crate::api::{AgeMode, Reason, Server};
use crate::observed::Observed;

/// As many rows as the status takes.
const MAX_SERVERS: usize = 32;

/// Worst first: the condition says what stands furthest in the way.
const WORST_FIRST: [Reason; 16] = [
    Reason::RolloutFailed,
    Reason::Reverted,
    Reason::InvalidSpec,
    Reason::NoKnob,
    Reason::GraceUnsupported,
    Reason::FieldConflict,
    Reason::ClaimedByOther,
    Reason::AmbiguousContainer,
    Reason::UnsupportedWorkload,
    Reason::NothingToExtend,
    Reason::NoServer,
    Reason::EnvFromUnverified,
    Reason::NotApplied,
    Reason::Paused,
    Reason::WaitingForRollout,
    Reason::RollingOut,
];

/// What should be done about the age now.
pub fn plan(observed: &Observed, permit: Permit, now: Timestamp) -> Plan {
    let mut plan = Plan {
        steps: Vec::new(),
        statement: Statement::yes(Reason::NotRequested, "no connection age is asked for"),
        servers: Vec::new(),
        running_max_age: None,
        holds: false,
        blocked_by_rollout: false,
        look_again: None,
    };
    if observed.namespace_terminating {
        // The pods go anyway, and a finalizer would only keep the namespace from going.
        plan.statement.message = "the namespace is being deleted".into();
        return plan;
    }
    let mut looks: Vec<(&Deployment, Outcome)> = observed
        .deployments
        .iter()
        .filter(|deployment| deployment.metadata.deletion_timestamp.is_none())
        .map(|deployment| (deployment, workload::look(observed, deployment, now)))
        .collect();
    let suspended = observed.backend.spec.suspend && !observed.terminating();
    if suspended {
        for (_, outcome) in &mut looks {
            outcome.withhold(
                Reason::NotApplied,
                "spec.suspend is true: nothing is written",
            );
        }
    } else {
        plan.blocked_by_rollout = take_turns(&mut looks, permit);
    }
    let recorded = looks
        .iter()
        .any(|(deployment, _)| has_record(observed, deployment));
    plan.look_again = looks.iter().filter_map(|(_, o)| o.look_again).min();
    plan.statement = statement(observed, &looks);
    for (deployment, outcome) in looks {
        plan.steps
            .extend(outcome.step.or_else(|| dangling(deployment)));
        plan.servers
            .extend(outcome.row.or_else(|| unasked(observed, deployment)));
    }
    plan.running_max_age = running(&plan.servers);
    let may_write = enforces(observed) && !suspended;
    plan.holds = recorded || may_write || !plan.steps.is_empty();
    plan.servers.truncate(MAX_SERVERS);
    plan
}

/// One rollout at a time, none where something else moves, none beyond the budget. Tells whether something waits.
fn take_turns(looks: &mut [(&Deployment, Outcome)], permit: Permit) -> bool {
    let rolling: Vec<String> = looks
        .iter()
        .filter(|(deployment, outcome)| outcome.involved && rollout::is_rolling(deployment))
        .map(|(deployment, _)| deployment.name_any())
        .collect();
    let mut started: Option<String> = looks
        .iter()
        .find(|(_, outcome)| outcome.urgent && outcome.starts_rollout())
        .map(|(deployment, _)| deployment.name_any());
    let mut waits = false;
    for (deployment, outcome) in looks.iter_mut() {
        if outcome.urgent || !outcome.starts_rollout() {
            continue;
        }
        let name = deployment.name_any();
        let other = started.iter().chain(&rolling).find(|other| **other != name);
        let (reason, why) = if let Some(busy) = rollout::busy(deployment) {
            waiting(busy, &name)
        } else if let Some(other) = other {
            let text = format!("Deployment {name} waits for the rollout of Deployment {other}");
            (Reason::WaitingForRollout, text)
        } else if !permit.rollout {
            let text = format!(
                "Deployment {name} waits until fewer rollouts are under way in the cluster"
            );
            (Reason::WaitingForRollout, text)
        } else {
            started = Some(name);
            continue;
        };
        outcome.withhold(reason, &why);
        waits = true;
    }
    waits
}

fn waiting(busy: Busy, name: &str) -> (Reason, String) {
    match busy {
        Busy::Paused => (
            Reason::Paused,
            format!(
                "Deployment {name} is paused: resume it with kubectl rollout resume deployment {name}"
            ),
        ),
        Busy::Rolling => (
            Reason::WaitingForRollout,
            format!(
                "Deployment {name} is rolling out: the connection age follows when that has ended"
            ),
        ),
        Busy::Unavailable => (
            Reason::WaitingForRollout,
            format!(
                "not all pods of Deployment {name} are available: the connection age follows when they are"
            ),
        ),
    }
}

/// The worst of all workloads.
fn statement(observed: &Observed, looks: &[(&Deployment, Outcome)]) -> Statement {
    let mut all: Vec<Statement> = looks
        .iter()
        .filter_map(|(_, outcome)| outcome.statement.clone())
        .collect();
    all.extend(missing(observed, looks));
    let rank = |statement: &Statement| {
        let place = WORST_FIRST
            .iter()
            .position(|reason| *reason == statement.reason);
        place.unwrap_or(WORST_FIRST.len())
    };
    if all.is_empty() {
        return if asks(observed) {
            no_server(observed, looks)
        } else {
            Statement::yes(Reason::NotRequested, "no connection age is asked for")
        };
    }
    all.sort_by_key(rank);
    let worst = all.remove(0);
    let others = all
        .iter()
        .filter(|other| other.reason != Reason::Applied)
        .count();
    let message = if worst.reason == Reason::Applied {
        let texts: Vec<String> = std::iter::once(&worst)
            .chain(&all)
            .map(|s| s.message.clone())
            .collect();
        texts.join("; ")
    } else if others > 0 {
        format!("{} (status.servers tells of {others} more)", worst.message)
    } else {
        worst.message.clone()
    };
    Statement { message, ..worst }
}

/// Workloads that are named, but not there.
fn missing(observed: &Observed, looks: &[(&Deployment, Outcome)]) -> Option<Statement> {
    let age = observed
        .backend
        .spec
        .connection_age
        .as_ref()
        .filter(|_| asks(observed))?;
    let name = age.workloads.iter().find(|name| {
        !looks.iter().any(|(deployment, _)| {
            &deployment.name_any() == *name
                && target::is_selected(&observed.backend.spec, deployment)
        })
    })?;
    Some(Statement::no(
        Reason::NoServer,
        format!(
            "spec.connectionAge.workloads names {name}, but no Deployment of that name in namespace {} has the labels of spec.selector in its template: correct one of the two",
            observed.namespace()
        ),
    ))
}

fn no_server(observed: &Observed, looks: &[(&Deployment, Outcome)]) -> Statement {
    let told = looks.iter().find_map(|(_, outcome)| {
        let row = outcome.row.as_ref()?;
        (row.state.as_deref() == Some(Reason::NoServer.as_str())).then(|| row.message.clone())?
    });
    let labels: Vec<String> = observed
        .backend
        .spec
        .selector
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let message = told.unwrap_or_else(|| {
        format!(
            "no Deployment in namespace {} has the labels {} in its template: correct spec.selector, or deploy the server",
            observed.namespace(),
            labels.join(",")
        )
    });
    Statement::no(Reason::NoServer, message)
}

/// A row for a workload that serves, but is not among those asked for.
fn unasked(observed: &Observed, deployment: &Deployment) -> Option<Server> {
    target::is_selected(&observed.backend.spec, deployment).then(|| Server {
        kind: "Deployment".into(),
        name: deployment.name_any(),
        replicas: rollout::replicas(deployment),
        state: Some(Reason::NotRequested.to_string()),
        ..Server::default()
    })
}

/// A managedFields entry that was left when the operator ended between a write and its release.
fn dangling(deployment: &Deployment) -> Option<Step> {
    let name = deployment.name_any();
    Some(Step {
        uid: deployment.metadata.uid.clone().unwrap_or_default(),
        change: Change::Release,
        patch: owner::release(deployment)?,
        starts_rollout: false,
        note: format!("Gave up the ownership of fields of Deployment {name} that a write had left"),
        deployment: name,
    })
}

/// The age of all workloads that have ready pods.
fn running(servers: &[Server]) -> Option<String> {
    let mut ages = servers
        .iter()
        .filter(|server| server.container.is_some() && server.replicas > 0)
        .map(|server| server.running.clone());
    let first = ages.next()?;
    if ages.all(|age| age == first) {
        first
    } else {
        Some(MIXED.into())
    }
}

fn has_record(observed: &Observed, deployment: &Deployment) -> bool {
    deployment
        .annotations()
        .contains_key(&crate::names::record_annotation(&observed.name()))
}

fn asks(observed: &Observed) -> bool {
    observed.backend.spec.connection_age.is_some() && !observed.terminating()
}

fn enforces(observed: &Observed) -> bool {
    let mode = observed.backend.spec.connection_age.as_ref();
    asks(observed) && mode.is_some_and(|age| age.mode.unwrap_or_default() == AgeMode::Enforce)
}
