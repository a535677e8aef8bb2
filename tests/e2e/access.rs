//! What clients are granted: the fixed rules, to nobody else, and never by somebody else's Role.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use evenkeel::api::ConditionType::{EndpointWatchReady, Ready};
use evenkeel_cluster::{Identity, Signal, images, until};
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::bed::{Bed, ROLLOUT, SOON};
use crate::manifests;
use crate::tests;
use crate::watch::with_account;
use crate::world::World;

tests![
    shared nothing_else_is_granted(120),
    shared a_foreign_role_is_left_alone(90),
    shared a_role_that_became_somebody_elses(90),
    shared a_foreign_binding_is_left_alone(60),
    shared a_wrong_role_ref_is_made_anew(90),
    shared what_was_granted_comes_back(90),
    shared an_account_in_use_is_kept(120),
];

async fn nothing_else_is_granted(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "granted").await?;
    bed.apply(&with_account()).await?;
    bed.reason("echo", EndpointWatchReady, "Bound", SOON)
        .await?;
    let here = bed.name();
    let endpoints = [
        format!("/api/v1/namespaces/{here}/endpoints"),
        format!("/api/v1/namespaces/{here}/endpoints/echo"),
        format!("/api/v1/namespaces/{here}/endpoints?watch=true&timeoutSeconds=1"),
        format!("/apis/discovery.k8s.io/v1/namespaces/{here}/endpointslices"),
        format!(
            "/apis/discovery.k8s.io/v1/namespaces/{here}/endpointslices?watch=true&timeoutSeconds=1"
        ),
    ];
    let core = [
        "secrets",
        "pods",
        "services",
        "configmaps",
        "serviceaccounts",
        "events",
    ];
    let mut others: Vec<String> = core
        .iter()
        .map(|resource| format!("/api/v1/namespaces/{here}/{resource}"))
        .collect();
    others.extend([
        "/api/v1/endpoints".into(),
        "/api/v1/nodes".into(),
        "/api/v1/namespaces".into(),
        "/api/v1/namespaces/default/endpoints".into(),
        "/apis/discovery.k8s.io/v1/endpointslices".into(),
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices".into(),
        format!("/apis/apps/v1/namespaces/{here}/deployments"),
        format!("/apis/evenkeel.dev/v1alpha1/namespaces/{here}/grpcbackends"),
        format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{here}/roles"),
    ]);
    let paths: Vec<&str> = endpoints
        .iter()
        .chain(&others)
        .map(String::as_str)
        .collect();
    let answers = asked(&bed, "echo-client", &paths).await?;
    ensure!(answers.len() == paths.len(), "{answers:?}");
    for (path, status) in answers {
        let expected = if endpoints.contains(&path) { 200 } else { 403 };
        ensure!(
            status == expected,
            "GET {path} says {status}, not {expected}"
        );
    }
    for resource in ["endpoints", "endpointslices.discovery.k8s.io"] {
        for verb in ["create", "update", "patch", "delete", "deletecollection"] {
            cannot(&bed, "echo-client", verb, resource).await?;
        }
    }
    Ok(())
}

/// Whether or not there is such an account: rights go by names.
async fn cannot(bed: &Bed, account: &str, verb: &str, resource: &str) -> Result<()> {
    let account = format!("--as=system:serviceaccount:{}:{account}", bed.name());
    let question = ["auth", "can-i", verb, resource, "-n", bed.name(), &account];
    let cluster = &bed.world.cluster;
    let said = cluster
        .kubectl_output(&Identity::Admin, &question, "")
        .await?;
    let said = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    ensure!(said == "no", "{} says {said}", question.join(" "));
    Ok(())
}

