//! Which clusters run on this machine: numbers claimed by locks, and what the
//! dead left behind.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::{cgroup, paths};

/// Side by side on one machine; each takes about 1 GB.
const MAX_CLUSTERS: u32 = 32;

/// What a second process has to know of a running cluster.
#[derive(Serialize, Deserialize)]
pub(crate) struct Record {
    pub name: String,
    pub logs: PathBuf,
    pub kept: bool,
}

pub(crate) fn cgroup_name(index: &str) -> String {
    format!("evenkeel-{index}")
}

pub(crate) fn claim() -> Result<(u32, File)> {
    let directory = paths::clusters_dir()?;
    for index in 0..MAX_CLUSTERS {
        if let Some(lock) = paths::try_lock(&directory.join(format!("{index}.lock")))? {
            return Ok((index, lock));
        }
    }
    bail!("{MAX_CLUSTERS} clusters run already")
}

/// Removes what a cluster leaves behind whose supervisor was killed, and
/// returns the log directories of those that live.
pub(crate) fn clean_up_after_the_dead() -> Result<Vec<PathBuf>> {
    let directory = paths::clusters_dir()?;
    let mut live = Vec::new();
    for index in 0..MAX_CLUSTERS {
        let (lock, state) = (
            directory.join(format!("{index}.lock")),
            directory.join(index.to_string()),
        );
        if !lock.exists() {
            continue;
        }
        if let Some(_held) = paths::try_lock(&lock)? {
            cgroup::remove(&cgroup_name(&index.to_string()));
            let _ = fs::remove_dir_all(&state);
        } else if let Ok(record) = read_record(&state) {
            live.push(record.logs);
        }
    }
    Ok(live)
}

fn read_record(state: &Path) -> Result<Record> {
    Ok(serde_json::from_slice(&fs::read(
        state.join("cluster.json"),
    )?)?)
}

/// The state directories of the clusters that run.
pub(crate) fn running() -> Result<Vec<(PathBuf, Record)>> {
    let directory = paths::clusters_dir()?;
    let mut found = Vec::new();
    for index in 0..MAX_CLUSTERS {
        let lock = directory.join(format!("{index}.lock"));
        let state = directory.join(index.to_string());
        if lock.exists() && paths::try_lock(&lock)?.is_none() {
            found.extend(read_record(&state).ok().map(|record| (state, record)));
        }
    }
    Ok(found)
}
