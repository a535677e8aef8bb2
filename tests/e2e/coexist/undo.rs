//! `kubectl rollout undo`, `kubectl replace` and what takes the variable out by hand: whoever does that has a reason.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::{ConnectionAgeApplied, Reconciling};
use evenkeel_cluster::{Fault, Rule, Seen, until};
use jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::before::arguments_of;
use super::{AGE, FLAG, LISTEN, Scene, backend_by_flag, server_with_arguments};
use crate::bed::{Bed, SOON, start_operator};
use crate::manifests::{self, same};
use crate::tests;
use crate::world::World;

tests![
    shared an_undo_holds_for_ten_minutes(200),
    shared an_undo_of_arguments_holds_too(200),
    shared what_is_unset_by_hand_stays_out_for_ten_minutes(200),
    shared what_is_edited_out_stays_out_for_ten_minutes(200),
    shared a_loop_of_replacements_ends_in_reverted(300),
    shared a_replacement_of_what_runs_makes_it_theirs(150),
    shared another_argument_edited_beside_ours(150),
    shared an_attempt_counts_before_it_is_made(200),
];

/// The undo takes the record along; the status remembers, also over a restart of the operator.
async fn an_undo_holds_for_ten_minutes(world: Arc<World>) -> Result<()> {
    let manifest = manifests::server("echo", 1);
    let backend = manifests::backend_with_age("echo", "30s");
    let mut scene = Scene::after(&world, "undo", &manifest, &backend).await?;
    let begun = Timestamp::now();
    undo(&scene.bed).await?;
    is_noted(&scene.bed).await?;
    scene.bed.rolled_out("echo").await?;
    same(&scene.bed.template("echo").await?, &scene.template_before())?;
    ensure!(scene.bed.writes_to_workloads(begun)? == 0, "it was written");
    let noted = scene.bed.server("echo").await?.gone_since;
    let operator = scene.bed.operator.take().context("no operator")?;
    drop(operator);
    let name = scene.bed.name().to_owned();
    scene.bed.operator = Some(start_operator(&world, &name, &[&name], &[]).await?);
    scene.bed.another_pass("echo").await?;
    is_noted(&scene.bed).await?;
    ensure!(
        scene.bed.server("echo").await?.gone_since == noted,
        "the restart began the wait anew"
    );
    comes_again(&scene).await?;
    scene.ends().await
}

