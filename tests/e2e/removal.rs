//! Whatever ends the wish for an age takes it back: exactly what was written, or nothing where it is to be left.
//!
//! All cases run side by side in one namespace for each kind of workload, once with the operator there and once with it away
//! while things change. The workloads have no pods, whose part in it other tests show; that the namespace goes first is in
//! `deletion`.

mod cases;
mod parts;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use evenkeel::api::ConditionType::ConnectionAgeApplied;
use evenkeel::api::GrpcBackend;
use evenkeel_cluster::{Signal, until};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use self::cases::{After, Case, Trigger, cases};
use crate::bed::{Bed, ROLLOUT, SOON};
use crate::manifests::{self, FINALIZER, RECORDS, none_of_our_fields, same};
use crate::tests;
use crate::world::World;

tests![
    shared from_deployments(200),
    shared from_deployments_while_the_operator_was_down(200),
    shared from_stateful_sets(200),
    shared from_stateful_sets_while_the_operator_was_down(200),
    shared from_daemon_sets(200),
    shared from_daemon_sets_while_the_operator_was_down(200),
];

async fn from_deployments(world: Arc<World>) -> Result<()> {
    side_by_side(&world, "Deployment", false).await
}

async fn from_deployments_while_the_operator_was_down(world: Arc<World>) -> Result<()> {
    side_by_side(&world, "Deployment", true).await
}

async fn from_stateful_sets(world: Arc<World>) -> Result<()> {
    side_by_side(&world, "StatefulSet", false).await
}

async fn from_stateful_sets_while_the_operator_was_down(world: Arc<World>) -> Result<()> {
    side_by_side(&world, "StatefulSet", true).await
}

async fn from_daemon_sets(world: Arc<World>) -> Result<()> {
    side_by_side(&world, "DaemonSet", false).await
}

async fn from_daemon_sets_while_the_operator_was_down(world: Arc<World>) -> Result<()> {
    side_by_side(&world, "DaemonSet", true).await
}

/// All workloads, then all backends, then all triggers; and at last all backends go.
async fn side_by_side(world: &Arc<World>, kind: &str, down: bool) -> Result<()> {
    let prefix = format!("removal-{}", kind.to_lowercase());
    let mut bed = Bed::without_operator(world, &prefix).await?;
    let cases = cases(kind);
    apply_all(&bed, cases.iter().map(|case| case.server.clone())).await?;
    bed.start_operator(&["--max-concurrent-rollouts=100"])
        .await?;
    let before = all(&bed, &cases).await?;
    let backend = |case: &Case| {
        let mut backend = manifests::backend(case.name);
        backend["spec"] = case.spec.clone();
        backend
    };
    apply_all(&bed, cases.iter().map(backend)).await?;
    for case in &cases {
        bed.reason(case.name, ConnectionAgeApplied, "Applied", ROLLOUT)
            .await
            .context(case.name)?;
    }
    let with_age = all(&bed, &cases).await?;
    let process = &bed.operator.as_ref().context("no operator")?.process;
    if down {
        process.signal(Signal::Kill)?;
        process.wait(SOON).await?;
    }
    for case in &cases {
        case.pull(&bed).await.context(case.name)?;
    }
    if down {
        process.start_again()?;
    }
    let settled = cases.iter().map(|case| {
        let (bed, before, with_age) = (&bed, &before[case.name], &with_age[case.name]);
        until(case.name, ROLLOUT, async move || {
            case.is_settled(bed, before, with_age).await.map(Some)
        })
    });
    let settled = futures::future::join_all(settled).await;
    let failures: Vec<String> = settled
        .into_iter()
        .filter_map(Result::err)
        .map(|error| format!("{error:#}"))
        .collect();
    println!(
        "    {} of {} cases",
        cases.len() - failures.len(),
        cases.len()
    );
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    let mut ends = Vec::new();
    for case in &cases {
        let mut spec = case.end(&before[case.name], &with_age[case.name])?;
        ends.push((case.object(), spec["template"].take()));
    }
    bed.finish_with(ends).await
}

async fn apply_all(bed: &Bed, objects: impl Iterator<Item = Value>) -> Result<()> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects.collect::<Vec<_>>()});
    bed.apply(&list).await.map(drop)
}

async fn all(bed: &Bed, cases: &[Case]) -> Result<BTreeMap<&'static str, DynamicObject>> {
    let mut all = BTreeMap::new();
    for case in cases {
        all.insert(case.name, bed.live_of(case.kind(), case.name).await?);
    }
    Ok(all)
}

