//! A HorizontalPodAutoscaler and our patch never disturb each other. The real one: below its minimum and above its maximum it
//! needs no metrics to scale.

use std::sync::Arc;

use anyhow::{Result, ensure};
use evenkeel::api::ConditionType::ConnectionAgeApplied;
use evenkeel_cluster::until;
use serde_json::json;

use super::{Scene, is_owned_by_us};
use crate::bed::{Bed, ROLLOUT, SOON};
use crate::manifests;
use crate::tests;
use crate::world::World;

tests![shared it_scales_while_the_age_goes_in(200)];

async fn it_scales_while_the_age_goes_in(world: Arc<World>) -> Result<()> {
    let mut manifest = manifests::server("echo", 1);
    let scene = Scene::before(&world, "hpa", &manifest).await?;
    let bed = &scene.bed;
    bounds(bed, 2, 4).await?;
    bed.apply(&manifests::backend_with_age("echo", "30s"))
        .await?;
    scales_to(bed, 2).await?;
    scene.applied().await?;
    // Changed in the very moment in which it scales again: who counts as busy waits, and both get what they want.
    bounds(bed, 3, 4).await?;
    until("the autoscaler is about to scale", ROLLOUT, async || {
        let replicas = bed
            .deployment("echo")
            .await?
            .spec
            .and_then(|spec| spec.replicas);
        Ok((replicas == Some(3)).then_some(()))
    })
    .await?;
    bed.change("echo", &json!({"connectionAge": {"maxAge": "40s"}}))
        .await?;
    scene.applied().await?;
    scales_to(bed, 3).await?;
    let status = bed.backend("echo").await?.status.unwrap_or_default();
    ensure!(
        status.running_max_age.as_deref() == Some("40s"),
        "{:?}",
        status.running_max_age
    );
    ensure!(status.servers[0].reverts.is_empty(), "{:?}", status.servers);
    // The owner's manifest leaves the number to the autoscaler, as it should.
    if let Some(spec) = manifest["spec"].as_object_mut() {
        spec.remove("replicas");
    }
    bed.server_side_apply("pipeline", true, &manifest).await?;
    bed.another_pass("echo").await?;
    bed.reason("echo", ConnectionAgeApplied, "Applied", SOON)
        .await?;
    scales_to(bed, 3).await?;
    bed.kubectl(&["delete", "gb", "echo"]).await?;
    bed.rolled_out("echo").await?;
    scales_to(bed, 3).await?;
    scene.ends().await
}

/// Scaled by the autoscaler and nobody else.
async fn scales_to(bed: &Bed, replicas: i32) -> Result<()> {
    until("it has scaled", ROLLOUT, async || {
        let deployment = bed.deployment("echo").await?;
        let now = deployment.spec.as_ref().and_then(|spec| spec.replicas);
        ensure!(now == Some(replicas), "{now:?} replicas");
        ensure!(!is_owned_by_us(&deployment), "we own fields");
        let owners: Vec<&str> = deployment
            .metadata
            .managed_fields
            .iter()
            .flatten()
            .filter(|entry| {
                let fields = entry.fields_v1.as_ref();
                fields.is_some_and(|fields| fields.0.pointer("/f:spec/f:replicas").is_some())
            })
            .filter_map(|entry| entry.manager.as_deref())
            .collect();
        ensure!(
            owners == ["kube-controller-manager"],
            "the number of replicas belongs to {owners:?}"
        );
        Ok(Some(()))
    })
    .await
}

async fn bounds(bed: &Bed, least: i32, most: i32) -> Result<()> {
    bed.apply(&json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "echo"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "echo"},
            "minReplicas": least,
            "maxReplicas": most,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}],
        },
    }))
    .await
    .map(drop)
}
