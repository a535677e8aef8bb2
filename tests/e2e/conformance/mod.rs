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
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use evenkeel_cluster::examples::{ALL, Example};
use evenkeel_cluster::proxies::{ENVOY, NGINX, Proxy};
use evenkeel_conformance::options::Options;
use evenkeel_conformance::plan::{Client, name};
use evenkeel_conformance::tally::{Ended, Tally};
use evenkeel_conformance::versions::Today;
use evenkeel_conformance::{Event, Mode, Run, Via, cell, cells, promises};
use futures::{StreamExt as _, stream};

use crate::runner::unless_interrupted;
use crate::world::{World, root};
use stage::Stage;

/// One cell that is to be measured further.
#[derive(Clone)]
struct Missing {
    mode: &'static Mode,
    event: &'static Event,
    runs: usize,
    /// Those that it needs the runs of.
    clients: Vec<Client>,
}

/// Of one run, where nothing better is known: some are over in half of it.
const USUAL: Duration = Duration::from_mins(2);
/// Who stood still is measured once more at the end, when fewer run beside it; after that it is left out.
const PASSES: usize = 2;
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

/// What these cells lack.
fn missing(today: &Today, chosen: &[(&'static Mode, &'static Event)]) -> Result<Vec<Missing>> {
    let mut missing = Vec::new();
    for (mode, event) in chosen {
        let cell = cell::read(root(), mode, event)?.unwrap_or_default();
        let lacks = |client: &Client| cell.runs_of(today, mode, event, client.id) < event.runs;
        missing.push(Missing {
            mode,
            event,
            runs: event.runs.saturating_sub(cell.done(today, mode, event)),
            clients: mode.clients().filter(lacks).collect(),
        });
    }
    missing.retain(|cell| cell.runs > 0);
    Ok(missing)
}

/// Cells that are measured with the same servers and clients, one after the other.
fn together(cells: Vec<Missing>) -> Vec<Vec<Missing>> {
    let mut groups: Vec<Vec<Missing>> = Vec::new();
    for cell in cells {
        let same = |group: &&mut Vec<Missing>| {
            let known = &group[0];
            known.mode == cell.mode && cell.mode.same_stage(known.event, cell.event)
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(cell),
            None => groups.push(vec![cell]),
        }
    }
    groups
}

/// Tells how many cells failed, or lack something still.
async fn measure() -> Result<usize> {
    let options = Options::of(std::env::args().skip(1))?;
    let jobs = options.jobs;
    let today = Today::read(root())?;
    let missing = || missing(&today, &options.cells);
    let lacking = missing()?;
    if lacking.is_empty() {
        println!("nothing is missing");
        return Ok(0);
    }
    println!("{}", left(&lacking, jobs)?);
    let archives = tokio::task::spawn_blocking(images).await??;
    let world = start(&archives).await?;
    let mut tally = Tally::default();
    for _ in 0..PASSES {
        let (alone, beside): (Vec<Missing>, Vec<Missing>) = missing()?
            .into_iter()
            .partition(|cell| jobs == 1 || wants_the_machine(cell));
        let mut running = stream::iter(together(beside))
            .map(|cells| group(&world, &today, cells, false))
            .buffer_unordered(jobs);
        while let Some(ended) = running.next().await {
            tally.take(ended)?;
            println!("{}", left(&missing()?, jobs)?);
        }
        for cells in together(alone) {
            tally.take(group(&world, &today, cells, true).await)?;
            println!("{}", left(&missing()?, jobs)?);
        }
    }
    let lacking = missing()?;
    for cell in &lacking {
        let clients: Vec<&str> = cell.clients.iter().map(|client| client.id).collect();
        println!(
            "cell {} lacks {}",
            name(cell.mode, cell.event),
            clients.join(", ")
        );
    }
    let lacking = lacking.iter().map(|cell| name(cell.mode, cell.event));
    Ok(tally.failed(lacking))
}

/// What hits all that runs, what may not lose a call, and what takes tenths of a second.
fn wants_the_machine(cell: &Missing) -> bool {
    cell.event.disturbs() || cell.mode.recipe || cell.mode.via == Via::Watch
}

