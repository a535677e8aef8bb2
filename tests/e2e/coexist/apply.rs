//! `kubectl apply`, server-side apply, `kubectl edit`: variables that the owner has, adds, changes or removes.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::{ConnectionAgeApplied, Ready};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::before::arguments_of;
use super::{
    AGE, FLAG, GRACE, LISTEN, Scene, add_variable, age_of, backend_by_flag, revision, server_with,
};
use crate::bed::{Bed, ROLLOUT, SOON};
use crate::manifests::{self, container};
use crate::tests;
use crate::world::World;

tests![
    shared other_changes_go_through(150),
    shared what_was_there_before_stays_untouched(120),
    shared the_same_value_becomes_theirs(150),
    shared an_override_that_goes_makes_room(150),
    shared env_from_that_comes_later_changes_nothing(150),
    shared value_from_that_comes_later_needs_room(150),
    shared what_is_edited_wins(150),
    shared arguments_that_a_pipeline_drops_are_gone(150),
    shared another_manager_has_to_force_once(150),
    shared a_manifest_without_variables_is_no_undo(150),
    shared a_record_outlives_an_apply_without_annotations(150),
];

/// Another variable by each way of applying: it comes in, ours stays, and only ours goes in the end.
async fn other_changes_go_through(world: Arc<World>) -> Result<()> {
    let manifest = manifests::server("echo", 1);
    let backend = manifests::backend_with_age("echo", "30s");
    let scene = Scene::after(&world, "others", &manifest, &backend).await?;
    let bed = &scene.bed;
    let mut last = manifest;
    for (name, force) in [
        ("FIRST", None),
        ("SECOND", Some(false)),
        ("THIRD", Some(true)),
    ] {
        let begun = Timestamp::now();
        let other = json!({"name": name, "value": "1"});
        add_variable(container(&mut last), &other);
        match force {
            None => bed.apply(&last).await.map(drop)?,
            // The pipeline owns what it brings; what kubectl brought stays as it is and conflicts with nobody.
            Some(force) => bed.server_side_apply("pipeline", force, &last).await?,
        }
        bed.rolled_out("echo").await?;
        bed.another_pass("echo").await?;
        let template = bed.template("echo").await?;
        let env = template["spec"]["containers"][0]["env"].as_array();
        ensure!(env.is_some_and(|env| env.contains(&other)), "{template:#}");
        ensure!(
            age_of(&template, "server").as_deref() == Some("30s"),
            "the age is gone"
        );
        scene.applied().await?;
        ensure!(
            bed.writes_to_workloads(begun)? == 0,
            "{:#?}",
            bed.writes_since(begun)?
        );
    }
    let mut expected = scene.template_before();
    expected["spec"]["containers"][0]["env"] = container(&mut last)["env"].clone();
    scene.ends_as(&expected).await
}

/// The very value, another by valueFrom, and something hidden in envFrom: nothing is written, each says what it is.
async fn what_was_there_before_stays_untouched(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "were-there").await?;
    let mut same_value = manifests::server("same", 1);
    add_variable(
        container(&mut same_value),
        &json!({"name": AGE, "value": "30s"}),
    );
    add_variable(
        container(&mut same_value),
        &json!({"name": GRACE, "value": "10000ms"}),
    );
    let mut from = manifests::server("from", 1);
    add_variable(container(&mut from), &from_config());
    let mut hidden = manifests::server("hidden", 1);
    container(&mut hidden)["envFrom"] =
        json!([{"configMapRef": {"name": "absent", "optional": true}}]);
    let cases = [
        (
            "same",
            same_value,
            "Applied",
            "ready pods of Deployment same run with 30s",
        ),
        (
            "from",
            from,
            "FieldConflict",
            "MAX_CONNECTION_AGE by valueFrom",
        ),
        (
            "hidden",
            hidden,
            "EnvFromUnverified",
            "has envFrom, which may set env MAX_CONNECTION_AGE",
        ),
    ];
    for (_, manifest, ..) in &cases {
        bed.apply(manifest).await?;
    }
    let begun = Timestamp::now();
    for (name, _, reason, words) in &cases {
        bed.rolled_out(name).await?;
        bed.apply(&manifests::backend_with_age(name, "30s")).await?;
        bed.reason(name, ConnectionAgeApplied, reason, ROLLOUT)
            .await?;
        let message = bed.message(name, ConnectionAgeApplied).await?;
        ensure!(message.contains(words), "{message}");
        bed.another_pass(name).await?;
        bed.kubectl(&["delete", "gb", name]).await?;
    }
    ensure!(
        bed.writes_to_workloads(begun)? == 0,
        "{:#?}",
        bed.writes_since(begun)?
    );
    bed.finish().await
}

