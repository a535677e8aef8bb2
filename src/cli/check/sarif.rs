//! SARIF 2.1.0, as code scanning reads it.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::report::{Found, Report, Unread};
use crate::findings::{CATALOGUE, Severity};

/// The whole log.
pub fn log(report: &Report) -> Value {
    let rules: Vec<Value> = CATALOGUE
        .iter()
        .map(|rule| {
            json!({
                "id": rule.id,
                "shortDescription": {"text": rule.title},
                "fullDescription": {"text": rule.why},
                "help": {"text": rule.why},
                "helpUri": rule.url(),
                "defaultConfiguration": {"level": level(rule.severity)},
            })
        })
        .collect();
    let results: Vec<Value> = report.findings().map(result).collect();
    let notices: Vec<Value> = report.faults.iter().map(notice).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "evenkeel",
                "version": env!("CARGO_PKG_VERSION"),
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "rules": rules,
            }},
            "invocations": [{
                "executionSuccessful": report.faults.is_empty(),
                "toolExecutionNotifications": notices,
            }],
            "results": results,
        }],
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    }
}

fn result(found: &Found) -> Value {
    json!({
        "ruleId": found.rule.id,
        "level": level(found.rule.severity),
        "message": {
            "text": format!("{}\n\nInstead:\n\n{}", found.message, found.remedy),
            "markdown": format!("{}\n\n```yaml\n{}\n```", found.message, found.remedy),
        },
        "locations": [place(found)],
    })
}

/// A line of a file, or an object of a cluster.
fn place(found: &Found) -> Value {
    if !found.file.is_empty() {
        return location(&found.file, found.line);
    }
    let name = format!("{} {}", found.object, found.field);
    json!({"logicalLocations": [{"fullyQualifiedName": name, "kind": "object"}]})
}

fn notice(fault: &Unread) -> Value {
    let file = Some(&fault.file).filter(|file| !file.is_empty());
    let locations: Vec<Value> = file
        .map(|file| location(file, fault.line))
        .into_iter()
        .collect();
    json!({
        "level": "error",
        "message": {"text": fault.message},
        "locations": locations,
    })
}

fn location(file: &str, line: usize) -> Value {
    // Where that is not known, paths stay as they are.
    let here = std::env::current_dir().unwrap_or_default();
    let mut place = json!({"artifactLocation": {"uri": uri(file, &here)}});
    if line > 0 {
        place["region"] = json!({"startLine": line});
    }
    json!({"physicalLocation": place})
}

/// A path as a reference: from where we are, as code scanning looks for it in the repository, else whole; with slashes, and everything but
/// plain characters as %XX.
fn uri(file: &str, here: &Path) -> String {
    let path = Path::new(file);
    let (start, file) = match path.strip_prefix(here).ok().and_then(Path::to_str) {
        Some(below) if path.is_absolute() => ("", below),
        _ if path.is_absolute() => ("file://", file),
        _ => ("", file.strip_prefix("./").unwrap_or(file)),
    };
    file.bytes().fold(start.to_owned(), |mut uri, byte| {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(uri, "%{byte:02X}");
        }
        uri
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_in_the_repository_where_it_can_be() {
        for (file, expected) in [
            ("a.yaml", "a.yaml"),
            ("./deploy/a b.yaml", "deploy/a%20b.yaml"),
            ("/repo/deploy/a.yaml", "deploy/a.yaml"),
            ("/repository/a.yaml", "file:///repository/a.yaml"),
            ("../a.yaml", "../a.yaml"),
        ] {
            assert_eq!(uri(file, Path::new("/repo")), expected);
        }
        let empty = Path::new("");
        assert_eq!(uri("/a.yaml", empty), "/a.yaml");
        assert_eq!(uri("a.yaml", empty), "a.yaml");
    }
}
