//! StatefulSets and DaemonSets as servers.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::{ConnectionAgeApplied, Ready};
use evenkeel_cluster::until;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::bed::{Bed, ROLLOUT, SOON};
use crate::manifests::{self, none_of_our_fields, same};
use crate::tests;
use crate::world::World;

tests![
    shared a_stateful_set_gets_the_age_and_loses_it(240),
    shared a_daemon_set_gets_the_age_and_loses_it(200),
    shared pods_that_nobody_deletes_keep_what_they_have(200),
    shared a_partition_is_respected(200),
    shared a_stateful_set_that_fails_is_taken_back(240),
    shared a_daemon_set_that_fails_is_taken_back(240),
];

const RECORD: &str = "connection-age.evenkeel.dev/echo";

async fn a_stateful_set_gets_the_age_and_loses_it(world: Arc<World>) -> Result<()> {
    in_and_out(&world, "StatefulSet", 2).await
}

async fn a_daemon_set_gets_the_age_and_loses_it(world: Arc<World>) -> Result<()> {
    in_and_out(&world, "DaemonSet", 1).await
}

async fn in_and_out(world: &Arc<World>, kind: &str, pods: usize) -> Result<()> {
    let bed = Bed::new(world, &kind.to_lowercase()).await?;
    let object = start(&bed, &manifests::server_of_kind(kind, "echo", pods)).await?;
    bed.apply(&manifests::backend_with_age("echo", "30s"))
        .await?;
    let backend = bed
        .reason("echo", ConnectionAgeApplied, "Applied", ROLLOUT)
        .await?;
    bed.reason("echo", Ready, "AllReady", ROLLOUT).await?;
    let status = backend.status.unwrap_or_default();
    let mut rows = serde_json::to_value(&status.servers)?;
    // Whether connections end at it takes longer to see.
    rows[0].as_object_mut().map(|row| row.remove("observed"));
    same(
        &rows,
        &json!([{"kind": kind, "name": "echo", "container": "server", "replicas": pods, "running": "30s", "planned": "30s", "state": "Applied", "setBy": "Evenkeel"}]),
    )?;
    ensure!(status.running_max_age.as_deref() == Some("30s"));
    let running = bed.pods("app=echo").await?;
    ensure!(running.len() == pods, "Applied with {} pods", running.len());
    for pod in &running {
        ensure!(age_of(pod).as_deref() == Some("30s"), "{}", pod.name_any());
    }
    rolled_out(&bed, &object).await?;
    until("the record has no rollout under way", SOON, async || {
        let record = record(&bed, &object).await?.context("no record")?;
        none_of_our_fields(&bed.live_of(kind, "echo").await?)?;
        Ok(record.get("underWay").is_none().then_some(()))
    })
    .await?;
    bed.kubectl(&["delete", "gb", "echo"]).await?;
    rolled_out(&bed, &object).await?;
    for pod in bed.pods("app=echo").await? {
        ensure!(age_of(&pod).is_none(), "{} still has it", pod.name_any());
    }
    bed.finish().await
}

async fn pods_that_nobody_deletes_keep_what_they_have(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "on-delete").await?;
    let mut server = manifests::server_of_kind("DaemonSet", "echo", 1);
    server["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
    start(&bed, &server).await?;
    let pod = only_pod(&bed).await?;
    bed.apply(&manifests::backend_with_age("echo", "30s"))
        .await?;
    bed.reason("echo", ConnectionAgeApplied, "Paused", SOON)
        .await?;
    let message = bed.message("echo", ConnectionAgeApplied).await?;
    let command = format!("kubectl delete pod -n {} {}", bed.name(), pod.name_any());
    for part in ["0 of 1 ready pods of DaemonSet echo", "OnDelete", &command] {
        ensure!(message.contains(part), "{message}");
    }
    ensure!(only_pod(&bed).await?.uid() == pod.uid(), "it was replaced");
    bed.kubectl(&["delete", "pod", &pod.name_any()]).await?;
    bed.reason("echo", ConnectionAgeApplied, "Applied", ROLLOUT)
        .await?;
    bed.finish().await
}

async fn a_partition_is_respected(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "partition").await?;
    let mut server = manifests::server_of_kind("StatefulSet", "echo", 2);
    server["spec"]["updateStrategy"] =
        json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 1}});
    start(&bed, &server).await?;
    bed.apply(&manifests::backend_with_age("echo", "30s"))
        .await?;
    bed.reason("echo", ConnectionAgeApplied, "Paused", ROLLOUT)
        .await?;
    let message = bed.message("echo", ConnectionAgeApplied).await?;
    for part in ["1 of 2 ready pods of StatefulSet echo", "partition"] {
        ensure!(message.contains(part), "{message}");
    }
    let pods = bed.pods("app=echo").await?;
    let ages: Vec<_> = pods.iter().map(|p| (p.name_any(), age_of(p))).collect();
    ensure!(
        ages == [
            ("echo-0".into(), None),
            ("echo-1".into(), Some("30s".into()))
        ],
        "{ages:?}"
    );
    bed.patch(
        "statefulset/echo",
        &json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}}),
    )
    .await?;
    bed.reason("echo", ConnectionAgeApplied, "Applied", ROLLOUT)
        .await?;
    bed.finish().await
}

