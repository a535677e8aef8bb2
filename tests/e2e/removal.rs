//! Whatever ends the wish for an age takes it back: exactly what was written, or nothing where it is to be left.
//!
//! All cases run side by side in one namespace, once with the operator there and once with it away while things change. The
//! Deployments have no pods, whose part in it other tests show; that the namespace goes first is in `deletion`.

mod cases;

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
    shared by_every_trigger(200),
    shared by_every_trigger_while_the_operator_was_down(200),
];

async fn by_every_trigger(world: Arc<World>) -> Result<()> {
    side_by_side(&world, "removal", false).await
}

async fn by_every_trigger_while_the_operator_was_down(world: Arc<World>) -> Result<()> {
    side_by_side(&world, "removal-down", true).await
}

/// All Deployments, then all backends, then all triggers.
async fn side_by_side(world: &Arc<World>, prefix: &str, down: bool) -> Result<()> {
    let mut bed = Bed::without_operator(world, prefix).await?;
    let cases = cases();
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
    Ok(())
}

async fn apply_all(bed: &Bed, objects: impl Iterator<Item = Value>) -> Result<()> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects.collect::<Vec<_>>()});
    bed.apply(&list).await.map(drop)
}

async fn all(bed: &Bed, cases: &[Case]) -> Result<BTreeMap<&'static str, DynamicObject>> {
    let mut all = BTreeMap::new();
    for case in cases {
        all.insert(case.name, bed.live(case.name).await?);
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
                bed.kubectl(&[
                    "patch",
                    "deployment",
                    self.name,
                    "--type=json",
                    "-p",
                    &patch,
                ])
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
        let live = bed.live(self.name).await?;
        let change = match &self.trigger {
            Trigger::Template(change) => Some(change.clone()),
            Trigger::Deletion | Trigger::Spec(_) => None,
        };
        let by_owner = |object: &DynamicObject| changed(&object.data["spec"], change.as_ref());
        let expected = match &self.after {
            After::Restored => by_owner(before)?,
            After::Left => by_owner(with_age)?,
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
        let patches = 1 + i64::from(change.is_some());
        let generation = |object: &DynamicObject| object.metadata.generation.unwrap_or(0);
        let made = generation(&live) - generation(with_age);
        ensure!(made == patches, "{made} patches instead of {patches}");
        self.is_told(bed).await
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

/// A Deployment's spec after a JSON patch of its template.
fn changed(spec: &Value, patch: Option<&Value>) -> Result<Value> {
    let mut spec = spec.clone();
    if let Some(patch) = patch {
        let patch: json_patch::Patch = serde_json::from_value(patch.clone())?;
        json_patch::patch(&mut spec["template"], &patch)?;
    }
    Ok(spec)
}
