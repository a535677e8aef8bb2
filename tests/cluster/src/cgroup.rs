//! A cgroup subtree for each cluster: two kubelets below one root would
//! delete each other's pods.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

const ROOT: &str = "/sys/fs/cgroup";
const EMPTIES_WITHIN: Duration = Duration::from_secs(5);

/// One for each v1 hierarchy; just the root with v2.
fn hierarchies() -> Vec<PathBuf> {
    let root = Path::new(ROOT);
    if root.join("cgroup.controllers").exists() {
        return vec![root.to_owned()];
    }
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.join("cgroup.procs").exists())
        .collect()
}

pub(crate) fn create(name: &str) -> Result<()> {
    for hierarchy in hierarchies() {
        let group = hierarchy.join(name);
        fs::create_dir_all(&group).with_context(|| format!("create cgroup {}", group.display()))?;
        // A new cpuset is empty, and nothing can run in it.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let (Ok(value), true) = (fs::read(hierarchy.join(file)), group.join(file).exists()) {
                fs::write(group.join(file), value)
                    .with_context(|| format!("{file} of {}", group.display()))?;
            }
        }
        if let Ok(controllers) = fs::read_to_string(hierarchy.join("cgroup.controllers")) {
            let enable: Vec<String> = controllers
                .split_whitespace()
                .map(|name| format!("+{name}"))
                .collect();
            for directory in [&hierarchy, &group] {
                let _ = fs::write(directory.join("cgroup.subtree_control"), enable.join(" "));
            }
        }
    }
    Ok(())
}

/// Removes the subtree everywhere, waiting for its last processes to vanish.
pub(crate) fn remove(name: &str) {
    let deadline = Instant::now() + EMPTIES_WITHIN;
    for hierarchy in hierarchies() {
        let group = hierarchy.join(name);
        while group.exists() && !remove_tree(&group) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn remove_tree(group: &Path) -> bool {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    fs::remove_dir(group).is_ok()
}
