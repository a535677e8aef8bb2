//! Built things, kept by the hash of what they were built from.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::paths::{cache_dir, open_lock};

/// Entries of one name that are kept: branches take turns.
const KEPT: usize = 3;
/// A context larger than this is a mistake (a `target/` that slipped in).
const MAX_FILES: usize = 20_000;

/// Collects what decides about the outcome of a build.
pub(crate) struct Key(Sha256);

impl Key {
    pub fn new() -> Self {
        Self(Sha256::new())
    }

    pub fn text(mut self, text: &str) -> Self {
        self.0.update(text.len().to_le_bytes());
        self.0.update(text);
        self
    }

    pub fn file(mut self, path: &Path) -> Result<Self> {
        let content = fs::read(path).with_context(|| format!("read {}", path.display()))?;
        self.0.update(content.len().to_le_bytes());
        self.0.update(content);
        Ok(self)
    }

    /// Names and contents of all files below a directory.
    pub fn tree(mut self, root: &Path) -> Result<Self> {
        let mut files = Vec::new();
        list(root, &mut files)?;
        files.sort();
        for path in files {
            let name = path
                .strip_prefix(root)
                .unwrap_or(&path)
                .to_string_lossy()
                .into_owned();
            self = self.text(&name).file(&path)?;
        }
        Ok(self)
    }

    pub fn finish(self) -> String {
        self.0
            .finalize()
            .iter()
            .take(10)
            .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    }
}

fn list(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            list(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
        if files.len() > MAX_FILES {
            bail!("more than {MAX_FILES} files below {}", directory.display());
        }
    }
    Ok(())
}

/// The directory `<name>-<key>` of the cache. If it is not there, `build`
/// fills an empty directory, which then gets its name at once; two runs beside
/// each other build it once.
pub(crate) fn get(
    name: &str,
    key: Key,
    build: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let all = cache_dir()?.join("built");
    fs::create_dir_all(&all)?;
    let entry = all.join(format!("{name}-{}", key.finish()));
    let lock = open_lock(&all.join(format!("{name}.lock")))?;
    if lock.try_lock().is_err() {
        eprintln!("{name}: waiting for another build");
        lock.lock()?;
    }
    if !entry.exists() {
        let unfinished = all.join(format!("{name}.unfinished"));
        let _ = fs::remove_dir_all(&unfinished);
        fs::create_dir(&unfinished)?;
        build(&unfinished).with_context(|| format!("build {name}"))?;
        fs::rename(&unfinished, &entry)?;
    }
    // The time of last use, by which entries are evicted.
    fs::write(entry.join(".used"), "")?;
    evict(&all, name);
    Ok(entry)
}

fn evict(all: &Path, name: &str) {
    let prefix = format!("{name}-");
    let ours = |path: &PathBuf| {
        let key = path
            .file_name()
            .and_then(|file| file.to_str())
            .and_then(|file| file.strip_prefix(&prefix));
        key.is_some_and(|key| key.len() == 20 && key.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    let used = |path: &PathBuf| {
        fs::metadata(path.join(".used"))
            .and_then(|data| data.modified())
            .unwrap_or(SystemTime::UNIX_EPOCH)
    };
    let mut entries: Vec<PathBuf> = fs::read_dir(all)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(ours)
        .collect();
    entries.sort_by_key(used);
    for entry in entries.iter().rev().skip(KEPT) {
        let _ = fs::remove_dir_all(entry);
    }
}

/// Cargo without what it says of a package to the programs that it runs, such as a test: a crate that looks at that when it is built (ring)
/// was built anew, and all that needs it, as often as the clone or the way in was another.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new("cargo");
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_MANIFEST_") || text.starts_with("CARGO_PKG_") {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// Runs a command and fails with the end of what it said.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("run {}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().collect();
    let tail = lines[lines.len().saturating_sub(30)..].join("\n");
    bail!(
        "{} failed ({}):\n{tail}",
        command.get_program().display(),
        output.status
    )
}

#[cfg(test)]
mod tests {
    use super::Key;

    #[test]
    fn keys_tell_boundaries_apart() {
        assert_ne!(
            Key::new().text("ab").text("c").finish(),
            Key::new().text("a").text("bc").finish()
        );
        assert_eq!(
            Key::new().text("ab").finish(),
            Key::new().text("ab").finish()
        );
    }
}
