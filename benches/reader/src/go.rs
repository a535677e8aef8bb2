//! What is written in Go: the pages, and Prometheus's own parsers.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// A metrics page.
pub struct Page {
    pub name: String,
    pub bytes: Vec<u8>,
    path: PathBuf,
}

fn go(here: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("go");
    command
        .args(arguments)
        .current_dir(here.join("go"))
        .env("GOWORK", "off")
        .env("GOTOOLCHAIN", "local");
    command
}

fn said(mut command: Command) -> Result<Vec<u8>> {
    let output = command.output().context("start go")?;
    let failed = || format!("go failed: {}", String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), failed());
    Ok(output.stdout)
}

/// Pages of servers with so many services.
pub fn pages(here: &Path, wanted: &[(&str, u32, bool)]) -> Result<Vec<Page>> {
    let directory = here.join("target/pages");
    std::fs::create_dir_all(&directory)?;
    let page = |(name, services, histogram): &(&str, u32, bool)| {
        let services = format!("-services={services}");
        let histogram = format!("-histogram={histogram}");
        let bytes = said(go(here, &["run", "./pages", &services, &histogram]))?;
        let path = directory.join(name.replace(' ', "-"));
        std::fs::write(&path, &bytes)?;
        Ok(Page { name: (*name).to_owned(), bytes, path })
    };
    wanted.iter().map(page).collect()
}

/// What the Go benchmarks say of these pages, one row a parser.
pub fn speeds(here: &Path, pages: &[Page]) -> Result<Vec<(String, Vec<f64>)>> {
    let paths: Vec<String> = pages.iter().map(|page| page.path.display().to_string()).collect();
    let mut command = go(here, &["test", "-run=^$", "-bench=.", "-benchtime=300ms", "-count=5", "-cpu=1", "."]);
    command.env("PAGES", paths.join(" "));
    let text = String::from_utf8(said(command)?)?;
    let kinds = [
        ("BenchmarkTextparse/", "Prometheus textparse, series known"),
        ("BenchmarkTextparseLabels/", "Prometheus textparse, labels read"),
        ("BenchmarkExpfmt/", "prometheus/common expfmt"),
    ];
    let row = |(test, name): (&str, &str)| {
        let speeds = pages.iter().map(|page| {
            let file = page.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            best(&text, &format!("{test}{file}")).with_context(|| format!("{test}{file} has no result in {text}"))
        });
        Ok((name.to_owned(), speeds.collect::<Result<_>>()?))
    };
    kinds.into_iter().map(row).collect()
}

fn best(text: &str, test: &str) -> Option<f64> {
    text.lines()
        .filter(|line| line.split_whitespace().next() == Some(test))
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let unit = words.iter().position(|word| *word == "cpu-MB/s")?;
            words.get(unit - 1)?.parse().ok()
        })
        .max_by(f64::total_cmp)
}
