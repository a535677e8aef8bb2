//! Clients that watch endpoints, under what the operator grants them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::{EndpointWatchReady, Ready};
use evenkeel_cluster::until;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::access::asked;
use crate::bed::{Bed, ROLLOUT, SOON};
use crate::client::Client;
use crate::manifests;
use crate::tests;
use crate::world::World;

tests![
    shared a_watching_client_finds_pods_at_once(180),
    shared a_client_of_another_namespace(120),
    shared a_namespace_that_is_not_admitted(60),
];

/// What a watch takes is a moment; the machine may be busy.
const AT_ONCE: Duration = Duration::from_secs(3);

fn watched(watch: &Value) -> Value {
    let mut backend = manifests::backend("echo");
    backend["spec"]["endpointWatch"] = watch.clone();
    backend
}

/// A GrpcBackend whose clients get the ServiceAccount `echo-client`.
pub fn with_account() -> Value {
    watched(&json!({"serviceAccount": {"create": true}}))
}

async fn a_watching_client_finds_pods_at_once(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "watch").await?;
    bed.echo(2).await?;
    bed.apply(&with_account()).await?;
    bed.reason("echo", EndpointWatchReady, "Bound", SOON)
        .await?;
    for (name, service) in [("headless", "echo-headless"), ("cluster-ip", "echo")] {
        let target = format!("kubernetes:///{service}.{}:grpc", bed.name());
        let client = Client::start(&bed, name, &target, "echo-client", &["--rate=50"]).await?;
        let counts = client.during(Duration::from_secs(2)).await?;
        counts.no_errors()?;
        ensure!(
            counts.replies.len() == 2,
            "through {service}: {:?}",
            counts.replies
        );

        bed.scale("echo", 3).await?;
        let (pod, ready) = new_pod(&bed, &counts.replies.into_keys().collect::<Vec<_>>()).await?;
        let first = until("a reply of the new pod", SOON, async || {
            Ok(client.totals().await?.first_replies.get(&pod).copied())
        })
        .await?;
        let took = Duration::try_from(first.duration_since(ready)).unwrap_or_default();
        println!("    through {service}: a new pod's first reply {took:.2?} after Ready");
        ensure!(
            took < AT_ONCE,
            "{pod} was Ready {took:?} before its first reply"
        );

        bed.scale("echo", 2).await?;
        only(&bed, 2).await?;
        client
            .totals()
            .await?
            .counts
            .no_errors()
            .context("at the scale-up and scale-down")?;
        client.stop().await?;
    }
    Ok(())
}

/// The pod that is not among the old ones, and when it was first seen Ready.
async fn new_pod(bed: &Bed, old: &[String]) -> Result<(String, Timestamp)> {
    until("a new pod is Ready", ROLLOUT, async || {
        let pods = bed.pods("app=echo").await?;
        let new = pods.into_iter().find(|pod| {
            pod.metadata
                .name
                .as_ref()
                .is_some_and(|name| !old.contains(name))
        });
        let Some(new) = new else { return Ok(None) };
        let conditions = new
            .status
            .and_then(|status| status.conditions)
            .unwrap_or_default();
        let ready = conditions
            .iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True");
        Ok(new
            .metadata
            .name
            .filter(|_| ready)
            .map(|name| (name, Timestamp::now())))
    })
    .await
}

/// Waits until that many pods are left, those included that are going.
async fn only(bed: &Bed, count: usize) -> Result<()> {
    until(&format!("{count} pods are left"), ROLLOUT, async || {
        let pods = bed
            .kubectl(&["get", "pods", "-l", "app=echo", "-o", "name"])
            .await?;
        Ok((pods.lines().count() == count).then_some(()))
    })
    .await
}

async fn a_client_of_another_namespace(world: Arc<World>) -> Result<()> {
    let clients = Bed::without_operator(&world, "visitors").await?;
    clients
        .kubectl(&["create", "serviceaccount", "visitor"])
        .await?;
    let mut bed = Bed::without_operator(&world, "visited").await?;
    bed.start_operator(&[&format!("--client-namespaces={}", clients.name())])
        .await?;
    bed.echo(2).await?;
    bed.apply(&watched(
        &json!({"clients": [{"namespace": clients.name(), "serviceAccount": "visitor"}]}),
    ))
    .await?;
    bed.reason("echo", EndpointWatchReady, "Bound", SOON)
        .await?;
    let target = format!("kubernetes:///echo-headless.{}:grpc", bed.name());
    let client = Client::start(&clients, "visitor", &target, "visitor", &["--rate=50"]).await?;
    let counts = client.during(Duration::from_secs(2)).await?;
    counts.no_errors()?;
    ensure!(counts.replies.len() == 2, "{:?}", counts.replies);
    bed.scale("echo", 1).await?;
    only(&bed, 1).await?;
    client
        .totals()
        .await?
        .counts
        .no_errors()
        .context("at the scale-down")?;

    // Nobody is bound where they work, and another account of theirs sees nothing.
    ensure!(
        !clients.exists("rolebinding/echo").await?,
        "a binding in the clients' namespace"
    );
    let path = format!("/api/v1/namespaces/{}/endpoints/echo", bed.name());
    ensure!(asked(&clients, "default", &[&path]).await? == [(path, 403)]);

    // No longer a client: no longer bound.
    bed.patch("gb/echo", &json!({"spec": {"endpointWatch": null}}))
        .await?;
    bed.reason("echo", EndpointWatchReady, "NotRequested", SOON)
        .await?;
    for child in ["role/echo", "rolebinding/echo"] {
        bed.gone(child).await?;
    }
    Ok(())
}

async fn a_namespace_that_is_not_admitted(world: Arc<World>) -> Result<()> {
    let mut bed = Bed::without_operator(&world, "closed").await?;
    bed.start_operator(&["--client-namespaces=some-other"])
        .await?;
    let clients = json!({"clients": [{"serviceAccount": "own"}, {"namespace": "kube-system", "serviceAccount": "visitor"}]});
    bed.apply(&watched(&clients)).await?;
    bed.reason("echo", EndpointWatchReady, "Rejected", SOON)
        .await?;
    bed.reason("echo", Ready, "Rejected", SOON).await?;
    let message = bed.message("echo", EndpointWatchReady).await?;
    ensure!(
        message.contains("spec.endpointWatch.clients[1].namespace kube-system")
            && message.contains("clientNamespaces"),
        "{message}"
    );
    // Who is admitted has access all the same, and nobody else.
    bed.becomes(
        "rolebinding/echo",
        "/subjects",
        &json!([{"kind": "ServiceAccount", "name": "own", "namespace": bed.name()}]),
    )
    .await?;
    bed.patch(
        "gb/echo",
        &json!({"spec": {"endpointWatch": {"clients": [{"serviceAccount": "own"}]}}}),
    )
    .await?;
    bed.reason("echo", EndpointWatchReady, "Bound", SOON)
        .await?;
    Ok(())
}
