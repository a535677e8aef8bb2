//! All workloads together: what is done now, and what waits.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::workload::{self, Outcome};
use super::{Change, MIXED, Permit, Plan, Step, hidden, owner, reverts, timing, turns};
use crate::api::conditions::Statement;
use crate::api::{AgeMode, Reason, Server, SetBy};
use crate::observed::{Observed, Workload};

/// When to look again after the ownership of fields was given up: nobody calls for that where only another backend's workload had them,
/// and the finalizer goes with the next look.
const GIVEN_UP: Duration = Duration::from_secs(1);
/// As many rows as the status takes.
const MAX_SERVERS: usize = 32;

/// Worst first: the condition says what stands furthest in the way.
const WORST_FIRST: [Reason; 17] = [
    Reason::Forbidden,
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
        longest_max_age: None,
        holds: false,
        blocked_by_rollout: false,
        look_again: None,
        status_first: false,
    };
    if observed.namespace_terminating {
        // The pods go anyway, and a finalizer would only keep the namespace from going.
        plan.statement.message = "the namespace is being deleted".into();
        return plan;
    }
    let mut looks: Vec<(&Workload, Outcome)> = observed
        .workloads
        .iter()
        .filter(|workload| workload.metadata.deletion_timestamp.is_none())
        .map(|workload| (workload, workload::look(observed, workload, permit, now)))
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
        plan.blocked_by_rollout = turns::take(observed, &mut looks, permit, now);
    }
    for (workload, outcome) in &mut looks {
        plan.status_first |= outcome.foresee(workload, now);
    }
    let recorded: BTreeSet<_> = looks
        .iter()
        .filter(|(workload, _)| has_record(observed, workload))
        .map(|(workload, _)| (workload.kind.as_str(), workload.name()))
        .collect();
    plan.look_again = looks.iter().filter_map(|(_, o)| o.look_again).min();
    plan.statement = statement(observed, &looks);
    for (workload, outcome) in looks {
        let urgent = outcome.urgent;
        let step = outcome.step.map(|step| Step { urgent, ..step });
        plan.steps.extend(step.or_else(|| dangling(workload)));
        plan.servers
            .extend(outcome.row.or_else(|| unasked(observed, workload)));
    }
    plan.servers.extend(hidden::rows(observed));
    plan.running_max_age = running(&plan.servers);
    plan.longest_max_age = longest(&plan.servers);
    let may_write = enforces(observed) && !suspended;
    plan.holds =
        !recorded.is_empty() || may_write || !plan.steps.is_empty() || hidden::hold(observed);
    let gives_up = plan.steps.iter().any(|step| step.change == Change::Release);
    if gives_up && !may_write && !suspended {
        let due = plan.look_again.map_or(GIVEN_UP, |due| due.min(GIVEN_UP));
        plan.look_again = Some(due);
    }
    plan.servers.sort_by_key(|row| importance(row, &recorded));
    plan.servers.truncate(MAX_SERVERS);
    plan
}

/// There may be more rows than the status takes, and those that remember something are the memory; the rest by name.
fn importance(row: &Server, recorded: &BTreeSet<(&str, &str)>) -> (bool, bool) {
    let written = recorded.contains(&(row.kind.as_str(), row.name.as_str()))
        || row.set_by == Some(SetBy::Evenkeel);
    (!reverts::remembers(row), !written)
}

