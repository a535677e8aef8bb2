//! One pass over one backend:
//! observe (IO) → what should be (pure) → apply (IO) → status (pure) → write if changed (IO) → events on transitions (IO).

use std::sync::Arc;
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tracing::Instrument as _;

use super::context::{Scope, jittered, now};
use super::error::{Error, Failed};
use super::workloads::Carried;
use super::{apply, events, observe, sample, traces, workloads};
use crate::api::conditions::Statement;
use crate::api::{API_VERSION, GrpcBackend, GrpcBackendStatus, Reason};
use crate::connection_age::{self, Permit, Plan, timing};
use crate::observed::Observed;
use crate::status::{self, Parts};
use crate::{endpoint_watch, names, services};

/// A pass that takes longer is given up; the next one begins anew.
const PASS_TIMEOUT: Duration = Duration::from_mins(1);
/// Even where no watch says anything, things are looked at again after this time.
const RESYNC: Duration = Duration::from_mins(10);
/// While something is under way.
const SOON: Duration = Duration::from_secs(30);
/// While a deletion is held up by a refusal that somebody may have mended.
const REFUSED: Duration = Duration::from_mins(5);

/// Brings one backend to what its spec says, as far as one pass can.
pub async fn reconcile(backend: Arc<GrpcBackend>, scope: Arc<Scope>) -> Result<Action, Failed> {
    let started = std::time::Instant::now();
    let span = traces::pass(backend.metadata.namespace.as_deref(), &backend.name_any());
    let whole = Box::pin(pass(&backend, &scope)).instrument(span.clone());
    let result = tokio::time::timeout(PASS_TIMEOUT, whole)
        .await
        .unwrap_or_else(|_| Err(Error::timeout("the whole pass", PASS_TIMEOUT).into()));
    let error = result.as_ref().err().map(|failed| failed.error.label());
    scope.shared.metrics.pass(started.elapsed(), error);
    traces::ended(&span, error);
    if result.is_ok() {
        scope.shared.succeeded(&names::key_of(&backend));
    }
    result
}

async fn pass(backend: &GrpcBackend, scope: &Scope) -> Result<Action, Failed> {
    let observed = match observe::observe(scope, backend).await {
        Ok(Some(observed)) => observed,
        Ok(None) => return Ok(Action::requeue(jittered(SOON, &backend.name_any()))),
        Err(error) => return Err(unreadable(scope, backend, error).await),
    };
    let backend = &observed.backend.clone();
    let shared = &scope.shared;
    workloads::resume(scope);
    let deadline = shared.settings.rollout_deadline;
    shared
        .rollouts
        .settle(&names::key_of(backend), now(), |workload, since| {
            connection_age::needs_place(&observed, workload, since, deadline, now())
        });
    if observed.terminating() {
        return withdraw(scope, &observed).await;
    }
    let age = connection_age::plan(&observed, permit(scope), now());
    let pair = services::plan(&observed);
    let access = endpoint_watch::plan(&observed, &shared.settings.client_namespaces);
    let waits = access.waits;
    let (applied, held) = if backend.spec.suspend {
        (apply::nothing(pair, access), Ok(()))
    } else {
        let applied = apply::apply(&shared.client, backend, pair, access).await;
        (applied, workloads::hold(scope, backend, age.holds).await)
    };
    let published = sample(scope, &observed, &age);
    let observed = Observed {
        published,
        ..observed
    };
    let parts = Parts {
        services: applied.services,
        access: applied.access,
        age: &age,
    };
    let mut before = observed.backend.status.clone().unwrap_or_default();
    if age.status_first && held.is_ok() {
        let counted = status::build(&observed, &parts, now());
        write_status(scope, backend, &before, &counted, Seen::Live).await?;
        before = counted;
    }
    let carried = match held {
        Ok(()) if backend.spec.suspend => Carried::default(),
        Ok(()) => workloads::carry_out(scope, &observed, &age).await,
        // Without the finalizer nothing may be written that it would have to take back.
        Err(error) => Carried::nothing(&age, error),
    };
    let parts = Parts {
        age: &workloads::with_errors(age.clone(), &carried),
        ..parts
    };
    let errors = carried.errors.into_iter().chain(applied.errors);
    let after = status::build(&observed, &parts, now());
    write_status(scope, backend, &before, &after, Seen::Live).await?;
    // The one that may mend itself first: the others are met again on the way.
    if let Some(error) = errors.min_by_key(|error| error.requeue(0)) {
        let due = due(parts.age);
        return Err(Failed { error, due });
    }
    let next = next(&observed, &after, parts.age);
    Ok(Action::requeue(if waits { next.min(SOON) } else { next }))
}

