//! Carries out what `connection_age` decided: one guarded patch a step, and at once the release of what it owns.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Container, ObjectReference};
use kube::api::{Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::wait::await_condition;
use kube::{Api, ResourceExt as _};
use serde::Deserialize;
use serde_json::json;

use super::Namespaced;
use super::context::{Scope, now};
use super::error::Error;
use super::events;
use crate::api::conditions::Statement;
use crate::api::{GrpcBackend, Reason};
use crate::connection_age::{self, Change, Plan, Step};
use crate::names;
use crate::observed::{Kind, Observed, Workload};
use crate::status::Note;

const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than a busy controller takes, shorter than an owner waits between two applies.
const SEEN_WITHIN: Duration = Duration::from_secs(5);

/// What became of a plan.
#[derive(Default)]
pub struct Carried {
    /// What failed.
    pub errors: Vec<Error>,
    /// The steps that were surely not taken.
    untaken: Vec<Untaken>,
    /// The steps that the API server took.
    arrived: Vec<Step>,
}

/// A step, and why it was not taken.
struct Untaken {
    step: Step,
    reason: Reason,
    why: String,
}

impl Untaken {
    fn after(step: &Step, error: &Error) -> Self {
        let (reason, why) = match error {
            Error::Forbidden { .. } => (Reason::Forbidden, error.to_string()),
            Error::Invalid { .. } => (Reason::UnsupportedWorkload, error.to_string()),
            _ => (
                Reason::WaitingForRollout,
                "something changed at that moment, or the API server was busy: it is looked at again".into(),
            ),
        };
        Self {
            step: step.clone(),
            reason,
            why,
        }
    }

    fn for_want_of_a_place(step: &Step) -> Self {
        Self {
            step: step.clone(),
            reason: Reason::WaitingForRollout,
            why: "as many rollouts as may run at a time are under way, here or elsewhere: it follows when one has ended".into(),
        }
    }
}

impl Carried {
    /// Nothing was tried.
    pub fn nothing(plan: &Plan, why: Error) -> Self {
        let steps = plan.steps.iter();
        Self {
            untaken: steps.map(|step| Untaken::after(step, &why)).collect(),
            errors: vec![why],
            arrived: Vec::new(),
        }
    }
}

/// Once, when the watches' copies are complete: rollouts that an earlier process began have their places still.
pub fn resume(scope: &Scope) {
    scope.resumed.call_once(|| {
        take_places(scope, &scope.deployments.copy);
        take_places(scope, &scope.stateful_sets.copy);
        take_places(scope, &scope.daemon_sets.copy);
        scope.shared.rollouts.counted();
    });
}

/// Resumes without a pass, as soon as the copies are complete or known never to be: other scopes wait for it, and this one may have no
/// backend. Ends with the watches.
pub async fn resume_unasked(scope: &Scope) -> Option<()> {
    // The controller waits for it too, in the same task: one alone would be woken of two.
    scope.backends.wait_until_ready().await.ok()?;
    scope.deployments.settled().await.ok()?;
    scope.stateful_sets.settled().await.ok()?;
    scope.daemon_sets.settled().await.ok()?;
    resume(scope);
    Some(())
}

fn take_places<K: Namespaced>(scope: &Scope, copy: &Store<K>)
where
    Workload: From<K>,
{
    for object in copy.state() {
        let workload = Workload::from(object.as_ref().clone());
        let namespace = object.namespace().unwrap_or_default();
        let uid = object.uid().unwrap_or_default();
        for backend in connection_age::started_by(&workload) {
            let there = ObjectRef::new(&backend).within(&namespace);
            // A record without its backend has nobody who would give the place back.
            if scope.backends.get(&there).is_some() {
                let key = names::key(Some(&namespace), &backend);
                scope.shared.rollouts.hold(&uid, &key, now());
            }
        }
    }
}

/// Every step; one that fails does not stop the others, which are about other workloads.
pub async fn carry_out(scope: &Scope, observed: &Observed, plan: &Plan) -> Carried {
    let backend = &observed.backend;
    let key = names::key_of(backend);
    let rollouts = &scope.shared.rollouts;
    let mut carried = Carried::default();
    for step in &plan.steps {
        // Taken before the write, since other passes look for a place at the same time. What is taken back because the
        // backend goes, or because its rollout failed, does not wait for one.
        let taken = if !step.starts_rollout {
            None
        } else if step.urgent || observed.terminating() {
            Some(rollouts.hold(&step.uid, &key, now()))
        } else {
            let taken = rollouts.try_take(&step.uid, &key, now());
            if taken.is_none() {
                carried.untaken.push(Untaken::for_want_of_a_place(step));
                continue;
            }
            taken
        };
        let api = Api::namespaced_with(
            scope.shared.client.clone(),
            &observed.namespace(),
            &resource(step.kind),
        );
        match patch(&api, step).await {
            Ok(after) => {
                carried.arrived.push(step.clone());
                if let Some(after) = after {
                    let followed = follow_up(scope, backend, &api, step, after).await;
                    carried.errors.extend(followed.err());
                }
            }
            Err(error) => {
                // After anything else the patch may have arrived.
                if !matches!(error, Error::Transient { .. }) {
                    if let Some(taken) = taken {
                        rollouts.give_back(taken, now());
                    }
                    carried.untaken.push(Untaken::after(step, &error));
                }
                carried.errors.push(error);
            }
        }
    }
    carried
}

/// What comes after a patch that was taken.
async fn follow_up(
    scope: &Scope,
    backend: &GrpcBackend,
    api: &Api<DynamicObject>,
    step: &Step,
    after: DynamicObject,
) -> Result<(), Error> {
    let released = give_up_fields(api, step, after).await;
    if !step.note.is_empty() {
        let note = Note {
            warning: false,
            reason: step.change.reason().into(),
            message: step.note.clone(),
        };
        // Those of several workloads are not one event that is repeated.
        let related = ObjectReference {
            api_version: Some(resource(step.kind).api_version),
            kind: Some(step.kind.as_str().into()),
            name: Some(step.name.clone()),
            namespace: backend.namespace(),
            uid: Some(step.uid.clone()),
            ..ObjectReference::default()
        };
        events::publish(scope, backend, Some(related), &[note]).await;
    }
    released
}

/// One form for all kinds: of the answer only the metadata and the containers are read.
fn resource(kind: Kind) -> ApiResource {
    match kind {
        Kind::Deployment => ApiResource::erase::<Deployment>(&()),
        Kind::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
        Kind::DaemonSet => ApiResource::erase::<DaemonSet>(&()),
    }
}

/// At once, since whatever the owner applies meanwhile may conflict with us.
async fn give_up_fields(
    api: &Api<DynamicObject>,
    step: &Step,
    after: DynamicObject,
) -> Result<(), Error> {
    // Only Deployments have a deadline that could be missed.
    let after = if step.starts_rollout && step.kind == Kind::Deployment {
        once_seen(api, after).await
    } else {
        after
    };
    let containers = &after.data["spec"]["template"]["spec"]["containers"];
    let containers: Vec<Container> = Deserialize::deserialize(containers).unwrap_or_default();
    let Some(release) = connection_age::release(&after.metadata, &containers) else {
        return Ok(());
    };
    let release = Step {
        change: Change::Release,
        patch: release,
        starts_rollout: false,
        note: String::new(),
        ..step.clone()
    };
    patch(api, &release).await.map(drop)
}

/// The workload when its controller has taken note of a new template.
///
/// It says only once that a rollout has begun, in a write that it does not repeat if ours comes between; then it never finds
/// that the rollout makes no progress, and neither would we. Milliseconds as a rule.
async fn once_seen(api: &Api<DynamicObject>, after: DynamicObject) -> DynamicObject {
    let generation = after.metadata.generation;
    let seen = |now: Option<&DynamicObject>| {
        now.is_none_or(|now| now.data["status"]["observedGeneration"].as_i64() >= generation)
    };
    let name = after.name_any();
    let newest = Box::pin(await_condition(api.clone(), &name, seen));
    match tokio::time::timeout(SEEN_WITHIN, newest).await {
        Ok(Ok(Some(newest))) => newest,
        // Gone, or the controller is down: the fields are given up all the same.
        Ok(Ok(None) | Err(_)) | Err(_) => after,
    }
}

async fn patch(api: &Api<DynamicObject>, step: &Step) -> Result<Option<DynamicObject>, Error> {
    let (kind, name) = (step.kind.as_str(), &step.name);
    let action = match step.change {
        Change::Inject | Change::Update => {
            format!("setting the connection age on {kind} {name}")
        }
        Change::TakeBack => format!("taking the connection age back from {kind} {name}"),
        Change::Forget => format!("removing the record from {kind} {name}"),
        Change::Release => format!("giving up the fields of {kind} {name}"),
    };
    let params = PatchParams {
        field_manager: Some(names::WORKLOAD_MANAGER.into()),
        ..PatchParams::default()
    };
    let body = Patch::<()>::Json(step.patch.clone());
    match tokio::time::timeout(WRITE_TIMEOUT, api.patch(name, &params, &body)).await {
        Err(_) => Err(Error::timeout(action, WRITE_TIMEOUT)),
        Ok(Ok(after)) => Ok(Some(after)),
        // Gone: so is everything that was written there.
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(None),
        Ok(Err(error)) => match Error::from_api(action, &error) {
            // Somebody wrote meanwhile, the workload's controller or the pass of another backend as a rule: that write starts the
            // pass that gives up what is left.
            Error::Conflict { .. } if step.change == Change::Release => Ok(None),
            error => Err(error),
        },
    }
}

/// What the status says when the API server refused a step.
pub fn with_errors(mut plan: Plan, carried: &Carried) -> Plan {
    for untaken in &carried.untaken {
        plan.not_taken(&untaken.step, untaken.reason, &untaken.why);
    }
    for step in &carried.arrived {
        plan.arrived(step);
    }
    let refused = carried.errors.iter().find_map(|error| match error {
        Error::Forbidden { .. } => Some(Statement::no(
            Reason::Forbidden,
            format!("{error}: give the operator its roles back, as its chart has them"),
        )),
        Error::Invalid { .. } => Some(Statement::no(
            Reason::UnsupportedWorkload,
            error.to_string(),
        )),
        _ => None,
    });
    if let Some(refused) = refused {
        plan.statement = refused;
    } else if let Some(retried) = carried.errors.iter().find_map(Error::retried) {
        let said = &mut plan.statement.message;
        let gap = if said.is_empty() { "" } else { "; " };
        *said = format!("{said}{gap}{retried} did not succeed and is tried again");
    }
    plan
}

/// The finalizer is there before the first write to a workload, and gone when nothing of ours is left in one.
pub async fn hold(scope: &Scope, backend: &GrpcBackend, hold: bool) -> Result<(), Error> {
    let finalizers = backend.finalizers();
    let position = finalizers.iter().position(|name| name == names::FINALIZER);
    let patch = match (position, hold) {
        (Some(_), true) | (None, false) => return Ok(()),
        (Some(index), false) => json!([
            { "op": "test", "path": "/metadata/uid", "value": backend.uid() },
            // Of the very spec that gave the age up: it may be asked for again by now.
            { "op": "test", "path": "/metadata/resourceVersion", "value": backend.resource_version() },
            { "op": "test", "path": format!("/metadata/finalizers/{index}"), "value": names::FINALIZER },
            { "op": "remove", "path": format!("/metadata/finalizers/{index}") },
        ]),
        (None, true) if finalizers.is_empty() => json!([
            { "op": "test", "path": "/metadata/uid", "value": backend.uid() },
            // An absent list cannot be tested for; the version can.
            { "op": "test", "path": "/metadata/resourceVersion", "value": backend.resource_version() },
            { "op": "add", "path": "/metadata/finalizers", "value": [names::FINALIZER] },
        ]),
        (None, true) => json!([
            { "op": "test", "path": "/metadata/uid", "value": backend.uid() },
            { "op": "add", "path": "/metadata/finalizers/-", "value": names::FINALIZER },
        ]),
    };
    let name = backend.name_any();
    let action = format!("changing the finalizers of GrpcBackend {name}");
    let patch: json_patch::Patch =
        serde_json::from_value(patch).map_err(|error| Error::NotReady {
            action: action.clone(),
            message: error.to_string(),
        })?;
    let api = Api::<GrpcBackend>::namespaced(
        scope.shared.client.clone(),
        &backend.namespace().unwrap_or_default(),
    );
    let params = PatchParams {
        field_manager: Some(names::MANAGER.into()),
        ..PatchParams::default()
    };
    match tokio::time::timeout(
        WRITE_TIMEOUT,
        api.patch(&name, &params, &Patch::<()>::Json(patch)),
    )
    .await
    {
        Err(_) => Err(Error::timeout(action, WRITE_TIMEOUT)),
        Ok(Ok(_)) => Ok(()),
        // Gone: then nothing is held any more, and nothing may be written for it.
        Ok(Err(kube::Error::Api(status))) if status.code == 404 && !hold => Ok(()),
        Ok(Err(error)) => Err(Error::from_api(action, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(before: &str, error: Error) -> (&'static str, String) {
        let plan = Plan {
            steps: Vec::new(),
            statement: Statement::no(Reason::RollingOut, before),
            servers: Vec::new(),
            running_max_age: None,
            longest_max_age: None,
            holds: true,
            blocked_by_rollout: false,
            look_again: None,
            status_first: false,
        };
        let statement = with_errors(plan.clone(), &Carried::nothing(&plan, error)).statement;
        (statement.reason.as_str(), statement.message)
    }

    #[test]
    fn what_is_tried_again_is_named() {
        let action = "setting the connection age on Deployment a";
        let busy = || Error::timeout(action, WRITE_TIMEOUT);
        let named = format!("{action} did not succeed and is tried again");
        assert_eq!(
            said("1 of 2", busy()),
            ("RollingOut", format!("1 of 2; {named}"))
        );
        assert_eq!(said("", busy()).1, named);
        let raced = Error::Conflict {
            action: action.into(),
            message: String::new(),
            taken: false,
        };
        assert_eq!(said("1 of 2", raced).1, "1 of 2", "the next pass has it");
        let refused = Error::Forbidden {
            action: action.into(),
            message: String::new(),
        };
        assert_eq!(said("1 of 2", refused).0, "Forbidden");
    }
}
