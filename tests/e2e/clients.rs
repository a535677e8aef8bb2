//! Servers and clients in each language of `examples`: what they show, how their connections end, what clients see.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::{Balanced, ConnectionAgeApplied, ServicesReady};
use evenkeel::operator::ACCEPT;
use evenkeel_cluster::examples::{ALL, Example};
use evenkeel_cluster::load::get_accepting;
use evenkeel_cluster::until;
use evenkeel_conformance::{CLIENTS, MODES, Mode};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::balance::{figures, told};
use crate::bed::{Bed, ROLLOUT, SOON};
use crate::client::Client;
use crate::manifests;
use crate::pods::{arrival, ip, left, names, new_pods};
use crate::proof::lifetimes;
use crate::servers::{aged, end_at, replaced};
use crate::tests;
use crate::world::World;

tests![
    shared servers_are_judged_and_end_connections(420),
    // Five runtimes at a fixed rate: beside other tests they starve, and then it is the machine that drops calls.
    alone clients_find_new_pods_and_survive_a_rollout(420),
];

/// Two windows of warming up, and a few of evidence.
const JUDGED: Duration = Duration::from_secs(150);
/// The way that clients go here: a headless Service, and an age.
const WAY: Mode = MODES[0];
/// A machine that stands still for two seconds is no fault of theirs.
const PATIENT: [&str; 1] = ["--deadline=10s"];
const AGE: Duration = Duration::from_secs(10);
/// Two or three lives of every connection.
const SPAN: Duration = Duration::from_secs(30);

/// Builds the images of the examples before the clock of a test starts.
pub fn build_for(tests: &[&str]) -> Result<()> {
    if tests.iter().any(|test| test.starts_with("clients::")) {
        for example in ALL {
            example.build()?;
        }
    }
    Ok(())
}

/// The server of every language: its own metrics give a verdict, and its own knob ends its connections.
async fn servers_are_judged_and_end_connections(world: Arc<World>) -> Result<()> {
    let bed = bed(&world, "languages").await?;
    let clients = try_join_all(ALL.map(|example| judged(&bed, example))).await?;
    until("all are read as well as Go's server", ROLLOUT, async || {
        let rate = async |name: &str| {
            let label = format!("name=\"{name}\"");
            told(&bed, "evenkeel_backend_requests_per_second{", &label).await
        };
        let go = rate("go").await?;
        for example in ALL {
            let own = rate(example.name).await?;
            // They are asked for as much, but not read at the same moments.
            ensure!(
                (own - go).abs() <= 0.1 * go,
                "{}: {own} requests a second, and of Go's server {go}",
                example.name
            );
        }
        Ok(Some(()))
    })
    .await?;
    for client in clients {
        client.stop().await?;
    }
    try_join_all(ALL.map(|example| cycles(&bed, example))).await?;
    Ok(())
}

