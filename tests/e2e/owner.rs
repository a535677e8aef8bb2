//! The owner of a Deployment never notices us, and always wins.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::{ConnectionAgeApplied, Ready};
use evenkeel_cluster::until;
use jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::bed::{Bed, ROLLOUT, SOON};
use crate::coexist::{AGE, Scene, add_variable, age_of, server_with};
use crate::manifests::{self, same};
use crate::tests;
use crate::world::World;

tests![
    shared applies_of_the_same_change_nothing(150),
    shared an_override_by_kubectl_wins(150),
    shared an_override_by_server_side_apply_wins(150),
    shared a_container_may_be_renamed(200),
    shared a_pipeline_of_server_side_applies_goes_on(200),
    shared what_cannot_be_had_is_said_once(150),
];

const RECORD: &str = "connection-age.evenkeel.dev/echo";

async fn applies_of_the_same_change_nothing(world: Arc<World>) -> Result<()> {
    let scene = with_age(&world, "reapply", Owner::Kubectl).await?;
    let bed = &scene.bed;
    let (template, manifest) = (bed.template("echo").await?, manifests::server("echo", 1));
    let generation = bed.deployment("echo").await?.metadata.generation;
    let begun = Timestamp::now();
    // kubectl may say "configured" for a patch that only tells the order of what is in the manifest.
    bed.apply(&manifest).await?;
    let after = bed.template("echo").await?;
    same(&after, &template)?;
    ensure!(
        generation == bed.deployment("echo").await?.metadata.generation,
        "a new generation"
    );
    for force in [false, true] {
        bed.server_side_apply("pipeline", force, &manifest).await?;
    }
    bed.another_pass("echo").await?;
    bed.reason("echo", ConnectionAgeApplied, "Applied", SOON)
        .await?;
    let after = bed.template("echo").await?;
    same(&after, &template)?;
    no_writes_to_the_deployment(bed, begun)?;
    scene.ends().await
}

async fn an_override_by_kubectl_wins(world: Arc<World>) -> Result<()> {
    let scene = with_age(&world, "override", Owner::Kubectl).await?;
    let begun = Timestamp::now();
    scene.bed.apply(&overriding("45s")).await?;
    theirs_stays(scene, begun).await
}

async fn an_override_by_server_side_apply_wins(world: Arc<World>) -> Result<()> {
    for force in [false, true] {
        let scene = with_age(&world, "override-ssa", Owner::Pipeline).await?;
        let begun = Timestamp::now();
        scene
            .bed
            .server_side_apply("pipeline", force, &overriding("45s"))
            .await?;
        theirs_stays(scene, begun).await?;
    }
    Ok(())
}

/// The condition says so, nothing is overwritten, and nothing of theirs goes with the resource.
async fn theirs_stays(scene: Scene, begun: Timestamp) -> Result<()> {
    let bed = &scene.bed;
    bed.reason("echo", ConnectionAgeApplied, "FieldConflict", ROLLOUT)
        .await?;
    let message = bed.message("echo", ConnectionAgeApplied).await?;
    for part in [
        "container server of Deployment echo",
        "MAX_CONNECTION_AGE=45s",
        "MAX_CONNECTION_AGE=30s",
        "remove it there",
    ] {
        ensure!(message.contains(part), "{message}");
    }
    bed.rolled_out("echo").await?;
    bed.another_pass("echo").await?;
    bed.has_age("deployment/echo", "server", Some("45s"))
        .await?;
    no_writes_to_the_deployment(bed, begun)?;
    let status = bed.backend("echo").await?.status.unwrap_or_default();
    ensure!(
        status.running_max_age.as_deref() == Some("45s"),
        "{:?} is said to run",
        status.running_max_age
    );
    let mut expected = scene.template_before();
    let theirs = json!({"name": AGE, "value": "45s"});
    add_variable(&mut expected["spec"]["containers"][0], &theirs);
    scene.ends_as(&expected).await
}

async fn a_container_may_be_renamed(world: Arc<World>) -> Result<()> {
    let scene = with_age(&world, "rename", Owner::Kubectl).await?;
    let bed = &scene.bed;
    let mut renamed = manifests::server("echo", 1);
    manifests::container(&mut renamed)["name"] = json!("program");
    bed.apply(&renamed).await?;
    follows_to(bed, "program").await?;
    // The same where the container is named here: then there is none until somebody says which.
    bed.change("echo", &json!({"connectionAge": {"container": "program"}}))
        .await?;
    bed.reason("echo", ConnectionAgeApplied, "Applied", ROLLOUT)
        .await?;
    bed.apply(&manifests::server("echo", 1)).await?;
    bed.rolled_out("echo").await?;
    until("the record is forgotten", SOON, async || {
        let deployment = bed.deployment("echo").await?;
        Ok((!deployment.annotations().contains_key(RECORD)).then_some(()))
    })
    .await?;
    bed.reason("echo", ConnectionAgeApplied, "NoServer", SOON)
        .await?;
    let message = bed.message("echo", ConnectionAgeApplied).await?;
    for part in [
        "Deployment echo",
        "container program",
        "server",
        "spec.connectionAge.container",
    ] {
        ensure!(message.contains(part), "{message}");
    }
    scene.ends().await
}