/// Measures cells of one mode.
async fn group(world: &Arc<World>, today: &Today, cells: Vec<Missing>, alone: bool) -> Ended {
    let mut clients: Vec<Client> = cells[0].mode.clients().collect();
    clients.retain(|client| cells.iter().any(|cell| cell.clients.contains(client)));
    let mut ended = Ended::default();
    let mut stage = None;
    for cell in &cells {
        let name = name(cell.mode, cell.event);
        let outcome = cell_of(world, today, cell, &clients, &mut stage, alone).await;
        ended.in_error = outcome.is_err();
        match outcome {
            Ok(none) if none.is_empty() => println!("cell {name} ... ok"),
            Ok(what) => {
                failed(world, &name, &what.join("; "));
                ended.broken.push(name);
            }
            // It is still missing.
            Err(error) => {
                failed(world, &name, &format!("{error:#}"));
                // What could not be set up would be set up in the same way for the next one.
                if stage.take().is_none() {
                    break;
                }
            }
        }
    }
    ended
}

/// Tells why, and where to look.
fn failed(world: &World, name: &str, why: &str) {
    println!("cell {name} ... FAILED: {why}");
    println!("    logs: {}", world.cluster.logs_dir().display());
    if let Err(error) = world.cluster.keep_logs() {
        println!("    which will not be kept for long: {error:#}");
    }
}

/// Builds those of all clients and proxies.
fn images() -> Result<Vec<PathBuf>> {
    let clients = ALL.iter().map(Example::build);
    clients
        .chain([ENVOY, NGINX].iter().map(Proxy::build))
        .collect()
}

/// A cluster that has these images, so that none is unpacked while something is measured.
async fn start(archives: &[PathBuf]) -> Result<Arc<World>> {
    let world = World::start("conformance", true).await?;
    for archive in archives {
        world.cluster.import_image(archive).await?;
    }
    Ok(Arc::new(world))
}

/// Measures as often as is missing, with the same clients; `stage` is set up where it is not yet. Tells what broke a promise.
async fn cell_of(
    world: &Arc<World>,
    today: &Today,
    cell: &Missing,
    clients: &[Client],
    stage: &mut Option<Stage>,
    alone: bool,
) -> Result<Vec<String>> {
    let (mode, event) = (cell.mode, cell.event);
    let mut begun = Instant::now();
    if stage.is_none() {
        let set = Stage::set(world, mode, event, clients);
        let set = tokio::time::timeout(LIMIT, set).await;
        *stage = Some(set.context("setting up took too long")??);
    }
    let stage = stage.as_ref().context("no stage")?;
    let mut broken = Vec::new();
    for number in event.runs - cell.runs..event.runs {
        stage.reset(event, number).await.context("before the run")?;
        let mut run = tokio::time::timeout(LIMIT, stage.run(event))
            .await
            .context("the run took too long")??;
        let left_out = still(&run);
        run.clients.retain(|_, seen| !seen.stood_still());
        if !left_out.is_empty() {
            println!("  {} stood still: left out", left_out.join(", "));
        }
        run.took = begun.elapsed().as_secs_f64().round();
        begun = Instant::now();
        // The DNS server's own count is that of all who run.
        run.dns_per_minute = run.dns_per_minute.filter(|_| alone);
        run.versions = versions(today, mode)?;
        run.sources = today.sources_of(mode, &run);
        println!("  {}:", name(mode, event));
        for (client, seen) in &run.clients {
            println!("    {client}: {}", serde_json::to_string(seen)?);
        }
        if !run.clients.is_empty() {
            // Kept also where it breaks a promise: it is what was seen.
            cell::add(root(), today, mode, event, run.clone())?;
        }
        broken.extend(promises::broken(mode, event, &run));
    }
    let whole = cell::read(root(), mode, event)?.unwrap_or_default();
    if whole.done(today, mode, event) >= event.runs {
        broken.extend(promises::slow(mode, event, &whole));
    }
    Ok(broken)
}

/// Clients whose own processes had no processor for some of the time: their figures are the machine's.
fn still(run: &Run) -> Vec<String> {
    let clients = run.clients.iter().filter(|(_, seen)| seen.stood_still());
    clients.map(|(client, _)| client.clone()).collect()
}

/// With that of nginx, which only the program itself says.
fn versions(today: &Today, mode: &Mode) -> Result<BTreeMap<String, String>> {
    let mut versions = today.versions_of(mode);
    if mode.via == Via::Proxy("nginx") {
        versions.insert("nginx".into(), NGINX.version()?.trim().to_owned());
    }
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
        // The sum of nothing is below zero, if by its sign alone.
        (seconds / 60.0 / count(jobs)).ceil().abs()
    ))
}
