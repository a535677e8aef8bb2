//! What the owner does before our write, however: what is there already is theirs, and what goes makes room.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::ConnectionAgeApplied;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::helm::Chart;
use super::undo::replace;
use super::{AGE, FLAG, LISTEN, Scene, add_variable, backend_by_flag};
use crate::bed::{Bed, ROLLOUT, SOON};
use crate::manifests::{self, container};
use crate::tests;
use crate::world::World;

tests![
    shared whoever_has_it_first_keeps_it_until_they_take_it_out(300),
    shared a_flag_in_whatever_spelling_is_theirs_until_they_take_it_out(300),
    shared a_container_that_is_renamed_first_gets_it(150),
];

/// How an owner brings a variable, and takes it out again. The Deployment is called like it.
const WAYS: [&str; 9] = [
    "apply",
    "server-side-apply",
    "forced-apply",
    "helm-apply",
    "helm-merge",
    "edit",
    "set-env",
    "replace",
    "undo",
];

/// Those by which a list of arguments comes as a whole.
const LISTS: [&str; 7] = [
    "apply",
    "server-side-apply",
    "forced-apply",
    "helm-apply",
    "helm-merge",
    "replace",
    "undo",
];

async fn whoever_has_it_first_keeps_it_until_they_take_it_out(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "before").await?;
    for way in WAYS {
        bring(&bed, way, &with_variable(way)).await.context(way)?;
        bed.rolled_out(way).await?;
        bed.has_age(&format!("deployment/{way}"), "server", Some("45s"))
            .await?;
    }
    let begun = Timestamp::now();
    for way in WAYS {
        bed.apply(&manifests::backend_with_age(way, "30s")).await?;
    }
    for way in WAYS {
        bed.reason(way, ConnectionAgeApplied, "FieldConflict", SOON)
            .await?;
        let message = bed.message(way, ConnectionAgeApplied).await?;
        ensure!(message.contains("MAX_CONNECTION_AGE=45s"), "{message}");
    }
    ensure!(
        bed.writes_to_workloads(begun)? == 0,
        "{:#?}",
        bed.writes_since(begun)?
    );
    let mut ends = Vec::new();
    for way in WAYS {
        let mut template = bed.template(way).await?;
        let env = template["spec"]["containers"][0]["env"].as_array_mut();
        env.context("no env")?
            .retain(|variable| variable["name"] != AGE);
        ends.push((format!("Deployment/{way}"), template));
        take_out(&bed, way, &with_variable(way))
            .await
            .context(way)?;
    }
    // At once, not after the ten minutes of an undo: nothing of ours was taken out.
    for way in WAYS {
        bed.reason(way, ConnectionAgeApplied, "Applied", ROLLOUT)
            .await?;
        bed.has_age(&format!("deployment/{way}"), "server", Some("30s"))
            .await?;
    }
    bed.finish_with(ends).await
}

/// The same of a flag, by each way that brings a whole list.
async fn a_flag_in_whatever_spelling_is_theirs_until_they_take_it_out(
    world: Arc<World>,
) -> Result<()> {
    let bed = Bed::new(&world, "flag-before").await?;
    for way in LISTS {
        bring(&bed, way, &with_flag(way)).await.context(way)?;
        bed.rolled_out(way).await?;
    }
    let begun = Timestamp::now();
    for way in LISTS {
        bed.apply(&backend_by_flag(way, "30s")).await?;
    }
    for way in LISTS {
        let theirs = ["-max_connection_age 45s"];
        bed.says(way, ConnectionAgeApplied, "FieldConflict", &theirs, SOON)
            .await?;
    }
    let writes = bed.writes_to_workloads(begun)?;
    ensure!(writes == 0, "{:#?}", bed.writes_since(begun)?);
    let mut ends = Vec::new();
    for way in LISTS {
        let mut template = bed.template(way).await?;
        template["spec"]["containers"][0]["args"] = json!([LISTEN]);
        ends.push((format!("Deployment/{way}"), template));
        take_out(&bed, way, &with_flag(way)).await.context(way)?;
    }
    for way in LISTS {
        bed.reason(way, ConnectionAgeApplied, "Applied", ROLLOUT)
            .await?;
        let args = arguments_of(&bed, way).await?;
        ensure!(
            args == json!([LISTEN, format!("{FLAG}=30s")]),
            "{way}: {args}"
        );
    }
    bed.finish_with(ends).await
}

