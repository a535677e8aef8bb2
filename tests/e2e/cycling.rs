//! What clients notice while connections cycle: calls nothing at all, streams what is documented of the grace.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::ConnectionAgeApplied;
use evenkeel_cluster::load::Counts;
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
    let unary = ["--rate=200", "--connections=5", "--deadline=60s"];
    let calls = bed.client("calls", &target("strict"), &unary).await?;
    let endless = [
        "--method=chat",
        "--stream-messages=0",
        "--deadline=0",
        "--rate=5",
        "--max-in-flight=4",
    ];
    let cut = Client::launch(&bed, "cut", &target("strict"), "default", &endless).await?;
    let long = format!("--stream-messages={}", STREAM.as_secs() * 10);
    let finite = [
        "--method=chat",
        &long,
        "--deadline=0",
        "--rate=5",
        "--max-in-flight=4",
    ];
    let lasting = Client::launch(&bed, "lasting", &target("patient"), "default", &finite).await?;

    let counts = calls.during(SPAN).await?;
    if !counts.errors.is_empty() {
        let failures = calls.failures().await?;
        println!(
            "    the first that failed: {:#?}",
            failures.iter().take(3).collect::<Vec<_>>()
        );
    }
    no_call_fails(&world, &counts)?;
    streams_are_cut_at_the_grace(&world, &cut).await?;
    streams_without_a_grace_end_by_themselves(&world, &lasting).await?;
    for (name, before) in templates {
        bed.kubectl(&["delete", "gb", name, "--timeout=90s"])
            .await?;
        manifests::same(&bed.template(name).await?, &before)?;
    }
    Ok(())
}

fn backend(name: &str, grace: Option<Duration>) -> Value {
    let mut backend = manifests::backend_with_age(name, "10s");
    backend["spec"]["connectionAge"]["grace"] =
        json!(grace.map(|grace| format!("{}s", grace.as_secs())));
    backend
}

fn no_call_fails(world: &World, counts: &Counts) -> Result<()> {
    let failed: u64 = counts.errors.values().sum();
    ensure!(
        failed == 0,
        "{failed} of {} failed: {:?}",
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
        &counts.ok.to_string(),
        "0",
        &ended.to_string(),
        "answered, each of them",
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
