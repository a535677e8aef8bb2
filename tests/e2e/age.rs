//! The connection age: how it gets into Deployments by each knob.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::{ConnectionAgeApplied, Ready};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::bed::{Bed, ROLLOUT, SOON};
use crate::coexist::is_owned_by_us;
use crate::manifests::{self, same};
use crate::tests;
use crate::world::World;

tests![
    shared by_variable_in_one_rollout(150),
    shared by_switch_and_back(200),
    shared by_flags_in_both_styles(200),
    shared advice_can_be_followed_to_the_letter(150),
    shared suspended_writes_only_status(120),
];

async fn by_variable_in_one_rollout(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "env").await?;
    bed.echo(2).await?;
    let begun = Timestamp::now();
    bed.apply(&manifests::backend_with_age("echo", "30s"))
        .await?;
    let backend = bed
        .reason("echo", ConnectionAgeApplied, "Applied", ROLLOUT)
        .await?;
    bed.reason("echo", Ready, "AllReady", ROLLOUT).await?;
    let status = backend.status.unwrap_or_default();
    ensure!(
        status.running_max_age.as_deref() == Some("30s"),
        "{:?}",
        status.running_max_age
    );
    let pods = bed.pods("app=echo").await?;
    ensure!(pods.len() == 2, "{} pods", pods.len());
    for pod in &pods {
        ensure!(
            variable(pod, "MAX_CONNECTION_AGE").as_deref() == Some("30s"),
            "{}",
            pod.name_any()
        );
        ensure!(
            variable(pod, "MAX_CONNECTION_AGE_GRACE").as_deref() == Some("10s"),
            "{}",
            pod.name_any()
        );
    }
    ensure!(
        replica_sets(&bed, "echo").await? == 2,
        "more than one rollout"
    );
    let deployment = bed.deployment("echo").await?;
    ensure!(
        !is_owned_by_us(&deployment),
        "{:?}",
        deployment.metadata.managed_fields
    );
    ensure!(
        deployment
            .annotations()
            .contains_key("connection-age.evenkeel.dev/echo"),
        "no record"
    );
    let patches = bed
        .writes_since(begun)?
        .iter()
        .filter(|write| write.resource == "deployments" && write.code == 200)
        .count();
    ensure!(
        patches == 2,
        "one write and its release were expected, not {patches}"
    );
    let quiet = Timestamp::now();
    for _ in 0..3 {
        bed.another_pass("echo").await?;
    }
    // Endpoints and figures may still settle; what was applied may not be applied again.
    let writes = bed.writes_since(quiet)?;
    ensure!(
        writes.iter().all(|write| write.subresource == "status"),
        "{writes:#?}"
    );
    ensure!(replica_sets(&bed, "echo").await? == 2, "a second rollout");
    bed.finish().await
}

async fn by_switch_and_back(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "switch").await?;
    let mut in_command = manifests::server("in-command", 1);
    manifests::container(&mut in_command)["command"] = json!(["/server", "--listen=:8080"]);
    let mut in_args = manifests::server("in-args", 1);
    manifests::container(&mut in_args)["args"] = json!(["--listen=:8080"]);
    for deployment in [&in_command, &in_args] {
        bed.apply(deployment).await?;
    }
    for name in ["in-command", "in-args"] {
        bed.rolled_out(name).await?;
        let before = bed.template(name).await?;
        let field = name.trim_start_matches("in-");
        bed.apply(&with_knob(
            name,
            "30s",
            &json!({"switch": {"flag": "--short-connection-age", "implies": "30s"}}),
        ))
        .await?;
        bed.reason(name, ConnectionAgeApplied, "Applied", ROLLOUT)
            .await?;
        let mut expected = before.clone();
        let list = expected["spec"]["containers"][0][field]
            .as_array_mut()
            .context("no list")?;
        list.push(json!("--short-connection-age"));
        same(&bed.template(name).await?, &expected)?;
        takes_effect(&bed, name, "--short-connection-age").await?;
        bed.change(name, &json!({"connectionAge": null})).await?;
        bed.reason(name, ConnectionAgeApplied, "NotRequested", ROLLOUT)
            .await?;
        same(&bed.template(name).await?, &before)?;
        let deployment = bed.deployment(name).await?;
        ensure!(
            !deployment
                .annotations()
                .contains_key(&format!("connection-age.evenkeel.dev/{name}")),
            "the record stays"
        );
        ensure!(!is_owned_by_us(&deployment), "our ownership stays");
        bed.rolled_out(name).await?;
    }
    bed.finish().await
}

async fn by_flags_in_both_styles(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "flags").await?;
    let flags = |style: &str| json!({"flags": {"maxAge": "--max-connection-age", "style": style}});
    for name in ["equals", "separate"] {
        let mut deployment = manifests::server(name, 1);
        manifests::container(&mut deployment)["args"] = json!(["--listen=:8080"]);
        bed.apply(&deployment).await?;
    }
    bed.echo(1).await?;
    let before = bed.template("echo").await?;
    bed.apply(&with_knob("echo", "30s", &flags("Equals")))
        .await?;
    bed.reason("echo", ConnectionAgeApplied, "NothingToExtend", SOON)
        .await?;
    let message = bed.message("echo", ConnectionAgeApplied).await?;
    for part in [
        "container server of Deployment echo",
        "neither args nor command",
        "into command",
    ] {
        ensure!(message.contains(part), "{message}");
    }
    same(&bed.template("echo").await?, &before)?;
    let styles = [
        (
            "equals",
            "Equals",
            json!(["--listen=:8080", "--max-connection-age=30s"]),
        ),
        (
            "separate",
            "Separate",
            json!(["--listen=:8080", "--max-connection-age", "30s"]),
        ),
    ];
    for (name, style, arguments) in &styles {
        bed.rolled_out(name).await?;
        bed.apply(&with_knob(name, "30s", &flags(style))).await?;
        bed.reason(name, ConnectionAgeApplied, "Applied", ROLLOUT)
            .await?;
        let template = bed.template(name).await?;
        same(&template["spec"]["containers"][0]["args"], arguments)?;
        takes_effect(&bed, name, "--max-connection-age").await?;
    }
    bed.finish().await
}

