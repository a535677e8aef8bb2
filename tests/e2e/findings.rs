//! Findings, as they are said of what runs before anything is installed.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel_cluster::{From, Identity};
use serde_json::{Value, json};

use crate::bed::Bed;
use crate::manifests;
use crate::tests;
use crate::world::{World, operator_binary};

tests![shared what_runs_is_checked(120)];

/// For one look at a namespace.
const CHECK: Duration = Duration::from_secs(30);

/// `evenkeel check --cluster` as somebody runs it, whatever it finds.
async fn check(bed: &Bed, who: &Identity, arguments: &[&str]) -> Result<String> {
    let cluster = &bed.world.cluster;
    let kubeconfig = cluster.kubeconfig_for(who, From::Inside).await?;
    let mut command = Command::new(operator_binary());
    command
        .args(["check", "--cluster", "--fail-on=never", "--namespace"])
        .arg(bed.name())
        .args(arguments)
        .env("KUBECONFIG", kubeconfig);
    cluster.run_in_net(&command, CHECK).await
}

async fn what_runs_is_checked(world: Arc<World>) -> Result<()> {
    let bed = Bed::without_operator(&world, "check").await?;
    bed.apply(&manifests::service("echo")).await?;
    bed.echo(2).await?;

    // Nobody wrote a GrpcBackend: the Service is told to be the only way.
    let seen = check(&bed, &Identity::Admin, &["-o", "json"]).await?;
    let seen: Value = serde_json::from_str(&seen).with_context(|| seen.clone())?;
    let found = &seen["backends"][0];
    ensure!(
        found["name"] == "echo" && found["guessed"].is_string(),
        "{seen:#}"
    );
    let of = |id: &str| {
        let findings = found["findings"].as_array();
        findings.and_then(|all| all.iter().find(|own| own["id"] == id).cloned())
    };
    let only = of("GB001").with_context(|| format!("no GB001: {seen:#}"))?;
    ensure!(
        only["object"] == "Service echo" && only["line"].is_null(),
        "{only:#}"
    );
    ensure!(of("GB021").is_some() && of("GB010").is_none(), "{seen:#}");
    ensure!(seen["notListed"].is_null(), "{seen:#}");

    // What it prints as the remedy is taken by the API server, and settles both.
    let fix = check(&bed, &Identity::Admin, &["--fix"]).await?;
    let mut fix: Value = serde_yaml_ng::from_str(&fix).with_context(|| fix.clone())?;
    fix["spec"]["connectionAge"] =
        manifests::backend_with_age("echo", "5m")["spec"]["connectionAge"].take();
    bed.apply(&fix).await?;
    let seen = check(&bed, &Identity::Admin, &[]).await?;
    ensure!(!seen.contains("GB001") && !seen.contains("GB021"), "{seen}");

    rights_are_missing(&bed).await
}

/// What may not be listed is said, and the rest is there; with no rights at all it fails.
async fn rights_are_missing(bed: &Bed) -> Result<()> {
    let reader = Identity::service_account(bed.name(), "reader");
    bed.kubectl(&["create", "serviceaccount", "reader"]).await?;
    let seen = check(bed, &reader, &[]).await;
    let told = seen.err().context("without any right it succeeds")?;
    let told = format!("{told:#}");
    ensure!(
        told.contains("nothing may be listed in namespace"),
        "{told}"
    );
    ensure!(told.contains("status: 2"), "{told}");

    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "reader"}, "rules": [
            {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["list"]},
            {"apiGroups": [""], "resources": ["services"], "verbs": ["list"]}]},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "reader"},
         "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
         "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": bed.name()}]},
    ]});
    bed.apply(&objects).await?;
    let seen = check(bed, &reader, &[]).await?;
    let refused = format!(
        "you may not list horizontalpodautoscalers in namespace {}",
        bed.name()
    );
    ensure!(seen.contains("GB001") && seen.contains(&refused), "{seen}");
    ensure!(
        seen.contains("for want of HorizontalPodAutoscalers: GB071"),
        "{seen}"
    );
    Ok(())
}
