//! What is stored stays valid, and means what it meant: of the definition's schema only more may be taken.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::document;

/// The definition of the last release: replaced by each release, together with the packaged chart beside it.
const BEFORE: &str = "tests/upgrade/grpcbackends.evenkeel.dev.yaml";
const NOW: &str = "crds/grpcbackends.evenkeel.dev.yaml";

/// The most that is taken: it may grow, or go.
const MOST: [&str; 4] = ["maximum", "maxLength", "maxItems", "maxProperties"];
/// The least that is taken: it may shrink, or go.
const LEAST: [&str; 4] = ["minimum", "minLength", "minItems", "minProperties"];
/// It may go, and not come or change.
const AS_IT_WAS: [&str; 3] = ["pattern", "format", "x-kubernetes-int-or-string"];
/// It may neither come, go nor change.
const FIXED: [&str; 4] = [
    "type",
    "default",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
];

/// Rules that came since, by place and how they begin, and why no stored object suffers. A release empties this list.
const ARGUED: [(&str, &str); 2] = [
    // Asks only where `source` is set, which no stored object has.
    (".spec.balance", "!has(self.source) || "),
    // Nothing was ever read from a path that climbs; and what is stored stays valid while it is not changed (ratcheting).
    (
        ".spec.balance.metrics.path",
        "!self.matches('/[.][.](/|$)')",
    ),
];

/// What was valid and is no more, or has another meaning.
fn narrower(place: &str, before: &Value, now: &Value, found: &mut Vec<String>) {
    let mut tell = |what: &str| found.push(format!("{place}: {what}"));
    for told in bounds(before, now) {
        tell(&told);
    }
    for key in AS_IT_WAS {
        if now.get(key).is_some() && now[key] != before[key] {
            tell(&format!("{key} was {} and is {}", before[key], now[key]));
        }
    }
    for key in FIXED {
        if now[key] != before[key] {
            tell(&format!("{key} was {} and is {}", before[key], now[key]));
        }
    }
    if before["enum"].is_null() && !now["enum"].is_null() {
        tell("only certain values are taken");
    }
    for gone in missing(&before["enum"], &now["enum"]) {
        if !now["enum"].is_null() {
            tell(&format!("the value {gone} is gone"));
        }
    }
    for demanded in missing(&now["required"], &before["required"]) {
        tell(&format!("{demanded} is required"));
    }
    let rules = |schema: &Value| -> Value {
        let rules = schema["x-kubernetes-validations"].as_array();
        let rules = rules.into_iter().flatten();
        rules.map(|rule| rule["rule"].clone()).collect()
    };
    for rule in missing(&rules(now), &rules(before)) {
        let rule = rule.trim_matches('"');
        let is_argued = |(at, begin): &(&str, &str)| *at == place && rule.starts_with(begin);
        if ARGUED.iter().any(is_argued) {
            continue;
        }
        tell(&format!("the rule {rule} is new"));
    }
    for (name, field) in before["properties"].as_object().into_iter().flatten() {
        match now["properties"].get(name) {
            Some(same) => narrower(&format!("{place}.{name}"), field, same, found),
            None => found.push(format!("{place}: the field {name} is gone")),
        }
    }
    for (key, suffix) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let (Some(before), Some(now)) = (before.get(key), now.get(key)) {
            narrower(&format!("{place}{suffix}"), before, now, found);
        }
    }
}

/// The bounds that are narrower.
fn bounds(before: &Value, now: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let grows: fn(f64, f64) -> bool = |before, now| now >= before;
    let shrinks: fn(f64, f64) -> bool = |before, now| now <= before;
    for (keys, fits) in [(MOST, grows), (LEAST, shrinks)] {
        for key in keys {
            match (before[key].as_f64(), now[key].as_f64()) {
                (Some(before), Some(now)) if !fits(before, now) => {
                    found.push(format!("{key} was {before} and is {now}"));
                }
                (None, Some(now)) => found.push(format!("{key} {now} is new")),
                _ => {}
            }
        }
    }
    found
}

/// What the one list has and the other lacks.
fn missing(of: &Value, within: &Value) -> Vec<String> {
    let texts = |list: &Value| -> BTreeSet<String> {
        let list = list.as_array().into_iter().flatten();
        list.map(ToString::to_string).collect()
    };
    texts(of).difference(&texts(within)).cloned().collect()
}

fn schema(file: &str) -> Value {
    let definition = document(file);
    let versions = definition["spec"]["versions"].as_array().unwrap();
    assert_eq!(versions.len(), 1, "{file} has one version");
    assert_eq!(versions[0]["storage"], true);
    versions[0]["schema"]["openAPIV3Schema"].clone()
}

#[test]
fn the_definition_takes_what_it_took() {
    let mut found = Vec::new();
    narrower("", &schema(BEFORE), &schema(NOW), &mut found);
    assert!(
        found.is_empty(),
        "stored objects may be refused, or mean something else:\n{}",
        found.join("\n")
    );
    let (before, now) = (document(BEFORE), document(NOW));
    for part in [
        "/spec/group",
        "/spec/names",
        "/spec/scope",
        "/spec/versions/0/name",
    ] {
        assert_eq!(before.pointer(part), now.pointer(part), "{part}");
    }
}

/// The check itself: it sees each way of taking less, and allows each of taking more.
#[test]
fn taking_less_is_seen_and_taking_more_is_not() {
    let before = json!({"type": "object", "required": ["a"], "properties": {
        "a": {"type": "string", "maxLength": 5, "enum": ["x", "y"]},
        "b": {"type": "integer", "minimum": 1, "default": 3},
        "c": {"type": "array", "items": {"type": "string", "pattern": "^a$"}},
    }});
    for (part, change, less) in [
        ("/properties/a/maxLength", json!(4), true),
        ("/properties/a/maxLength", json!(6), false),
        ("/properties/a/enum", json!(["x"]), true),
        ("/properties/a/enum", json!(["x", "y", "z"]), false),
        ("/properties/b/enum", json!([3]), true),
        ("/properties/b/minimum", json!(2), true),
        ("/properties/b/minimum", json!(0), false),
        ("/properties/b/default", json!(4), true),
        ("/properties/b/type", json!("number"), true),
        ("/properties/b/maximum", json!(9), true),
        ("/properties/c/items/pattern", json!("^b$"), true),
        ("/properties/c/maxItems", json!(9), true),
        (
            "/properties/c/x-kubernetes-validations",
            json!([{"rule": "size(self) > 0"}]),
            true,
        ),
        ("/required", json!(["a", "b"]), true),
        ("/required", json!([]), false),
        (
            "/properties/d",
            json!({"type": "string", "maxLength": 1}),
            false,
        ),
        ("/properties", json!({}), true),
    ] {
        let mut now = before.clone();
        let (parent, key) = part.rsplit_once('/').unwrap();
        now.pointer_mut(parent).unwrap()[key] = change.clone();
        let mut found = Vec::new();
        narrower("", &before, &now, &mut found);
        assert_eq!(!found.is_empty(), less, "{part} {change}: {found:?}");
    }
}