async fn advice_can_be_followed_to_the_letter(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "advise").await?;
    bed.echo(1).await?;
    let raw = bed
        .kubectl(&["get", "deployment", "echo", "-o", "jsonpath={.spec}"])
        .await?;
    let begun = Timestamp::now();
    let mut backend = manifests::backend_with_age("echo", "30s");
    backend["spec"]["connectionAge"]["mode"] = json!("Advise");
    bed.apply(&backend).await?;
    let advised = bed
        .reason("echo", ConnectionAgeApplied, "NotApplied", SOON)
        .await?;
    bed.reason("echo", Ready, "AllReady", SOON).await?;
    bed.another_pass("echo").await?;
    let writes = bed.writes_since(begun)?;
    ensure!(
        writes
            .iter()
            .all(|write| write.resource == "services" || write.subresource == "status"),
        "{writes:#?}"
    );
    let after = bed
        .kubectl(&["get", "deployment", "echo", "-o", "jsonpath={.spec}"])
        .await?;
    ensure!(after == raw, "the Deployment was changed");
    let servers = advised.status.unwrap_or_default().servers;
    let message = servers[0].message.clone().context("no message")?;
    // A shell splits the command as a person's would.
    let (_, command) = message
        .split_once("kubectl ")
        .with_context(|| message.clone())?;
    let words = std::process::Command::new("sh")
        .arg("-c")
        .arg(format!("printf '%s\\n' {command}"))
        .output()?;
    let words = String::from_utf8(words.stdout)?;
    world
        .cluster
        .kubectl(&words.lines().collect::<Vec<_>>())
        .await?;
    let followed = bed
        .reason("echo", ConnectionAgeApplied, "Applied", ROLLOUT)
        .await?;
    let status = followed.status.unwrap_or_default();
    ensure!(
        status.running_max_age.as_deref() == Some("30s"),
        "{:?}",
        status.running_max_age
    );
    takes_effect(&bed, "echo", "MAX_CONNECTION_AGE").await?;
    // It is the owner's, who has followed the advice.
    let followed = bed.template("echo").await?;
    bed.finish_as("echo", &followed).await
}

async fn suspended_writes_only_status(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "suspend").await?;
    bed.echo(1).await?;
    let before = bed.template("echo").await?;
    let begun = Timestamp::now();
    let mut backend = manifests::backend_with_age("echo", "30s");
    backend["spec"]["suspend"] = json!(true);
    bed.apply(&backend).await?;
    bed.reason("echo", Ready, "Suspended", SOON).await?;
    bed.another_pass("echo").await?;
    let writes = bed.writes_since(begun)?;
    ensure!(
        !writes.is_empty()
            && writes
                .iter()
                .all(|write| write.resource == "grpcbackends" && write.subresource == "status"),
        "{writes:#?}"
    );
    same(&bed.template("echo").await?, &before)?;
    bed.change("echo", &json!({"suspend": false})).await?;
    bed.reason("echo", Ready, "AllReady", ROLLOUT).await?;
    // Whoever deletes it wants everything back, suspended or not.
    bed.change("echo", &json!({"suspend": true})).await?;
    bed.reason("echo", Ready, "Suspended", SOON).await?;
    bed.finish().await
}

/// That the newest pod's server says where it has its age from, and that it is 30 s.
pub async fn takes_effect(bed: &Bed, deployment: &str, source: &str) -> Result<()> {
    bed.rolled_out(deployment).await?;
    let newest = {
        let mut pods = bed.pods(&format!("app={deployment}")).await?;
        pods.sort_by_key(|pod| pod.metadata.creation_timestamp.clone().map(|time| time.0));
        pods.pop().context("no pod")?.name_any()
    };
    let log = bed.kubectl(&["logs", &newest]).await?;
    let line = log.lines().next().context("an empty log")?;
    let start: Value = serde_json::from_str(line)?;
    ensure!(
        start["max_connection_age"] == "30s" && start["age_source"] == source,
        "{line}"
    );
    Ok(())
}

/// A GrpcBackend with an age by this knob.
pub fn with_knob(name: &str, age: &str, knob: &Value) -> Value {
    let mut backend = manifests::backend(name);
    backend["spec"]["connectionAge"] = json!({"maxAge": age, "knob": knob});
    backend
}

fn variable(pod: &Pod, name: &str) -> Option<String> {
    let container = pod.spec.as_ref()?.containers.first()?;
    container
        .env
        .iter()
        .flatten()
        .find(|variable| variable.name == name)?
        .value
        .clone()
}

async fn replica_sets(bed: &Bed, app: &str) -> Result<usize> {
    let sets: kube::Api<ReplicaSet> = bed.namespace.api();
    Ok(sets
        .list(&ListParams::default().labels(&format!("app={app}")))
        .await?
        .items
        .len())
}
