//! Where things live on the machine: caches, states of running clusters, logs.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Log directories of earlier clusters that are kept, and of those among them in which somebody has to look for a fault.
const LOGS_KEPT: usize = 5;
const FAULTS_KEPT: usize = 20;
/// Marks the latter.
const FAULT: &str = "look-here";

/// `$XDG_CACHE_HOME/evenkeel`: what is expensive to build.
pub fn cache_dir() -> Result<PathBuf> {
    let base = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
        (Some(cache), _) if !cache.is_empty() => PathBuf::from(cache),
        (_, Some(home)) => PathBuf::from(home).join(".cache"),
        _ => bail!("neither XDG_CACHE_HOME nor HOME is set: there is no place for the build cache"),
    };
    let directory = base.join("evenkeel");
    fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    Ok(directory)
}

/// The directory of all running clusters. Short, since the path of a unix
/// socket has room for 107 bytes, and outside of what a cluster hides from
/// itself (`/run`).
pub(crate) fn clusters_dir() -> Result<PathBuf> {
    let directory = PathBuf::from("/tmp/evenkeel-cluster");
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)?;
    let metadata = fs::symlink_metadata(&directory)?;
    let own = fs::metadata("/proc/self").context("/proc is needed")?.uid();
    if !metadata.is_dir() || metadata.uid() != own {
        bail!(
            "{} belongs to somebody else: remove it",
            directory.display()
        );
    }
    Ok(directory)
}

/// A lock that ends with the process that holds the file. `None`: it is taken.
pub(crate) fn try_lock(path: &Path) -> Result<Option<File>> {
    let file = open_lock(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("lock {}", path.display()))
        }
    }
}

pub(crate) fn open_lock(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.create(true).truncate(false).write(true);
    options
        .open(path)
        .with_context(|| format!("open {}", path.display()))
}

/// Makes the log directory of a new cluster and deletes those of long ago.
/// `live` are the directories of clusters that run.
pub(crate) fn new_logs_dir(name: &str, index: u32, live: &[PathBuf]) -> Result<PathBuf> {
    let all = clusters_dir()?.join("logs");
    fs::create_dir_all(&all)?;
    let mut earlier: Vec<PathBuf> = fs::read_dir(&all)?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    earlier.retain(|path| !live.contains(path));
    for directory in too_old(earlier) {
        let _ = fs::remove_dir_all(directory);
    }
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%3f");
    let directory = all.join(format!("{time}-{name}-{index}"));
    fs::create_dir_all(directory.join("pods"))?;
    Ok(directory)
}

/// Those beyond what is kept. Their names begin with the time.
fn too_old(mut directories: Vec<PathBuf>) -> Vec<PathBuf> {
    directories.sort();
    let (faults, others): (Vec<_>, Vec<_>) = directories
        .into_iter()
        .rev()
        .partition(|path| path.join(FAULT).exists());
    let others = others.into_iter().skip(LOGS_KEPT);
    faults.into_iter().skip(FAULTS_KEPT).chain(others).collect()
}

/// Keeps a log directory for longer than those in which nobody has to look for anything.
pub(crate) fn keep_logs(directory: &Path) -> Result<()> {
    let mark = directory.join(FAULT);
    fs::write(&mark, "").with_context(|| format!("write {}", mark.display()))
}

/// The sources of this crate: the modules to build are beside it.
pub fn source_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_failed_test_points_to_outlives_the_clusters_after_it() {
        let all = std::env::temp_dir().join(format!("evenkeel-logs-{}", std::process::id()));
        let named: Vec<PathBuf> = (0..30)
            .map(|at| all.join(format!("2026-{at:02}")))
            .collect();
        for directory in &named {
            fs::create_dir_all(directory).unwrap();
        }
        for directory in &named[..22] {
            keep_logs(directory).unwrap();
        }
        let mut old = too_old(named.clone());
        old.sort();
        let expected = [&named[..2], &named[22..25]].concat();
        fs::remove_dir_all(&all).unwrap();
        assert_eq!(
            old, expected,
            "the first two faults, and all but five others"
        );
    }
}