async fn a_pipeline_of_server_side_applies_goes_on(world: Arc<World>) -> Result<()> {
    let scene = with_age(&world, "pipeline", Owner::Pipeline).await?;
    let bed = &scene.bed;
    let template = bed.template("echo").await?;
    let mut manifest = manifests::server("echo", 1);
    bed.server_side_apply("pipeline", false, &manifest).await?;
    let after = bed.template("echo").await?;
    same(&after, &template)?;
    manifests::container(&mut manifest)["name"] = json!("program");
    bed.server_side_apply("pipeline", false, &manifest).await?;
    follows_to(bed, "program").await?;
    // A newcomer conflicts with the pipeline where they differ, never with us.
    manifests::container(&mut manifest)["env"] = json!([{"name": AGE, "value": "45s"}]);
    bed.server_side_apply("newcomer", false, &manifest).await?;
    bed.reason("echo", ConnectionAgeApplied, "FieldConflict", ROLLOUT)
        .await?;
    bed.has_age("deployment/echo", "program", Some("45s"))
        .await?;
    let mut expected = scene.template_before();
    let theirs = &mut expected["spec"]["containers"][0];
    theirs["name"] = json!("program");
    add_variable(theirs, &json!({"name": AGE, "value": "45s"}));
    scene.ends_as(&expected).await
}

/// The renamed container is the only one, and has the age.
async fn follows_to(bed: &Bed, container: &str) -> Result<()> {
    until("the renamed container has the age", ROLLOUT, async || {
        let template = bed.template("echo").await?;
        let containers = template["spec"]["containers"]
            .as_array()
            .context("no containers")?;
        ensure!(containers.len() == 1, "{containers:#?}");
        Ok((age_of(&template, container).as_deref() == Some("30s")).then_some(()))
    })
    .await?;
    bed.reason("echo", ConnectionAgeApplied, "Applied", ROLLOUT)
        .await?;
    bed.reason("echo", Ready, "AllReady", SOON).await?;
    bed.rolled_out("echo").await
}

/// A value that somebody else set before us, and a container that does not exist: told once, and then silence.
async fn what_cannot_be_had_is_said_once(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "refuse").await?;
    let mut theirs = manifests::server("theirs", 1);
    manifests::container(&mut theirs)["env"]
        .as_array_mut()
        .context("no env")?
        .push(json!({"name": AGE, "value": "7m"}));
    let other = manifests::server("other", 1);
    for deployment in [&theirs, &other] {
        bed.apply(deployment).await?;
    }
    bed.rolled_out("theirs").await?;
    bed.rolled_out("other").await?;
    let applied = Timestamp::now();
    let mut backend = manifests::backend_with_age("other", "30s");
    backend["spec"]["connectionAge"]["container"] = json!("absent");
    bed.apply(&backend).await?;
    bed.apply(&manifests::backend_with_age("theirs", "30s"))
        .await?;
    bed.reason("theirs", ConnectionAgeApplied, "FieldConflict", SOON)
        .await?;
    bed.reason("other", ConnectionAgeApplied, "NoServer", SOON)
        .await?;
    let message = bed.message("theirs", ConnectionAgeApplied).await?;
    for part in [
        "container server of Deployment theirs",
        "MAX_CONNECTION_AGE=7m",
        "MAX_CONNECTION_AGE=30s",
        "remove it there, or ask for the same here",
    ] {
        ensure!(message.contains(part), "{message}");
    }
    let message = bed.message("other", ConnectionAgeApplied).await?;
    for part in [
        "Deployment other has no container absent",
        "it has server",
        "correct spec.connectionAge.container",
    ] {
        ensure!(message.contains(part), "{message}");
    }
    for name in ["theirs", "other"] {
        bed.reason(
            name,
            Ready,
            if name == "theirs" {
                "FieldConflict"
            } else {
                "NoServer"
            },
            SOON,
        )
        .await?;
    }
    let begun = Timestamp::now();
    // The span is the measurement.
    tokio::time::sleep(Duration::from_secs(15)).await;
    no_writes_to_the_deployment(&bed, applied)?;
    let user = &bed.operator.as_ref().context("no operator")?.user;
    let requests = world.cluster.audit().requests_by(user, begun)?;
    // A pass reads nine objects and more; each backend may have one or two of them while its figures settle.
    println!(
        "    {} requests in 15 s, {} of them writes",
        requests.len(),
        bed.writes_since(begun)?.len()
    );
    ensure!(requests.len() <= 40, "{} requests in 15 s", requests.len());
    ensure!(
        bed.writes_since(begun)?.len() <= 4,
        "{:#?}",
        bed.writes_since(begun)?
    );
    bed.finish().await
}

/// How the owner writes.
#[derive(Clone, Copy)]
enum Owner {
    /// `kubectl apply`.
    Kubectl,
    /// Server-side apply as the manager `pipeline`.
    Pipeline,
}

/// A Deployment of that owner with an age of 30 s that is in place.
async fn with_age(world: &Arc<World>, prefix: &str, owner: Owner) -> Result<Scene> {
    let manifest = manifests::server("echo", 1);
    let backend = manifests::backend_with_age("echo", "30s");
    match owner {
        Owner::Kubectl => Scene::after(world, prefix, &manifest, &backend).await,
        Owner::Pipeline => {
            let bed = Bed::new(world, prefix).await?;
            bed.server_side_apply("pipeline", false, &manifest).await?;
            Scene::of(bed).await?.with(&backend).await
        }
    }
}

/// The owner's manifest with the very variable.
fn overriding(age: &str) -> Value {
    server_with(&json!({"name": AGE, "value": age}))
}

fn no_writes_to_the_deployment(bed: &Bed, begun: Timestamp) -> Result<()> {
    let mut writes = bed.writes_since(begun)?;
    writes.retain(|write| write.resource == "deployments");
    ensure!(writes.is_empty(), "{writes:#?}");
    Ok(())
}
