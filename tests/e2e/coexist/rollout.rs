//! Rollouts are respected, paced, and given up where the server does not bear the value.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::{ConnectionAgeApplied, Ready, Stalled};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::Scene;
use crate::bed::{Bed, ROLLOUT, SOON};
use crate::manifests::{self, container, same};
use crate::tests;
use crate::world::World;

tests![
    shared a_paused_deployment_waits(150),
    shared recreate_is_asked_for_by_name(150),
    shared a_value_that_crashes_the_server_is_taken_back(200),
    shared what_failed_before_is_taken_back_again(200),
    shared a_wrong_value_is_corrected_at_once(200),
    shared what_halts_the_owners_rollout_is_taken_out(200),
    shared the_owners_rollout_comes_first(200),
    shared rollouts_take_turns(200),
];

async fn a_paused_deployment_waits(world: Arc<World>) -> Result<()> {
    let manifest = manifests::server("echo", 1);
    let scene = Scene::before(&world, "paused", &manifest).await?;
    let bed = &scene.bed;
    pause(bed, "pause").await?;
    let begun = Timestamp::now();
    bed.apply(&manifests::backend_with_age("echo", "30s"))
        .await?;
    bed.reason("echo", ConnectionAgeApplied, "Paused", SOON)
        .await?;
    let message = bed.message("echo", ConnectionAgeApplied).await?;
    ensure!(
        message.contains("kubectl rollout resume deployment echo"),
        "{message}"
    );
    bed.another_pass("echo").await?;
    ensure!(bed.writes_to_workloads(begun)? == 0, "it was written");
    pause(bed, "resume").await?;
    scene.applied().await?;
    // A change waits likewise, and so does the way back.
    pause(bed, "pause").await?;
    let begun = Timestamp::now();
    bed.change("echo", &json!({"connectionAge": {"maxAge": "40s"}}))
        .await?;
    bed.reason("echo", ConnectionAgeApplied, "Paused", SOON)
        .await?;
    bed.change("echo", &json!({"connectionAge": null})).await?;
    bed.reason("echo", ConnectionAgeApplied, "Paused", SOON)
        .await?;
    ensure!(bed.writes_to_workloads(begun)? == 0, "it was written");
    pause(bed, "resume").await?;
    bed.reason("echo", ConnectionAgeApplied, "NotRequested", ROLLOUT)
        .await?;
    scene.ends().await
}

async fn recreate_is_asked_for_by_name(world: Arc<World>) -> Result<()> {
    let mut manifest = manifests::server("echo", 1);
    manifest["spec"]["strategy"] = json!({"type": "Recreate"});
    let scene = Scene::before(&world, "recreate", &manifest).await?;
    let bed = &scene.bed;
    let begun = Timestamp::now();
    bed.apply(&manifests::backend_with_age("echo", "30s"))
        .await?;
    bed.reason("echo", ConnectionAgeApplied, "UnsupportedWorkload", SOON)
        .await?;
    let message = bed.message("echo", ConnectionAgeApplied).await?;
    ensure!(
        message.contains("name it in spec.connectionAge.workloads"),
        "{message}"
    );
    ensure!(bed.writes_to_workloads(begun)? == 0, "it was written");
    bed.change("echo", &json!({"connectionAge": {"workloads": ["echo"]}}))
        .await?;
    scene.applied().await?;
    scene.ends().await
}

/// Milliseconds for a server that wants a Go duration: it does not start, the old pods serve on, and the value goes by itself.
async fn a_value_that_crashes_the_server_is_taken_back(world: Arc<World>) -> Result<()> {
    let mut manifest = manifests::server("echo", 2);
    manifest["spec"]["progressDeadlineSeconds"] = json!(6);
    manifest["spec"]["minReadySeconds"] = json!(0);
    let scene = Scene::before(&world, "crash", &manifest).await?;
    let bed = &scene.bed;
    let mut backend = manifests::backend_with_age("echo", "30s");
    backend["spec"]["connectionAge"]["knob"]["env"]["format"] = json!("Milliseconds");
    bed.apply(&backend).await?;
    bed.reason("echo", ConnectionAgeApplied, "RollingOut", SOON)
        .await?;
    bed.reason("echo", ConnectionAgeApplied, "RolloutFailed", ROLLOUT)
        .await?;
    bed.reason("echo", Stalled, "RolloutFailed", SOON).await?;
    let message = bed.message("echo", ConnectionAgeApplied).await?;
    for part in ["Deployment echo", "was taken back", "knob and format"] {
        ensure!(message.contains(part), "{message}");
    }
    bed.rolled_out("echo").await?;
    same(&bed.template("echo").await?, &scene.template_before())?;
    let begun = Timestamp::now();
    bed.another_pass("echo").await?;
    bed.another_pass("echo").await?;
    bed.reason("echo", Ready, "RolloutFailed", SOON).await?;
    // Nor where a replacement wipes the record of it.
    super::undo::replace(bed, &manifest).await?;
    bed.another_pass("echo").await?;
    bed.reason("echo", Ready, "RolloutFailed", SOON).await?;
    ensure!(bed.writes_to_workloads(begun)? == 0, "it was tried again");
    // What is corrected is tried, and a machine that is busy has time for it.
    let patient = json!({"spec": {"progressDeadlineSeconds": 600}});
    bed.patch("deployment/echo", &patient).await?;
    bed.apply(&manifests::backend_with_age("echo", "30s"))
        .await?;
    scene.applied().await?;
    bed.reason("echo", Ready, "AllReady", SOON).await?;
    scene.ends().await
}

