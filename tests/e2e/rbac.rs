//! Least privilege: what the chart grants is what the operator uses.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::{ConnectionAgeApplied, EndpointWatchReady, ServicesReady};
use evenkeel_cluster::{AuditEvent, Right, beyond, until, unused};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::bed::{Bed, ROLLOUT, SOON, start_operator};
use crate::manifests;
use crate::rights::rules;
use crate::tests;
use crate::world::{OPERATORS, World};

tests![
    shared verbs_used_are_verbs_granted(240),
    own so_they_are_with_all_that_can_be_granted(300),
    shared a_missing_right_is_named(120),
    shared kinds_that_may_not_be_read_hold_up_no_other(240),
];

/// Verbs that the operator holds only to hand them on.
const HANDED_ON: [&str; 5] = [
    "endpoints get",
    "endpoints list",
    "endpoints watch",
    "discovery.k8s.io/endpointslices get",
    "discovery.k8s.io/endpointslices watch",
];

/// Limited to namespaces, as the chart's Role allows.
async fn verbs_used_are_verbs_granted(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "rbac").await?;
    everything(&bed).await?;
    used_is_granted(&bed, &[("operator", Some(bed.name()))])
}

/// Of the whole cluster, with every right that the chart can give.
async fn so_they_are_with_all_that_can_be_granted(world: Arc<World>) -> Result<()> {
    world.prepare().await?;
    let mut bed = Bed::without_operator(&world, "rbac").await?;
    let everywhere = ["operator", "autoscalers"];
    bed.grant_everywhere(&everywhere, &["leader-election"])
        .await?;
    bed.grant_list("cluster-dns", "kube-system").await?;
    let lease = format!("--lease-namespace={OPERATORS}");
    let further = [
        "--leader-election",
        &lease,
        "--read-autoscalers",
        "--read-cluster-dns",
        "--read-namespaces",
    ];
    bed.operator = Some(start_operator(&world, bed.name(), &[], &further).await?);
    everything(&bed).await?;
    let lists = [
        ("operator", None),
        ("autoscalers", None),
        ("leader-election", Some(OPERATORS)),
        ("cluster-dns", Some("kube-system")),
    ];
    used_is_granted(&bed, &lists)
}

/// Makes the operator do everything that it ever does.
async fn everything(bed: &Bed) -> Result<()> {
    bed.echo(1).await?;
    let mut backend = manifests::backend_with_age("echo", "30s");
    backend["spec"]["endpointWatch"] = json!({"serviceAccount": {"create": true}});
    bed.apply(&backend).await?;
    bed.reason("echo", ConnectionAgeApplied, "Applied", ROLLOUT)
        .await?;
    bed.reason("echo", EndpointWatchReady, "Bound", SOON)
        .await?;
    the_other_kinds(bed).await?;
    put_right_after_drift(bed).await?;
    the_same_event_twice(bed, &backend).await?;
    take_everything_back(bed, &backend).await
}

/// By the audit log, in both directions, and each right where it is.
fn used_is_granted(bed: &Bed, lists: &[(&str, Option<&str>)]) -> Result<()> {
    let (requests, granted) = (requests(bed)?, granted(lists)?);
    let excess = unused(&granted, &requests);
    ensure!(excess.is_empty(), "granted and never used: {excess:#?}");
    let refused = beyond(&granted, &requests);
    ensure!(refused.is_empty(), "used and not granted: {refused:#?}");
    Ok(())
}

/// A server of each kind besides the Deployment, each with its own backend: one gives the age up, one goes with it.
async fn the_other_kinds(bed: &Bed) -> Result<()> {
    let servers = [("StatefulSet", "store"), ("DaemonSet", "agent")];
    for (kind, name) in servers {
        bed.apply(&manifests::server_of_kind(kind, name, 1)).await?;
        bed.apply(&manifests::backend_with_age(name, "30s")).await?;
    }
    for (_, name) in servers {
        bed.reason(name, ConnectionAgeApplied, "Applied", ROLLOUT)
            .await?;
    }
    bed.change("store", &json!({"connectionAge": null})).await?;
    bed.reason("store", ConnectionAgeApplied, "NotRequested", ROLLOUT)
        .await?;
    // With an age to be taken back first.
    bed.kubectl(&["delete", "gb", "agent", "--timeout=90s"])
        .await
        .map(drop)
}

