//! Findings: said of what runs before anything is installed, and told by the operator as they come and go.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::{ConditionType, GrpcBackend, GrpcBackendStatus};
use evenkeel_cluster::{From, Identity, until};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::bed::{Bed, SOON};
use crate::manifests;
use crate::tests;
use crate::world::{World, operator_binary};

tests![
    shared what_runs_is_checked(120),
    shared findings_are_told_as_they_come_and_go(180),
    shared autoscalers_are_read_where_that_is_allowed(120),
    shared labels_of_a_namespace_count_where_they_are_to(120),
    own old_dns_answers_are_found_where_that_may_be_read(240),
];

/// For one look at a namespace.
const CHECK: Duration = Duration::from_secs(30);
/// For some intervals of 5 s.
const JUDGED: Duration = Duration::from_secs(90);

/// `evenkeel check --cluster` of the namespace as somebody runs it, whatever it finds.
pub async fn check(bed: &Bed, who: &Identity, arguments: &[&str]) -> Result<String> {
    check_in(bed, who, &["--namespace", bed.name()], arguments).await
}

async fn check_in(bed: &Bed, who: &Identity, place: &[&str], arguments: &[&str]) -> Result<String> {
    let cluster = &bed.world.cluster;
    let kubeconfig = cluster.kubeconfig_for(who, From::Inside).await?;
    let mut command = Command::new(operator_binary());
    command
        .args(["check", "--cluster", "--fail-on=never"])
        .args(place)
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

    let everywhere = check_in(&bed, &Identity::Admin, &["--all-namespaces"], &[]).await?;
    let head = format!(
        "{}/echo (no GrpcBackend; guessed: Service echo selects",
        bed.name()
    );
    ensure!(everywhere.contains(&head), "{everywhere}");

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
    let everywhere = check_in(bed, &reader, &["-A"], &[]).await;
    let told = everywhere.err().context("it may list all namespaces")?;
    let told = format!("{told:#}");
    ensure!(
        told.contains("nothing may be listed in all namespaces"),
        "{told}"
    );
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

async fn findings_are_told_as_they_come_and_go(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "findings").await?;
    bed.echo(2).await?;
    bed.apply(&manifests::backend("echo")).await?;
    bed.reason("echo", ConditionType::Ready, "AllReady", SOON)
        .await?;
    let seen = becomes(&bed, "GB021 is found", |ids| ids.contains(&"GB021")).await?;
    let status = seen.status.unwrap_or_default();
    ensure!(
        status.findings[0].id == "GB021" && status.worst_finding.as_deref() == Some("Warning"),
        "worst first: {:?}",
        status.findings
    );
    ensure!(status.ignored_findings.is_none(), "nothing is ignored");
    unchecked(&status, &["GB048", "GB071"])?;
    event(&bed, "GB021", "Warning").await?;
    let series = format!(
        r#"evenkeel_findings{{namespace="{}",name="echo",id="GB021",severity="Warning"}} 1"#,
        bed.name()
    );
    let page = bed.metrics_page().await?;
    ensure!(page.contains(&series), "{page}");
    let row = bed.row("echo").await?;
    ensure!(
        row.get("WORST").is_some_and(|worst| worst == "Warning"),
        "{row:?}"
    );

    // Known and accepted: it goes, and only its number stays.
    let reason = "the program sets an age itself, and is rolled out by hand";
    let ignored = ["GB021", "GB032"].map(|id| json!({"id": id, "reason": reason}));
    let ignored = json!({"ignoreFindings": ignored});
    bed.change("echo", &ignored).await?;
    let seen = becomes(&bed, "GB021 is ignored", |ids| !ids.contains(&"GB021")).await?;
    let status = seen.status.unwrap_or_default();
    ensure!(
        status.ignored_findings == Some(2),
        "{:?}",
        status.ignored_findings
    );
    ensure!(
        status.worst_finding.as_deref() == Some("Info"),
        "{:?}",
        status.findings
    );
    event(&bed, "GB021Gone", "Normal").await?;
    let page = bed.metrics_page().await?;
    ensure!(!page.contains(&series), "{page}");

    // Pass after pass over an unchanged world: not a write, not an event. What the pods' pages
    // say, where nobody calls them, may come later than all of this.
    until("both pods have been read", JUDGED, async || {
        let told = bed.message("echo", ConditionType::Balanced).await?;
        Ok(told.contains("2 pods answered").then_some(()))
    })
    .await?;
    bed.another_pass("echo").await?;
    let since = Timestamp::now();
    for _ in 0..3 {
        bed.another_pass("echo").await?;
    }
    let operator = bed.operator.as_ref().context("no operator")?;
    let writes = world.cluster.audit().writes_by(&operator.user, since)?;
    ensure!(writes.is_empty(), "{writes:#?}");
    Ok(())
}

/// Waits until the ids of the newest spec's findings are so.
async fn becomes(bed: &Bed, what: &str, holds: impl Fn(&[&str]) -> bool) -> Result<GrpcBackend> {
    until(what, SOON, async || {
        let backend = bed.backend("echo").await?;
        let status = backend.status.clone().unwrap_or_default();
        let ids: Vec<&str> = status.findings.iter().map(|own| own.id.as_str()).collect();
        let is_new = status.observed_generation == backend.metadata.generation;
        ensure!(is_new && holds(&ids), "{ids:?}");
        Ok(Some(backend))
    })
    .await
}

