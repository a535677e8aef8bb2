//! How often each test has passed and failed when it was repeated: the page docs/repetitions.md, kept by `make flake`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::world::root;

const HEAD: &str = "# Repetitions

How often each test on a real cluster was run by `make flake`, which adds to this page as each run ends; what was interrupted counts as far
as it came. A test that is mended loses its row and starts anew: so a row with a failure is a defect that is open. The last column is the
commit at which it was run last; what has changed since is in git's log.

| test | passed | failed | slowest | at |
|---|---|---|---|---|
";

#[derive(Default)]
struct Row {
    passed: u32,
    failed: u32,
    slowest: u64,
    at: String,
}

/// The page, as rows.
pub struct Repetitions {
    path: PathBuf,
    /// What is run now.
    commit: String,
    rows: BTreeMap<String, Row>,
}

impl Repetitions {
    /// What the page says so far; nothing where there is none.
    pub fn read(path: PathBuf) -> Result<Self> {
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text.with_context(|| format!("read {}", path.display()))?,
        };
        let rows = text
            .lines()
            .filter(|line| line.starts_with("| `"))
            .map(|line| row(line).with_context(|| format!("{}: {line}", path.display())))
            .collect::<Result<_>>()?;
        let commit = commit()?;
        Ok(Self { path, commit, rows })
    }

    /// Counts a run, and writes the page.
    pub fn add(&mut self, test: &str, passed: bool, took: Duration) -> Result<()> {
        let row = self.rows.entry(test.to_owned()).or_default();
        if passed {
            row.passed += 1;
        } else {
            row.failed += 1;
        }
        row.slowest = row.slowest.max(took.as_secs() + 1);
        row.at.clone_from(&self.commit);
        let mut page = HEAD.to_owned();
        for (test, row) in &self.rows {
            let Row {
                passed,
                failed,
                slowest,
                at,
            } = row;
            let _ = writeln!(
                page,
                "| `{test}` | {passed} | {failed} | {slowest} s | {at} |"
            );
        }
        std::fs::write(&self.path, page).with_context(|| format!("write {}", self.path.display()))
    }
}

fn commit() -> Result<String> {
    let asked = Command::new("git")
        .args(["rev-parse", "--short", "HEAD"])
        .current_dir(root())
        .output()
        .context("git")?;
    ensure!(
        asked.status.success(),
        "git: {}",
        String::from_utf8_lossy(&asked.stderr)
    );
    Ok(String::from_utf8(asked.stdout)?.trim().to_owned())
}

fn row(line: &str) -> Option<(String, Row)> {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    let [_, test, passed, failed, slowest, at, _] = cells[..] else {
        return None;
    };
    let row = Row {
        passed: passed.parse().ok()?,
        failed: failed.parse().ok()?,
        slowest: slowest.strip_suffix(" s")?.parse().ok()?,
        at: at.to_owned(),
    };
    Some((test.trim_matches('`').to_owned(), row))
}
