//! What users do with kubectl.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::bed::Bed;

impl Bed {
    /// `kubectl scale`, without waiting.
    pub async fn scale(&self, deployment: &str, replicas: u32) -> Result<()> {
        let replicas = format!("--replicas={replicas}");
        self.kubectl(&["scale", "deployment", deployment, &replicas])
            .await
            .map(drop)
    }

    /// `kubectl patch` with a merge patch; the object as `kind/name`.
    pub async fn patch(&self, object: &str, patch: &Value) -> Result<()> {
        let patch = patch.to_string();
        self.kubectl(&["patch", object, "--type=merge", "-p", &patch])
            .await
            .map(drop)
    }

    /// The line of `kubectl get gb NAME -o wide`, by the columns' heads.
    pub async fn row(&self, name: &str) -> Result<BTreeMap<String, String>> {
        let table = self.kubectl(&["get", "gb", name, "-o", "wide"]).await?;
        let mut lines = table.lines();
        let (head, line) = (lines.next(), lines.next());
        let (head, line) = head.zip(line).context("no table")?;
        columns(head, line)
    }
}

/// kubectl aligns the columns with spaces, and a message has spaces of its own: the heads tell where each begins.
fn columns(head: &str, line: &str) -> Result<BTreeMap<String, String>> {
    ensure!(head.is_ascii() && line.is_ascii(), "{head}\n{line}");
    let starts: Vec<usize> = (0..head.len())
        .filter(|at| {
            let before = at.checked_sub(1).map(|before| head.as_bytes()[before]);
            head.as_bytes()[*at] != b' ' && before.is_none_or(|before| before == b' ')
        })
        .collect();
    let ends = starts.iter().skip(1).copied().chain([usize::MAX]);
    let cut = |text: &str, start: usize, end: usize| {
        let text = text.get(start..end.min(text.len())).unwrap_or_default();
        text.trim().to_owned()
    };
    Ok(starts
        .iter()
        .zip(ends)
        .map(|(start, end)| (cut(head, *start, end), cut(line, *start, end)))
        .collect())
}