/// Somebody changes each child by hand: it is patched back.
async fn put_right_after_drift(bed: &Bed) -> Result<()> {
    let drift = [
        (
            "service",
            "echo-headless",
            r#"{"spec":{"selector":{"app":"other"}}}"#,
            "{.spec.selector.app}",
            "echo",
        ),
        (
            "serviceaccount",
            "echo-client",
            r#"{"metadata":{"ownerReferences":null}}"#,
            "{.metadata.ownerReferences[0].name}",
            "echo",
        ),
        (
            "role",
            "echo",
            r#"{"rules":[]}"#,
            "{.rules[1].resources[0]}",
            "endpointslices",
        ),
        (
            "rolebinding",
            "echo",
            r#"{"subjects":[]}"#,
            "{.subjects[0].name}",
            "echo-client",
        ),
    ];
    for (kind, name, patch, path, right) in drift {
        bed.kubectl(&["patch", kind, name, "--type=merge", "-p", patch])
            .await?;
        until(&format!("{kind} {name} is put right"), SOON, async || {
            let output = format!("jsonpath={path}");
            Ok((bed.kubectl(&["get", kind, name, "-o", &output]).await? == right).then_some(()))
        })
        .await?;
    }
    Ok(())
}

/// The second of two equal events is counted up rather than made anew.
async fn the_same_event_twice(bed: &Bed, backend: &Value) -> Result<()> {
    let mut wrong = backend.clone();
    wrong["spec"]["services"] = json!({"headless": {"name": "echo"}});
    for _ in 0..2 {
        bed.apply(&wrong).await?;
        bed.reason("echo", ServicesReady, "NameConflict", SOON)
            .await?;
        bed.apply(backend).await?;
        bed.kubectl(&[
            "patch",
            "grpcbackend",
            "echo",
            "--type=json",
            "-p",
            r#"[{"op":"remove","path":"/spec/services"}]"#,
        ])
        .await
        .ok();
        bed.reason("echo", ServicesReady, "Created", SOON).await?;
    }
    Ok(())
}

/// The spec gives up one part after the other.
async fn take_everything_back(bed: &Bed, backend: &Value) -> Result<()> {
    let mut less = backend.clone();
    less["spec"]["services"] = json!({"headless": {"name": "renamed"}});
    less["spec"]
        .as_object_mut()
        .map(|spec| spec.remove("connectionAge"));
    less["spec"]
        .as_object_mut()
        .map(|spec| spec.remove("endpointWatch"));
    bed.apply(&less).await?;
    bed.reason("echo", ConnectionAgeApplied, "NotRequested", ROLLOUT)
        .await?;
    until("everything that was given up is gone", SOON, async || {
        let left = bed
            .kubectl(&[
                "get",
                "service,role,rolebinding,serviceaccount",
                "-l",
                "evenkeel.dev/backend=echo",
                "-o",
                "name",
            ])
            .await?;
        let names: BTreeSet<_> = left.lines().collect();
        Ok((names == BTreeSet::from(["service/echo", "service/renamed"])).then_some(()))
    })
    .await
}