/// Its pods never serve, and by the default deadline the user would wait ten minutes for what they have seen at once.
async fn a_wrong_value_is_corrected_at_once(world: Arc<World>) -> Result<()> {
    let manifest = manifests::server("echo", 2);
    let scene = Scene::before(&world, "corrected", &manifest).await?;
    let bed = &scene.bed;
    let right = manifests::backend_with_age("echo", "30s");
    let mut wrong = right.clone();
    wrong["spec"]["connectionAge"]["knob"]["env"]["format"] = json!("Milliseconds");
    bed.apply(&wrong).await?;
    bed.reason("echo", ConnectionAgeApplied, "RollingOut", SOON)
        .await?;
    bed.change("echo", &json!({"connectionAge": null})).await?;
    bed.reason("echo", ConnectionAgeApplied, "NotRequested", SOON)
        .await?;
    bed.rolled_out("echo").await?;
    bed.apply(&wrong).await?;
    bed.reason("echo", ConnectionAgeApplied, "RollingOut", SOON)
        .await?;
    bed.apply(&right).await?;
    bed.reason("echo", ConnectionAgeApplied, "Applied", SOON)
        .await?;
    scene.ends().await
}

/// The owner deploys while the server crashes on the age: that rollout is theirs, so that nothing goes by itself, and the age keeps it from
/// its end.
async fn what_halts_the_owners_rollout_is_taken_out(world: Arc<World>) -> Result<()> {
    let mut manifest = manifests::server("echo", 1);
    container(&mut manifest)["args"] = json!(["--crash-on-age"]);
    manifest["spec"]["progressDeadlineSeconds"] = json!(10);
    let scene = Scene::before(&world, "on-top", &manifest).await?;
    let bed = &scene.bed;
    bed.apply(&manifests::backend_with_age("echo", "30s"))
        .await?;
    bed.reason("echo", ConnectionAgeApplied, "RollingOut", SOON)
        .await?;
    let deployed = json!({"build": "2"});
    manifest["spec"]["template"]["metadata"]["annotations"] = deployed.clone();
    bed.apply(&manifest).await?;
    bed.has_age("deployment/echo", "server", Some("30s"))
        .await?;
    bed.change("echo", &json!({"connectionAge": null})).await?;
    bed.reason("echo", ConnectionAgeApplied, "NotRequested", ROLLOUT)
        .await?;
    bed.rolled_out("echo").await?;
    let mut expected = scene.template_before();
    expected["metadata"]["annotations"] = deployed;
    scene.ends_as(&expected).await
}

/// The second time there is a ReplicaSet of that template, and the Deployment may never say that the deadline is over.
async fn what_failed_before_is_taken_back_again(world: Arc<World>) -> Result<()> {
    let mut manifest = manifests::server("echo", 1);
    container(&mut manifest)["args"] = json!(["--crash-on-age"]);
    manifest["spec"]["progressDeadlineSeconds"] = json!(4);
    let mut bed = Bed::without_operator(&world, "again").await?;
    bed.apply(&manifest).await?;
    bed.start_operator(&["--rollout-deadline=5s"]).await?;
    let scene = Scene::of(bed).await?;
    let bed = &scene.bed;
    for _ in 0..2 {
        bed.apply(&manifests::backend_with_age("echo", "30s"))
            .await?;
        bed.reason("echo", ConnectionAgeApplied, "RollingOut", SOON)
            .await?;
        bed.reason("echo", ConnectionAgeApplied, "RolloutFailed", ROLLOUT)
            .await?;
        bed.rolled_out("echo").await?;
        same(&bed.template("echo").await?, &scene.template_before())?;
        bed.change("echo", &json!({"connectionAge": null})).await?;
        bed.reason("echo", ConnectionAgeApplied, "NotRequested", SOON)
            .await?;
    }
    scene.ends().await
}

