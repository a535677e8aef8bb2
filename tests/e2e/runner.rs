//! Runs the tests: four at a time on one shared cluster, then two at a time those that have a cluster of their own.
//!
//! With `--again`, a test that failed gets a second look, alone on a new cluster, and is told apart from one that fails
//! always: see docs/decisions/0013-a-second-look.md.

use std::future::Future;
use std::io::Write as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::{FutureExt as _, StreamExt as _, stream};

use crate::repetitions::Repetitions;
use crate::world::World;
use crate::{clients, proof, proxies, servers};

type Run = fn(Arc<World>) -> Pin<Box<dyn Future<Output = Result<()>>>>;

/// One test.
#[derive(Clone, Copy)]
pub struct Test {
    /// `file::function`.
    pub name: &'static str,
    /// On which cluster it runs, and when.
    pub kind: Kind,
    /// How long it may take.
    pub limit: Duration,
    /// The test.
    pub run: Run,
}

/// On which cluster a test runs, and when.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// In namespaces of its own on the one cluster that most share.
    Shared,
    /// On a cluster of its own, which it breaks, or where it has what others would notice.
    Own,
    /// Likewise, and it installs the operator: its image is built before.
    Installs,
    /// On a cluster of its own that puts two endpoints at the most into an EndpointSlice.
    SmallSlices,
    /// On a cluster of its own, and with the machine for itself.
    Alone,
    /// Shared, and only when the proof is asked for: it takes minutes, or what it needs takes minutes to build.
    Proof,
}

impl Test {
    /// Whether it runs on the cluster that most share.
    fn shares(&self) -> bool {
        matches!(self.kind, Kind::Shared | Kind::Proof)
    }
}

/// Lists the tests of a file: `tests![kind name(limit in seconds), …]`, the kind being one of [`Kind`], in lower case.
#[macro_export]
macro_rules! tests {
    (@kind shared) => { $crate::runner::Kind::Shared };
    (@kind own) => { $crate::runner::Kind::Own };
    (@kind alone) => { $crate::runner::Kind::Alone };
    (@kind installs) => { $crate::runner::Kind::Installs };
    (@kind small_slices) => { $crate::runner::Kind::SmallSlices };
    (@kind proof) => { $crate::runner::Kind::Proof };
    ($($kind:ident $name:ident($seconds:literal)),+ $(,)?) => {
        pub const TESTS: &[$crate::runner::Test] = &[$($crate::runner::Test {
            name: {
                const PATH: &str = concat!(module_path!(), "::", stringify!($name));
                // Without the crate's name.
                PATH.split_at("e2e::".len()).1
            },
            kind: tests!(@kind $kind),
            // It guards against what hangs, and not against a machine that is slow today.
            limit: std::time::Duration::from_secs(2 * $seconds),
            run: |world| Box::pin($name(world)),
        }),+];
    };
}

/// Tests at a time on the shared cluster: on two cores more only make each other slow.
const AT_A_TIME: usize = 4;
/// Clusters of their own at a time: their tests mostly wait, for a Lease, a kubelet or Helm.
const OWN_AT_A_TIME: usize = 2;
/// Where more fail than this, it is no accident: nobody looks twice.
const SECOND_LOOKS: usize = 3;

struct Options {
    filter: Option<String>,
    repeat: usize,
    list: bool,
    proof: bool,
    again: bool,
    count: Option<PathBuf>,
    at_a_time: usize,
}

impl Options {
    /// Without a name, the proof is what goes into its page, and what runs beside it.
    fn choose(&self, test: &Test) -> bool {
        let named = self
            .filter
            .as_ref()
            .map(|filter| filter.split(',').any(|part| test.name.contains(part)));
        if self.proof {
            named.unwrap_or_else(|| proof::covers(test.name))
        } else {
            test.kind != Kind::Proof && named.unwrap_or(true)
        }
    }
}

fn options() -> Result<Options> {
    let mut options = Options {
        filter: None,
        repeat: 1,
        list: false,
        proof: false,
        again: false,
        count: None,
        at_a_time: AT_A_TIME,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .ok_or_else(|| anyhow::anyhow!("{argument} needs a value"))
        };
        match argument.as_str() {
            "--filter" => options.filter = Some(value()?),
            "--repeat" => options.repeat = value()?.parse()?,
            "--jobs" => options.at_a_time = value()?.parse()?,
            "--list" => options.list = true,
            "--proof" => options.proof = true,
            "--again" => options.again = true,
            "--count" => options.count = Some(value()?.into()),
            // What cargo passes to every test program.
            "--quiet" | "--nocapture" | "--show-output" => {}
            name if !name.starts_with('-') => options.filter = Some(name.to_owned()),
            other => anyhow::bail!(
                "unknown argument {other}: there are --filter NAME[,NAME…], --repeat N, --jobs N, --count FILE, --again, --proof and --list"
            ),
        }
    }
    Ok(options)
}

/// Runs what the command line chooses; the last line counts.
pub fn main(tests: &[Test]) -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let mut chosen: Vec<Test> = tests
        .iter()
        .filter(|test| options.choose(test))
        .copied()
        .collect();
    // Long ones first: the last one running alone is time lost. Sorted before they are repeated, so that a heavy test
    // does not run beside itself.
    chosen.sort_by_key(|test| std::cmp::Reverse(test.limit));
    if options.list {
        for test in &chosen {
            println!("{}", test.name);
        }
        return ExitCode::SUCCESS;
    }
    match unless_interrupted(run(&chosen, &options)) {
        Ok((passed, failed)) => {
            println!("{passed} passed, {failed} failed");
            if failed == 0 && passed > 0 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("{error:#}");
            println!("0 passed, 1 failed");
            ExitCode::FAILURE
        }
    }
}

