//! The definition, and the samples that it takes and refuses.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{document, documents, text, yaml_files};

fn spec_schema() -> Value {
    let crd = serde_json::to_value(evenkeel::api::crd()).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

#[test]
fn every_installer_has_the_definition_of_the_code() {
    let expected = serde_json::to_value(evenkeel::api::crd()).unwrap();
    for directory in ["crds", "charts/evenkeel/files", "config/crd"] {
        let file = format!("{directory}/grpcbackends.evenkeel.dev.yaml");
        assert!(
            document(&file) == expected,
            "{file} has drifted: run `make crds`"
        );
    }
}

#[test]
fn every_field_of_the_spec_is_described_and_bounded() {
    let mut faults = Vec::new();
    walk(
        &spec_schema()["properties"]["spec"],
        "spec",
        &mut |place, schema| {
            let has = |key: &str| schema.get(key).is_some();
            let is_item = place.ends_with("[]") || place.ends_with("{}");
            if !is_item && !has("description") {
                faults.push(format!("{place} has no description"));
            }
            let bounded = match schema["type"].as_str() {
                Some("string") => has("maxLength") || has("enum"),
                Some("array") => has("maxItems"),
                Some("integer") => has("minimum") && has("maximum"),
                Some("object") => has("properties") || has("maxProperties"),
                _ => true,
            };
            if !bounded {
                faults.push(format!("{place} has no bound"));
            }
        },
    );
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn walk(schema: &Value, place: &str, visit: &mut impl FnMut(&str, &Value)) {
    visit(place, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(property, &format!("{place}.{name}"), visit);
    }
    for (key, suffix) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let Some(inner) = schema.get(key) {
            walk(inner, &format!("{place}{suffix}"), visit);
        }
    }
}

#[test]
fn the_samples_show_every_field() {
    let mut missing = BTreeSet::new();
    walk(
        &spec_schema()["properties"]["spec"],
        "spec",
        &mut |place, _| {
            missing.insert(place.to_owned());
        },
    );
    for file in yaml_files("config/samples") {
        for sample in backends(&file) {
            shown(&sample["spec"], "spec", &mut missing);
        }
    }
    missing.retain(|place| !place.ends_with("{}"));
    assert!(missing.is_empty(), "no sample shows {missing:?}");
}

/// What else a sample needs stands beside it.
fn backends(file: &str) -> Vec<Value> {
    let mut samples = documents(file);
    samples.retain(|sample| sample["kind"] == "GrpcBackend");
    assert!(!samples.is_empty(), "{file} has no GrpcBackend");
    samples
}

fn shown(value: &Value, place: &str, missing: &mut BTreeSet<String>) {
    missing.remove(place);
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                shown(field, &format!("{place}.{name}"), missing);
            }
        }
        Value::Array(items) => {
            for item in items {
                shown(item, &format!("{place}[]"), missing);
            }
        }
        _ => {}
    }
}

/// Reading a sample into the types and writing it again loses nothing, so no field is misspelt.
#[test]
fn the_samples_are_read_whole() {
    for file in yaml_files("config/samples") {
        for sample in backends(&file) {
            let read: evenkeel::api::GrpcBackend = serde_json::from_value(sample.clone())
                .unwrap_or_else(|error| panic!("{file}: {error}"));
            let mut lost = BTreeSet::new();
            shown_as_missing(&sample, "", &mut lost);
            shown(&serde_json::to_value(read).unwrap(), "", &mut lost);
            // `suspend: false` is the default and is not written.
            lost.remove(".spec.suspend");
            assert!(
                lost.is_empty(),
                "{file}: {lost:?} is not part of a GrpcBackend"
            );
        }
    }
}

fn shown_as_missing(value: &Value, place: &str, places: &mut BTreeSet<String>) {
    places.insert(place.to_owned());
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                shown_as_missing(field, &format!("{place}.{name}"), places);
            }
        }
        Value::Array(items) => {
            for item in items {
                shown_as_missing(item, &format!("{place}[]"), places);
            }
        }
        _ => {}
    }
}

#[test]
fn every_rule_has_a_sample_that_breaks_it() {
    let words: Vec<String> = yaml_files("config/samples/invalid")
        .iter()
        .map(|file| refusal(file))
        .collect();
    let mut rules = Vec::new();
    walk(&spec_schema(), "", &mut |place, schema| {
        for rule in schema["x-kubernetes-validations"]
            .as_array()
            .into_iter()
            .flatten()
        {
            rules.push((
                place.to_owned(),
                rule["message"].as_str().unwrap().to_owned(),
            ));
        }
    });
    assert!(!rules.is_empty());
    for (place, message) in rules {
        let broken = words.iter().any(|words| message.contains(words.as_str()));
        assert!(
            broken,
            "no file of config/samples/invalid breaks the rule of {place}: {message}"
        );
    }
}

fn refusal(file: &str) -> String {
    let text = text(file);
    let words = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("# refused: "));
    let words = words.unwrap_or_else(|| {
        panic!("{file} must begin with `# refused: <field>: <words of the API server>`")
    });
    match words.split_once(": ") {
        Some((field, words)) if field.starts_with("spec") => words.to_owned(),
        _ => words.to_owned(),
    }
}