/// The owner puts the same value into the manifest: from then on it is theirs, and only the grace goes with us.
async fn the_same_value_becomes_theirs(world: Arc<World>) -> Result<()> {
    let manifest = manifests::server("echo", 1);
    let backend = manifests::backend_with_age("echo", "30s");
    let variable = json!({"name": AGE, "value": "30s"});
    for force in [None, Some(false)] {
        let scene = Scene::after(&world, "theirs", &manifest, &backend).await?;
        let before = revision(&scene.bed).await?;
        match force {
            None => scene.bed.apply(&server_with(&variable)).await.map(drop)?,
            Some(force) => {
                let adopted = server_with(&variable);
                scene
                    .bed
                    .server_side_apply("pipeline", force, &adopted)
                    .await?;
            }
        }
        scene.applied().await?;
        let after = revision(&scene.bed).await?;
        ensure!(after == before, "pods were replaced for nothing");
        let mut expected = scene.template_before();
        add_variable(&mut expected["spec"]["containers"][0], &variable);
        scene.ends_as(&expected).await?;
    }
    Ok(())
}

/// Who follows the advice to take the own value out gets ours at once, not after the ten minutes of an undo.
async fn an_override_that_goes_makes_room(world: Arc<World>) -> Result<()> {
    let manifest = manifests::server("echo", 1);
    let backend = manifests::backend_with_age("echo", "30s");
    let scene = Scene::after(&world, "room", &manifest, &backend).await?;
    let theirs = server_with(&json!({"name": AGE, "value": "45s"}));
    scene.bed.apply(&theirs).await?;
    scene
        .bed
        .reason("echo", ConnectionAgeApplied, "FieldConflict", ROLLOUT)
        .await?;
    scene.bed.apply(&manifest).await?;
    let applied = scene
        .bed
        .reason("echo", ConnectionAgeApplied, "Applied", ROLLOUT)
        .await?;
    let status = applied.status.unwrap_or_default();
    ensure!(
        status.running_max_age.as_deref() == Some("30s"),
        "{:?}",
        status.running_max_age
    );
    scene.bed.rolled_out("echo").await?;
    scene.ends().await
}

