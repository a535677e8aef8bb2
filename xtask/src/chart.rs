//! The table of the chart's values in its README, from the comments of values.yaml.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::docs::page;
use crate::generate::Generated;

const VALUES: &str = "charts/evenkeel/values.yaml";

/// The chart's README.
pub fn readme(root: &Path) -> Result<Generated> {
    let text =
        fs::read_to_string(root.join(VALUES)).with_context(|| format!("cannot read {VALUES}"))?;
    page(root, "charts/evenkeel/README.md", "values", &table(&text)?)
}

/// A row for each value that has a comment above it.
fn table(text: &str) -> Result<String> {
    let values: Value = serde_yaml_ng::from_str(text).with_context(|| VALUES.to_owned())?;
    let mut table = String::from("| value | default | meaning |\n|---|---|---|\n");
    // The keys above a line, with their indentation.
    let mut above: Vec<(usize, &str)> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    for line in text.lines() {
        let trimmed = line.trim_start();
        if let Some(words) = trimmed.strip_prefix('#') {
            comment.push(words.trim());
            continue;
        }
        let Some((key, _)) = trimmed.split_once(':') else {
            comment.clear();
            continue;
        };
        let indentation = line.len() - trimmed.len();
        above.retain(|(outer, _)| *outer < indentation);
        above.push((indentation, key));
        if comment.is_empty() {
            continue;
        }
        let keys: Vec<&str> = above.iter().map(|(_, key)| *key).collect();
        let Some(default) = values.pointer(&format!("/{}", keys.join("/"))) else {
            bail!("{VALUES}: {} is not read as it is written", keys.join("."));
        };
        let (name, meaning) = (keys.join("."), comment.join(" "));
        writeln!(table, "| `{name}` | `{default}` | {meaning} |")?;
        comment.clear();
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_become_rows() {
        let text = "# First,\n# in two lines.\na: 1\n\nb:\n  # Inner.\n  c: {d: e}\n  f: 2\n";
        let table = table(text).unwrap();
        let rows: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| `a` | `1` | First, in two lines. |",
                "| `b.c` | `{\"d\":\"e\"}` | Inner. |"
            ]
        );
    }
}
