//! What is stored stays valid, and means what it meant: of the definition's schema only more may be taken.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{document, documents};

/// The definition of the last release: replaced by each release, together with the packaged chart beside it.
const BEFORE: &str = "tests/upgrade/grpcbackends.evenkeel.dev.yaml";
const NOW: &str = "crds/grpcbackends.evenkeel.dev.yaml";

/// The most that is taken: it may grow, or go.
const MOST: [&str; 4] = ["maximum", "maxLength", "maxItems", "maxProperties"];
/// The least that is taken: it may shrink, or go.
const LEAST: [&str; 4] = ["minimum", "minLength", "minItems", "minProperties"];
/// It may go, and not come or change.
const AS_IT_WAS: [&str; 10] = [
    "pattern",
    "format",
    "multipleOf",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "x-kubernetes-int-or-string",
];
/// It may come, and not go.
const KEPT: [&str; 4] = [
    "nullable",
    "items",
    "additionalProperties",
    "x-kubernetes-preserve-unknown-fields",
];
/// It may neither come, go nor change.
const FIXED: [&str; 6] = [
    "type",
    "default",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-embedded-resource",
];

/// Rules that came since, by place and how they begin, and defaults of new fields (`default …`), which every stored object gets; and why
/// no stored object suffers. A release empties this list.
const ARGUED: [(&str, &str); 10] = [
    // No server ever started with one flag given twice, and what is stored stays valid while it is not changed (ratcheting).
    (
        ".spec.connectionAge.knob.flags",
        "!has(self.grace) || (self.grace.startsWith('--')",
    ),
    // Asks only where `source` is set, which no stored object has.
    (".spec.balance", "!has(self.source) || "),
    // Nothing was ever read from a path that climbs; and what is stored stays valid while it is not changed (ratcheting).
    (
        ".spec.balance.metrics.path",
        "!self.matches('/[.][.](/|$)')",
    ),
    // No Service was ever made of these, and they too stay valid while they are not changed.
    (
        ".spec.services",
        "[self.?clusterIP.policy, self.?headless.policy]",
    ),
    (".spec.selector", "self.all(k, size(k) <= 317)"),
    (".spec.selector", "self.all(k, self[k].matches("),
    (".spec.services.clusterIP.labels", "self.all(k, "),
    (".spec.services.headless.labels", "self.all(k, "),
    (
        ".spec.services.clusterIP.annotations",
        "self.all(k, size(k) <= 317)",
    ),
    (
        ".spec.services.headless.annotations",
        "self.all(k, size(k) <= 317)",
    ),
];

/// What users may have stored, of every shape.
const STORED: &str = "tests/upgrade/stored.yaml";
/// And what they may have stored that the rules above refuse.
const NARROWED: &str = "tests/upgrade/narrowed.yaml";
/// Of these one value is like another: to the operator they are rows of a table.
const ROWS_OF_A_TABLE: [&str; 2] = [
    ".spec.balance.metrics.family",
    ".spec.connectionAge.knob.preset",
];

fn is_argued(place: &str, what: &str) -> bool {
    let fits = |(at, begin): &(&str, &str)| *at == place && what.starts_with(begin);
    ARGUED.iter().any(fits)
}

