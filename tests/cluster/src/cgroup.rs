//! A cgroup subtree for each cluster: two kubelets below one root would
//! delete each other's pods.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

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
                let file = directory.join("cgroup.subtree_control");
                fs::write(&file, enable.join(" ")).with_context(|| {
                    format!(
                        "{}: no controllers for pods; is a process in this very group?",
                        file.display()
                    )
                })?;
            }
        }
    }
    Ok(())
}

/// The CPU time that a pod has taken so far, all its containers together. The work that the kernel's network does for it outside of its
/// processes is not in it.
pub fn cpu_of(pod_uid: &str) -> Result<Duration> {
    let name = format!("pod{pod_uid}");
    for hierarchy in hierarchies() {
        let Some(group) = find(&hierarchy, &name, 4) else {
            continue;
        };
        if let Ok(nanoseconds) = fs::read_to_string(group.join("cpuacct.usage")) {
            return Ok(Duration::from_nanos(nanoseconds.trim().parse()?));
        }
        let stat = fs::read_to_string(group.join("cpu.stat")).unwrap_or_default();
        let used = stat
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec "));
        if let Some(microseconds) = used {
            return Ok(Duration::from_micros(microseconds.parse()?));
        }
    }
    bail!("no cgroup {name} counts CPU time")
}

fn find(below: &Path, name: &str, depth: u8) -> Option<PathBuf> {
    let entries = fs::read_dir(below).ok()?.flatten();
    let mut groups = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    if below.join(name).is_dir() {
        return Some(below.join(name));
    }
    groups.find_map(|entry| find(&entry.path(), name, depth.checked_sub(1)?))
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