/// What the API server answers to a pod under that ServiceAccount.
pub async fn asked(bed: &Bed, account: &str, paths: &[&str]) -> Result<Vec<(String, u16)>> {
    let mut arguments = vec!["get".to_owned(), "--timeout=60s".to_owned()];
    arguments.extend(paths.iter().map(|path| format!("--path={path}")));
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"generateName": "asks-"},
        "spec": {
            "serviceAccountName": account,
            "restartPolicy": "Never",
            "containers": [{"name": "client", "image": images::CLIENT, "imagePullPolicy": "Never", "args": arguments}],
        },
    }))?;
    let pods = bed.namespace.api::<Pod>();
    let name = pods
        .create(&PostParams::default(), &pod)
        .await?
        .metadata
        .name
        .context("a pod without a name")?;
    until("the answers are there", ROLLOUT, async || {
        let status = pods.get(&name).await?.status.unwrap_or_default();
        Ok(status
            .phase
            .filter(|phase| phase == "Succeeded" || phase == "Failed"))
    })
    .await?;
    let log = pods.logs(&name, &kube::api::LogParams::default()).await?;
    let mut answers = Vec::new();
    for line in log.lines() {
        let answer: Value =
            serde_json::from_str(line).with_context(|| format!("reading {line}"))?;
        let status = answer["status"]
            .as_u64()
            .and_then(|status| status.try_into().ok());
        match (answer["path"].as_str(), status) {
            (Some(path), Some(status)) => answers.push((path.to_owned(), status)),
            _ => bail!("no answer: {line}"),
        }
    }
    Ok(answers)
}

/// A Role of the name that is ours, with a right that clients must not get; its version.
async fn foreign_role(bed: &Bed) -> Result<String> {
    let secrets = ["create", "role", "echo", "--verb=get", "--resource=secrets"];
    bed.kubectl(&secrets).await?;
    bed.version("role/echo").await
}

/// It is left alone and bound to nobody, and once its owner does what the message says all is well.
async fn nobody_has_its_rights(bed: &Bed, version: &str) -> Result<()> {
    ensure!(
        !bed.exists("rolebinding/echo").await?,
        "somebody is bound to a foreign Role"
    );
    ensure!(
        bed.version("role/echo").await? == version,
        "the foreign Role was written"
    );
    cannot(bed, "echo-client", "get", "secrets").await?;
    bed.kubectl(&["delete", "role", "echo"]).await?;
    bed.reason("echo", EndpointWatchReady, "Bound", SOON)
        .await?;
    Ok(())
}

async fn a_foreign_role_is_left_alone(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "foreign").await?;
    let version = foreign_role(&bed).await?;
    bed.apply(&with_account()).await?;
    bed.reason("echo", EndpointWatchReady, "NameConflict", SOON)
        .await?;
    bed.reason("echo", Ready, "NameConflict", SOON).await?;
    let message = bed.message("echo", EndpointWatchReady).await?;
    ensure!(
        message.contains("Role echo exists and is not ours") && message.contains("rename"),
        "{message}"
    );
    nobody_has_its_rights(&bed, &version).await
}

/// While nobody looked: the binding names it still.
async fn a_role_that_became_somebody_elses(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "replaced").await?;
    bed.apply(&with_account()).await?;
    bed.reason("echo", EndpointWatchReady, "Bound", SOON)
        .await?;
    let operator = bed.operator.as_ref().context("no operator")?;
    operator.process.signal(Signal::Stop)?;
    bed.kubectl(&["delete", "role", "echo"]).await?;
    let version = foreign_role(&bed).await?;
    operator.process.signal(Signal::Cont)?;
    bed.reason("echo", EndpointWatchReady, "NameConflict", SOON)
        .await?;
    nobody_has_its_rights(&bed, &version).await
}

async fn a_foreign_binding_is_left_alone(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "binding").await?;
    let somebody = "--serviceaccount=default:somebody";
    bed.kubectl(&[
        "create",
        "rolebinding",
        "echo",
        "--clusterrole=view",
        somebody,
    ])
    .await?;
    let version = bed.version("rolebinding/echo").await?;
    bed.apply(&with_account()).await?;
    bed.reason("echo", EndpointWatchReady, "NameConflict", SOON)
        .await?;
    let message = bed.message("echo", EndpointWatchReady).await?;
    ensure!(
        message.contains("RoleBinding echo exists and is not ours"),
        "{message}"
    );
    ensure!(
        bed.version("rolebinding/echo").await? == version,
        "the foreign RoleBinding was written"
    );
    bed.kubectl(&["delete", "rolebinding", "echo"]).await?;
    bed.reason("echo", EndpointWatchReady, "Bound", SOON)
        .await?;
    Ok(())
}