/// What was valid and is no more, or has another meaning.
fn narrower(place: &str, before: &Value, now: &Value, found: &mut Vec<String>) {
    let mut tell = |what: &str| found.push(format!("{place}: {what}"));
    for told in bounds(before, now) {
        tell(&told);
    }
    for key in AS_IT_WAS {
        if !now[key].is_null() && now[key] != before[key] {
            tell(&format!("{key} was {} and is {}", before[key], now[key]));
        }
    }
    for key in KEPT {
        let is_set = |schema: &Value| !matches!(schema[key], Value::Null | Value::Bool(false));
        if is_set(before) && !is_set(now) {
            tell(&format!("{key} is gone"));
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
        if !is_argued(place, rule) {
            tell(&format!("the rule {rule} is new"));
        }
    }
    for (name, field) in now["properties"].as_object().into_iter().flatten() {
        let default = format!("default {}", field["default"]);
        let is_new = before["properties"].get(name).is_none() && !field["default"].is_null();
        if is_new && !is_argued(&format!("{place}.{name}"), &default) {
            tell(&format!("the new field {name} comes with the {default}"));
        }
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

/// The only version.
fn version(definition: &Value) -> &Value {
    let versions = definition["spec"]["versions"].as_array().unwrap();
    assert_eq!(versions.len(), 1, "it has one version");
    &versions[0]
}

/// What of the definition is not as it was: of its schema what is narrower, and of the rest what somebody may rely on.
fn lost(before: &Value, now: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for part in ["group", "names", "scope", "conversion"] {
        if before["spec"][part] != now["spec"][part] {
            found.push(format!("{part} is another"));
        }
    }
    let (before, now) = (version(before), version(now));
    for part in ["name", "served", "storage", "deprecated", "subresources"] {
        if before[part] != now[part] {
            found.push(format!("{part} was {} and is {}", before[part], now[part]));
        }
    }
    // What they say may change, and where they stand.
    let columns = |version: &Value| -> Value {
        let columns = version["additionalPrinterColumns"].as_array();
        let columns = columns.into_iter().flatten();
        let read = |column: &Value| json!([column["name"], column["type"], column["jsonPath"]]);
        columns.map(read).collect()
    };
    for column in missing(&columns(before), &columns(now)) {
        found.push(format!("the column {column} is gone"));
    }
    for field in missing(&before["selectableFields"], &now["selectableFields"]) {
        found.push(format!("nobody can select by {field} any more"));
    }
    let schema = |version: &Value| version["schema"]["openAPIV3Schema"].clone();
    narrower("", &schema(before), &schema(now), &mut found);
    found
}

#[test]
fn the_definition_takes_what_it_took() {
    let found = lost(&document(BEFORE), &document(NOW));
    assert!(
        found.is_empty(),
        "stored objects may be refused, or mean something else:\n{}",
        found.join("\n")
    );
}

/// The fields, and of those with certain values the values, that nobody has stored.
fn unstored(place: &str, schema: &Value, stored: &[&Value], found: &mut Vec<String>) {
    if stored.is_empty() {
        found.push(place.to_owned());
        return;
    }
    let values = schema["enum"].as_array().into_iter().flatten();
    let has = |value: &&Value| !value.is_null() && !stored.contains(value);
    if !ROWS_OF_A_TABLE.contains(&place) {
        found.extend(values.filter(has).map(|value| format!("{place}: {value}")));
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let stored: Vec<&Value> = stored.iter().filter_map(|one| one.get(name)).collect();
        unstored(&format!("{place}.{name}"), field, &stored, found);
    }
    if let Some(items) = schema.get("items") {
        let lists = stored.iter().filter_map(|one| one.as_array());
        unstored(
            &format!("{place}[]"),
            items,
            &lists.flatten().collect::<Vec<_>>(),
            found,
        );
    }
}

#[test]
fn every_shape_is_stored() {
    let stored = documents(STORED);
    let specs: Vec<&Value> = stored.iter().map(|backend| &backend["spec"]).collect();
    let before = document(BEFORE);
    let schema = &version(&before)["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut found = Vec::new();
    unstored(".spec", schema, &specs, &mut found);
    assert!(found.is_empty(), "{STORED} has nothing with {found:#?}");
}

/// So that an argument for a rule is not all that there is: what it says of stored objects is tried with one.
#[test]
fn every_argued_rule_is_broken_by_what_is_stored() {
    let before = document(BEFORE);
    let schema = &version(&before)["schema"]["openAPIV3Schema"];
    // Nothing that is stored has a field that was not there.
    let is_of_a_new_field = |place: &str, begin: &str| {
        let pointer = place.replace('.', "/properties/");
        let of = schema.pointer(&pointer).map(|schema| &schema["properties"]);
        let asks = begin.strip_prefix("!has(self.");
        let field = asks.and_then(|rest| rest.split(')').next());
        of.is_none_or(|fields| field.is_some_and(|field| fields.get(field).is_none()))
    };
    let argued = ARGUED
        .iter()
        .filter(|(at, begin)| !is_of_a_new_field(at, begin));
    let argued: BTreeSet<String> = argued.map(|(at, begin)| format!("{at} {begin}")).collect();
    let stored = documents(NARROWED);
    let breaks = |backend: &Value| backend["metadata"]["annotations"]["breaks"].clone();
    let broken = stored
        .iter()
        .map(|backend| breaks(backend).as_str().unwrap().to_owned());
    assert_eq!(broken.collect::<BTreeSet<_>>(), argued);
}

/// The same of the definition around the schema.
#[test]
fn what_somebody_relies_on_is_seen_to_go() {
    let before = document(NOW);
    for (part, change, is_lost) in [
        ("/spec/versions/0/subresources", json!({}), true),
        ("/spec/versions/0/served", json!(false), true),
        ("/spec/versions/0/storage", json!(false), true),
        ("/spec/versions/0/deprecated", json!(true), true),
        ("/spec/versions/0/name", json!("v1beta1"), true),
        ("/spec/versions/0/additionalPrinterColumns", json!([]), true),
        (
            "/spec/versions/0/additionalPrinterColumns/0/jsonPath",
            json!(".spec"),
            true,
        ),
        (
            "/spec/versions/0/additionalPrinterColumns/0/priority",
            json!(1),
            false,
        ),
        (
            "/spec/versions/0/selectableFields",
            json!([{"jsonPath": ".spec.appProtocol"}]),
            false,
        ),
        ("/spec/names/shortNames", json!([]), true),
        ("/spec/scope", json!("Cluster"), true),
    ] {
        let mut now = before.clone();
        let (parent, key) = part.rsplit_once('/').unwrap();
        now.pointer_mut(parent).unwrap()[key] = change;
        let found = lost(&before, &now);
        assert_eq!(!found.is_empty(), is_lost, "{part}: {found:?}");
        if part.ends_with("selectableFields") {
            assert!(!lost(&now, &before).is_empty(), "{part} is not missed");
        }
    }
}

/// The check itself: it sees each way of taking less, and allows each of taking more.
#[test]
fn taking_less_is_seen_and_taking_more_is_not() {
    let before = json!({"type": "object", "required": ["a"], "properties": {
        "a": {"type": "string", "maxLength": 5, "enum": ["x", "y"]},
        "b": {"type": "integer", "minimum": 1, "default": 3},
        "c": {"type": "array", "items": {"type": "string", "pattern": "^a$"}},
        "e": {"type": "string", "nullable": true, "not": {"enum": ["x"]}},
        "f": {"type": "object", "additionalProperties": {"type": "string"}},
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
        (
            "/properties/d",
            json!({"type": "string", "default": "x"}),
            true,
        ),
        (
            "/properties/f/properties",
            json!({"d": {"type": "string", "default": "x"}}),
            true,
        ),
        // It comes only with what somebody writes.
        (
            "/properties/d",
            json!({"type": "object", "properties": {"e": {"default": "x"}}}),
            false,
        ),
        ("/properties/e/nullable", json!(false), true),
        ("/properties/e/nullable", Value::Null, true),
        ("/properties/a/nullable", json!(true), false),
        ("/properties/e/not", json!({"enum": ["y"]}), true),
        ("/properties/e/not", Value::Null, false),
        ("/properties/a/not", json!({"enum": ["x"]}), true),
        ("/properties/a/anyOf", json!([{"pattern": "^x"}]), true),
        ("/properties/a/oneOf", json!([{"pattern": "^x"}]), true),
        ("/properties/a/allOf", json!([{"pattern": "^x"}]), true),
        ("/properties/b/multipleOf", json!(2), true),
        ("/properties/b/exclusiveMinimum", json!(true), true),
        ("/properties/f/x-kubernetes-map-type", json!("atomic"), true),
        ("/properties/f/additionalProperties", Value::Null, true),
        ("/properties", json!({}), true),
    ] {
        let mut now = before.clone();
        let (parent, key) = part.rsplit_once('/').unwrap();
        let parent = now.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        if change.is_null() {
            parent.remove(key);
        } else {
            parent.insert(key.into(), change.clone());
        }
        let mut found = Vec::new();
        narrower("", &before, &now, &mut found);
        assert_eq!(!found.is_empty(), less, "{part} {change}: {found:?}");
    }
}
