//! The figures as a page.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::go::Page;

const HEAD: &str = "# How fast a metrics page is read\n\n\
    Written by `cargo run --release` in benches/reader, which `make bench` does too,";
const TAIL: &str = "Megabytes of page a second of processor time, the best of several runs. The pages are what client_golang and go-grpc-middleware write for a server\n\
    with few and with many methods. Promised: five times Prometheus's own parser, and a third of the speed at which line feeds can be found.\n\n";

/// Where and when, and with what.
fn place(here: &Path) -> Result<String> {
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(here.join("go")).output();
        let output = output.with_context(|| format!("start {program}"))?;
        ensure!(output.status.success(), "{program} failed: {}", String::from_utf8_lossy(&output.stderr));
        anyhow::Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    };
    let file = |name: &str| std::fs::read_to_string(name).with_context(|| format!("read {name}"));
    let cores = std::thread::available_parallelism()?;
    let processor = file("/proc/cpuinfo")?;
    let processor = processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = file("/proc/sys/kernel/osrelease")?;
    let load = file("/proc/loadavg")?;
    let prometheus = said("go", &["list", "-m", "-f={{.Version}}", "github.com/prometheus/prometheus"])?;
    let rustc = said("rustc", &["--version"])?;
    Ok(format!(
        "on {date}, on a machine of {cores} cores ({processor}),\n\
         Linux {kernel}, at a load of {load}; {rustc}, Go {go}, Prometheus {prometheus}.",
        date = said("date", &["--utc", "+%F"])?,
        processor = processor.map_or("of a make that it does not tell", |(_, name)| name.trim()),
        kernel = kernel.trim().split('-').next().unwrap_or_default(),
        load = load.split(' ').next().unwrap_or_default(),
        rustc = rustc.split(" (").next().unwrap_or_default(),
        go = said("go", &["env", "GOVERSION"])?.trim_start_matches("go"),
    ))
}

/// Writes docs/benchmarks-reader.md and shows it.
pub fn write(here: &Path, pages: &[Page], rows: &[(String, Vec<f64>)]) -> Result<()> {
    let mut text = format!("{HEAD} {}\n{TAIL}", place(here)?);
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
