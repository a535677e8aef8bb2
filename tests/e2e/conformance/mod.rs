//! What every client does in every mode when pods come and go: `make conformance`.
//!
//! No test of `make test`, which has a short form of it (`clients`), but a program of its own: it takes hours, measures what
//! is not yet among the cells in tests/conformance, and keeps each run at once. `stage` sets up servers and clients of a mode,
//! `events` does something to the pods, `watch` and `node` look on. The figures are made of it in the crate evenkeel-conformance.

mod events;
mod node;
mod stage;
mod watch;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use evenkeel_cluster::examples::ALL;
use evenkeel_conformance::{Event, Mode, Run, Seen, cell, cells, promises, versions};
use futures::{StreamExt as _, stream};

use crate::runner::unless_interrupted;
use crate::world::{World, root};
use stage::Stage;

/// One cell that is to be measured further.
#[derive(Clone, Copy)]
struct Missing {
    mode: &'static Mode,
    event: &'static Event,
    runs: usize,
}

/// Of one run, where nothing better is known: some are over in half of it.
const USUAL: Duration = Duration::from_mins(2);
/// So many runs of a cell are made again because a client stood still; after that it is left out.
const IN_VAIN: usize = 2;
/// More than any run takes.
const LIMIT: Duration = Duration::from_mins(12);

/// Whether the command line asks for it.
pub fn asked() -> bool {
    std::env::args().any(|argument| argument == "--conformance")
}

