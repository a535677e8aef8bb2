//! What was seen of other people's servers, and of calls and streams, kept as the page docs/proof.md by `make proof`.

use std::time::Duration;

use anyhow::{Context as _, Result};
use parking_lot::Mutex;

use crate::client::GoAway;
use crate::harms;
use crate::world::root;

const PAGE: &str = "docs/proof.md";
/// The page, with `{machine}`, `{servers}` and `{cycling}` where there is what was measured.
const TEMPLATE: &str = include_str!("proof.md");

/// Rows of the page's two tables and the harms of the other page, in the order in which tests end.
#[derive(Default)]
pub struct Evidence {
    servers: Mutex<Vec<String>>,
    cycling: Mutex<Vec<String>>,
    harms: Mutex<Vec<harms::Shown>>,
}

impl Evidence {
    /// A row about somebody's server.
    pub fn server(&self, cells: &[&str]) {
        keep(&self.servers, cells);
    }

    /// A row about calls or streams.
    pub fn cycling(&self, cells: &[&str]) {
        keep(&self.cycling, cells);
    }

    /// A harm, as it was measured.
    pub fn harm(&self, shown: harms::Shown) {
        println!("    {shown}");
        self.harms.lock().push(shown);
    }

    /// Writes each page of which every test ran: that of a part proves nothing.
    pub fn write(&self, filter: Option<&str>) -> Result<()> {
        let harms = self.harms.lock().clone();
        if harms.len() == harms::TESTS.len() {
            harms::write(harms)?;
        }
        if filter.is_some() {
            return Ok(());
        }
        let text = TEMPLATE
            .replace("{machine}", &machine()?)
            .replace("{servers}\n", &sorted(&self.servers))
            .replace("{cycling}\n", &sorted(&self.cycling));
        std::fs::write(root().join(PAGE), text).with_context(|| format!("write {PAGE}"))?;
        eprintln!("written to {PAGE}");
        Ok(())
    }
}

/// Whether a test has something for the page, or needs what nothing but the proof builds.
pub fn covers(test: &str) -> bool {
    [
        "servers::",
        "cycling::for_three_minutes",
        "harms::",
        "traces::jaeger_shows_each_pass",
    ]
    .iter()
    .any(|file| test.starts_with(file))
}

/// How long connections lived until their GOAWAY: the shortest, the middle and the longest.
pub fn lifetimes(goaways: &[GoAway]) -> Option<[Duration; 3]> {
    let mut ages: Vec<Duration> = goaways.iter().map(GoAway::age).collect();
    ages.sort();
    Some([*ages.first()?, ages[ages.len() / 2], *ages.last()?])
}

fn keep(rows: &Mutex<Vec<String>>, cells: &[&str]) {
    let row = format!("| {} |\n", cells.join(" | "));
    println!("    {}", row.trim());
    rows.lock().push(row);
}

fn sorted(rows: &Mutex<Vec<String>>) -> String {
    let mut rows = rows.lock().clone();
    rows.sort_by_key(|row| row.to_lowercase());
    rows.concat()
}

/// Where and when it was measured.
pub fn machine() -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!(
        "on a real Kubernetes {kubernetes} with everything\n\
         on one machine: {cores} cores, {memory} GB, Linux {kernel}, on {date}. Evenkeel {version}",
        kubernetes = evenkeel_cluster::KUBERNETES_VERSION,
        memory = memory()?,
        kernel = kernel.trim().split('-').next().unwrap_or_default(),
        date = jiff::Timestamp::now().strftime("%Y-%m-%d"),
        version = env!("CARGO_PKG_VERSION"),
    ))
}

fn memory() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let total = text.split_whitespace().nth(1).context("/proc/meminfo")?;
    Ok(total.parse::<u64>()? / 1_000_000)
}
