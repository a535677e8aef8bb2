//! Two GrpcBackends on one Deployment.

use std::sync::Arc;

use anyhow::{Result, ensure};
use evenkeel::api::ConditionType::{ConnectionAgeApplied, Ready};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{FLAG, LISTEN, Scene, server_with_arguments};
use crate::bed::{Bed, ROLLOUT, SOON};
use crate::manifests::{self, same};
use crate::tests;
use crate::world::World;

tests![
    shared different_knobs_live_side_by_side(200),
    shared of_two_the_older_wins(200),
    shared the_other_is_called_when_the_older_asks_no_more(90),
];

/// One by variable, one by switch; each goes by itself and leaves the other's alone.
async fn different_knobs_live_side_by_side(world: Arc<World>) -> Result<()> {
    let scene = Scene::before(&world, "two-knobs", &server_with_arguments()).await?;
    let bed = &scene.bed;
    bed.apply(&named(
        "grace",
        &json!({"maxAge": "30s", "knob": {"env": {"maxAge": "MAX_CONNECTION_AGE_GRACE"}}}),
    ))
    .await?;
    bed.apply(&named(
        "flag",
        &json!({"maxAge": "40s", "knob": {"flags": {"maxAge": FLAG}}}),
    ))
    .await?;
    for name in ["grace", "flag"] {
        bed.reason(name, ConnectionAgeApplied, "Applied", ROLLOUT)
            .await?;
    }
    bed.rolled_out("echo").await?;
    let begun = Timestamp::now();
    for _ in 0..2 {
        bed.another_pass("echo").await?;
    }
    ensure!(
        bed.writes_to_workloads(begun)? == 0,
        "they disturb each other: {:#?}",
        bed.writes_since(begun)?
    );
    let template = bed.template("echo").await?;
    let args = &template["spec"]["containers"][0]["args"];
    ensure!(*args == json!([LISTEN, format!("{FLAG}=40s")]), "{args}");
    bed.kubectl(&["delete", "gb", "grace"]).await?;
    bed.reason("flag", ConnectionAgeApplied, "Applied", ROLLOUT)
        .await?;
    let mut expected = scene.template_before();
    expected["spec"]["containers"][0]["args"] = args.clone();
    same(&bed.template("echo").await?, &expected)?;
    scene.ends().await
}

async fn of_two_the_older_wins(world: Arc<World>) -> Result<()> {
    let scene = Scene::before(&world, "two-owners", &manifests::server("echo", 1)).await?;
    let bed = &scene.bed;
    let age = |age: &str| json!({"maxAge": age, "knob": {"env": {"maxAge": "MAX_CONNECTION_AGE"}}});
    bed.apply(&named("older", &age("30s"))).await?;
    bed.reason("older", ConnectionAgeApplied, "Applied", ROLLOUT)
        .await?;
    older_than_a_second(bed, "older").await?;
    let begun = Timestamp::now();
    bed.apply(&named("younger", &age("40s"))).await?;
    bed.reason("younger", ConnectionAgeApplied, "ClaimedByOther", SOON)
        .await?;
    bed.reason("younger", Ready, "ClaimedByOther", SOON).await?;
    let message = bed.message("younger", ConnectionAgeApplied).await?;
    for part in ["MAX_CONNECTION_AGE", "Deployment echo", "GrpcBackend older"] {
        ensure!(message.contains(part), "{message}");
    }
    bed.another_pass("echo").await?;
    ensure!(bed.writes_to_workloads(begun)? == 0, "it was written");
    bed.has_age("deployment/echo", "server", Some("30s"))
        .await?;
    bed.kubectl(&["delete", "gb", "older"]).await?;
    bed.reason("younger", ConnectionAgeApplied, "Applied", ROLLOUT)
        .await?;
    bed.rolled_out("echo").await?;
    bed.has_age("deployment/echo", "server", Some("40s"))
        .await?;
    scene.ends().await
}

/// The older has written nothing, so that no change of the Deployment calls the other either.
async fn the_other_is_called_when_the_older_asks_no_more(world: Arc<World>) -> Result<()> {
    let scene = Scene::before(&world, "two-calls", &manifests::server("echo", 1)).await?;
    let bed = &scene.bed;
    let age = json!({"maxAge": "30s", "knob": {"flags": {"maxAge": FLAG}}});
    bed.apply(&named("older", &age)).await?;
    bed.reason("older", ConnectionAgeApplied, "NothingToExtend", SOON)
        .await?;
    older_than_a_second(bed, "older").await?;
    bed.apply(&named("younger", &age)).await?;
    for (suspended, reason) in [
        (false, "ClaimedByOther"),
        (true, "NothingToExtend"),
        (false, "ClaimedByOther"),
    ] {
        let suspend = json!({"spec": {"suspend": suspended}}).to_string();
        bed.kubectl(&["patch", "gb", "older", "--type=merge", "-p", &suspend])
            .await?;
        bed.reason("younger", ConnectionAgeApplied, reason, SOON)
            .await?;
    }
    bed.kubectl(&["delete", "gb", "older"]).await?;
    bed.reason("younger", ConnectionAgeApplied, "NothingToExtend", SOON)
        .await?;
    scene.ends().await
}

/// Creation times have no fractions: of two in one second the name decides.
async fn older_than_a_second(bed: &Bed, name: &str) -> Result<()> {
    evenkeel_cluster::until("the next one is younger", SOON, async || {
        let created = bed.backend(name).await?.metadata.creation_timestamp;
        Ok(created
            .is_some_and(|at| Timestamp::now().duration_since(at.0).as_secs() >= 1)
            .then_some(()))
    })
    .await
}

/// A backend of that name for the pods of `echo`.
fn named(name: &str, age: &Value) -> Value {
    let mut backend = manifests::backend("echo");
    backend["metadata"]["name"] = json!(name);
    backend["spec"]["connectionAge"] = age.clone();
    backend
}
