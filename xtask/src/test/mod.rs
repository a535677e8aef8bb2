//! Runs every test there is, shows what happens, and ends in a table and one line: `N passed, N failed`.

mod gotest;
mod libtest;
mod tally;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use crate::generate;
use crate::process::{cargo, each_line};
use tally::{Row, Tally};

/// What to run.
#[derive(Args)]
pub struct Options {
    /// Only this phase; may be given several times.
    #[arg(long = "phase", value_enum)]
    phases: Vec<Phase>,
    /// Passed on to the tests on the real cluster.
    #[arg(last = true)]
    cluster_arguments: Vec<String>,
}

/// The phases, cheapest first.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Phase {
    /// Formatting and lints of both languages, each as one test.
    Lint,
    /// Tests and documentation tests of the workspace.
    Rust,
    /// Tests of the Go workloads.
    Go,
    /// The tests on a real cluster.
    Cluster,
}

/// Where the Go programs are that the tests run against.
const GO_WORKLOADS: &str = "tests/cluster/workloads";
const GO_EXAMPLE: &str = "examples/go";

/// Runs the phases one after the other, all of them even if one fails.
pub fn run(root: &Path, options: &Options) -> ExitCode {
    let mut rows = Vec::new();
    for phase in Phase::value_variants() {
        if !options.phases.is_empty() && !options.phases.contains(phase) {
            continue;
        }
        let title = phase.title();
        println!("\n=== {title}");
        let start = Instant::now();
        let tally = phase
            .run(root, options)
            .unwrap_or_else(|error| Tally::one_failure(title, &format!("{error:#}")));
        let row = Row {
            title,
            tally,
            took: start.elapsed(),
        };
        println!("=== {}", row.summary());
        rows.push(row);
    }
    print!("{}", tally::report(&rows));
    if rows.iter().all(|row| row.tally.failures.is_empty()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

impl Phase {
    fn title(self) -> &'static str {
        match self {
            Self::Lint => "formatting and lints",
            Self::Rust => "Rust tests",
            Self::Go => "Go tests",
            Self::Cluster => "tests on a real cluster",
        }
    }

    fn run(self, root: &Path, options: &Options) -> Result<Tally> {
        match self {
            Self::Lint => lint(root),
            Self::Rust => rust(root),
            Self::Go => go(root),
            Self::Cluster => cluster(root, &options.cluster_arguments),
        }
    }
}

fn lint(root: &Path) -> Result<Tally> {
    let mut tally = Tally::default();
    println!("what is generated");
    match generate::settle(&generate::all(root)?, true) {
        Ok(()) => tally.passed += 1,
        Err(drift) => tally.fail("what is generated", vec![format!("{drift:#}")]),
    }
    let mut check = |name: &str, command: &mut Command, silent: bool| -> Result<()> {
        println!("{name}");
        let mut said = Vec::new();
        let status = each_line(command, |line| {
            println!("{line}");
            said.push(line.to_owned());
        })?;
        if status.success() && (said.is_empty() || !silent) {
            tally.passed += 1;
        } else {
            tally.fail(name, said);
        }
        Ok(())
    };
    check(
        "rustfmt",
        cargo(root).args(["fmt", "--all", "--check"]),
        false,
    )?;
    check(
        "clippy",
        cargo(root)
            .args(["clippy", "--workspace", "--all-targets", "--locked"])
            .args(["--", "-D", "warnings"]),
        false,
    )?;
    if root.join(CLUSTER_TESTS).exists() {
        // Left out of --all-targets, since it is no test that `cargo test` may start by itself.
        check(
            "clippy of the tests on a real cluster",
            cargo(root)
                .args(["clippy", "--package=evenkeel", "--test=e2e", "--locked"])
                .args(["--", "-D", "warnings"]),
            false,
        )?;
    }
    // `make fuzz` runs them. Here they share what is compiled with everything else.
    let shared = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| root.join("target").into());
    check(
        "the fuzz targets compile",
        cargo(root)
            .args(["check", "--quiet", "--locked"])
            .arg("--manifest-path=fuzz/Cargo.toml")
            .env("CARGO_TARGET_DIR", shared),
        true,
    )?;
    check(
        "gofmt",
        Command::new("gofmt")
            .args(["-l", "tests/cluster", GO_EXAMPLE])
            .current_dir(root),
        true,
    )?;
    for module in go_modules(root)? {
        let name = format!("go vet {}", module.strip_prefix(root)?.display());
        check(
            &name,
            go_command(&module).args(["vet", "-mod=readonly", "./..."]),
            false,
        )?;
    }
    Ok(tally)
}

fn rust(root: &Path) -> Result<Tally> {
    let mut reader = libtest::Reader::default();
    let status = each_line(
        cargo(root).args(["test", "--workspace", "--locked", "--no-fail-fast"]),
        |line| {
            println!("{line}");
            reader.line(line);
        },
    )?;
    Ok(reader.finish(status.success()))
}

fn go(root: &Path) -> Result<Tally> {
    let mut tally = Tally::default();
    for module in go_modules(root)? {
        let mut reader = gotest::Reader::default();
        let status = each_line(
            go_command(&module).args(["test", "-mod=readonly", "-json", "./..."]),
            |line| {
                if let Some(shown) = reader.line(line) {
                    print!("{shown}");
                }
            },
        )?;
        tally.add(reader.finish(status.success()));
    }
    Ok(tally)
}

/// The binary of the tests on a real cluster. It is none that `cargo test` starts by itself (`test = false`), has its own
/// `main`, and says in its last line how many passed and failed.
const CLUSTER_TESTS: &str = "tests/e2e/main.rs";

fn cluster(root: &Path, arguments: &[String]) -> Result<Tally> {
    if !root.join(CLUSTER_TESTS).exists() {
        bail!("{CLUSTER_TESTS} is missing");
    }
    let mut reader = libtest::ClusterReader::default();
    let status = each_line(
        cargo(root)
            .args(["test", "--package=evenkeel", "--test=e2e", "--locked", "--"])
            .arg("--again")
            .args(arguments),
        |line| {
            println!("{line}");
            reader.line(line);
        },
    )?;
    Ok(reader.finish(status.success()))
}

fn go_command(module: &Path) -> Command {
    let mut command = Command::new("go");
    // No workspace file above, no other toolchain than the one that is installed.
    command
        .current_dir(module)
        .env("GOWORK", "off")
        .env("GOTOOLCHAIN", "local");
    command
}

/// The modules of the workloads and of the example. The cluster's components are other people's code, and are built, not tested.
fn go_modules(root: &Path) -> Result<Vec<PathBuf>> {
    let workloads = root.join(GO_WORKLOADS);
    let mut modules: Vec<PathBuf> = [workloads.clone(), root.join(GO_EXAMPLE)]
        .into_iter()
        .chain(
            std::fs::read_dir(&workloads)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path()),
        )
        .filter(|directory| directory.join("go.mod").exists())
        .collect();
    modules.sort();
    if modules.is_empty() {
        bail!("no Go module is in {GO_WORKLOADS}");
    }
    Ok(modules)
}