/// Measures what is missing; `--cells PATTERN` chooses, `--jobs N` measures so many cells beside each other.
pub fn main() -> ExitCode {
    // What was measured by then is kept.
    match unless_interrupted(measure()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            println!("{failed} cells failed");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The value of an argument.
fn argument(name: &str) -> Option<String> {
    std::env::args()
        .skip_while(|argument| argument != name)
        .nth(1)
}

/// `pattern` is parts of names, separated by commas: a cell that has one of them is chosen, in the order of the parts.
fn missing(pattern: &str) -> Result<Vec<Missing>> {
    let mut missing = Vec::new();
    for part in pattern.split(',') {
        for (mode, event) in cells() {
            let known = |cell: &Missing| cell.mode == mode && cell.event == event;
            if !name(mode, event).contains(part) || missing.iter().any(known) {
                continue;
            }
            let done = cell::read(root(), mode, event)?.map_or(0, |cell| cell.runs.len());
            let runs = event.runs.saturating_sub(done);
            missing.push(Missing { mode, event, runs });
        }
    }
    missing.retain(|cell| cell.runs > 0);
    Ok(missing)
}

fn name(mode: &Mode, event: &Event) -> String {
    format!("{}.{}", mode.id, event.id)
}

/// Tells how many cells failed.
async fn measure() -> Result<usize> {
    let pattern = argument("--cells").unwrap_or_default();
    let jobs: usize = argument("--jobs").map_or(Ok(1), |jobs| jobs.parse())?;
    let chosen = missing(&pattern)?;
    if chosen.is_empty() {
        println!("nothing is missing");
        return Ok(0);
    }
    println!("{}", left(&chosen, jobs)?);
    tokio::task::spawn_blocking(|| ALL.iter().try_for_each(|example| example.build().map(drop)))
        .await??;
    let world = start().await?;
    let (alone, beside): (Vec<Missing>, Vec<Missing>) = chosen
        .into_iter()
        .partition(|cell| jobs == 1 || cell.event.disturbs());
    let mut failed = 0;
    let mut running = stream::iter(beside)
        .map(|cell| one(&world, cell, false))
        .buffer_unordered(jobs);
    while let Some(ended) = running.next().await {
        failed += usize::from(!ended);
        println!("{}", left(&missing(&pattern)?, jobs)?);
    }
    for cell in alone {
        failed += usize::from(!one(&world, cell, true).await);
        println!("{}", left(&missing(&pattern)?, jobs)?);
    }
    Ok(failed)
}

/// Tells whether it went well.
async fn one(world: &Arc<World>, cell: Missing, alone: bool) -> bool {
    let name = name(cell.mode, cell.event);
    match cell_of(world, &cell, alone).await {
        Ok(()) => {
            println!("cell {name} ... ok");
            true
        }
        Err(error) => {
            println!("cell {name} ... FAILED: {error:#}");
            println!("    logs: {}", world.cluster.logs_dir().display());
            false
        }
    }
}

async fn start() -> Result<Arc<World>> {
    let world = World::start("conformance", true).await?;
    for example in ALL {
        let archive = tokio::task::spawn_blocking(move || example.build()).await??;
        world.cluster.import_image(&archive).await?;
    }
    Ok(Arc::new(world))
}

/// Measures as often as is missing, with the same clients.
async fn cell_of(world: &Arc<World>, cell: &Missing, alone: bool) -> Result<()> {
    let (mode, event) = (cell.mode, cell.event);
    let mut begun = Instant::now();
    let stage = tokio::time::timeout(LIMIT, Stage::set(world, mode, event))
        .await
        .context("setting up took too long")??;
    let mut in_vain = 0;
    for number in 0..cell.runs {
        if number > 0 {
            stage.reset(event).await.context("before the next run")?;
        }
        let mut run = loop {
            let run = tokio::time::timeout(LIMIT, stage.run(event))
                .await
                .context("the run took too long")??;
            if in_vain == IN_VAIN || !run.clients.values().any(Seen::stood_still) {
                break run;
            }
            in_vain += 1;
            println!("  {} stood still: once more", still(&run).join(", "));
            stage.reset(event).await.context("before the same run")?;
        };
        let left_out = still(&run);
        run.clients.retain(|_, seen| !seen.stood_still());
        ensure!(!run.clients.is_empty(), "all clients stood still");
        if !left_out.is_empty() {
            println!("  {} stood still: left out", left_out.join(", "));
        }
        run.took = begun.elapsed().as_secs_f64().round();
        begun = Instant::now();
        // The DNS server's own count is that of all who run.
        run.dns_per_minute = run.dns_per_minute.filter(|_| alone);
        println!("  {}:", name(mode, event));
        for (client, seen) in &run.clients {
            println!("    {client}: {}", serde_json::to_string(seen)?);
        }
        // Kept also where it breaks a promise: it is what was seen.
        cell::add(root(), mode, event, pinned()?, run.clone())?;
        let broken = promises::broken(mode, &run);
        ensure!(broken.is_empty(), "{}", broken.join("; "));
    }
    Ok(())
}

/// Clients whose own processes had no processor for some of the time: their figures are the machine's.
fn still(run: &Run) -> Vec<String> {
    let clients = run.clients.iter().filter(|(_, seen)| seen.stood_still());
    clients.map(|(client, _)| client.clone()).collect()
}

fn pinned() -> Result<BTreeMap<String, String>> {
    let mut versions = versions::read(root())?;
    let kubernetes = evenkeel_cluster::KUBERNETES_VERSION.trim_start_matches('v');
    versions.insert("Kubernetes".into(), kubernetes.into());
    Ok(versions)
}

/// What is left to do, and about how long it takes: a run is expected to take what others of its event took.
fn left(missing: &[Missing], jobs: usize) -> Result<String> {
    let mut took: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (mode, event) in cells() {
        if let Some(cell) = cell::read(root(), mode, event)? {
            let times = cell.runs.iter().map(|run| run.took);
            took.entry(event.id).or_default().extend(times);
        }
    }
    let count = |number: usize| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
    let seconds: f64 = missing
        .iter()
        .map(|cell| {
            let known = took.get(cell.event.id).filter(|times| !times.is_empty());
            let mean = |times: &Vec<f64>| times.iter().sum::<f64>() / count(times.len());
            known.map_or(USUAL.as_secs_f64(), mean) * count(cell.runs)
        })
        .sum();
    let runs: usize = missing.iter().map(|cell| cell.runs).sum();
    Ok(format!(
        "[{} cells with {runs} runs are left, about {:.0} min]",
        missing.len(),
        (seconds / 60.0 / count(jobs)).ceil()
    ))
}