async fn an_undo_of_arguments_holds_too(world: Arc<World>) -> Result<()> {
    let scene = Scene::after(
        &world,
        "undo-args",
        &server_with_arguments(),
        &backend_by_flag("echo", "30s"),
    )
    .await?;
    undo(&scene.bed).await?;
    is_noted(&scene.bed).await?;
    scene.bed.rolled_out("echo").await?;
    comes_again(&scene).await?;
    // The record is there and the arguments are edited out: by hand, so it is no pipeline.
    let without =
        json!([{"op": "remove", "path": "/spec/template/spec/containers/0/args/1"}]).to_string();
    let begun = Timestamp::now();
    scene
        .bed
        .kubectl(&["patch", "deployment", "echo", "--type=json", "-p", &without])
        .await?;
    is_noted(&scene.bed).await?;
    scene.bed.rolled_out("echo").await?;
    scene.bed.another_pass("echo").await?;
    ensure!(scene.bed.writes_to_workloads(begun)? == 0, "it was written");
    // The same by hand again ends the wait.
    let with = json!([{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": format!("{FLAG}=30s")}]).to_string();
    scene
        .bed
        .kubectl(&["patch", "deployment", "echo", "--type=json", "-p", &with])
        .await?;
    scene.applied().await?;
    ensure!(
        scene.bed.server("echo").await?.gone_since.is_none(),
        "it still counts as gone"
    );
    // By that hand it is theirs now, which the record's end says.
    scene
        .bed
        .becomes("gb/echo", "/status/servers/0/setBy", &json!("Owner"))
        .await?;
    let mut expected = scene.template_before();
    expected["spec"]["containers"][0]["args"] = json!([LISTEN, format!("{FLAG}=30s")]);
    scene.ends_as(&expected).await
}

async fn what_is_unset_by_hand_stays_out_for_ten_minutes(world: Arc<World>) -> Result<()> {
    stays_out_for_ten_minutes(&world, "unset", async |bed| {
        let unset = format!("{AGE}-");
        bed.kubectl(&["set", "env", "deployment", "echo", &unset])
            .await
            .map(drop)
    })
    .await
}

async fn what_is_edited_out_stays_out_for_ten_minutes(world: Arc<World>) -> Result<()> {
    stays_out_for_ten_minutes(&world, "edited-out", async |bed| {
        bed.edit("echo", "/- name: MAX_CONNECTION_AGE$/,+1d").await
    })
    .await
}

async fn stays_out_for_ten_minutes(
    world: &Arc<World>,
    prefix: &str,
    takes_it_out: impl AsyncFnOnce(&Bed) -> Result<()>,
) -> Result<()> {
    let manifest = manifests::server("echo", 1);
    let backend = manifests::backend_with_age("echo", "30s");
    let scene = Scene::after(world, prefix, &manifest, &backend).await?;
    let begun = Timestamp::now();
    takes_it_out(&scene.bed).await?;
    is_noted(&scene.bed).await?;
    scene.bed.rolled_out("echo").await?;
    scene.bed.another_pass("echo").await?;
    ensure!(scene.bed.writes_to_workloads(begun)? == 0, "it was written");
    scene.bed.has_age("deployment/echo", "server", None).await?;
    comes_again(&scene).await?;
    scene.ends().await
}

/// As a loop that replaces does it, which drops value and record: set again after ten minutes each, three times, and then no more.
async fn a_loop_of_replacements_ends_in_reverted(world: Arc<World>) -> Result<()> {
    let manifest = manifests::server("echo", 1);
    let backend = manifests::backend_with_age("echo", "30s");
    let scene = Scene::after(&world, "replace", &manifest, &backend).await?;
    let bed = &scene.bed;
    for attempt in 0..3 {
        replace(bed, &manifest).await?;
        is_noted(bed).await?;
        bed.rolled_out("echo").await?;
        ensure!(
            bed.server("echo").await?.reverts.len() == attempt,
            "it was counted at once"
        );
        // Within the ten minutes the loop goes on without an answer.
        let begun = Timestamp::now();
        replace(bed, &manifest).await?;
        bed.another_pass("echo").await?;
        ensure!(bed.writes_to_workloads(begun)? == 0, "it was written");
        bed.eleven_minutes_pass().await?;
        scene.applied().await?;
    }
    ensure!(
        bed.server("echo").await?.reverts.len() == 3,
        "not all were counted"
    );
    replace(bed, &manifest).await?;
    let message = bed.gives_up().await?;
    for part in [
        "Deployment echo",
        "in container server under env",
        r#"{name: MAX_CONNECTION_AGE, value: "30s"}"#,
    ] {
        ensure!(message.contains(part), "{message}");
    }
    let begun = Timestamp::now();
    bed.eleven_minutes_pass().await?;
    bed.another_pass("echo").await?;
    ensure!(
        bed.writes_to_workloads(begun)? == 0,
        "it was written once more"
    );
    scene.ends().await
}

/// What is exported without our annotation and put back is a manifest with the value: theirs.
async fn a_replacement_of_what_runs_makes_it_theirs(world: Arc<World>) -> Result<()> {
    let manifest = manifests::server("echo", 1);
    let backend = manifests::backend_with_age("echo", "30s");
    let scene = Scene::after(&world, "export", &manifest, &backend).await?;
    let bed = &scene.bed;
    let mut exported = bed.object("deployment/echo").await?;
    exported["metadata"] = json!({"name": "echo"});
    let begun = Timestamp::now();
    replace(bed, &exported).await?;
    scene.applied().await?;
    bed.another_pass("echo").await?;
    ensure!(bed.writes_to_workloads(begun)? == 0, "it was written");
    bed.becomes("gb/echo", "/status/servers/0/setBy", &json!("Owner"))
        .await?;
    let expected = bed.template("echo").await?;
    scene.ends_as(&expected).await
}

/// Whoever edits one argument by hand owns the whole list from then on, and has said nothing of ours.
async fn another_argument_edited_beside_ours(world: Arc<World>) -> Result<()> {
    let mut manifest = server_with_arguments();
    manifests::container(&mut manifest)["args"] = json!([LISTEN, "--drain=0s"]);
    let backend = backend_by_flag("echo", "30s");
    let scene = Scene::after(&world, "beside", &manifest, &backend).await?;
    let bed = &scene.bed;
    let begun = Timestamp::now();
    bed.edit("echo", "/^ *- --drain=0s$/s/0s/1s/").await?;
    bed.rolled_out("echo").await?;
    bed.another_pass("echo").await?;
    ensure!(bed.writes_to_workloads(begun)? == 0, "it was written");
    let args = arguments_of(bed, "echo").await?;
    let wanted = json!([LISTEN, "--drain=1s", format!("{FLAG}=30s")]);
    ensure!(args == wanted, "{args}");
    bed.becomes("gb/echo", "/status/servers/0/setBy", &json!("Evenkeel"))
        .await?;
    bed.apply(&backend_by_flag("echo", "40s")).await?;
    scene.applied().await?;
    let args = arguments_of(bed, "echo").await?;
    let wanted = json!([LISTEN, "--drain=1s", format!("{FLAG}=40s")]);
    ensure!(args == wanted, "{args}");
    let mut expected = scene.template_before();
    expected["spec"]["containers"][0]["args"] = json!([LISTEN, "--drain=1s"]);
    scene.ends_as(&expected).await
}

/// The operator ends between the count and the attempt: what it does after that is the attempt that was counted. Neither does an
/// API server that is busy use up one.
async fn an_attempt_counts_before_it_is_made(world: Arc<World>) -> Result<()> {
    let mut bed = Bed::without_operator(&world, "counted").await?;
    bed.apply(&manifests::server("echo", 1)).await?;
    let proxy = bed.start_operator_behind(Vec::new()).await?;
    let backend = manifests::backend_with_age("echo", "30s");
    let scene = Scene::of(bed).await?.with(&backend).await?;
    let unset = format!("{AGE}-");
    scene
        .bed
        .kubectl(&["set", "env", "deployment", "echo", &unset])
        .await?;
    is_noted(&scene.bed).await?;
    scene.bed.rolled_out("echo").await?;
    let operator = scene.bed.operator.as_ref().context("no operator")?;
    let attempt = |seen: &Seen| seen.verb == "patch" && seen.resource == "deployments";
    let killed = Fault::KillBefore((&operator.process).into());
    proxy.add(Rule::new(attempt, killed).times(1));
    scene.bed.eleven_minutes_pass().await?;
    until("the operator is killed", SOON, async || {
        Ok((!operator.process.is_running()).then_some(()))
    })
    .await?;
    scene.bed.has_age("deployment/echo", "server", None).await?;
    let counted = scene.bed.server("echo").await?.reverts.len();
    ensure!(counted == 1, "{counted} are counted");
    let refusals = [503, 429, 500, 504];
    for status in refusals {
        proxy.add(Rule::new(attempt, Fault::Refuse(status)).times(1));
    }
    operator.process.start_again()?;
    scene.applied().await?;
    let counted = scene.bed.server("echo").await?.reverts.len();
    ensure!(counted == 1, "{counted} are counted");
    scene.ends().await
}

async fn undo(bed: &Bed) -> Result<()> {
    bed.kubectl(&["rollout", "undo", "deployment", "echo"])
        .await
        .map(drop)
}

/// kubectl reads before it writes: where somebody wrote in between it is told so, and a person runs it again.
pub async fn replace(bed: &Bed, manifest: &Value) -> Result<()> {
    until("nobody writes in between", SOON, async || {
        bed.kubectl_with(&["replace", "-f", "-"], &manifest.to_string())
            .await
            .map(Some)
    })
    .await
    .map(drop)
}

/// It waits, and says since when.
async fn is_noted(bed: &Bed) -> Result<()> {
    bed.reason("echo", ConnectionAgeApplied, "WaitingForRollout", SOON)
        .await?;
    bed.reason("echo", Reconciling, "WaitingForRollout", SOON)
        .await?;
    let message = bed.message("echo", ConnectionAgeApplied).await?;
    ensure!(
        message.contains("set again 10 minutes after that"),
        "{message}"
    );
    ensure!(
        bed.server("echo").await?.gone_since.is_some(),
        "the status does not say since when"
    );
    Ok(())
}

/// When the time has come it is set again, and counted.
async fn comes_again(scene: &Scene) -> Result<()> {
    let bed = &scene.bed;
    bed.eleven_minutes_pass().await?;
    scene.applied().await?;
    ensure!(
        bed.deployment("echo")
            .await?
            .annotations()
            .contains_key("connection-age.evenkeel.dev/echo"),
        "no record"
    );
    let server = bed.server("echo").await?;
    ensure!(
        server.reverts.len() == 1 && server.gone_since.is_none(),
        "{server:?}"
    );
    Ok(())
}
