//! What is left when a GrpcBackend goes: nothing of ours, and all of theirs as it was.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::{
    ConnectionAgeApplied, EndpointWatchReady, Ready, ServicesReady,
};
use evenkeel::api::GrpcBackend;
use evenkeel_cluster::{Fault, Rule, Signal, until};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::bed::{Bed, ROLLOUT, SOON, start_operator};
use crate::helm::LET_GO;
use crate::manifests::{self, same};
use crate::tests;
use crate::world::{OPERATORS, World, root};

tests![
    shared everything_is_as_it_was(150),
    shared also_by_foreground_deletion(150),
    shared also_where_the_deployment_went_first(150),
    shared also_where_the_operator_was_down(150),
    shared the_namespace_may_go_first(180),
    shared a_namespace_without_our_rights_can_be_let_go(180),
    shared leave_leaves_the_value(150),
];

const FINALIZER: &str = "evenkeel.dev/connection-age";
const CHILDREN: &str = "services,serviceaccounts,roles,rolebindings";

async fn everything_is_as_it_was(world: Arc<World>) -> Result<()> {
    let (bed, before) = in_place(&world, "delete", &manifests::server("echo", 2)).await?;
    bed.kubectl(&["delete", "gb", "echo", "--wait=false"])
        .await?;
    is_gone(&bed).await?;
    let gone = Timestamp::now();
    same(&bed.template("echo").await?, &before)?;
    let deployment = bed.deployment("echo").await?;
    no_record(&deployment)?;
    let managers = deployment
        .metadata
        .managed_fields
        .iter()
        .flatten()
        .filter_map(|entry| entry.manager.as_deref());
    ensure!(
        managers
            .into_iter()
            .all(|manager| !manager.starts_with("evenkeel")),
        "our ownership stays"
    );
    bed.rolled_out("echo").await?;
    nothing_stirs(&bed, gone).await?;
    same(&bed.template("echo").await?, &before)
}

async fn also_by_foreground_deletion(world: Arc<World>) -> Result<()> {
    let mut server = manifests::server("echo", 1);
    // A container without any variable must be without again.
    manifests::container(&mut server)
        .as_object_mut()
        .context("no container")?
        .remove("env");
    let (bed, before) = in_place(&world, "foreground", &server).await?;
    let begun = Timestamp::now();
    bed.kubectl(&[
        "delete",
        "gb",
        "echo",
        "--cascade=foreground",
        "--wait=false",
    ])
    .await?;
    is_gone(&bed).await?;
    let gone = Timestamp::now();
    same(&bed.template("echo").await?, &before)?;
    let created: Vec<_> = bed
        .writes_since(begun)?
        .into_iter()
        .filter(|write| write.verb == "create")
        .collect();
    ensure!(created.is_empty(), "{created:#?}");
    nothing_stirs(&bed, gone).await
}

async fn also_where_the_deployment_went_first(world: Arc<World>) -> Result<()> {
    let (bed, _) = in_place(&world, "headfirst", &manifests::server("echo", 1)).await?;
    bed.kubectl(&["delete", "deployment", "echo"]).await?;
    bed.reason("echo", ConnectionAgeApplied, "NoServer", SOON)
        .await?;
    bed.kubectl(&["delete", "gb", "echo", "--wait=false"])
        .await?;
    is_gone(&bed).await
}

async fn also_where_the_operator_was_down(world: Arc<World>) -> Result<()> {
    let (mut bed, before) = in_place(&world, "down", &manifests::server("echo", 1)).await?;
    let operator = bed.operator.take().context("no operator")?;
    operator.process.signal(Signal::Kill)?;
    operator.process.wait(SOON).await?;
    bed.kubectl(&["delete", "gb", "echo", "--wait=false"])
        .await?;
    let waiting = bed.backend("echo").await?;
    ensure!(
        waiting.metadata.deletion_timestamp.is_some(),
        "no deletion was asked for"
    );
    ensure!(
        bed.template("echo").await? != before,
        "the age is out already"
    );
    // It knows of the deletion long before it knows of the Deployment.
    let late = Rule::new(
        |seen| seen.verb == "list" && seen.resource == "deployments",
        Fault::Delay(Duration::from_secs(2)),
    );
    let _proxy = bed.start_operator_behind(vec![late]).await?;
    is_gone(&bed).await?;
    same(&bed.template("echo").await?, &before)
}

