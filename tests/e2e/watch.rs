//! Clients that watch endpoints, under what the operator grants them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::{EndpointWatchReady, Ready};
use evenkeel_cluster::until;
use serde_json::{Value, json};

use crate::access::asked;
use crate::bed::{Bed, SOON};
use crate::client::Client;
use crate::discovery::PATIENT;
use crate::manifests;
use crate::pods::{arrival, left, names, new_pods};
use crate::tests;
use crate::world::World;

tests![
    shared a_watching_client_finds_pods_at_once(180),
    shared a_client_of_another_namespace(120),
    shared a_namespace_that_is_not_admitted(60),
    small_slices more_than_one_slice_loses_pods(150),
];

/// Clients that watch need no age: the endpoints follow Ready by a moment, and by how long a moment docs/clients.md measures.
/// The machine may be busy, and those that look up by DNS take three times as long.
const AT_ONCE: Duration = Duration::from_secs(10);
/// In which Kubernetes keeps the time of Ready.
const WHOLE_SECOND: Duration = Duration::from_secs(1);

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
    let backend = bed
        .reason("echo", EndpointWatchReady, "Bound", SOON)
        .await?;
    let told = backend.status.context("no status")?.targets.remove(0);
    let told = told.kubernetes.context("no target for watching clients")?;
    let by_cluster_ip = format!("kubernetes:///echo.{}:grpc", bed.name());
    for (name, target) in [("headless", told), ("cluster-ip", by_cluster_ip)] {
        let client =
            Client::start(&bed, name, &target, "echo-client", &["--rate=50", PATIENT]).await?;
        client
            .reaches(2)
            .await
            .with_context(|| format!("through {target}"))?;
        let old = names(&bed.pods("app=echo").await?);

        bed.scale("echo", 3).await?;
        for pod in new_pods(&bed, &old, 1).await? {
            let arrival = arrival(&client, &pod, SOON).await?;
            println!(
                "    through {target}: a new pod's first reply {:.2?} after Ready",
                arrival.took
            );
            ensure!(arrival.took <= AT_ONCE + WHOLE_SECOND, "{arrival:?}");
        }

        bed.scale("echo", 2).await?;
        left(&bed, 2).await?;
        client
            .none_failed()
            .await
            .context("at the scale-up and scale-down")?;
        client.stop().await?;
    }
    Ok(())
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
    let client = Client::start(
        &clients,
        "visitor",
        &target,
        "visitor",
        &["--rate=50", PATIENT],
    )
    .await?;
    client.reaches(2).await?;
    bed.scale("echo", 1).await?;
    left(&bed, 1).await?;
    client.none_failed().await.context("at the scale-down")?;

    // Nobody is bound where they work, and another account of theirs sees nothing.
    ensure!(
        !clients.exists("rolebinding/echo").await?,
        "a binding in the clients' namespace"
    );
    let (visited, own) = (bed.name(), clients.name());
    let endpoints = format!("/api/v1/namespaces/{visited}/endpoints/echo");
    let others = [
        format!("/api/v1/namespaces/{visited}/pods"),
        format!("/api/v1/namespaces/{visited}/secrets"),
        format!("/api/v1/namespaces/{own}/endpoints"),
        "/api/v1/endpoints".to_owned(),
    ];
    let paths: Vec<&str> = [&endpoints]
        .into_iter()
        .chain(&others)
        .map(String::as_str)
        .collect();
    for (path, status) in asked(&clients, "visitor", &paths).await? {
        let expected = if path == endpoints { 200 } else { 403 };
        ensure!(
            status == expected,
            "GET {path} says {status}, not {expected}"
        );
    }
    ensure!(asked(&clients, "default", &[&endpoints]).await? == [(endpoints, 403)]);

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

/// As with more than a hundred pods on most clusters. It is told before a client is there.
async fn more_than_one_slice_loses_pods(world: Arc<World>) -> Result<()> {
    world.prepare().await?;
    let bed = Bed::new(&world, "slices").await?;
    bed.echo(5).await?;
    bed.apply(&with_account()).await?;
    bed.reason("echo", EndpointWatchReady, "Bound", SOON)
        .await?;
    until("GB050 is said", SOON, async || {
        let findings = bed
            .backend("echo")
            .await?
            .status
            .unwrap_or_default()
            .findings;
        Ok(findings
            .iter()
            .any(|found| found.id == "GB050")
            .then_some(()))
    })
    .await?;
    let span = Duration::from_secs(3);
    for service in ["echo-headless", "echo"] {
        let target = format!("kubernetes:///{service}.{}:grpc", bed.name());
        let client = Client::start(
            &bed,
            &format!("watches-{service}"),
            &target,
            "echo-client",
            &["--rate=50", PATIENT],
        )
        .await?;
        // It hears of one slice after the other, and forgets the one before each time.
        tokio::time::sleep(span).await;
        let counts = client.during(span).await?;
        counts.no_errors()?;
        println!(
            "    through {service}: calls to {} of 5 pods",
            counts.replies.len()
        );
        // Those of one slice.
        ensure!(
            (1..=2).contains(&counts.replies.len()),
            "{:?}",
            counts.replies
        );
        client.stop().await?;
    }
    // What the finding says to do.
    let target = format!("dns:///echo-headless.{}.svc:8080", bed.name());
    let client = Client::start(&bed, "looks", &target, "default", &["--rate=50", PATIENT]).await?;
    client.reaches(5).await?;
    client.totals().await?.counts.no_errors()
}
