//! Where and with what figures were measured, and the files that the page is made from.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::Value;

use super::Kind;
use crate::world::root;

const FIGURES: &str = "docs/hops";

/// What belongs to every figure.
#[derive(Serialize)]
pub struct About {
    date: String,
    machine: String,
    versions: BTreeMap<&'static str, String>,
}

impl About {
    /// As things are, where these are measured.
    pub fn now(kinds: &[Kind]) -> Result<Self> {
        Ok(Self {
            date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
            machine: machine()?,
            versions: versions(kinds)?,
        })
    }
}

/// What is kept already.
pub fn read(file: &str) -> Result<Value> {
    let path = root().join(FIGURES).join(file);
    if !path.exists() {
        return Ok(Value::Null);
    }
    Ok(serde_json::from_str(&fs::read_to_string(path)?)?)
}

/// Keeps figures for `cargo xtask docs`.
pub fn write(file: &str, figures: &impl Serialize) -> Result<()> {
    let directory = root().join(FIGURES);
    fs::create_dir_all(&directory)?;
    let text = serde_json::to_string_pretty(figures)? + "\n";
    fs::write(directory.join(file), text).with_context(|| format!("write {FIGURES}/{file}"))?;
    println!("    written to {FIGURES}/{file}: cargo xtask docs makes the page");
    Ok(())
}

fn versions(kinds: &[Kind]) -> Result<BTreeMap<&'static str, String>> {
    let module = fs::read_to_string(root().join("tests/cluster/workloads/go.mod"))?;
    let line = module
        .lines()
        .find_map(|line| line.trim().strip_prefix("google.golang.org/grpc "));
    let grpc = line.context("go.mod asks for no grpc")?;
    let kubernetes = evenkeel_cluster::KUBERNETES_VERSION;
    let mut versions = BTreeMap::from([
        ("kubernetes", kubernetes.trim_start_matches('v').to_owned()),
        ("grpc-go", grpc.trim_start_matches('v').to_owned()),
    ]);
    for kind in kinds {
        versions.insert(kind.name(), kind.proxy().version()?);
    }
    Ok(versions)
}

fn machine() -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, model)| model.trim());
    Ok(format!("{cores} cores ({model})"))
}
