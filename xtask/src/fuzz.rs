//! Throws made-up input at the readers of what others write, by libFuzzer on the pinned compiler: `fuzz/coverage.sh` says how.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::process::{cargo, must};

/// What may be asked of a run.
#[derive(clap::Args)]
pub struct Options {
    /// The target to run (default: all, one after the other).
    target: Option<String>,
    /// How long each one runs.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
}

/// What an input may make a target hold; more is a finding.
const MEGABYTES: u32 = 1024;
/// What one input may take; longer is a finding. Far above what any takes on a machine that does nothing else.
const SLOWEST: Duration = Duration::from_secs(10);

/// A program of fuzz/, and what it begins from.
struct Target {
    name: &'static str,
    seeds: fn(&Path) -> Result<Vec<Vec<u8>>>,
}

const TARGETS: [Target; 2] = [
    Target {
        name: "exposition",
        seeds: metrics_pages,
    },
    Target {
        name: "manifests",
        seeds: manifests,
    },
];

/// How a target did.
struct Told {
    name: &'static str,
    executions: u64,
    took: Duration,
    /// Edges of the program that were passed.
    edges: u64,
    /// Inputs kept, since each goes somewhere new.
    inputs: u64,
    peak: u64,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            executions,
            edges,
            inputs,
            peak,
            ..
        } = self;
        let seconds = self.took.as_secs();
        write!(
            f,
            "{name}: {executions} executions in {seconds} s, {edges} edges covered by {inputs} inputs, at most {peak} MiB of memory, nothing found"
        )
    }
}

/// Builds the targets and runs them; fails with the input that ended one.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    let chosen: Vec<&Target> = TARGETS
        .iter()
        .filter(|own| options.target.as_ref().is_none_or(|name| name == own.name))
        .collect();
    if chosen.is_empty() {
        let names: Vec<&str> = TARGETS.iter().map(|own| own.name).collect();
        bail!("there is no such target: take one of {}", names.join(", "));
    }
    let programs = build(root)?;
    let mut told = Vec::new();
    for target in chosen {
        told.push(fuzz(root, &programs, target, options.seconds)?);
    }
    for told in told {
        println!("{told}");
    }
    Ok(())
}

/// The directory with the programs. What they are made of is apart from all else, since it counts branches.
fn build(root: &Path) -> Result<PathBuf> {
    let into = root.join("target/fuzz");
    must(
        cargo(root)
            .args(["build", "--locked", "--bins"])
            .arg("--manifest-path=fuzz/Cargo.toml")
            .arg("--target-dir")
            .arg(&into)
            .env("RUSTC_WRAPPER", root.join("fuzz/coverage.sh")),
    )?;
    Ok(into.join("debug"))
}

fn fuzz(root: &Path, programs: &Path, target: &Target, seconds: u64) -> Result<Told> {
    let name = target.name;
    let place = |kind: &str| root.join("target/fuzz").join(kind).join(name);
    let (seeds, corpus, found) = (place("seeds"), place("corpus"), place("found"));
    for directory in [&seeds, &corpus, &found] {
        fs::create_dir_all(directory)?;
    }
    for (number, seed) in (target.seeds)(root)?.iter().enumerate() {
        fs::write(seeds.join(format!("{number:04}")), seed)?;
    }
    let began = Instant::now();
    let mut child = Command::new(programs.join(name))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-rss_limit_mb={MEGABYTES}"))
        .arg(format!("-timeout={}", SLOWEST.as_secs()))
        .arg(format!("-artifact_prefix={}/", found.display()))
        .arg("-print_final_stats=1")
        .args([&corpus, &seeds])
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let mut figures = Figures::default();
    let said = child.stderr.take().context("no standard error")?;
    for line in BufReader::new(said).lines() {
        let line = line?;
        figures.read(&line);
        eprintln!("{line}");
    }
    if !child.wait()?.success() {
        bail!(
            "{name}: an input ended it, which stands in {}: make a test of it, then mend what it shows",
            found.display()
        );
    }
    Ok(Told {
        name,
        executions: figures.of("number_of_executed_units"),
        took: began.elapsed(),
        edges: figures.of("cov"),
        inputs: figures.of("corp"),
        peak: figures.of("peak_rss_mb"),
    })
}

/// What libFuzzer last said of each thing that it counts: `#2 DONE cov: 3 ft: 4 corp: 5/6b …` and `stat::peak_rss_mb: 7`.
#[derive(Default)]
struct Figures(BTreeMap<String, u64>);

impl Figures {
    fn read(&mut self, line: &str) {
        if !line.starts_with(['#', 's']) {
            return;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        for pair in words.windows(2) {
            let name = pair[0].trim_start_matches("stat::").strip_suffix(':');
            let number = pair[1].split('/').next().and_then(|own| own.parse().ok());
            if let (Some(name), Some(number)) = (name, number) {
                self.0.insert(name.into(), number);
            }
        }
    }

    fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }
}

/// The first byte says how the page is read: as text or as `OpenMetrics`, with which labels, and in which pieces.
fn metrics_pages(root: &Path) -> Result<Vec<Vec<u8>>> {
    let pages = files(&root.join("src/balance/exposition/corpus"))?;
    let read_as =
        |page: &Vec<u8>| [0, 1, 0x34, 0x39, 0xfc].map(|choice| [&[choice][..], page].concat());
    Ok(pages.iter().flat_map(read_as).collect())
}

fn manifests(root: &Path) -> Result<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    for directory in [
        "tests/corpus",
        "tests/corpus/rules",
        "config/samples",
        "tests/e2e/harms",
    ] {
        all.extend(files(&root.join(directory))?);
    }
    Ok(all)
}

/// What the files of a directory have in them, in the order of their names.
fn files(directory: &Path) -> Result<Vec<Vec<u8>>> {
    let entries = fs::read_dir(directory)
        .with_context(|| format!("cannot list {}", directory.display()))?
        .collect::<Result<Vec<_>, _>>()?;
    let mut paths: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
    paths.retain(|path| path.is_file() && path.extension().is_none_or(|own| own != "rs"));
    paths.sort();
    paths
        .iter()
        .map(|path| fs::read(path).with_context(|| format!("cannot read {}", path.display())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_figures_count() {
        let mut figures = Figures::default();
        for line in [
            "INFO: Running with entropic power schedule (0xFF, 100).",
            "#2\tINITED cov: 3 ft: 4 corp: 1/1b exec/s: 0 rss: 30Mb",
            "#99\tDONE   cov: 71 ft: 90 corp: 12/4Kb lim: 4096 exec/s: 9 rss: 33Mb",
            "stat::number_of_executed_units: 99",
            "stat::peak_rss_mb:              34",
        ] {
            figures.read(line);
        }
        let said = ["cov", "corp", "number_of_executed_units", "peak_rss_mb"];
        assert_eq!(said.map(|name| figures.of(name)), [71, 12, 99, 34]);
    }

    /// A target that nobody runs finds nothing.
    #[test]
    fn every_target_is_run_and_begins_from_something() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut there: Vec<String> = fs::read_dir(root.join("fuzz/fuzz_targets"))
            .unwrap()
            .map(|own| own.unwrap().file_name().into_string().unwrap())
            .collect();
        there.sort();
        assert_eq!(there, TARGETS.map(|own| format!("{}.rs", own.name)));
        for target in TARGETS {
            assert!((target.seeds)(root).unwrap().len() > 10, "{}", target.name);
        }
    }
}