async fn the_namespace_may_go_first(world: Arc<World>) -> Result<()> {
    let mut bed = Bed::without_operator(&world, "vanish").await?;
    let name = bed.name().to_owned();
    // Rights that outlive the namespace, as the chart gives them where the whole cluster is watched.
    let rules = root().join("charts/evenkeel/files/rbac/operator.yaml");
    let rules: Vec<Value> = serde_yaml_ng::from_str(&std::fs::read_to_string(rules)?)?;
    let role = format!("operator-{name}");
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": OPERATORS}},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": role}, "rules": rules},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": role},
         "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
         "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": OPERATORS}]},
    ]});
    world.cluster.apply(&objects.to_string()).await?;
    bed.operator = Some(start_operator(&world, &name, &[&name], &[]).await?);
    let mut server = manifests::server("echo", 1);
    // The namespace's deletion is looked at again only after half of the pods' time.
    server["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(1);
    apply_all(&bed, &server).await?;
    let begun = Timestamp::now();
    delete_namespace(&bed).await?;
    namespace_is_gone(&bed).await?;
    let restored: Vec<_> = bed
        .writes_since(begun)?
        .into_iter()
        .filter(|write| write.resource == "deployments")
        .collect();
    ensure!(restored.is_empty(), "{restored:#?}");
    world
        .cluster
        .kubectl(&["delete", "clusterrole,clusterrolebinding", &role])
        .await?;
    Ok(())
}

/// Where the operator's Role goes before the GrpcBackend: docs/decisions/0019-a-namespace-that-goes-under-roles.md.
async fn a_namespace_without_our_rights_can_be_let_go(world: Arc<World>) -> Result<()> {
    let mut server = manifests::server("echo", 1);
    server["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(1);
    let (bed, _) = in_place(&world, "robbed", &server).await?;
    bed.kubectl(&["delete", "rolebinding", "the-operator"])
        .await?;
    delete_namespace(&bed).await?;
    until("only the GrpcBackend holds it up", ROLLOUT, async || {
        let namespace = namespaces(&bed).get(bed.name()).await?;
        let conditions = namespace.status.unwrap_or_default().conditions;
        let held = conditions
            .into_iter()
            .flatten()
            .find(|condition| condition.type_ == "NamespaceFinalizersRemaining");
        let said = held.and_then(|condition| condition.message);
        let said = said.unwrap_or_default();
        ensure!(said.contains(FINALIZER), "{said:?}");
        Ok(Some(()))
    })
    .await?;
    let patch = ["patch", "gb", "echo", "--type=merge", "-p", LET_GO];
    bed.kubectl(&patch).await?;
    namespace_is_gone(&bed).await
}

fn namespaces(bed: &Bed) -> kube::Api<Namespace> {
    kube::Api::all(bed.namespace.client())
}

async fn delete_namespace(bed: &Bed) -> Result<()> {
    let delete = ["delete", "namespace", bed.name(), "--wait=false"];
    bed.world.cluster.kubectl(&delete).await.map(drop)
}

async fn namespace_is_gone(bed: &Bed) -> Result<()> {
    until("the namespace is gone", ROLLOUT, async || {
        let Some(namespace) = namespaces(bed).get_opt(bed.name()).await? else {
            return Ok(Some(()));
        };
        anyhow::bail!("{:?}", namespace.status);
    })
    .await
}

async fn leave_leaves_the_value(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "leave").await?;
    bed.echo(1).await?;
    let mut backend = manifests::backend_with_age("echo", "30s");
    backend["spec"]["connectionAge"]["onRemove"] = json!("Leave");
    bed.apply_age(&backend).await?;
    let with_age = bed.template("echo").await?;
    bed.kubectl(&["delete", "gb", "echo", "--wait=false"])
        .await?;
    is_gone(&bed).await?;
    same(&bed.template("echo").await?, &with_age)?;
    let deployment = bed.deployment("echo").await?;
    no_record(&deployment)?;
    Ok(())
}

