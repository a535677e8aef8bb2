//! How fast a metrics page is read, beside what others have: `cargo run --release` in this directory, or `make bench`.
//! Needs Go for the pages and for Prometheus's own parsers. Writes docs/benchmarks-reader.md.

#![allow(dead_code, reason = "the reader's files are compiled as they are, with what only the operator uses")]

#[allow(
    unused_imports,
    reason = "the reader's files are compiled as they are, with what only the operator uses"
)]
mod balance;
mod go;
mod report;
mod source;

use std::hint::black_box;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use balance::exposition::{self, Body, Encoding, Wanted};
use balance::families::MeterId;

/// Of the page's size in the table: services of the server that the page is of.
const PAGES: [(&str, u32, bool); 3] = [("10 kB", 1, false), ("100 kB", 9, true), ("2 MB", 213, true)];
/// How long each is measured, and how often: the best counts.
const SPAN: Duration = Duration::from_millis(200);
const TIMES: usize = 5;
/// Bytes that are read between two looks at the clock, which takes as long as a small page.
const BATCH: usize = 4_000_000;

/// A way to read a page.
struct Way {
    name: &'static str,
    read: fn(&[u8]) -> Result<f64>,
}

const WAYS: [Way; 5] = [
    Way { name: "memchr for line feeds", read: |page| Ok(count(memchr::memchr_iter(b'\n', page))) },
    Way { name: "**Evenkeel**", read: |page| started(exposition::read(page, &Wanted::default())?) },
    Way { name: "**Evenkeel**, gzip", read: unpacked },
    Way { name: "prometheus-parse", read: prometheus_parse },
    Way { name: "openmetrics-parser", read: openmetrics },
];

fn main() -> Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = go::pages(here, &PAGES)?;
    let mut rows = Vec::new();
    for way in &WAYS {
        let speeds = pages
            .iter()
            .map(|page| measure(way, &page.bytes).with_context(|| format!("{} of {}", way.name, page.name)));
        rows.push((way.name.to_owned(), speeds.collect::<Result<Vec<_>>>()?));
    }
    rows.extend(go::speeds(here, &pages)?);
    report::write(here, &pages, &rows)
}

/// Megabytes a second of processor time: others use the machine too.
fn measure(way: &Way, page: &[u8]) -> Result<f64> {
    let input = if way.name.ends_with("gzip") {
        packed(page)?
    } else {
        page.to_vec()
    };
    (way.read)(&input)?;
    let batch = u32::try_from(BATCH / page.len())?.max(1);
    let mut best = f64::MAX;
    for _ in 0..TIMES {
        let (begun, mut rounds) = (on_processor()?, 0_u32);
        let spent = loop {
            for _ in 0..batch {
                black_box((way.read)(black_box(&input))?);
            }
            rounds += batch;
            let spent = on_processor()?.saturating_sub(begun);
            if spent >= SPAN {
                break spent;
            }
        };
        best = best.min(spent.as_secs_f64() / f64::from(rounds));
    }
    Ok(count(page) / best / 1e6)
}

/// How long this thread has run.
fn on_processor() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = text.split(' ').next().context("schedstat")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}

fn count<T>(many: impl IntoIterator<Item = T>) -> f64 {
    many.into_iter().fold(0_u32, |count, _| count + 1).into()
}

fn started(page: exposition::Page) -> Result<f64> {
    page.counters(MeterId::default()).started.context("no grpc_server_started_total")
}

fn packed(page: &[u8]) -> Result<Vec<u8>> {
    let mut packed = Vec::new();
    flate2::read::GzEncoder::new(page, flate2::Compression::default()).read_to_end(&mut packed)?;
    Ok(packed)
}

fn unpacked(packed: &[u8]) -> Result<f64> {
    let mut body = Body::new(Encoding::Gzip, Wanted::default());
    body.feed(packed)?;
    started(body.finish()?)
}

fn prometheus_parse(page: &[u8]) -> Result<f64> {
    let lines = std::str::from_utf8(page)?.lines().map(|line| Ok(line.to_owned()));
    let scrape = prometheus_parse::Scrape::parse(lines)?;
    let sum = scrape
        .samples
        .iter()
        .filter(|sample| sample.metric == "grpc_server_started_total")
        .filter(|sample| sample.labels.get("grpc_service") != Some("grpc.health.v1.Health"))
        .map(|sample| match sample.value {
            prometheus_parse::Value::Counter(value) => value,
            _ => 0.0,
        })
        .sum();
    ensure!(sum > 0.0, "no grpc_server_started_total");
    Ok(sum)
}

fn openmetrics(page: &[u8]) -> Result<f64> {
    let text = std::str::from_utf8(page)?;
    let exposition = openmetrics_parser::prometheus::parse_prometheus(text)
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    #[allow(clippy::cast_precision_loss)]
    Ok(exposition.families.len() as f64)
}
