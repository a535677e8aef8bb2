//! Traces of a real operator, at a collector that only keeps what it is sent.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::Ready;
use evenkeel_cluster::{Process, until};
use jiff::Timestamp;
use serde_json::Value;

use crate::bed::{Bed, ROLLOUT, SOON};
use crate::manifests;
use crate::tests;
use crate::world::World;

tests![shared each_pass_is_a_span(120)];

/// With this as its first argument the test program is the collector, in the cluster's network.
pub const COLLECT: &str = "--collect-traces";
/// More than an exporter of ours would send.
const BODY: u64 = 1 << 20;

/// Collects for ever, if that is what the program was started for.
pub fn maybe_collect() -> Option<ExitCode> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, first, address] = arguments.as_slice() else {
        return None;
    };
    (first == COLLECT).then(|| match collect(address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    })
}

/// Each body that it is sent becomes a line.
fn collect(address: &str) -> Result<()> {
    let listener = TcpListener::bind(address)?;
    for stream in listener.incoming() {
        let mut stream = BufReader::new(stream?);
        let mut length = 0;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            let header = line.trim_end().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length: ") {
                length = value.parse()?;
            }
        }
        let mut body = String::new();
        stream
            .by_ref()
            .take(BODY.min(length))
            .read_to_string(&mut body)?;
        println!("{body}");
        stream
            .get_mut()
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")?;
    }
    Ok(())
}

/// A span, as far as it is looked at.
#[derive(Debug)]
struct Span {
    backend: String,
    outcome: String,
    writes: usize,
}

fn spans(collector: &Process) -> Result<Vec<Span>> {
    let mut found = Vec::new();
    for line in collector.log_text()?.lines() {
        let body: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let spans = &body["resourceSpans"][0]["scopeSpans"][0]["spans"];
        for span in spans.as_array().context("no spans")? {
            let attributes = span["attributes"].as_array().context("no attributes")?;
            let text = |key: &str| {
                let attribute = attributes.iter().find(|attribute| attribute["key"] == key);
                let value = &attribute.map_or(&Value::Null, |attribute| &attribute["value"]);
                let text = value["stringValue"].as_str().or(value["intValue"].as_str());
                text.map(str::to_owned).with_context(|| key.to_owned())
            };
            found.push(Span {
                backend: text("evenkeel.backend")?,
                outcome: text("evenkeel.outcome")?,
                writes: text("evenkeel.writes")?.parse()?,
            });
        }
    }
    Ok(found)
}

async fn each_pass_is_a_span(world: Arc<World>) -> Result<()> {
    let mut bed = Bed::without_operator(&world, "traces").await?;
    let address = format!("127.0.0.1:{}", world.port());
    let mut command = Command::new(std::env::current_exe()?);
    command.args([COLLECT, &address]);
    let collector = world.cluster.spawn_in_net("collector", &command)?;
    let since = Timestamp::now();
    bed.start_operator(&[&format!("--otlp-endpoint=http://{address}")])
        .await?;
    bed.echo(1).await?;
    bed.apply(&manifests::backend("echo")).await?;
    bed.reason("echo", Ready, "AllReady", ROLLOUT).await?;
    // What the API server has of the operator, the events that are left out here being more.
    let writes = bed.writes_since(since)?.len();
    ensure!(writes > 2, "only {writes} writes");
    until("the writes are in spans", SOON, async || {
        let spans = spans(&collector)?;
        let told: usize = spans.iter().map(|span| span.writes).sum();
        ensure!(told >= writes, "{told} of {writes} writes: {spans:#?}");
        let ours = spans.iter().all(|span| span.backend == "echo");
        let done = spans.iter().any(|span| span.outcome == "done");
        ensure!(ours && done, "{spans:#?}");
        Ok(Some(()))
    })
    .await?;

    // One that does not get through, and says so.
    bed.kubectl(&["delete", "rolebinding", "the-operator"])
        .await?;
    let window = serde_json::json!({"balance": {"window": "15s"}});
    bed.change("echo", &window).await?;
    until(
        "a pass that failed is told",
        Duration::from_mins(1),
        async || {
            let failed = |span: &Span| span.outcome == "forbidden";
            Ok(spans(&collector)?.iter().any(failed).then_some(()))
        },
    )
    .await
}