/// A bed with everything that a GrpcBackend makes, and the template before it.
async fn in_place(world: &Arc<World>, prefix: &str, server: &Value) -> Result<(Bed, Value)> {
    let bed = Bed::new(world, prefix).await?;
    let before = apply_all(&bed, server).await?;
    Ok((bed, before))
}

/// The server, then the resource with all that it can have; gives the template in between.
async fn apply_all(bed: &Bed, server: &Value) -> Result<Value> {
    bed.deploy(server).await?;
    let before = bed.template("echo").await?;
    let mut backend = manifests::backend_with_age("echo", "30s");
    backend["spec"]["endpointWatch"] = json!({"serviceAccount": {"create": true}});
    bed.apply_age(&backend).await?;
    let backend = bed
        .reason("echo", EndpointWatchReady, "Bound", SOON)
        .await?;
    ensure!(
        backend.finalizers().iter().any(|name| name == FINALIZER),
        "no finalizer"
    );
    ensure!(
        children(bed).await?.len() == 5,
        "{:?}",
        children(bed).await?
    );
    ensure!(bed.template("echo").await? != before, "the age is not in");
    Ok(before)
}

/// The operator goes on to look at the very Deployment for somebody else, twice, and writes only what is theirs.
async fn nothing_stirs(bed: &Bed, gone: Timestamp) -> Result<()> {
    let mut canary = manifests::backend("echo");
    canary["metadata"]["name"] = json!("canary");
    bed.apply(&canary).await?;
    bed.reason("canary", ServicesReady, "Created", SOON).await?;
    bed.another_pass("echo").await?;
    // Told at the end of a pass that began after that one.
    bed.change("canary", &json!({"suspend": true})).await?;
    bed.reason("canary", Ready, "Suspended", SOON).await?;
    let (of_canary, others): (Vec<_>, Vec<_>) = bed
        .writes_since(gone)?
        .into_iter()
        .partition(|write| ["canary", "canary-headless"].contains(&write.name.as_str()));
    ensure!(!of_canary.is_empty(), "the audit log knows nothing");
    ensure!(others.is_empty(), "{others:#?}");
    let again = children(bed).await?;
    ensure!(again.is_empty(), "{again:?}");
    Ok(())
}

/// No annotation of ours is left.
fn no_record(deployment: &Deployment) -> Result<()> {
    ensure!(
        deployment
            .annotations()
            .keys()
            .all(|key| !key.contains("evenkeel")),
        "{:?}",
        deployment.annotations()
    );
    Ok(())
}

/// The resource first, its children soon after.
async fn is_gone(bed: &Bed) -> Result<()> {
    let backends: kube::Api<GrpcBackend> = bed.namespace.api();
    let begun = std::time::Instant::now();
    until(
        "the GrpcBackend is gone",
        Duration::from_mins(1),
        async || {
            let Some(backend) = backends.get_opt("echo").await? else {
                return Ok(Some(()));
            };
            anyhow::bail!("it has the finalizers {:?}", backend.finalizers());
        },
    )
    .await?;
    println!("    gone after {:.2} s", begun.elapsed().as_secs_f64());
    // In a young cluster the garbage collector learns of a new kind only after half a minute.
    until("its children are gone", ROLLOUT, async || {
        let left = children(bed).await?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(Some(()))
    })
    .await
}

async fn children(bed: &Bed) -> Result<Vec<String>> {
    let listed = bed
        .kubectl(&[
            "get",
            CHILDREN,
            "-l",
            "evenkeel.dev/backend=echo",
            "-o",
            "name",
        ])
        .await?;
    Ok(listed.lines().map(str::to_owned).collect())
}
