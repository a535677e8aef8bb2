//! What clients notice while connections cycle: calls nothing at all, streams what is documented of the grace.
//!
//! At a graceful close a gRPC server waits five seconds for the client to answer its PING. Where one of the two stands still
//! for longer, calls are lost, and the server says so in its log (docs/calls.md): what fails here is told together with that.

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
use crate::pods::{ip, left_of};
use crate::tests;
use crate::world::World;

tests![
    shared for_forty_seconds(150),
    proof for_three_minutes(360),
];

const AGE: Duration = Duration::from_secs(10);
const RATE: u64 = 200;
/// What a busy machine may add.
const LATE: Duration = Duration::from_secs(10);
/// Open at once, of each kind.
const STREAMS: u64 = 4;

async fn for_forty_seconds(world: Arc<World>) -> Result<()> {
    let form = Form {
        span: Duration::from_secs(40),
        grace: Duration::from_secs(8),
        stream: Duration::from_secs(25),
    };
    form.holds(&world).await.map(drop)
}

async fn for_three_minutes(world: Arc<World>) -> Result<()> {
    let form = Form {
        span: Duration::from_mins(3),
        grace: Duration::from_secs(30),
        stream: Duration::from_mins(1),
    };
    for row in form.holds(&world).await? {
        let cells: Vec<&str> = row.iter().map(String::as_str).collect();
        world.evidence.cycling(&cells);
    }
    Ok(())
}

/// A row of the page: calls, grace, span, how many, failed, GOAWAYs, what became of them.
type Row = [String; 7];

/// How long it is looked at.
struct Form {
    span: Duration,
    /// No call takes that long, even where a busy machine stands still for seconds.
    grace: Duration,
    /// Of a stream that ends by itself: longer than age and grace together.
    stream: Duration,
}

impl Form {
    /// One backend with a grace and one without; streams last longer than age and grace.
    async fn holds(&self, world: &Arc<World>) -> Result<Vec<Row>> {
        let bed = Bed::new(world, "cycling").await?;
        for (name, grace) in [("strict", Some(self.grace)), ("patient", None)] {
            bed.deploy(&manifests::server(name, 2)).await?;
            bed.apply(&backend(name, grace)).await?;
        }
        for name in ["strict", "patient"] {
            bed.reason(name, ConnectionAgeApplied, "Applied", ROLLOUT)
                .await?;
            bed.rolled_out(name).await?;
            left_of(&bed, name, 2).await?;
        }
        let calls = unary(&bed, "calls", &["--rate=200"]).await?;
        let retried = unary(&bed, "retried", &["--rate=50", "--retry"]).await?;
        let cut = streams(&bed, "cut", "strict", None).await?;
        let lasting = streams(&bed, "lasting", "patient", Some(self.stream)).await?;

        let counts = calls.during(self.span).await?;
        let rows = vec![
            self.no_call_fails(&bed, &calls, &counts).await?,
            self.no_call_fails_that_is_retried(&retried.totals().await?.counts)?,
            self.streams_are_cut_at_the_grace(&cut).await?,
            self.streams_without_a_grace_end_by_themselves(&lasting.totals().await?.counts)?,
        ];
        bed.finish().await?;
        Ok(rows)
    }

    /// Of a plain client, which tries nothing again but what gRPC tries by itself.
    async fn no_call_fails(&self, bed: &Bed, client: &Client, counts: &Counts) -> Result<Row> {
        if !counts.errors.is_empty() {
            anyhow::bail!(
                "{:?} of {} calls failed, {} GOAWAYs unanswered for 5 s: {:#?}",
                counts.errors,
                counts.started,
                unanswered(bed, client).await?,
                client.failures().await?
            );
        }
        ensure!(
            counts.ok >= RATE * self.span.as_secs() / 2,
            "only {} calls: {counts:?}",
            counts.ok
        );
        // Ten connections, each ended once in at most 11 s and some.
        let least = 10 * self.span.as_secs() / (AGE + LATE).as_secs() - 10;
        let ended = counts.goaway_reasons.get("max_age").copied().unwrap_or(0);
        ensure!(
            ended >= least,
            "{ended} GOAWAYs for the age, {least} expected: {counts:?}"
        );
        Ok([
            format!("unary, {RATE} a second"),
            seconds(self.grace),
            seconds(self.span),
            counts.started.to_string(),
            "0".into(),
            ended.to_string(),
            "answered, each of them".into(),
        ])
    }

