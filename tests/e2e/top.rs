//! `evenkeel top`, run as a person runs it: with a kubeconfig, and the rights that belong to it.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::Balanced;
use evenkeel_cluster::{From, Identity, until};
use serde_json::{Value, json};

use crate::bed::{Bed, ROLLOUT};
use crate::manifests;
use crate::tests;
use crate::world::{World, operator_binary};

tests![shared it_shows_backends_and_their_pods(180)];

/// A window of 5 s, and time to start.
const TOP: Duration = Duration::from_secs(40);

/// What it shows to somebody.
pub async fn top(bed: &Bed, who: &Identity, arguments: &[&str]) -> Result<String> {
    let cluster = &bed.world.cluster;
    let kubeconfig = cluster.kubeconfig_for(who, From::Inside).await?;
    let mut command = Command::new(operator_binary());
    command
        .args(["top", "--namespace", bed.name(), "--window=5s", "--once"])
        .args(arguments)
        .env("KUBECONFIG", kubeconfig);
    cluster.run_in_net(&command, TOP).await
}

async fn it_shows_backends_and_their_pods(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "top").await?;
    bed.echo(2).await?;
    bed.apply(&manifests::backend("echo")).await?;
    let even = format!("dns:///echo-headless.{}.svc.cluster.local:8080", bed.name());
    bed.client("even", &even, &["--rate=40"]).await?;
    bed.reason("echo", Balanced, "Balanced", ROLLOUT).await?;

    let list = top(&bed, &Identity::Admin, &[]).await?;
    let line = list
        .lines()
        .find(|line| line.contains(" echo "))
        .context(list.clone())?;
    ensure!(line.contains("Balanced") && line.contains("2/2"), "{list}");

    // Of one look: a second in which all stands still is a fifth of it.
    until("each pod has its half", ROLLOUT, async || {
        let seen = top(&bed, &Identity::Admin, &["echo", "-o", "json"]).await?;
        let seen: Value = serde_json::from_str(&seen).with_context(|| seen.clone())?;
        ensure!(seen["pods"]["source"] == "Pods", "{seen:#}");
        let pods = seen["pods"]["items"].as_array().context("no items")?;
        ensure!(pods.len() == 2, "{seen:#}");
        for pod in pods {
            let rate = pod["requestsPerSecond"].as_f64().context("no rate")?;
            ensure!(
                (15.0..=25.0).contains(&rate),
                "{rate} of 40 requests a second: {seen:#}"
            );
        }
        Ok(Some(()))
    })
    .await?;

    // Somebody who may look at backends and pods, and no more.
    let reader = Identity::service_account(bed.name(), "reader");
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "reader"}},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "reader"}, "rules": [
            {"apiGroups": ["evenkeel.dev"], "resources": ["grpcbackends"], "verbs": ["list"]},
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "reader"},
         "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
         "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": bed.name()}]},
    ]});
    bed.apply(&objects).await?;
    let seen = top(&bed, &reader, &["echo"]).await?;
    ensure!(seen.contains("you may not get pods/proxy"), "{seen}");
    Ok(())
}