/// The resource is going: the age is taken back, then the finalizer goes. The children follow their owner.
async fn withdraw(scope: &Scope, observed: &Observed) -> Result<Action, Failed> {
    let backend = &observed.backend;
    let age = connection_age::plan(observed, permit(scope), now());
    let carried = workloads::carry_out(scope, observed, &age).await;
    let waits = age.steps.is_empty() && age.holds;
    if waits || !carried.errors.is_empty() {
        let parts = Parts {
            services: Statement::yes(Reason::NotRequested, ""),
            access: Statement::yes(Reason::NotRequested, ""),
            age: &workloads::with_errors(age.clone(), &carried),
        };
        let before = backend.status.clone().unwrap_or_default();
        let after = status::build(observed, &parts, now());
        write_status(scope, backend, &before, &after, Seen::Live).await?;
    }
    if let Some(error) = carried.errors.into_iter().next() {
        let due = due(&age);
        return Err(Failed { error, due });
    }
    if waits {
        let soon = jittered(SOON, &observed.name());
        let due = age.look_again.map_or(soon, |due| due.min(soon));
        return Ok(Action::requeue(due));
    }
    // What was just written is looked at once more before the finalizer goes.
    if age.steps.is_empty() {
        workloads::hold(scope, backend, false).await?;
        scope.forget(&names::key_of(backend));
        return Ok(Action::await_change());
    }
    Ok(Action::requeue(Duration::from_millis(100)))
}

fn permit(scope: &Scope) -> Permit {
    Permit {
        rollout: scope.shared.rollouts.is_free(now()),
        deadline: scope.shared.settings.rollout_deadline,
    }
}

fn sample(scope: &Scope, observed: &Observed, age: &Plan) -> Option<crate::balance::Published> {
    let backend = &observed.backend;
    let running = timing::running_age(age.running_max_age.as_deref());
    let settings = status::settings(backend, running, age.longest_max_age);
    if settings.mode == crate::balance::Mode::Off {
        scope.sampler.forget(&names::key_of(backend));
        return None;
    }
    let plan = sample::Plan {
        settings,
        asked: sample::Asked::of(backend),
        rolling_out: connection_age::is_rolling_out(
            observed,
            scope.shared.settings.rollout_deadline,
            now(),
        ),
    };
    let restored = status::restored(backend);
    scope
        .sampler
        .sample(observed, plan, &scope.pods.copy, restored)
}

/// When to look again if no watch calls.
fn next(observed: &Observed, after: &GrpcBackendStatus, age: &Plan) -> Duration {
    let under_way = after
        .conditions
        .iter()
        .any(|condition| condition.type_ == "Reconciling")
        || age.blocked_by_rollout;
    let wait = jittered(if under_way { SOON } else { RESYNC }, &observed.name());
    age.look_again.map_or(wait, |due| due.min(wait))
}

/// When the age has to be looked at though the pass failed elsewhere: nothing else calls for that.
fn due(age: &Plan) -> Option<Duration> {
    let blocked = age.blocked_by_rollout.then_some(SOON);
    age.look_again.into_iter().chain(blocked).min()
}

/// Where the resource comes from whose status is written anew.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Seen {
    /// Read in this pass, and nobody else writes its status.
    Live,
    /// The watch's copy, which may be older than the last status that was written.
    Copied,
}