/// A variable in env wins over envFrom, whatever that holds.
async fn env_from_that_comes_later_changes_nothing(world: Arc<World>) -> Result<()> {
    let mut manifest = manifests::server("echo", 1);
    let backend = manifests::backend_with_age("echo", "30s");
    let scene = Scene::after(&world, "env-from", &manifest, &backend).await?;
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {AGE: "5m"}});
    scene.bed.apply(&config).await?;
    let from = json!([{"configMapRef": {"name": "settings"}}]);
    container(&mut manifest)["envFrom"] = from.clone();
    let begun = Timestamp::now();
    scene.bed.apply(&manifest).await?;
    scene.bed.rolled_out("echo").await?;
    scene.bed.another_pass("echo").await?;
    scene.applied().await?;
    ensure!(scene.bed.writes_to_workloads(begun)? == 0, "it was written");
    let pods = scene.bed.pods("app=echo").await?;
    let pod = pods[0].metadata.name.clone().context("no name")?;
    let log = scene.bed.kubectl(&["logs", &pod]).await?;
    ensure!(log.contains(r#""max_connection_age":"30s""#), "{log}");
    let mut expected = scene.template_before();
    expected["spec"]["containers"][0]["envFrom"] = from;
    scene.ends_as(&expected).await
}

/// The one change that the API server cannot merge: beside our value it refuses valueFrom, by whatever apply. With the value emptied it goes in.
async fn value_from_that_comes_later_needs_room(world: Arc<World>) -> Result<()> {
    let manifest = manifests::server("echo", 1);
    let backend = manifests::backend_with_age("echo", "30s");
    let scene = Scene::after(&world, "value-from", &manifest, &backend).await?;
    let bed = &scene.bed;
    let theirs = server_with(&from_config());
    for force in [None, Some(false), Some(true)] {
        let refused = match force {
            None => bed.apply(&theirs).await.map(drop),
            Some(force) => bed.server_side_apply("pipeline", force, &theirs).await,
        };
        let refused = refused.err().context("it is taken")?;
        let refused = format!("{refused:#}");
        ensure!(refused.contains("when `value` is not empty"), "{refused}");
    }
    let mut emptied = from_config();
    emptied["value"] = json!("");
    bed.apply(&server_with(&emptied)).await?;
    bed.apply(&theirs).await?;
    bed.rolled_out("echo").await?;
    bed.reason("echo", ConnectionAgeApplied, "FieldConflict", ROLLOUT)
        .await?;
    let mut expected = scene.template_before();
    add_variable(&mut expected["spec"]["containers"][0], &from_config());
    scene.ends_as(&expected).await
}

/// By hand, in an editor: another value stays theirs, and goes by their hand only.
async fn what_is_edited_wins(world: Arc<World>) -> Result<()> {
    let manifest = manifests::server("echo", 1);
    let backend = manifests::backend_with_age("echo", "30s");
    let scene = Scene::after(&world, "edit", &manifest, &backend).await?;
    let begun = Timestamp::now();
    scene.bed.edit("echo", "s/value: 30s/value: 45s/").await?;
    scene
        .bed
        .reason("echo", ConnectionAgeApplied, "FieldConflict", ROLLOUT)
        .await?;
    scene
        .bed
        .reason("echo", Ready, "FieldConflict", SOON)
        .await?;
    scene.bed.rolled_out("echo").await?;
    scene.bed.another_pass("echo").await?;
    ensure!(scene.bed.writes_to_workloads(begun)? == 0, "it was written");
    let mut expected = scene.template_before();
    let theirs = json!({"name": AGE, "value": "45s"});
    add_variable(&mut expected["spec"]["containers"][0], &theirs);
    scene.ends_as(&expected).await
}

fn from_config() -> Value {
    json!({"name": AGE, "valueFrom": {"configMapKeyRef": {"name": "absent", "key": "age", "optional": true}}})
}

/// Server-side apply takes away what its manager owned: a list that we had extended still is the pipeline's to drop, while the
/// age is in, and when it is out again. Sent with ours in it, it is theirs to keep.
async fn arguments_that_a_pipeline_drops_are_gone(world: Arc<World>) -> Result<()> {
    const DROPPED: [&str; 2] = ["meanwhile", "later"];
    const KEPT: &str = "with-ours";
    let bed = Bed::new(&world, "dropped").await?;
    let both = |name: &str| {
        let without = manifests::server(name, 0);
        let mut with = without.clone();
        container(&mut with)["args"] = json!([LISTEN]);
        (without, with)
    };
    let apply = async |manifest: &Value| bed.server_side_apply("pipeline", false, manifest).await;
    for name in DROPPED.iter().chain([&KEPT]) {
        apply(&both(name).1).await?;
        bed.apply(&backend_by_flag(name, "30s")).await?;
        bed.reason(name, ConnectionAgeApplied, "Applied", ROLLOUT)
            .await?;
        let args = arguments_of(&bed, name).await?;
        ensure!(args == json!([LISTEN, format!("{FLAG}=30s")]), "{args}");
    }
    bed.kubectl(&["delete", "gb", "later"]).await?;
    let mut ends = Vec::new();
    for name in DROPPED {
        let without = both(name).0;
        apply(&without).await?;
        let args = arguments_of(&bed, name).await?;
        ensure!(args.is_null(), "{name} has {args} still");
        ends.push((format!("Deployment/{name}"), bed.template(name).await?));
    }
    bed.reason("meanwhile", ConnectionAgeApplied, "NothingToExtend", SOON)
        .await?;
    let mut theirs = both(KEPT).1;
    container(&mut theirs)["args"] = arguments_of(&bed, KEPT).await?;
    apply(&theirs).await?;
    ends.push((format!("Deployment/{KEPT}"), bed.template(KEPT).await?));
    bed.finish_with(ends).await
}

/// The list is the former manager's, and with ours in it not what the new one sends. After one apply by force there is no conflict
/// any more, neither with the former nor with us.
async fn another_manager_has_to_force_once(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "moved").await?;
    let mut manifest = manifests::server("echo", 0);
    container(&mut manifest)["args"] = json!([LISTEN]);
    let apply = async |manager: &str, force| bed.server_side_apply(manager, force, &manifest).await;
    apply("pipeline", false).await?;
    bed.apply(&backend_by_flag("echo", "30s")).await?;
    bed.reason("echo", ConnectionAgeApplied, "Applied", ROLLOUT)
        .await?;
    let refused = apply("newcomer", false).await.err();
    let refused = format!("{:#}", refused.context("it is taken")?);
    ensure!(
        refused.contains("\"pipeline\"") && !refused.contains("evenkeel"),
        "{refused}"
    );
    for (attempt, force) in [(1, true), (2, false)] {
        apply("newcomer", force).await?;
        bed.set_again("echo", attempt).await?;
        bed.reason("echo", ConnectionAgeApplied, "Applied", ROLLOUT)
            .await?;
    }
    bed.finish().await
}