    fn no_call_fails_that_is_retried(&self, counts: &Counts) -> Result<Row> {
        ensure!(
            counts.errors.is_empty() && counts.ok > 0,
            "{} calls ended well with a retry policy: {:?}",
            counts.ok,
            counts.errors
        );
        Ok([
            "unary, 50 a second, with a retry policy".into(),
            seconds(self.grace),
            seconds(self.span),
            counts.started.to_string(),
            "0".into(),
            counts.goaways.to_string(),
            format!(
                "answered, each of them, {} at a later attempt",
                counts.attempts.saturating_sub(counts.started)
            ),
        ])
    }

    /// A stream begins on a connection of any age up to the limit: what counts is that none outlives age and grace, that the
    /// longest come near it, and that they say why.
    async fn streams_are_cut_at_the_grace(&self, client: &Client) -> Result<Row> {
        let counts = client.totals().await?.counts;
        let failures = client.failures().await?;
        ensure!(counts.ok == 0, "an endless stream ended well: {counts:?}");
        let longest_possible = AGE * 11 / 10 + self.grace + LATE;
        let turns = self.span.as_secs() / longest_possible.as_secs();
        ensure!(
            failures.len() as u64 >= STREAMS * turns,
            "{} streams were cut: {counts:?}",
            failures.len()
        );
        for failure in &failures {
            ensure!(
                failure.code == "UNAVAILABLE" && failure.message.contains("max_age"),
                "{failure:?}"
            );
            ensure!(failure.after() <= longest_possible, "{failure:?}");
        }
        let lengths = || failures.iter().map(Failure::after);
        let shortest = lengths().min().context("no stream")?;
        let longest = lengths().max().context("no stream")?;
        ensure!(
            longest >= AGE / 2 + self.grace,
            "the longest stream lasted {longest:?}"
        );
        Ok([
            "bidirectional streams without end".into(),
            seconds(self.grace),
            seconds(self.span),
            failures.len().to_string(),
            "all".into(),
            counts.goaways.to_string(),
            format!(
                "cut with UNAVAILABLE, naming `max_age`, {:.1} to {:.1} s after they began",
                shortest.as_secs_f32(),
                longest.as_secs_f32()
            ),
        ])
    }

    fn streams_without_a_grace_end_by_themselves(&self, counts: &Counts) -> Result<Row> {
        ensure!(counts.errors.is_empty(), "{:?}", counts.errors);
        ensure!(counts.ok >= STREAMS, "{} streams ended", counts.ok);
        ensure!(counts.goaways > 0, "no connection was ended: {counts:?}");
        Ok([
            format!("bidirectional streams of {}", seconds(self.stream)),
            "none".into(),
            seconds(self.span),
            counts.ok.to_string(),
            "0".into(),
            counts.goaways.to_string(),
            "went on over the GOAWAY, and ended by themselves".into(),
        ])
    }
}

async fn unary(bed: &Bed, name: &str, further: &[&str]) -> Result<Client> {
    let flags = [&["--connections=5", "--deadline=60s"], further].concat();
    bed.client(name, &target(bed, "strict"), &flags).await
}

/// Streams of that length; none: from which nobody goes away.
async fn streams(bed: &Bed, name: &str, server: &str, length: Option<Duration>) -> Result<Client> {
    // Ten messages a second.
    let messages = length.map_or(0, |length| length.as_secs() * 10);
    let flags = [
        "--method=chat",
        &format!("--stream-messages={messages}"),
        "--deadline=0",
        "--rate=5",
        &format!("--max-in-flight={STREAMS}"),
    ];
    Client::launch(bed, name, &target(bed, server), "default", &flags).await
}

fn target(bed: &Bed, server: &str) -> String {
    format!(
        "dns:///{server}-headless.{}.svc.cluster.local:8080",
        bed.name()
    )
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
    let peer = format!("{}:", ip(&pods.get(client.name()).await?)?);
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

fn seconds(span: Duration) -> String {
    format!("{} s", span.as_secs())
}