async fn a_wrong_role_ref_is_made_anew(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "roleref").await?;
    bed.apply(&with_account()).await?;
    bed.reason("echo", EndpointWatchReady, "Bound", SOON)
        .await?;
    let right = bed.object("rolebinding/echo").await?;
    // While the operator is stopped, so that it does not mend the half of it.
    let operator = bed.operator.as_ref().context("no operator")?;
    operator.process.signal(Signal::Stop)?;
    let mut wrong = right.clone();
    let metadata = &right["metadata"];
    wrong["metadata"] = json!({"name": "echo", "labels": metadata["labels"], "ownerReferences": metadata["ownerReferences"]});
    wrong["roleRef"]["name"] = "the-operator".into();
    bed.kubectl(&["delete", "rolebinding", "echo"]).await?;
    bed.kubectl_with(&["create", "-f", "-"], &wrong.to_string())
        .await?;
    operator.process.signal(Signal::Cont)?;
    for part in ["/roleRef", "/subjects"] {
        bed.becomes(
            "rolebinding/echo",
            part,
            right.pointer(part).unwrap_or(&Value::Null),
        )
        .await?;
    }
    bed.reason("echo", EndpointWatchReady, "Bound", SOON)
        .await?;
    Ok(())
}

async fn what_was_granted_comes_back(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "regrant").await?;
    bed.apply(&with_account()).await?;
    bed.reason("echo", EndpointWatchReady, "Bound", SOON)
        .await?;
    let (role, binding) = (
        bed.object("role/echo").await?,
        bed.object("rolebinding/echo").await?,
    );
    let secrets = json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]);
    bed.patch("role/echo", &json!({"rules": secrets})).await?;
    bed.becomes("role/echo", "/rules", &role["rules"]).await?;
    let nobody = json!([{"kind": "ServiceAccount", "name": "intruder", "namespace": "default"}]);
    bed.patch("rolebinding/echo", &json!({"subjects": nobody}))
        .await?;
    bed.becomes("rolebinding/echo", "/subjects", &binding["subjects"])
        .await?;

    let ours = [
        "delete",
        "role,rolebinding,serviceaccount",
        "-l",
        "evenkeel.dev/backend=echo",
    ];
    bed.kubectl(&ours).await?;
    for child in [
        "role/echo",
        "rolebinding/echo",
        "serviceaccount/echo-client",
    ] {
        until(&format!("{child} is there again"), SOON, async || {
            Ok(bed.exists(child).await?.then_some(()))
        })
        .await?;
    }
    Ok(())
}

/// Its pods would be refused new tokens, and could not be made anew.
async fn an_account_in_use_is_kept(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "in-use").await?;
    bed.apply(&with_account()).await?;
    bed.reason("echo", EndpointWatchReady, "Bound", SOON)
        .await?;
    let mut user = manifests::server("user", 1);
    user["spec"]["template"]["spec"]["serviceAccountName"] = json!("echo-client");
    bed.deploy(&user).await?;
    bed.change("echo", &json!({"endpointWatch": null})).await?;
    until("the condition names the pod", SOON, async || {
        let message = bed.message("echo", EndpointWatchReady).await?;
        Ok(message.contains("kept while pod user-").then_some(()))
    })
    .await?;
    ensure!(bed.exists("serviceaccount/echo-client").await?);
    bed.kubectl(&["delete", "deployment", "user"]).await?;
    until("nobody uses it", ROLLOUT, async || {
        Ok((!bed.exists("serviceaccount/echo-client").await?).then_some(()))
    })
    .await
}
