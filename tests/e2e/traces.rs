//! Traces of a real operator, at a collector that only keeps what it is sent, and at Jaeger, which has to understand it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::Ready;
use evenkeel_cluster::servers::JAEGER_ALL_IN_ONE;
use evenkeel_cluster::{Process, until};
use jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::bed::{Bed, ROLLOUT, SOON};
use crate::manifests;
use crate::pods::ip;
use crate::servers;
use crate::tests;
use crate::world::World;

tests![
    shared each_pass_is_a_span(120),
    proof jaeger_shows_each_pass(180),
];

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

/// The operator, with its traces sent to that address, puts something in place.
async fn works(bed: &mut Bed, collector: &str) -> Result<()> {
    bed.start_operator(&[&format!("--otlp-endpoint=http://{collector}")])
        .await?;
    bed.echo(1).await?;
    bed.apply(&manifests::backend("echo")).await?;
    bed.reason("echo", Ready, "AllReady", ROLLOUT).await?;
    Ok(())
}

/// It has a pass to make, and no right to.
async fn fails(bed: &Bed) -> Result<()> {
    bed.kubectl(&["delete", "rolebinding", "the-operator"])
        .await?;
    let window = json!({"balance": {"window": "15s"}});
    bed.change("echo", &window).await
}

async fn each_pass_is_a_span(world: Arc<World>) -> Result<()> {
    let mut bed = Bed::without_operator(&world, "traces").await?;
    let address = format!("127.0.0.1:{}", world.port());
    let mut command = Command::new(std::env::current_exe()?);
    command.args([COLLECT, &address]);
    let collector = world.cluster.spawn_in_net("collector", &command)?;
    let since = Timestamp::now();
    works(&mut bed, &address).await?;
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
    fails(&bed).await?;
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

/// What Jaeger answers when asked for the operator's spans by their name.
async fn shown(bed: &Bed, pod: &str) -> Result<Vec<Value>> {
    let query = "service=evenkeel&operation=pass%20over%20a%20GrpcBackend&limit=1000";
    let namespace = bed.name();
    let path =
        format!("/api/v1/namespaces/{namespace}/pods/http:{pod}:16686/proxy/api/traces?{query}");
    let answer = bed.world.cluster.kubectl(&["get", "--raw", &path]).await?;
    let answer: Value = serde_json::from_str(&answer)?;
    let traces = answer["data"].as_array().context("no data")?.iter();
    let spans = traces.filter_map(|trace| trace["spans"].as_array());
    Ok(spans.flatten().cloned().collect())
}

/// A tag of a span: Jaeger's name for an attribute.
fn tag<'a>(span: &'a Value, key: &str) -> &'a Value {
    let tags = span["tags"].as_array().into_iter().flatten();
    let mut tags = tags.filter(|tag| tag["key"] == key);
    tags.next().map_or(&Value::Null, |tag| &tag["value"])
}

/// Somebody else's reader: the names, types and identifiers are those of OTLP, and a pass that failed is an error.
async fn jaeger_shows_each_pass(world: Arc<World>) -> Result<()> {
    let mut bed = Bed::without_operator(&world, "jaeger").await?;
    let container = json!({
        "env": [{"name": "SPAN_STORAGE_TYPE", "value": "memory"}],
        "ports": [{"name": "otlp", "containerPort": 4318}, {"name": "query", "containerPort": 16686}],
        "readinessProbe": {"httpGet": {"path": "/", "port": 14269}, "periodSeconds": 1},
    });
    servers::deploy(&bed, JAEGER_ALL_IN_ONE, &container, 1).await?;
    let pod = bed.pods("app=jaeger-all-in-one").await?.remove(0);
    let (name, ip) = (pod.name_any(), ip(&pod)?);
    works(&mut bed, &format!("{ip}:4318")).await?;
    until("Jaeger shows a pass", SOON, async || {
        let spans = shown(&bed, &name).await?;
        let wrote = spans.iter().any(|span| {
            tag(span, "evenkeel.outcome") == "done"
                && tag(span, "evenkeel.writes").as_u64().unwrap_or_default() > 0
        });
        let ours = spans.iter().all(|span| {
            tag(span, "evenkeel.backend") == "echo" && tag(span, "k8s.namespace.name") == bed.name()
        });
        ensure!(wrote && ours, "{spans:#?}");
        Ok(Some(()))
    })
    .await?;

    fails(&bed).await?;
    until(
        "Jaeger shows an error",
        Duration::from_mins(1),
        async || {
            let failed = |span: &Value| {
                tag(span, "evenkeel.outcome") == "forbidden" && *tag(span, "error") == json!(true)
            };
            Ok(shown(&bed, &name).await?.iter().any(failed).then_some(()))
        },
    )
    .await
}