/// Runs to the end, or to Ctrl-C: clusters end with this process.
pub fn unless_interrupted<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        tokio::select! {
            outcome = work => outcome,
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        }
    })
}

async fn run(chosen: &[Test], options: &Options) -> Result<(usize, usize)> {
    let repeated: Vec<Test> = (0..options.repeat)
        .flat_map(|_| chosen.iter().copied())
        .collect();
    let total = repeated.len();
    let (shared, own): (Vec<Test>, Vec<Test>) = repeated.into_iter().partition(Test::shares);
    let installs = own.iter().any(|test| test.kind == Kind::Installs);
    let (alone, own) = own.into_iter().partition(|test| test.kind == Kind::Alone);
    let mut progress = Progress {
        total,
        begun: Instant::now(),
        again: options.again,
        repetitions: options.count.clone().map(Repetitions::read).transpose()?,
        passed: 0,
        failed: Vec::new(),
    };
    let names: Vec<&str> = chosen.iter().map(|test| test.name).collect();
    tokio::task::spawn_blocking(move || {
        servers::build_for(&names)?;
        clients::build_for(&names)?;
        proxies::build_for(&names)
    })
    .await??;
    if !shared.is_empty() {
        let world = Arc::new(World::start("e2e", true).await?);
        let mut running = stream::iter(shared)
            .map(|test| one(test, world.clone()))
            .buffer_unordered(options.at_a_time);
        while let Some(ended) = running.next().await {
            progress.take(ended, Some(&world))?;
        }
        drop(running);
        // A page of something that failed proves nothing.
        if options.proof && progress.failed.is_empty() {
            world.evidence.write(options.filter.as_deref())?;
        }
    }
    if installs {
        // It is no part of a test's time.
        tokio::task::spawn_blocking(evenkeel_cluster::images::operator).await??;
    }
    by_themselves(own, OWN_AT_A_TIME, &mut progress).await?;
    by_themselves(alone, 1, &mut progress).await?;
    if options.again {
        progress.again = false;
        let failed = std::mem::take(&mut progress.failed);
        if failed.len() > SECOND_LOOKS {
            for test in &failed {
                println!(
                    "test {} ... FAILED, as did {} others",
                    test.name,
                    failed.len() - 1
                );
            }
            progress.failed = failed;
        } else {
            by_themselves(failed, 1, &mut progress).await?;
        }
    }
    Ok((progress.passed, progress.failed.len()))
}

/// Tests on clusters of their own.
async fn by_themselves(tests: Vec<Test>, at_a_time: usize, progress: &mut Progress) -> Result<()> {
    let mut running = stream::iter(tests)
        .map(by_itself)
        .buffer_unordered(at_a_time);
    while let Some((ended, world)) = running.next().await {
        progress.take(ended, world.as_deref())?;
    }
    Ok(())
}

/// How a test ended on a cluster of its own, and that cluster if it started.
async fn by_itself(test: Test) -> (Ended, Option<Arc<World>>) {
    let started = if test.kind == Kind::SmallSlices {
        World::with_small_slices("e2e-own").await
    } else {
        World::start("e2e-own", test.shares()).await
    };
    match started {
        Ok(world) => {
            let world = Arc::new(world);
            (one(test, world.clone()).await, Some(world))
        }
        Err(error) => {
            let error = error.context("its cluster did not start");
            ((test, Duration::ZERO, Err(error)), None)
        }
    }
}

/// A test, how long it took, and what came of it.
type Ended = (Test, Duration, Result<()>);

async fn one(test: Test, world: Arc<World>) -> Ended {
    let begun = Instant::now();
    let run = std::panic::AssertUnwindSafe((test.run)(world)).catch_unwind();
    let outcome = match tokio::time::timeout(test.limit, run).await {
        Err(_) => Err(anyhow::anyhow!("not done in {:?}", test.limit)),
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panic)) => {
            let said = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()));
            Err(anyhow::anyhow!(
                "{}",
                said.unwrap_or_else(|| "panicked".into())
            ))
        }
    };
    (test, begun.elapsed(), outcome)
}

struct Progress {
    total: usize,
    begun: Instant,
    /// Whether what fails now will be looked at again.
    again: bool,
    repetitions: Option<Repetitions>,
    passed: usize,
    failed: Vec<Test>,
}

impl Progress {
    fn take(&mut self, (test, took, outcome): Ended, world: Option<&World>) -> Result<()> {
        let verdict = match (&outcome, self.again) {
            (Ok(()), _) => "ok",
            (Err(_), true) => "AGAIN",
            (Err(_), false) => "FAILED",
        };
        println!(
            "test {} ... {verdict} ({:.1} s)",
            test.name,
            took.as_secs_f32()
        );
        if let Err(error) = &outcome {
            println!("    {}", format!("{error:#}").replace('\n', "\n    "));
            if let Some(world) = world {
                println!("    logs: {}", world.cluster.logs_dir().display());
                world.cluster.keep_logs()?;
            }
        }
        if let Some(repetitions) = &mut self.repetitions {
            repetitions.add(test.name, outcome.is_ok(), took)?;
        }
        match outcome {
            Ok(()) => self.passed += 1,
            Err(_) => self.failed.push(test),
        }
        eprintln!(
            "    [{}/{} after {} s]",
            self.passed + self.failed.len(),
            self.total,
            self.begun.elapsed().as_secs()
        );
        let _ = std::io::stdout().flush();
        Ok(())
    }
}