/// Under OrderedReady Kubernetes itself does not get over a pod that never becomes ready: the message says which.
async fn a_stateful_set_that_fails_is_taken_back(world: Arc<World>) -> Result<()> {
    let (bed, object, before) = failed(&world, "StatefulSet").await?;
    let pod = only_pod(&bed).await?;
    let message = bed.message("echo", ConnectionAgeApplied).await?;
    let command = format!("kubectl delete pod -n {} echo-0", bed.name());
    ensure!(message.contains(&command), "{message}");
    bed.another_pass_over(&object).await?;
    ensure!(
        only_pod(&bed).await?.uid() == pod.uid() && age_of(&pod).is_some(),
        "Kubernetes has replaced it: nothing was to be said"
    );
    bed.kubectl(&["delete", "pod", "echo-0"]).await?;
    healed(bed, &object, &before).await
}

async fn a_daemon_set_that_fails_is_taken_back(world: Arc<World>) -> Result<()> {
    let (bed, object, before) = failed(&world, "DaemonSet").await?;
    let message = bed.message("echo", ConnectionAgeApplied).await?;
    ensure!(!message.contains("kubectl delete pod"), "{message}");
    healed(bed, &object, &before).await
}

/// A server that ends at once when it has an age, under an operator that does not wait for long.
async fn failed(world: &Arc<World>, kind: &str) -> Result<(Bed, String, Value)> {
    let mut bed = Bed::without_operator(world, "failed").await?;
    bed.start_operator(&["--rollout-deadline=5s"]).await?;
    let mut server = manifests::server_of_kind(kind, "echo", 1);
    manifests::container(&mut server)["args"] = json!(["--crash-on-age"]);
    let object = start(&bed, &server).await?;
    let before = bed.template_of(&object).await?;
    bed.apply(&manifests::backend_with_age("echo", "30s"))
        .await?;
    bed.reason("echo", ConnectionAgeApplied, "RolloutFailed", ROLLOUT)
        .await?;
    until("the template is as it was", SOON, async || {
        same(&bed.template_of(&object).await?, &before)?;
        Ok(Some(()))
    })
    .await?;
    Ok((bed, object, before))
}

/// The old template runs again, and the failure is not tried anew.
async fn healed(bed: Bed, object: &str, before: &Value) -> Result<()> {
    rolled_out(&bed, object).await?;
    bed.another_pass_over(object).await?;
    bed.reason("echo", ConnectionAgeApplied, "RolloutFailed", SOON)
        .await?;
    same(&bed.template_of(object).await?, before)?;
    bed.finish().await
}

/// Applies a server and waits for its pods; gives `kind/name`.
async fn start(bed: &Bed, server: &Value) -> Result<String> {
    bed.apply(server).await?;
    let kind = server["kind"].as_str().context("no kind")?.to_lowercase();
    let object = format!("{kind}/echo");
    until(&format!("{object} serves"), ROLLOUT, async || {
        let pods = bed.pods("app=echo").await?;
        let wanted = server["spec"]["replicas"].as_u64().unwrap_or(1);
        let ready = pods
            .iter()
            .filter(|pod| evenkeel::observed::is_serving(pod));
        Ok((ready.count() as u64 == wanted).then_some(()))
    })
    .await?;
    Ok(object)
}

async fn rolled_out(bed: &Bed, object: &str) -> Result<()> {
    let limit = format!("--timeout={}s", ROLLOUT.as_secs());
    bed.kubectl(&["rollout", "status", object, &limit])
        .await
        .map(drop)
}

async fn record(bed: &Bed, object: &str) -> Result<Option<Value>> {
    let object = bed.object(object).await?;
    let text = object["metadata"]["annotations"][RECORD].as_str();
    Ok(text.map(serde_json::from_str).transpose()?)
}

async fn only_pod(bed: &Bed) -> Result<Pod> {
    let mut pods = bed.pods("app=echo").await?;
    ensure!(pods.len() == 1, "{} pods", pods.len());
    pods.pop().context("no pod")
}

fn age_of(pod: &Pod) -> Option<String> {
    let container = pod.spec.as_ref()?.containers.first()?;
    let variables = container.env.iter().flatten();
    let mut ages = variables.filter(|variable| variable.name == "MAX_CONNECTION_AGE");
    ages.next()?.value.clone()
}