/// The worst of all workloads.
fn statement(observed: &Observed, looks: &[(&Workload, Outcome)]) -> Statement {
    let mut all: Vec<Statement> = looks
        .iter()
        .filter_map(|(_, outcome)| outcome.statement.clone())
        .collect();
    all.extend(missing(observed, looks));
    all.extend(left_out(observed));
    all.extend(hidden::statement(observed, asks(observed)));
    let rank = |statement: &Statement| {
        let place = WORST_FIRST
            .iter()
            .position(|reason| *reason == statement.reason);
        place.unwrap_or(WORST_FIRST.len())
    };
    if all.is_empty() {
        return if asks(observed) {
            unsupported(observed).unwrap_or_else(|| no_server(observed, looks))
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
fn missing(observed: &Observed, looks: &[(&Workload, Outcome)]) -> Option<Statement> {
    let age = observed
        .backend
        .spec
        .connection_age
        .as_ref()
        .filter(|_| asks(observed))?;
    let name = age.workloads.iter().find(|name| {
        !looks.iter().any(|(workload, _)| {
            workload.name() == name.as_str()
                && workload.is_selected(&observed.backend.spec.selector)
        })
    })?;
    Some(Statement::no(
        Reason::NoServer,
        format!(
            "spec.connectionAge.workloads names {name}, but no Deployment, StatefulSet or DaemonSet of that name in namespace {} has the labels of spec.selector in its template: correct one of the two",
            observed.namespace()
        ),
    ))
}

/// More workloads than are looked at: the age does not reach them, unless those that are to have it are named.
fn left_out(observed: &Observed) -> Option<Statement> {
    let age = observed.backend.spec.connection_age.as_ref();
    let named = age.is_some_and(|age| !age.workloads.is_empty());
    let more = observed.workloads_left_out;
    (more > 0 && asks(observed) && !named).then(|| {
        Statement::no(
            Reason::UnsupportedWorkload,
            format!(
                "{more} more workloads in namespace {} have the labels of spec.selector than the {} that are looked at: name those that are to have the age in spec.connectionAge.workloads, or make a GrpcBackend with a narrower selector for each part",
                observed.namespace(),
                observed.workloads.len(),
            ),
        )
    })
}

/// Pods that serve, but belong to nothing that could be patched.
fn unsupported(observed: &Observed) -> Option<Statement> {
    if observed.serving_workloads().next().is_some() {
        return None;
    }
    let patched = |pod: &&Pod| observed.workloads.iter().any(|workload| workload.owns(pod));
    let pod = observed
        .pods
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .find(|pod| !patched(pod))?;
    let owner = match pod
        .owner_references()
        .iter()
        .find(|o| o.controller == Some(true))
    {
        // A Job's pods come and go: a finding speaks of them.
        Some(owner) if owner.kind == "Job" => return None,
        Some(owner) => format!("{} {}", owner.kind, owner.name),
        None => "no workload".into(),
    };
    Some(Statement::no(
        Reason::UnsupportedWorkload,
        format!(
            "pod {} belongs to {owner}, and only Deployments, StatefulSets and DaemonSets with the labels of spec.selector in their template are patched: set the age in its own manifest, and remove spec.connectionAge",
            pod.name_any()
        ),
    ))
}

fn no_server(observed: &Observed, looks: &[(&Workload, Outcome)]) -> Statement {
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
            "no Deployment, StatefulSet or DaemonSet in namespace {} has the labels {} in its template: correct spec.selector, or deploy the server",
            observed.namespace(),
            labels.join(",")
        )
    });
    Statement::no(Reason::NoServer, message)
}

/// A row for a workload that serves, but is not among those asked for.
fn unasked(observed: &Observed, workload: &Workload) -> Option<Server> {
    workload
        .is_selected(&observed.backend.spec.selector)
        .then(|| Server {
            kind: workload.kind.as_str().into(),
            name: workload.name().to_owned(),
            replicas: workload.replicas,
            state: Some(Reason::NotRequested.to_string()),
            ..Server::default()
        })
}

/// A managedFields entry that was left when the operator ended between a write and its release. Who wrote waits until the
/// controller has seen the template, and so does this.
fn dangling(workload: &Workload) -> Option<Step> {
    workload.is_seen().then_some(())?;
    Some(Step {
        kind: workload.kind,
        name: workload.name().to_owned(),
        uid: workload.metadata.uid.clone().unwrap_or_default(),
        change: Change::Release,
        patch: owner::release(&workload.metadata, workload.containers())?,
        starts_rollout: false,
        again: false,
        urgent: false,
        note: format!("Gave up the ownership of fields of {workload} that a write had left"),
    })
}

fn serving(servers: &[Server]) -> impl Iterator<Item = &Server> {
    servers
        .iter()
        .filter(|server| server.container.is_some() && server.replicas > 0)
}

/// The age of all workloads that have ready pods.
fn running(servers: &[Server]) -> Option<String> {
    let mut ages = serving(servers).map(|server| server.running.clone());
    let first = ages.next()?;
    if ages.all(|age| age == first) {
        first
    } else {
        Some(MIXED.into())
    }
}

/// The longest age that any pods run with: those without one promise nothing, and take nothing from what the others do.
pub(super) fn longest(servers: &[Server]) -> Option<Duration> {
    let ages = serving(servers).filter_map(|server| {
        let running = server.running.as_deref()?;
        // Pods of one workload differ on the way to what is planned.
        let age = if running == MIXED {
            server.planned.as_deref()?
        } else {
            running
        };
        timing::running_age(Some(age))
    });
    ages.max()
}

fn has_record(observed: &Observed, workload: &Workload) -> bool {
    workload
        .annotation(&crate::names::record_annotation(&observed.name()))
        .is_some()
}

fn asks(observed: &Observed) -> bool {
    observed.backend.spec.connection_age.is_some() && !observed.terminating()
}

fn enforces(observed: &Observed) -> bool {
    let mode = observed.backend.spec.connection_age.as_ref();
    asks(observed) && mode.is_some_and(|age| age.mode.unwrap_or_default() == AgeMode::Enforce)
}