/// Waits for an event about the backend.
async fn event(bed: &Bed, reason: &str, kind: &str) -> Result<()> {
    until(&format!("an event {reason}"), SOON, async || {
        let events = bed
            .kubectl(&["get", "events.v1.events.k8s.io", "-o", "json"])
            .await?;
        let events: Value = serde_json::from_str(&events)?;
        let all = events["items"].as_array().context("no items")?;
        let is_it =
            |event: &&Value| event["regarding"]["name"] == "echo" && event["reason"] == reason;
        let event = all.iter().find(is_it).context("there is none")?;
        ensure!(event["type"] == kind, "{event:#}");
        Ok(Some(()))
    })
    .await
}

/// With the chart's optional right, and what the operator says when the right is taken away again.
async fn autoscalers_are_read_where_that_is_allowed(world: Arc<World>) -> Result<()> {
    let mut bed = Bed::without_operator(&world, "scaled").await?;
    let granted = bed.grant_list("autoscalers", bed.name()).await?;
    bed.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "echo"}, "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "echo"}, "minReplicas": 1, "maxReplicas": 4,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}]}},
    ]}))
    .await?;
    bed.start_operator(&["--read-autoscalers"]).await?;
    bed.echo(1).await?;
    bed.apply(&manifests::backend("echo")).await?;
    let seen = becomes(&bed, "GB071 is found", |ids| ids.contains(&"GB071")).await?;
    let status = seen.status.unwrap_or_default();
    unchecked(&status, &["GB048"])?;
    // One pod that an autoscaler adds to is not all.
    ensure!(
        status.findings.iter().all(|own| own.id != "GB033"),
        "{:?}",
        status.findings
    );

    bed.kubectl(&["delete", "rolebinding", &granted]).await?;
    bed.another_pass("echo").await?;
    let seen = becomes(&bed, "GB071 is not checked", |ids| !ids.contains(&"GB071")).await?;
    let status = seen.status.unwrap_or_default();
    unchecked(&status, &["GB048", "GB071"])?;
    Ok(())
}

/// With a value of the chart's what a namespace asks of a mesh counts before any pod has its proxy.
async fn labels_of_a_namespace_count_where_they_are_to(world: Arc<World>) -> Result<()> {
    let mut bed = Bed::without_operator(&world, "asking").await?;
    bed.start_operator(&["--read-namespaces"]).await?;
    bed.echo(1).await?;
    bed.apply(&manifests::backend("echo")).await?;
    becomes(&bed, "GB021 is found", |ids| ids.contains(&"GB021")).await?;
    let label = async |label: &str| {
        let change = ["label", "namespace", bed.name(), label];
        world.cluster.kubectl(&change).await?;
        bed.another_pass("echo").await
    };
    label("istio-injection=enabled").await?;
    becomes(&bed, "a mesh is seen", |ids| !ids.contains(&"GB021")).await?;
    label("istio-injection-").await?;
    becomes(&bed, "no mesh is seen", |ids| ids.contains(&"GB021")).await?;
    Ok(())
}

/// Likewise how the cluster's DNS servers are configured, which is one thing for all.
async fn old_dns_answers_are_found_where_that_may_be_read(world: Arc<World>) -> Result<()> {
    world.prepare().await?;
    let mut bed = Bed::without_operator(&world, "dns").await?;
    let granted = bed.grant_list("cluster-dns", "kube-system").await?;
    kept_for(&bed, 120).await?;
    bed.start_operator(&["--read-cluster-dns"]).await?;
    bed.echo(1).await?;
    bed.apply(&manifests::backend("echo")).await?;
    let seen = becomes(&bed, "GB048 is found", |ids| ids.contains(&"GB048")).await?;
    let status = seen.status.unwrap_or_default();
    let said = status.findings.iter().find(|own| own.id == "GB048");
    let said = said.map(|own| own.message.as_str()).unwrap_or_default();
    ensure!(
        said.contains("120 s old (ttl 120 in ConfigMap coredns"),
        "{said}"
    );
    unchecked(&status, &["GB071"])?;
    let visited = check(&bed, &Identity::Admin, &[]).await?;
    ensure!(visited.contains("GB048"), "{visited}");

    kept_for(&bed, 30).await?;
    bed.another_pass("echo").await?;
    becomes(&bed, "GB048 is gone", |ids| !ids.contains(&"GB048")).await?;

    kept_for(&bed, 120).await?;
    bed.another_pass("echo").await?;
    becomes(&bed, "GB048 is found", |ids| ids.contains(&"GB048")).await?;
    let delete = ["-n", "kube-system", "delete", "rolebinding", &granted];
    world.cluster.kubectl(&delete).await?;
    bed.another_pass("echo").await?;
    let seen = becomes(&bed, "GB048 is not checked", |ids| !ids.contains(&"GB048")).await?;
    let status = seen.status.unwrap_or_default();
    unchecked(&status, &["GB048", "GB071"])?;
    Ok(())
}

fn unchecked(status: &GrpcBackendStatus, ids: &[&str]) -> Result<()> {
    let own = &status.unchecked_findings;
    ensure!(own == ids, "{own:?} are not checked");
    Ok(())
}

/// How long answers of the cluster's DNS are kept, by what clusters have it from.
async fn kept_for(bed: &Bed, seconds: u32) -> Result<()> {
    let corefile = format!(
        ".:53 {{\n    kubernetes cluster.local {{\n        ttl {seconds}\n    }}\n    cache 300\n}}\n"
    );
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "coredns", "namespace": "kube-system"},
        "data": {"Corefile": corefile}});
    bed.world.cluster.apply(&config.to_string()).await.map(drop)
}