/// A three-way merge of a manifest that has no `env` any more takes the whole list away: ours is set again at once, and counted.
async fn a_manifest_without_variables_is_no_undo(world: Arc<World>) -> Result<()> {
    let mut manifest = manifests::server("echo", 0);
    let backend = manifests::backend_with_age("echo", "30s");
    let scene = Scene::after(&world, "no-env", &manifest, &backend).await?;
    let bed = &scene.bed;
    let server = container(&mut manifest).as_object_mut();
    server.context("no container")?.remove("env");
    bed.apply(&manifest).await?;
    bed.set_again("echo", 1).await?;
    scene.applied().await?;
    bed.has_age("deployment/echo", "server", Some("30s"))
        .await?;
    let mut expected = scene.template_before();
    let server = expected["spec"]["containers"][0].as_object_mut();
    server.context("no container")?.remove("env");
    scene.ends_as(&expected).await
}

/// Nobody else has an annotation on it, and whoever applies it sends none: what it does not send any more is not ours to lose.
async fn a_record_outlives_an_apply_without_annotations(world: Arc<World>) -> Result<()> {
    const OBJECT: &str = "StatefulSet/store";
    let bed = Bed::new(&world, "records").await?;
    let mut manifest = manifests::server_of_kind("StatefulSet", "store", 0);
    container(&mut manifest)["args"] = json!([LISTEN]);
    let apply = async || bed.server_side_apply("pipeline", false, &manifest).await;
    apply().await?;
    let before = bed.template_of(OBJECT).await?;
    bed.apply(&backend_by_flag("store", "30s")).await?;
    bed.reason("store", ConnectionAgeApplied, "Applied", ROLLOUT)
        .await?;
    apply().await?;
    bed.set_again("store", 1).await?;
    bed.apply(&manifests::backend_with_age("store", "30s"))
        .await?;
    bed.reason("store", ConnectionAgeApplied, "Applied", ROLLOUT)
        .await?;
    apply().await?;
    bed.another_pass_over("statefulset/store").await?;
    bed.has_age(OBJECT, "server", Some("30s")).await?;
    bed.finish_with(vec![(OBJECT.to_owned(), before)]).await
}