/// A rollout that does not come to its end keeps us waiting, before our write and after it.
async fn the_owners_rollout_comes_first(world: Arc<World>) -> Result<()> {
    let manifest = manifests::server("echo", 1);
    let mut stuck = manifest.clone();
    container(&mut stuck)["readinessProbe"]["httpGet"]["path"] = json!("/nowhere");
    let scene = Scene::before(&world, "theirs-first", &manifest).await?;
    let bed = &scene.bed;
    bed.apply(&stuck).await?;
    waits(bed, &manifests::backend_with_age("echo", "30s"), None).await?;
    bed.apply(&manifest).await?;
    scene.applied().await?;
    bed.apply(&stuck).await?;
    waits(
        bed,
        &manifests::backend_with_age("echo", "40s"),
        Some("30s"),
    )
    .await?;
    bed.apply(&manifest).await?;
    scene.applied().await?;
    bed.has_age("deployment/echo", "server", Some("40s"))
        .await?;
    scene.ends().await
}

/// With room for one rollout the second backend's begins when the first one's has ended.
async fn rollouts_take_turns(world: Arc<World>) -> Result<()> {
    let mut bed = Bed::without_operator(&world, "turns").await?;
    bed.start_operator(&["--max-concurrent-rollouts=1"]).await?;
    for name in ["first", "second"] {
        let mut manifest = manifests::server(name, 1);
        manifest["spec"]["minReadySeconds"] = json!(15);
        bed.apply(&manifest).await?;
    }
    for name in ["first", "second"] {
        bed.rolled_out(name).await?;
        bed.kubectl(&[
            "wait",
            "--for=condition=Available",
            "deployment",
            name,
            "--timeout=60s",
        ])
        .await?;
    }
    bed.apply(&manifests::backend_with_age("first", "30s"))
        .await?;
    bed.reason("first", ConnectionAgeApplied, "RollingOut", SOON)
        .await?;
    bed.apply(&manifests::backend_with_age("second", "30s"))
        .await?;
    bed.reason("second", ConnectionAgeApplied, "WaitingForRollout", SOON)
        .await?;
    let message = bed.message("second", ConnectionAgeApplied).await?;
    ensure!(
        message.contains("until fewer rollouts are under way"),
        "{message}"
    );
    for name in ["first", "second"] {
        bed.reason(name, ConnectionAgeApplied, "Applied", ROLLOUT)
            .await?;
    }
    let (first, second) = (newest(&bed, "first").await?, newest(&bed, "second").await?);
    let apart = second.duration_since(first).as_secs();
    ensure!(apart >= 15, "the second began {apart} s after the first");
    bed.finish().await
}

/// When the newest ReplicaSet of a Deployment was made.
async fn newest(bed: &Bed, app: &str) -> Result<Timestamp> {
    let sets: kube::Api<ReplicaSet> = bed.namespace.api();
    let sets = sets
        .list(&ListParams::default().labels(&format!("app={app}")))
        .await?;
    let times = sets
        .items
        .into_iter()
        .filter_map(|set| set.metadata.creation_timestamp);
    times.map(|time| time.0).max().context("no ReplicaSet")
}

/// The backend says that it waits, and the variables are what they were.
async fn waits(bed: &Bed, backend: &Value, age: Option<&str>) -> Result<()> {
    let begun = Timestamp::now();
    bed.apply(backend).await?;
    bed.reason("echo", ConnectionAgeApplied, "WaitingForRollout", SOON)
        .await?;
    let message = bed.message("echo", ConnectionAgeApplied).await?;
    ensure!(
        message.contains("Deployment echo is rolling out"),
        "{message}"
    );
    bed.another_pass("echo").await?;
    ensure!(bed.writes_to_workloads(begun)? == 0, "it was written");
    bed.has_age("deployment/echo", "server", age).await?;
    Ok(())
}

async fn pause(bed: &Bed, verb: &str) -> Result<()> {
    bed.kubectl(&["rollout", verb, "deployment", "echo"])
        .await
        .map(drop)
}
