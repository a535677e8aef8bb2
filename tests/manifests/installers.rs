//! What Helm and kustomize install.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::chart::OF_A_DEPENDENCY;
use crate::{document, documents, text};

#[test]
fn every_value_is_documented_and_in_the_schema() {
    let schema: Value = serde_json::from_str(&text("charts/evenkeel/values.schema.json")).unwrap();
    let mut known = BTreeSet::new();
    properties(&schema, "", &mut known);
    let values = text("charts/evenkeel/values.yaml");
    let mut found = BTreeSet::new();
    // The keys above a line, each with its indentation and whether a comment stands over it.
    let mut above: Vec<(usize, String, bool)> = Vec::new();
    let mut comment = false;
    for line in values.lines() {
        let indentation = line.len() - line.trim_start().len();
        let Some((key, value)) = line
            .trim_start()
            .split_once(':')
            .filter(|_| !line.trim_start().starts_with('#'))
        else {
            comment = line.trim_start().starts_with('#');
            continue;
        };
        above.retain(|(outer, ..)| *outer < indentation);
        above.push((indentation, key.to_owned(), comment));
        comment = false;
        let place = above
            .iter()
            .map(|(_, key, _)| key.as_str())
            .collect::<Vec<_>>()
            .join(".");
        if !value.is_empty() {
            assert!(
                above.iter().any(|(.., documented)| *documented),
                "values.yaml: {place} has no comment above it"
            );
        }
        found.insert(place);
    }
    found.retain(|place| !place.starts_with("resources."));
    known.retain(|place| {
        !place.starts_with("resources.")
            && !place.starts_with("affinity.")
            && !OF_A_DEPENDENCY.contains(&place.as_str())
    });
    assert_eq!(
        found, known,
        "values.yaml and values.schema.json name different values"
    );
}

fn properties(schema: &Value, place: &str, known: &mut BTreeSet<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        assert_eq!(
            schema["additionalProperties"],
            json!(false),
            "{place} takes unknown values"
        );
        let place = if place.is_empty() {
            name.clone()
        } else {
            format!("{place}.{name}")
        };
        if !place.starts_with("affinity.") {
            assert!(
                property["description"].is_string(),
                "{place} has no description in the schema"
            );
        }
        properties(property, &place, known);
        known.insert(place);
    }
}

#[test]
fn the_namespace_takes_only_restricted_pods() {
    let manifests = documents("config/manager/manager.yaml");
    let namespace = manifests
        .iter()
        .find(|manifest| manifest["kind"] == "Namespace")
        .unwrap();
    let enforced = &namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"];
    assert_eq!(enforced, "restricted");
}

#[test]
fn versions_agree() {
    let version = env!("CARGO_PKG_VERSION");
    let chart = document("charts/evenkeel/Chart.yaml");
    assert_eq!(chart["appVersion"], version);
    assert_eq!(chart["version"], version);
    let repository = document("charts/evenkeel/values.yaml")["image"]["repository"].clone();
    let repository = repository.as_str().unwrap();
    let plain = text("config/manager/manager.yaml");
    assert!(plain.contains(&format!("image: {repository}:{version}\n")));
    // What people copy to put their own in its place.
    for page in ["README.md", "docs/install.md"] {
        assert!(
            text(page).contains(repository),
            "{page} names another image"
        );
    }
}
