//! Figures as a table, and the page that they are kept on.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// One promised figure.
pub struct Figure {
    /// Of what.
    pub name: &'static str,
    /// What came out.
    pub measured: String,
    /// What is promised.
    pub target: &'static str,
    /// Whether the promise is kept.
    pub met: bool,
    /// How it was measured.
    pub how: String,
}

/// The middle one and the greatest.
pub fn median(spans: &mut [Duration]) -> (Duration, Duration) {
    spans.sort();
    let middle = spans.get(spans.len() / 2).copied().unwrap_or_default();
    (middle, spans.last().copied().unwrap_or_default())
}

/// A Markdown table that is readable as it stands.
pub fn table(figures: &[Figure]) -> String {
    let mut text = String::from(
        "| figure | measured | promised | | how it was measured |\n|---|---|---|---|---|\n",
    );
    for figure in figures {
        let met = if figure.met { "kept" } else { "**missed**" };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {met} | {} |",
            figure.name, figure.measured, figure.target, figure.how
        );
    }
    text
}

/// The page with the machine beside the table.
pub fn page(table: &str) -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let kernel =
        std::fs::read_to_string("/proc/sys/kernel/osrelease").context("the kernel's version")?;
    Ok(format!(
        "# Figures\n\nWritten by `make bench`, on a real Kubernetes {kubernetes} with everything on one machine: {cores} cores, {memory} GB,\n\
         Linux {kernel}, on {date}. Evenkeel {version}, {rustc}.\n\n{table}",
        kubernetes = evenkeel_cluster::KUBERNETES_VERSION,
        memory = memory()?,
        kernel = kernel.trim().split('-').next().unwrap_or_default(),
        date = jiff::Timestamp::now().strftime("%Y-%m-%d"),
        version = env!("CARGO_PKG_VERSION"),
        rustc = said("rustc")?,
    ))
}

fn memory() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let total = text.split_whitespace().nth(1).context("/proc/meminfo")?;
    Ok(total.parse::<u64>()? / 1_000_000)
}

fn said(program: &str) -> Result<String> {
    let output = Command::new(program)
        .arg("--version")
        .output()
        .with_context(|| format!("run {program}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .split(" (")
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let mut spans: Vec<Duration> = [5, 1, 9].map(Duration::from_secs).to_vec();
        assert_eq!(
            median(&mut spans),
            (Duration::from_secs(5), Duration::from_secs(9))
        );
    }
}
