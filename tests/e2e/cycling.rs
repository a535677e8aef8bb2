//! What clients notice while connections cycle: calls nothing at all, streams what is documented of the grace.
//!
//! At a graceful close a gRPC server waits five seconds for the client to answer. Where one of the two stands still for
//! longer, as on a machine that does ten things at once, calls are under way that the server no longer takes: gRPC tries
//! each of them again by itself, once, and the second attempt can meet the next connection in the same state. So a call
//! may fail there, and only there, and with a retry policy none fails at all.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::ConnectionAgeApplied;
use evenkeel_cluster::load::Counts;
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use serde_json::{Value, json};

use crate::bed::{Bed, ROLLOUT};
use crate::client::{Client, Failure};
use crate::manifests;
use crate::tests;
use crate::world::World;

tests![proof calls_and_streams_while_connections_cycle(360)];

const SPAN: Duration = Duration::from_mins(3);
const AGE: Duration = Duration::from_secs(10);
/// No call takes that long, even where a busy machine stands still for seconds.
const GRACE: Duration = Duration::from_secs(30);
const RATE: u64 = 200;
/// What a busy machine may add.
const LATE: Duration = Duration::from_secs(10);
/// Longer than age and grace together.
const STREAM: Duration = Duration::from_mins(1);

/// Messages of a stream from which nobody goes away.
const ENDLESS: u64 = 0;

/// One backend with a grace and one without; streams last longer than age and grace.
async fn calls_and_streams_while_connections_cycle(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "cycling").await?;
    let mut templates = Vec::new();
    for (name, grace) in [("strict", Some(GRACE)), ("patient", None)] {
        bed.deploy(&manifests::server(name, 2)).await?;
        templates.push((name, bed.template(name).await?));
        bed.apply(&backend(name, grace)).await?;
        bed.reason(name, ConnectionAgeApplied, "Applied", ROLLOUT)
            .await?;
        bed.rolled_out(name).await?;
    }
    let target = |name: &str| {
        format!(
            "dns:///{name}-headless.{}.svc.cluster.local:8080",
            bed.name()
        )
    };
    let calls = unary(&bed, "calls", &target("strict"), &["--rate=200"]).await?;
    let retry = ["--rate=50", "--retry"];
    let retried = unary(&bed, "retried", &target("strict"), &retry).await?;
    let cut = streams(&bed, "cut", &target("strict"), ENDLESS).await?;
    let long = STREAM.as_secs() * 10;
    let lasting = streams(&bed, "lasting", &target("patient"), long).await?;

    let counts = calls.during(SPAN).await?;
    let unanswered = unanswered(&bed, &calls).await?;
    if !counts.errors.is_empty() {
        only_unanswered_goaways_fail_calls(&calls, unanswered).await?;
    }
    no_call_fails(&world, &counts, unanswered)?;
    no_call_fails_that_is_retried(&world, &retried.totals().await?.counts)?;
    streams_are_cut_at_the_grace(&world, &cut).await?;
    streams_without_a_grace_end_by_themselves(&world, &lasting).await?;
    for (name, before) in templates {
        bed.kubectl(&["delete", "gb", name, "--timeout=90s"])
            .await?;
        manifests::same(&bed.template(name).await?, &before)?;
    }
    Ok(())
}

async fn unary(bed: &Bed, name: &str, target: &str, further: &[&str]) -> Result<Client> {
    let flags = [&["--connections=5", "--deadline=60s"], further].concat();
    bed.client(name, target, &flags).await
}

async fn streams(bed: &Bed, name: &str, target: &str, messages: u64) -> Result<Client> {
    let messages = format!("--stream-messages={messages}");
    let flags = [
        "--method=chat",
        &messages,
        "--deadline=0",
        "--rate=5",
        "--max-in-flight=4",
    ];
    Client::launch(bed, name, target, "default", &flags).await
}

fn backend(name: &str, grace: Option<Duration>) -> Value {
    let mut backend = manifests::backend_with_age(name, "10s");
    backend["spec"]["connectionAge"]["grace"] =
        json!(grace.map(|grace| format!("{}s", grace.as_secs())));
    backend
}

/// How often a server of `strict` waited in vain for this client to answer a GOAWAY.
async fn unanswered(bed: &Bed, client: &Client) -> Result<usize> {
    let pods = bed.namespace.api::<Pod>();
    let status = pods.get(client.name()).await?.status.unwrap_or_default();
    let peer = format!("{}:", status.pod_ip.context("a client without an address")?);
    let mut found = 0;
    for server in bed.pods("app=strict").await? {
        let name = server.metadata.name.context("a pod without a name")?;
        let log = pods.logs(&name, &LogParams::default()).await?;
        found += log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|line| line["event"] == "goaway_unanswered")
            .filter(|line| {
                line["peer"]
                    .as_str()
                    .is_some_and(|from| from.starts_with(&peer))
            })
            .count();
    }
    Ok(found)
}

