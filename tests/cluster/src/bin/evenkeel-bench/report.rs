//! Figures as a table, and the page that they are kept on.

use std::fmt::Write as _;
use std::path::Path;
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

/// Writes docs/benchmarks.md, and the figures alone into the README.
pub fn write(root: &Path, figures: &[Figure]) -> Result<()> {
    let head = head("on a real Kubernetes")?;
    let text = format!("# Figures\n\n{head}\n\n{}", table(figures, true));
    println!("{text}");
    let put = |path: &Path, text: String| {
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
    };
    put(&root.join("docs/benchmarks.md"), text)?;
    let readme = root.join("README.md");
    let text = std::fs::read_to_string(&readme)?;
    put(&readme, replaced(&text, &table(figures, false))?)?;
    eprintln!("written to docs/benchmarks.md and README.md");
    Ok(())
}

/// The text with this table between its marks.
fn replaced(text: &str, table: &str) -> Result<String> {
    const BEGIN: &str = "<!-- written by `make bench`: figures -->\n";
    const END: &str = "<!-- end -->";
    let marks = || format!("README.md has no part for the figures: write {BEGIN}{END}");
    let (head, rest) = text.split_once(BEGIN).with_context(marks)?;
    let (_, tail) = rest.split_once(END).with_context(marks)?;
    Ok(format!("{head}{BEGIN}{table}{END}{tail}"))
}

/// A Markdown table that is readable as it stands.
pub fn table(figures: &[Figure], is_long: bool) -> String {
    let more = if is_long {
        ("| how it was measured |", "---|")
    } else {
        ("|", "")
    };
    let mut text = format!(
        "| figure | measured | promised | {}\n|---|---|---|---|{}\n",
        more.0, more.1
    );
    for figure in figures {
        let met = if figure.met { "kept" } else { "**missed**" };
        let _ = write!(
            text,
            "| {} | {} | {} | {met} |",
            figure.name, figure.measured, figure.target
        );
        if is_long {
            let _ = write!(text, " {} |", figure.how);
        }
        text.push('\n');
    }
    text
}

/// By whom, where and when.
pub fn head(place: &str) -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let kernel =
        std::fs::read_to_string("/proc/sys/kernel/osrelease").context("the kernel's version")?;
    let load = std::fs::read_to_string("/proc/loadavg").context("the machine's load")?;
    Ok(format!(
        "Written by `make bench`, {place} {kubernetes} with everything on one machine: {cores} cores, {memory} GB,\n\
         Linux {kernel}, on {date}, at a load of {load} when it was written. Evenkeel {version}, {rustc}.",
        kubernetes = evenkeel_cluster::KUBERNETES_VERSION,
        memory = memory()?,
        kernel = kernel.trim().split('-').next().unwrap_or_default(),
        date = jiff::Timestamp::now().strftime("%Y-%m-%d"),
        load = load.split(' ').next().unwrap_or_default(),
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

    #[test]
    fn only_the_part_between_the_marks_is_written() {
        let text = "a\n<!-- written by `make bench`: figures -->\nold\n<!-- end -->\nb";
        assert_eq!(
            replaced(text, "new\n").unwrap(),
            "a\n<!-- written by `make bench`: figures -->\nnew\n<!-- end -->\nb"
        );
        assert!(replaced("a", "new\n").is_err());
    }
}