/// Written only where it differs, with a field manager of its own; events follow what was written. The metrics say it in any case,
/// also where the API server does not take it: that is when somebody has to know.
async fn write_status(
    scope: &Scope,
    backend: &GrpcBackend,
    before: &GrpcBackendStatus,
    after: &GrpcBackendStatus,
    seen: Seen,
) -> Result<(), Error> {
    scope.shared.metrics.backends().status(backend, after);
    if before == after {
        return Ok(());
    }
    let name = backend.name_any();
    let api = Api::<GrpcBackend>::namespaced(
        scope.shared.client.clone(),
        &backend.namespace().unwrap_or_default(),
    );
    let params = PatchParams::apply(names::STATUS_MANAGER).force();
    let body = Patch::Apply(body(backend, after, seen));
    match api.patch_status(&name, &params, &body).await {
        Ok(_) => {}
        // Gone meanwhile, or another of that name: nothing to say to it.
        Err(kube::Error::Api(status))
            if status.code == 404 || status.code == 409 && seen == Seen::Live =>
        {
            return Ok(());
        }
        Err(error) => {
            return Err(Error::from_api(
                format!("writing the status of GrpcBackend {name}"),
                &error,
            ));
        }
    }
    events::publish(scope, backend, None, &status::notes(before, after)).await;
    Ok(())
}

/// What is remembered in a status is known from nowhere else: an old copy must not bring back what was there before.
fn body(backend: &GrpcBackend, after: &GrpcBackendStatus, seen: Seen) -> Value {
    let mut body = json!({
        "apiVersion": API_VERSION,
        "kind": "GrpcBackend",
        "metadata": { "name": backend.name_any(), "uid": backend.uid() },
        "status": after,
    });
    if seen == Seen::Copied {
        body["metadata"]["resourceVersion"] = backend.resource_version().into();
    }
    body
}

/// Nothing could be read: only Ready changes, and only where somebody must act.
async fn unreadable(scope: &Scope, backend: &GrpcBackend, error: Error) -> Failed {
    let mut due = None;
    if let Some(reason) = error.reason() {
        let before = backend.status.clone().unwrap_or_default();
        let why = Statement::no(reason, error.to_string());
        let after = status::unreadable(backend.metadata.generation, &before, &why, now());
        let written = write_status(scope, backend, &before, &after, Seen::Copied).await;
        if let Err(second) = written {
            tracing::warn!(error = %second, "could not write the status either");
            // The copy was old. That a newer one has come starts no pass.
            due = matches!(second, Error::Conflict { .. }).then_some(SOON);
        }
    }
    Failed { error, due }
}

/// After a failed pass.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the controller wants this form"
)]
pub fn error_policy(backend: Arc<GrpcBackend>, failed: &Failed, scope: Arc<Scope>) -> Action {
    let attempts = scope.shared.failed(&names::key_of(&backend));
    let wait = failed.requeue(attempts);
    // Somebody waits for a deletion.
    let terminating = backend.metadata.deletion_timestamp.is_some();
    let wait = if terminating { wait.min(REFUSED) } else { wait };
    let wait = jittered(wait, &backend.name_any());
    tracing::warn!(
        namespace = backend.namespace(),
        name = backend.name_any(),
        error = %failed,
        kind = failed.error.label(),
        again_in_seconds = wait.as_secs(),
        "pass failed"
    );
    Action::requeue(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_copy_undoes_no_newer_status() {
        let mut backend = GrpcBackend::new("echo", crate::api::GrpcBackendSpec::default());
        backend.metadata.uid = Some("u".into());
        backend.metadata.resource_version = Some("7".into());
        for (seen, metadata) in [
            // The finalizer may have come since it was read.
            (Seen::Live, json!({"name": "echo", "uid": "u"})),
            (
                Seen::Copied,
                json!({"name": "echo", "uid": "u", "resourceVersion": "7"}),
            ),
        ] {
            let body = body(&backend, &GrpcBackendStatus::default(), seen);
            assert_eq!(body["metadata"], metadata);
        }
    }
}
