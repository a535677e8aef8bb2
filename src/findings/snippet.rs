//! YAML to copy: what to write, in the object that it belongs to.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::api::Port;
use crate::observed::Observed;

/// The first lines of an object.
pub(super) fn head(kind: &str, name: &str) -> String {
    format!("kind: {kind}\nmetadata: {{name: {}}}\n", word(name))
}

/// The same of an object in another namespace.
pub(super) fn head_in(kind: &str, name: &str, namespace: &str) -> String {
    let (name, namespace) = (word(name), word(namespace));
    format!("kind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\n")
}

/// A GrpcBackend as one would begin it, with more fields of its spec.
pub(super) fn backend(observed: &Observed, fields: &str) -> String {
    let spec = &observed.backend.spec;
    let services = spec.services.as_ref().map_or_else(String::new, |own| {
        format!("  services: {}\n", flow(&json!(own)))
    });
    format!(
        "apiVersion: evenkeel.dev/v1alpha1\n{}spec:\n  selector: {}\n  ports: [{}]\n{services}{}",
        match &observed.named_namespace {
            Some(namespace) => head_in("GrpcBackend", &observed.name(), namespace),
            None => head("GrpcBackend", &observed.name()),
        },
        map(&spec.selector),
        spec.ports.iter().map(port).collect::<Vec<_>>().join(", "),
        indented(fields, 2)
    )
}

/// A port of a GrpcBackend, on one line.
pub(super) fn port(port: &Port) -> String {
    let mut fields = Vec::new();
    if port.name != "grpc" {
        fields.push(format!("name: {}", word(&port.name)));
    }
    fields.push(format!("port: {}", port.port));
    if let Some(target) = port.target_port {
        fields.push(format!("targetPort: {target}"));
    }
    if let Some(protocol) = &port.app_protocol {
        fields.push(format!("appProtocol: {}", word(protocol)));
    }
    format!("{{{}}}", fields.join(", "))
}

/// Fields of a spec.
pub(super) fn spec(fields: &str) -> String {
    format!("spec:\n{}", indented(fields, 2))
}

/// Fields of a workload's pods.
pub(super) fn pods(fields: &str) -> String {
    format!("spec:\n  template:\n    spec:\n{}", indented(fields, 6))
}

/// Fields of a container, among those of its pod.
pub(super) fn container(name: &str, fields: &str) -> String {
    format!("containers:\n{}", item(name, fields))
}

/// The same in a list that is begun already.
pub(super) fn item(name: &str, fields: &str) -> String {
    format!("  - name: {}\n{}", word(name), indented(fields, 4))
}

fn indented(lines: &str, by: usize) -> String {
    lines.lines().fold(String::new(), |text, line| {
        text + &format!("{:by$}{line}\n", "")
    })
}

/// A map of labels, on one line.
pub(super) fn map(labels: &BTreeMap<String, String>) -> String {
    let pair = |(key, value): (&String, &String)| format!("{}: {}", word(key), word(value));
    let pairs: Vec<String> = labels.iter().map(pair).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// Labels in place of others, on one line. What is patched is merged, and a label that is to go stays unless it is null.
pub(super) fn labels(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> String {
    let gone = old.keys().filter(|key| !new.contains_key(*key));
    let gone = gone.map(|key| (key.clone(), Value::Null));
    let kept = new.iter().map(|(key, value)| (key.clone(), json!(value)));
    flow(&Value::Object(kept.chain(gone).collect()))
}

/// Any value, on one line.
pub(super) fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => word(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) => {
            let field = |(key, value): (&String, &Value)| format!("{}: {}", word(key), flow(value));
            let fields: Vec<String> = fields.iter().map(field).collect();
            format!("{{{}}}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

/// Any value, over as many lines as it takes.
pub fn block(value: &Value) -> String {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let field = |(key, value): (&String, &Value)| match value {
                Value::Object(own) if !own.is_empty() => {
                    format!("{}:\n{}", word(key), indented(&block(value), 2))
                }
                Value::Array(own) if !own.is_empty() => {
                    format!("{}:\n{}", word(key), block(value))
                }
                _ => format!("{}: {}\n", word(key), flow(value)),
            };
            fields.iter().map(field).collect()
        }
        Value::Array(items) if !items.is_empty() => {
            let item = |item: &Value| indented(&block(item), 2).replacen(' ', "-", 1);
            items.iter().map(item).collect()
        }
        other => flow(other) + "\n",
    }
}

/// A list of texts, on one line.
pub(super) fn list(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|own| word(own)).collect();
    format!("[{}]", words.join(", "))
}

/// A text as YAML reads it again: most need no quotes.
pub(super) fn word(text: &str) -> String {
    const OTHERWISE: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let is_plain = text.bytes().all(|byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'/' | b'=')
    });
    let starts = text.trim_start_matches('-');
    // No number has such letters, so that `5m` is none.
    let is_duration = starts.starts_with(|first: char| first.is_ascii_digit())
        && starts.contains(['h', 'm', 's']);
    let is_text = starts.starts_with(|first: char| first.is_ascii_alphabetic())
        || text.starts_with('/')
        || is_duration;
    let is_other = OTHERWISE.contains(&text.to_ascii_lowercase().as_str());
    if is_plain && is_text && !is_other {
        text.to_owned()
    } else {
        // JSON leaves some characters as they are that YAML takes for the end of a line, or not at all.
        let is_lost = |c: char| {
            c.is_control()
                || matches!(
                    c,
                    '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
                )
        };
        let quoted = json!(text).to_string();
        quoted.chars().fold(String::new(), |text, c| match c {
            c if is_lost(c) => format!("{text}\\u{:04x}", u32::from(c)),
            c => text + c.encode_utf8(&mut [0; 4]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for text in [
            "rng",
            "rng-headless",
            "app.kubernetes.io/name",
            "--max-connection-age=5m",
            "/bin/x",
            "1e3",
            "no",
            "Off",
            "~",
            "",
            "-",
            "-1",
            "--- #",
            "a b",
            "a: b",
            "s\n\u{1b}",
            "{x}",
            "'",
            "\"",
            "*a",
            "2026-01-01",
            ".inf",
            "--5",
            "1_000",
            "0x1f",
            "a\u{7f}\u{85}b",
            "a\u{2028}b\u{feff}",
        ] {
            let read: Vec<String> = serde_yaml_ng::from_str(&list(&[text.to_owned()])).unwrap();
            assert_eq!(read, [text]);
        }
        assert_eq!(word("rng-headless"), "rng-headless");
        assert_eq!(word("no"), "\"no\"");
    }
}
