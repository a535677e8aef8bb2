//! A pipeline that applies again and again, as GitOps does every 20 s; here as soon as there is something to see.

use std::sync::Arc;

use anyhow::{Result, ensure};
use evenkeel_cluster::until;
use jiff::Timestamp;
use serde_json::json;

use super::{FLAG, LISTEN, Scene, backend_by_flag, server_with_arguments};
use crate::bed::ROLLOUT;
use crate::manifests::{self, container, same};
use crate::tests;
use crate::world::World;

tests![
    shared variables_outlive_a_loop_of_applies(150),
    shared arguments_end_in_reverted_until_git_has_them(300),
];

async fn variables_outlive_a_loop_of_applies(world: Arc<World>) -> Result<()> {
    let manifest = manifests::server("echo", 1);
    let backend = manifests::backend_with_age("echo", "30s");
    let scene = Scene::after(&world, "loop", &manifest, &backend).await?;
    let bed = &scene.bed;
    let template = bed.template("echo").await?;
    let revision = super::revision(bed).await?;
    let begun = Timestamp::now();
    for force in [false, true, false, true] {
        bed.apply(&manifest).await?;
        bed.server_side_apply("pipeline", force, &manifest).await?;
        bed.another_pass("echo").await?;
    }
    same(&bed.template("echo").await?, &template)?;
    ensure!(super::revision(bed).await? == revision, "a new revision");
    ensure!(bed.writes_to_deployments(begun)? == 0, "it was written");
    scene.applied().await?;
    scene.ends().await
}

/// A list of arguments is one value to `kubectl apply`: each takes ours out. Three answers, then the lines for Git; and with
/// them in Git there is peace.
async fn arguments_end_in_reverted_until_git_has_them(world: Arc<World>) -> Result<()> {
    let mut manifest = server_with_arguments();
    let scene = Scene::after(&world, "war", &manifest, &backend_by_flag("30s")).await?;
    let bed = &scene.bed;
    for attempt in 1..=3 {
        bed.apply(&manifest).await?;
        until("it is set again", ROLLOUT, async || {
            Ok((bed.server("echo").await?.reverts.len() == attempt).then_some(()))
        })
        .await?;
        scene.applied().await?;
    }
    bed.apply(&manifest).await?;
    let line = format!("{FLAG}=30s");
    let message = bed.gives_up().await?;
    let advice = format!("put into the manifest, in container server under args: [\"{line}\"]");
    ensure!(message.contains(&advice), "{message}");
    bed.rolled_out("echo").await?;
    let begun = Timestamp::now();
    bed.apply(&manifest).await?;
    bed.another_pass("echo").await?;
    same(&bed.template("echo").await?, &scene.template_before())?;
    ensure!(
        bed.writes_to_deployments(begun)? == 0,
        "it was written once more"
    );
    container(&mut manifest)["args"] = json!([LISTEN, line]);
    bed.apply(&manifest).await?;
    scene.applied().await?;
    bed.apply(&manifest).await?;
    bed.another_pass("echo").await?;
    scene.applied().await?;
    let mut expected = scene.template_before();
    expected["spec"]["containers"][0]["args"] = json!([LISTEN, line]);
    scene.ends_as(&expected).await
}