/// The arguments of a Deployment's container.
pub async fn arguments_of(bed: &Bed, name: &str) -> Result<Value> {
    let mut template = bed.template(name).await?;
    Ok(template["spec"]["containers"][0]["args"].take())
}

/// While it waits, here for a Deployment that is paused.
async fn a_container_that_is_renamed_first_gets_it(world: Arc<World>) -> Result<()> {
    let mut manifest = manifests::server("echo", 1);
    let scene = Scene::before(&world, "renamed-first", &manifest).await?;
    let bed = &scene.bed;
    bed.kubectl(&["rollout", "pause", "deployment", "echo"])
        .await?;
    bed.apply(&manifests::backend_with_age("echo", "30s"))
        .await?;
    bed.reason("echo", ConnectionAgeApplied, "Paused", SOON)
        .await?;
    container(&mut manifest)["name"] = json!("program");
    bed.apply(&manifest).await?;
    bed.kubectl(&["rollout", "resume", "deployment", "echo"])
        .await?;
    scene.applied().await?;
    bed.has_age("deployment/echo", "program", Some("30s"))
        .await?;
    let mut expected = scene.template_before();
    expected["spec"]["containers"][0]["name"] = json!("program");
    scene.ends_as(&expected).await
}

/// A Deployment with a variable that came that way.
pub async fn bring(bed: &Bed, way: &str, (without, with): &Both) -> Result<()> {
    match way {
        "server-side-apply" | "forced-apply" | "helm-apply" | "helm-merge" => {}
        // First without it.
        _ => bed.apply(without).await.map(drop)?,
    }
    match way {
        "helm-apply" | "helm-merge" => chart(bed, way)?.bring("install", with).await,
        "edit" => {
            let script =
                r"s/^( *)- name: POD_NAME/\1- name: MAX_CONNECTION_AGE\n\1  value: 45s\n&/";
            bed.edit(way, script).await
        }
        "set-env" => set_env(bed, way, "MAX_CONNECTION_AGE=45s").await,
        "replace" => replace(bed, with).await,
        "undo" => {
            bed.apply(with).await?;
            bed.rolled_out(way).await?;
            bed.apply(without).await?;
            bed.rolled_out(way).await?;
            undo(bed, way).await
        }
        _ => apply(bed, way, with).await,
    }
}

/// The same way back.
pub async fn take_out(bed: &Bed, way: &str, (without, _): &Both) -> Result<()> {
    match way {
        "helm-apply" | "helm-merge" => chart(bed, way)?.bring("upgrade", without).await,
        "edit" => bed.edit(way, "/- name: MAX_CONNECTION_AGE$/,+1d").await,
        "set-env" => set_env(bed, way, "MAX_CONNECTION_AGE-").await,
        "replace" => replace(bed, without).await,
        "undo" => undo(bed, way).await,
        _ => apply(bed, way, without).await,
    }
}

/// A Deployment without what its owner brings, and with it. Without pods: what they would show other tests do.
type Both = (Value, Value);

fn with_variable(way: &str) -> Both {
    let without = manifests::server(way, 0);
    let mut with = without.clone();
    add_variable(container(&mut with), &json!({"name": AGE, "value": "45s"}));
    (without, with)
}

/// Spelled otherwise than the knob of the backend has it.
pub fn with_flag(way: &str) -> Both {
    let mut without = manifests::server(way, 0);
    container(&mut without)["args"] = json!([LISTEN]);
    let mut with = without.clone();
    container(&mut with)["args"] = json!([LISTEN, "-max_connection_age", "45s"]);
    (without, with)
}

fn chart<'a>(bed: &'a Bed, way: &str) -> Result<Chart<'a>> {
    let server_side = if way == "helm-apply" { "true" } else { "false" };
    Chart::new(bed, way, server_side)
}

async fn apply(bed: &Bed, way: &str, manifest: &Value) -> Result<()> {
    match way {
        "server-side-apply" => bed.server_side_apply("pipeline", false, manifest).await,
        "forced-apply" => bed.server_side_apply("pipeline", true, manifest).await,
        _ => bed.apply(manifest).await.map(drop),
    }
}

async fn set_env(bed: &Bed, name: &str, variable: &str) -> Result<()> {
    bed.kubectl(&["set", "env", "deployment", name, variable])
        .await
        .map(drop)
}

async fn undo(bed: &Bed, name: &str) -> Result<()> {
    bed.kubectl(&["rollout", "undo", "deployment", name])
        .await
        .map(drop)
}