/// An operator that may not write ends in a condition that says so, and does not try again and again.
async fn a_missing_right_is_named(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "forbidden").await?;
    bed.echo(1).await?;
    let role = bed
        .kubectl(&["get", "role", "the-operator", "-o", "json"])
        .await?;
    let mut role: Value = serde_json::from_str(&role)?;
    let rules = role["rules"].as_array_mut().into_iter().flatten();
    for rule in rules.filter(|rule| {
        rule["resources"] == json!(["services"]) || rule["apiGroups"] == json!(["apps"])
    }) {
        rule["verbs"] = json!(["get", "list", "watch"]);
    }
    bed.apply(&role).await?;
    let begun = Timestamp::now();
    bed.apply(&manifests::backend_with_age("echo", "30s"))
        .await?;
    bed.reason("echo", ServicesReady, "Forbidden", SOON).await?;
    let backend = bed
        .reason("echo", ConnectionAgeApplied, "Forbidden", SOON)
        .await?;
    let status = serde_json::to_string(&backend.status)?;
    ensure!(
        status.contains("creating Service echo") && status.contains("Deployment echo"),
        "{status}"
    );
    // The measurement is the time: a storm would be hundreds.
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    let writes = bed.writes_since(begun)?;
    ensure!(writes.len() <= 20, "{} writes: {writes:?}", writes.len());
    Ok(())
}

/// The role of a release that knew only Deployments: these go on, who has another kind is told, and the right alone mends it.
async fn kinds_that_may_not_be_read_hold_up_no_other(world: Arc<World>) -> Result<()> {
    let mut bed = Bed::without_operator(&world, "old-role").await?;
    bed.echo(1).await?;
    bed.apply(&manifests::server_of_kind("StatefulSet", "store", 1))
        .await?;
    let name = bed.name().to_owned();
    bed.grant(&name).await?;
    let role = bed
        .kubectl(&["get", "role", "the-operator", "-o", "json"])
        .await?;
    let mut old: Value = serde_json::from_str(&role)?;
    old["metadata"] = json!({"name": "the-operator"});
    let rules = old["rules"].as_array_mut().into_iter().flatten();
    for rule in rules.filter(|rule| rule["apiGroups"] == json!(["apps"])) {
        rule["resources"] = json!(["deployments"]);
    }
    bed.apply(&old).await?;
    bed.operator = Some(start_operator(&world, &name, &[&name], &[]).await?);
    for server in ["echo", "store"] {
        bed.apply(&manifests::backend_with_age(server, "30s"))
            .await?;
    }
    bed.reason("echo", ConnectionAgeApplied, "Applied", ROLLOUT)
        .await?;
    bed.reason("store", ConnectionAgeApplied, "Forbidden", ROLLOUT)
        .await?;
    let message = bed.message("store", ConnectionAgeApplied).await?;
    for part in [
        "may not list StatefulSets",
        "get, list, watch and patch on statefulsets of the API group apps",
    ] {
        ensure!(message.contains(part), "{message}");
    }
    // What was there of this version: the Services go on, and so does a deletion.
    bed.reason("store", ServicesReady, "Created", SOON).await?;
    bed.kubectl(&["delete", "gb", "echo", "--timeout=60s"])
        .await?;
    bed.grant(&name).await?;
    bed.reason("store", ConnectionAgeApplied, "Applied", ROLLOUT)
        .await
        .map(drop)
}

/// What the operator asked the API server for.
fn requests(bed: &Bed) -> Result<Vec<AuditEvent>> {
    let operator = bed.operator.as_ref().context("no operator runs")?;
    let audit = bed.world.cluster.audit();
    let mut requests = audit.requests_by(&operator.user, Timestamp::UNIX_EPOCH)?;
    let nameless = requests
        .iter()
        .find(|event| !event.user_agent.starts_with("evenkeel/"));
    ensure!(nameless.is_none(), "not known as ours: {nameless:?}");
    requests.retain(|event| !event.resource.is_empty());
    // The API server may not know of the roles yet.
    let first = requests.iter().position(|event| event.code != 403);
    Ok(requests.split_off(first.unwrap_or_default()))
}

/// What the chart's lists grant, each in its namespace or everywhere, without what is only handed on.
fn granted(lists: &[(&str, Option<&str>)]) -> Result<Vec<Right>> {
    let mut rights = Vec::new();
    for &(list, namespace) in lists {
        rights.extend(Right::of(&rules(&[list])?, namespace));
    }
    rights.retain(|right| !HANDED_ON.contains(&right.what.as_str()));
    Ok(rights)
}