impl Case {
    async fn pull(&self, bed: &Bed) -> Result<()> {
        match &self.trigger {
            Trigger::Deletion => {
                let backends: Api<GrpcBackend> = bed.namespace.api();
                backends.delete(self.name, &DeleteParams::default()).await?;
            }
            Trigger::Spec(change) => {
                let backends: Api<GrpcBackend> = bed.namespace.api();
                let patch = Patch::Merge(json!({"spec": change}));
                backends
                    .patch(self.name, &PatchParams::default(), &patch)
                    .await?;
            }
            Trigger::Template(change) => {
                let patch = change
                    .to_string()
                    .replace("\"path\":\"", "\"path\":\"/spec/template");
                bed.kubectl(&["patch", &self.object(), "--type=json", "-p", &patch])
                    .await?;
            }
        }
        Ok(())
    }

    /// Fails with what is not as it should be.
    async fn is_settled(
        &self,
        bed: &Bed,
        before: &DynamicObject,
        with_age: &DynamicObject,
    ) -> Result<()> {
        let live = bed.live_of(self.kind(), self.name).await?;
        let expected = match &self.after {
            After::Restored | After::Left => self.end(before, with_age)?,
            After::With(further) => changed(&before.data["spec"], Some(further))?,
        };
        same(&live.data["spec"], &expected)?;
        let records = live
            .annotations()
            .keys()
            .filter(|key| key.starts_with(RECORDS))
            .count();
        let wanted = usize::from(matches!(self.after, After::With(_)));
        ensure!(records == wanted, "{:?}", live.annotations());
        none_of_our_fields(&live)?;
        // A Deployment's generation counts changes of its annotations too: ours is one patch in any case.
        let ours = self.kind() == "Deployment" || !matches!(self.after, After::Left);
        let patches = i64::from(ours) + i64::from(self.owners_change().is_some());
        let generation = |object: &DynamicObject| object.metadata.generation.unwrap_or(0);
        let made = generation(&live) - generation(with_age);
        ensure!(made == patches, "{made} patches instead of {patches}");
        self.is_told(bed).await
    }

    /// The workload's spec once no backend asks for anything.
    fn end(&self, before: &DynamicObject, with_age: &DynamicObject) -> Result<Value> {
        let left = match self.after {
            After::Left => with_age,
            After::Restored | After::With(_) => before,
        };
        changed(&left.data["spec"], self.owners_change())
    }

    /// What the owner did to the template.
    fn owners_change(&self) -> Option<&Value> {
        match &self.trigger {
            Trigger::Template(change) => Some(change),
            Trigger::Deletion | Trigger::Spec(_) => None,
        }
    }

    async fn is_told(&self, bed: &Bed) -> Result<()> {
        let backends: Api<GrpcBackend> = bed.namespace.api();
        let (backend, reason) = match (backends.get_opt(self.name).await?, self.reason) {
            (None, None) => return Ok(()),
            (Some(backend), Some(reason)) => (backend, reason),
            (Some(backend), None) => bail!("it has the finalizers {:?}", backend.finalizers()),
            (None, Some(_)) => bail!("the backend is gone"),
        };
        let status = backend.status.clone().unwrap_or_default();
        let mut conditions = status.conditions.iter();
        let condition = conditions
            .find(|condition| condition.type_ == ConnectionAgeApplied.as_str())
            .context("no condition")?;
        ensure!(
            condition.reason == reason && status.observed_generation == backend.metadata.generation,
            "{}: {}",
            condition.reason,
            condition.message
        );
        let age = backend.spec.connection_age.as_ref();
        let enforced = age.is_some_and(|age| age.mode != Some(evenkeel::api::AgeMode::Advise));
        let held = backend.finalizers().iter().any(|name| name == FINALIZER);
        ensure!(held == enforced, "finalizers {:?}", backend.finalizers());
        Ok(())
    }
}

/// A workload's spec after a JSON patch of its template.
fn changed(spec: &Value, patch: Option<&Value>) -> Result<Value> {
    let mut spec = spec.clone();
    if let Some(patch) = patch {
        let patch: json_patch::Patch = serde_json::from_value(patch.clone())?;
        json_patch::patch(&mut spec["template"], &patch)?;
    }
    Ok(spec)
}
