//! SARIF 2.1.0, as code scanning reads it.

use std::fmt::Write as _;

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
            "tool": {"driver": {"name": "evenkeel", "version": env!("CARGO_PKG_VERSION"), "rules": rules}},
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
    let mut place = json!({"artifactLocation": {"uri": uri(file)}});
    if line > 0 {
        place["region"] = json!({"startLine": line});
    }
    json!({"physicalLocation": place})
}

/// A path as a reference: with slashes, and everything but plain characters as %XX.
fn uri(file: &str) -> String {
    let file = file.strip_prefix("./").unwrap_or(file);
    file.bytes().fold(String::new(), |mut uri, byte| {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(uri, "%{byte:02X}");
        }
        uri
    })
}