async fn only_unanswered_goaways_fail_calls(client: &Client, unanswered: usize) -> Result<()> {
    for failure in client.failures().await? {
        let of_a_goaway = failure.message == "the connection is draining"
            || failure.message.contains("received prior goaway");
        ensure!(
            unanswered > 0 && failure.code == "UNAVAILABLE" && of_a_goaway,
            "{unanswered} GOAWAYs unanswered, and yet {failure:?}"
        );
    }
    Ok(())
}

fn no_call_fails(world: &World, counts: &Counts, unanswered: usize) -> Result<()> {
    let failed: u64 = counts.errors.values().sum();
    ensure!(
        failed == 0 || unanswered > 0 && failed * 100 <= counts.ok,
        "{failed} of {} failed, {unanswered} GOAWAYs unanswered: {:?}",
        counts.ok,
        counts.errors
    );
    ensure!(
        counts.ok >= RATE * SPAN.as_secs() * 3 / 4,
        "only {} calls: {counts:?}",
        counts.ok
    );
    // Ten connections, each ended once in at most 11 s and some.
    let least = 10 * SPAN.as_secs() / (AGE + LATE).as_secs() - 10;
    let ended = counts.goaway_reasons.get("max_age").copied().unwrap_or(0);
    ensure!(
        ended >= least,
        "{ended} GOAWAYs for the age, {least} expected: {counts:?}"
    );
    world.evidence.cycling(&[
        &format!("unary, {RATE} a second"),
        &seconds(GRACE),
        &seconds(SPAN),
        &counts.started.to_string(),
        &failed.to_string(),
        &ended.to_string(),
        &match failed {
            0 => "answered, each of them".to_owned(),
            _ => format!("UNAVAILABLE where a GOAWAY went unanswered for 5 s, as {unanswered} did"),
        },
    ]);
    Ok(())
}

fn no_call_fails_that_is_retried(world: &World, counts: &Counts) -> Result<()> {
    ensure!(
        counts.errors.is_empty() && counts.ok > 0,
        "{} calls ended well with a retry policy: {:?}",
        counts.ok,
        counts.errors
    );
    world.evidence.cycling(&[
        "unary, 50 a second, with a retry policy",
        &seconds(GRACE),
        &seconds(SPAN),
        &counts.started.to_string(),
        "0",
        &counts.goaways.to_string(),
        &format!(
            "answered, each of them, {} at a later attempt",
            counts.attempts.saturating_sub(counts.started)
        ),
    ]);
    Ok(())
}

/// A stream begins on a connection of any age up to the limit: what counts is that none outlives age and grace, that the
/// longest come near it, and that they say why.
async fn streams_are_cut_at_the_grace(world: &World, client: &Client) -> Result<()> {
    let counts = client.totals().await?.counts;
    let failures = client.failures().await?;
    ensure!(counts.ok == 0, "an endless stream ended well: {counts:?}");
    ensure!(
        failures.len() >= 12,
        "{} streams were cut: {counts:?}",
        failures.len()
    );
    for failure in &failures {
        ensure!(
            failure.code == "UNAVAILABLE" && failure.message.contains("max_age"),
            "{failure:?}"
        );
        ensure!(
            failure.after() <= AGE * 11 / 10 + GRACE + LATE,
            "{failure:?}"
        );
    }
    let mut lengths: Vec<Duration> = failures.iter().map(Failure::after).collect();
    lengths.sort();
    let (shortest, longest) = (lengths[0], *lengths.last().context("no stream")?);
    ensure!(
        longest >= AGE / 2 + GRACE,
        "the longest stream lasted {longest:?}"
    );
    world.evidence.cycling(&[
        "bidirectional streams without end",
        &seconds(GRACE),
        &seconds(SPAN),
        &failures.len().to_string(),
        "all",
        &counts.goaways.to_string(),
        &format!(
            "cut with UNAVAILABLE, naming `max_age`, {:.1} to {:.1} s after they began",
            shortest.as_secs_f32(),
            longest.as_secs_f32()
        ),
    ]);
    Ok(())
}

async fn streams_without_a_grace_end_by_themselves(world: &World, client: &Client) -> Result<()> {
    let counts = client.totals().await?.counts;
    let failed: u64 = counts.errors.values().sum();
    ensure!(failed == 0, "{:?}", counts.errors);
    ensure!(counts.ok >= 4, "{} streams ended", counts.ok);
    ensure!(counts.goaways > 0, "no connection was ended: {counts:?}");
    world.evidence.cycling(&[
        &format!("bidirectional streams of {}", seconds(STREAM)),
        "none",
        &seconds(SPAN),
        &counts.ok.to_string(),
        "0",
        &counts.goaways.to_string(),
        "went on over the GOAWAY, and ended by themselves",
    ]);
    Ok(())
}

fn seconds(span: Duration) -> String {
    format!("{} s", span.as_secs())
}