/// The client of every language, all beside each other, while pods of the workloads' server come and go.
async fn clients_find_new_pods_and_survive_a_rollout(world: Arc<World>) -> Result<()> {
    world.prepare().await?;
    let bed = bed(&world, "clients").await?;
    let mut echo = manifests::server("echo", 2);
    bed.deploy(&echo).await?;
    let age = WAY.age.context("no age")?;
    bed.apply_age(&manifests::backend_with_age("echo", &format!("{age}s")))
        .await?;
    left(&bed, 2).await?;
    // From now on no faster than clients look up: else all that they know may be gone before they do.
    echo["spec"]["minReadySeconds"] = 20.into();
    echo["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
    bed.apply(&echo).await?;
    let target = target(&bed, "echo").await?;
    let started = ALL.map(|example| Client::example(&bed, example, &target, "default", &PATIENT));
    let clients = try_join_all(started).await?;
    for client in &clients {
        // Five libraries start at once, one of them with a machine of its own.
        until("its first reply", ROLLOUT * 2, async || {
            client.serves().await.map(Some)
        })
        .await?;
    }
    for client in &clients {
        client.reset().await?;
    }

    let old = names(&bed.pods("app=echo").await?);
    bed.scale("echo", 4).await?;
    let scaled = new_pods(&bed, &old, 2).await?;
    try_join_all(
        clients
            .iter()
            .map(|client| found(client, &scaled, "scaled up")),
    )
    .await?;
    bed.rolled_out("echo").await?;

    let old = names(&bed.pods("app=echo").await?);
    bed.kubectl(&["rollout", "restart", "deployment/echo"])
        .await?;
    until("all four are replaced", ROLLOUT * 3, async || {
        bed.rolled_out("echo").await.map(Some)
    })
    .await?;
    let replaced = new_pods(&bed, &old, 4).await?;
    try_join_all(
        clients
            .iter()
            .map(|client| found(client, &replaced, "replaced")),
    )
    .await?;
    left(&bed, 4).await?;
    for client in &clients {
        let counts = client.totals().await?.counts;
        println!(
            "    {}: {} calls, failed: {:?}",
            client.name(),
            counts.ok,
            counts.errors
        );
        // What it could not begin in time is the machine's doing; and one that stood still may answer a GOAWAY too late (docs/calls.md).
        let stood_still = counts.late * 100 > counts.ok;
        let known = counts.errors.keys().all(|code| code == "UNAVAILABLE");
        ensure!(
            counts.dropped == 0 && (counts.errors.is_empty() || stood_still && known),
            "{}: {:?}, {} were not begun in time, {} because others hung",
            client.name(),
            counts.errors,
            counts.late,
            counts.dropped
        );
    }
    Ok(())
}

/// Every pod's first reply, within what is promised to this kind of client.
async fn found(client: &Client, pods: &[Pod], event: &str) -> Result<()> {
    let id = client.name().trim_start_matches("client-");
    let known = CLIENTS.into_iter().find(|known| known.id == id);
    let promise = known.and_then(|known| WAY.promise(known));
    let promise = promise.context("nothing is promised")?;
    // Kubernetes keeps the time of Ready in whole seconds.
    let promise = promise + Duration::from_secs(1);
    let mut took = Vec::new();
    for pod in pods {
        let arrival = arrival(client, pod, promise * 2)
            .await
            .with_context(|| client.name().to_owned())?;
        took.push(arrival.took);
    }
    println!(
        "    {}, {event}: first replies {took:.1?} after Ready",
        client.name()
    );
    ensure!(
        took.iter().all(|took| *took <= promise),
        "{}: {took:?}, {promise:?} are promised",
        client.name()
    );
    Ok(())
}

/// A namespace with an operator, on a cluster that has the images.
async fn bed(world: &Arc<World>, prefix: &str) -> Result<Bed> {
    for example in ALL {
        let archive = tokio::task::spawn_blocking(move || example.build()).await??;
        world.cluster.import_image(&archive).await?;
    }
    Bed::new(world, prefix).await
}

/// The example's server, without an age. Kubelet asks its health service.
fn server(example: Example, replicas: u32) -> Value {
    let mut server = manifests::server(example.name, replicas);
    let container = manifests::container(&mut server);
    container["image"] = example.image().into();
    container["command"] = json!(example.server);
    container["readinessProbe"] =
        json!({"grpc": {"port": manifests::PORT}, "periodSeconds": 2, "timeoutSeconds": 5});
    server
}

/// What the status tells clients to dial: a name that each library has to complete by the pod's search path.
async fn target(bed: &Bed, name: &str) -> Result<String> {
    let backend = bed.reason(name, ServicesReady, "Created", SOON).await?;
    let targets = backend.status.unwrap_or_default().targets;
    let dns = targets.into_iter().find_map(|target| target.dns);
    dns.context("status.targets has no dns")
}

/// Requests are read from the server's own page.
async fn judged(bed: &Bed, example: Example) -> Result<Client> {
    let name = example.name;
    bed.deploy(&server(example, 2)).await?;
    bed.apply(&manifests::backend(name)).await?;
    let flags = ["--rate=50", "--connections=5", "--deadline=10s"];
    let client = observer(bed, &format!("judge-{name}"), name, &flags).await?;
    bed.reason(name, Balanced, "Balanced", JUDGED).await?;
    until("it is judged by what is asked of it", ROLLOUT, async || {
        let balance = figures(&bed.backend(name).await?);
        let rate = balance.requests_per_second.as_deref();
        let rate: f64 = rate.context("no rate")?.parse()?;
        ensure!(
            balance.pods == 2
                && (35.0..=60.0).contains(&rate)
                && balance.metric.as_deref() == Some("grpc_server_started_total"),
            "{name}: {balance:?}"
        );
        println!(
            "    {name}: max/mean {:?}, {rate} requests a second",
            balance.max_over_mean
        );
        Ok(Some(()))
    })
    .await?;
    shows_open_metrics(bed, name).await?;
    Ok(client)
}

/// As the operator asks, so that the page says where it ends.
async fn shows_open_metrics(bed: &Bed, name: &str) -> Result<()> {
    let pods = bed.pods(&format!("app={name}")).await?;
    let page = (ip(&pods[0])?, 9090).into();
    let address = bed.world.cluster.forward(page).await?;
    let (status, text) = get_accepting(address, "/metrics", ACCEPT).await?;
    ensure!(
        status == 200 && text.ends_with("# EOF\n"),
        "{name} says {status}: {text}"
    );
    Ok(())
}

/// The workloads' client, since it sees the frames that end a connection.
async fn observer(bed: &Bed, client: &str, server: &str, flags: &[&str]) -> Result<Client> {
    bed.client(client, &target(bed, server).await?, flags).await
}

/// The age by the server's own variable, and connections end at it.
async fn cycles(bed: &Bed, example: Example) -> Result<()> {
    let name = example.name;
    bed.change(name, &json!({"connectionAge": age(example)}))
        .await?;
    bed.reason(name, ConnectionAgeApplied, "Applied", ROLLOUT * 2)
        .await?;
    bed.rolled_out(name).await?;
    let flags = ["--rate=50", "--connections=5", "--deadline=10s"];
    let client = observer(bed, &format!("aged-{name}"), name, &flags).await?;
    let counts = client.during(SPAN).await?;
    let goaways = client.goaways().await?;
    let lived = lifetimes(&goaways).with_context(|| format!("{name} ended no connection"))?;
    println!(
        "    {name}: {} GOAWAYs {:?} in {SPAN:?}, connections lived {lived:.1?}, {} calls, failed: {:?}",
        counts.goaways, counts.goaway_reasons, counts.ok, counts.errors
    );
    if name == "node" {
        // grpc-js closes at once: what is under way to the server then is lost, which its README says, and so may the GOAWAY be that was
        // to tell of it. That is a call or two for each end of a connection, and many more on a machine whose answers take half a second.
        let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
        for failure in client.failures().await? {
            *reasons.entry(failure.message).or_default() += 1;
        }
        println!(
            "    {name}: {} connections opened, calls lost: {reasons:?}",
            counts.connections_opened
        );
        aged(AGE, &goaways).with_context(|| name.to_owned())?;
        replaced(&counts).with_context(|| name.to_owned())?;
        let lost: u64 = counts.errors.values().sum();
        let known = counts.errors.keys().all(|code| code == "UNAVAILABLE");
        ensure!(known && lost < counts.ok, "{name}: {counts:?}");
        return Ok(());
    }
    end_at(AGE, &counts, &goaways).with_context(|| name.to_owned())?;
    counts.no_errors().with_context(|| name.to_owned())
}

/// `spec.connectionAge` with the variables that the example's README names.
fn age(example: Example) -> Value {
    let (format, suffix) = match example.name {
        "go" => ("GoDuration", ""),
        "rust" | "java" => ("Seconds", "_SECONDS"),
        _ => ("Milliseconds", "_MILLISECONDS"),
    };
    let mut age = json!({"maxAge": "10s", "knob": {"env": {
        "maxAge": format!("MAX_CONNECTION_AGE{suffix}"),
        "format": format,
    }}});
    // With a grace, tonic sends no GOAWAY at all.
    if example.name != "rust" {
        age["grace"] = "5s".into();
        age["knob"]["env"]["grace"] = format!("MAX_CONNECTION_AGE_GRACE{suffix}").into();
    }
    age
}
