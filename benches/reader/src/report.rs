//! The figures as a page.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::go::Page;

const HEAD: &str = "# How fast a metrics page is read\n\n\
    Written by `cargo run --release` in benches/reader, which `make bench` does too. Megabytes of page a second of processor time, the best\n\
    of several runs. The pages are what client_golang and go-grpc-middleware write for a server\n\
    with few and with many methods. Promised: five times Prometheus's own parser, and a third of the speed at which line feeds can be found.\n\n";

/// Writes docs/benchmarks-reader.md and shows it.
pub fn write(here: &Path, pages: &[Page], rows: &[(String, Vec<f64>)]) -> Result<()> {
    let mut text = HEAD.to_owned();
    text += "| |";
    for page in pages {
        let _ = write!(text, " {} ({} bytes) |", page.name, page.bytes.len());
    }
    let _ = writeln!(text, "\n|---|{}", "---|".repeat(pages.len()));
    for (name, speeds) in rows {
        let _ = write!(text, "| {name} |");
        for speed in speeds {
            let _ = write!(text, " {speed:.0} |");
        }
        text.push('\n');
    }
    let row = |name: &str| {
        let found = rows.iter().find(|(other, _)| other == name);
        found.map(|(_, speeds)| speeds.as_slice()).with_context(|| format!("no row {name}"))
    };
    let own = row("**Evenkeel**")?;
    text += "\n| Evenkeel beside | promised |";
    for page in pages {
        let _ = write!(text, " {} |", page.name);
    }
    let _ = writeln!(text, "\n|---|---|{}", "---|".repeat(pages.len()));
    for (other, promised) in [
        ("Prometheus textparse, series known", 5.0),
        ("memchr for line feeds", 1.0 / 3.0),
        ("prometheus-parse", 1.0),
    ] {
        let _ = write!(text, "| {other} | {promised:.2} |");
        for (own, other) in own.iter().zip(row(other)?) {
            let times = own / other;
            let met = if times >= promised { "kept" } else { "**missed**" };
            let _ = write!(text, " {times:.2} {met} |");
        }
        text.push('\n');
    }
    print!("{text}");
    let file = here.join("../../docs/benchmarks-reader.md");
    std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))
}
