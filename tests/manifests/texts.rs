//! What the operator tells people to set can be set: each field that a text of it names is in the definition.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::path;

/// Fields that texts name of other objects: workloads, Services, autoscalers.
const OF_OTHERS: [&str; 9] = [
    "spec.ipFamilyPolicy",
    "spec.maxReplicaCount",
    "spec.maxReplicas",
    "spec.minReadySeconds",
    "spec.publishNotReadyAddresses",
    "spec.replicas",
    "spec.updateStrategy.rollingUpdate.partition",
    "spec.strategy.type",
    // Of either kind of strategy.
    "spec.{field}.rollingUpdate.maxUnavailable",
];
/// Pod templates, which no GrpcBackend has.
const OF_WORKLOADS: [&str; 2] = ["spec.template.", "spec.jobTemplate."];

#[test]
fn every_field_that_a_text_names_exists() {
    let crd = serde_json::to_value(evenkeel::api::crd()).unwrap();
    let root = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut named = Vec::new();
    texts_below(&path("src"), &mut |file, text| {
        named.extend(fields_in(text).map(|field| (file.to_owned(), field)));
    });
    assert!(named.len() > 20, "texts are not found any more: {named:?}");
    named.retain(|(_, field)| {
        !OF_OTHERS.contains(&field.as_str())
            && !OF_WORKLOADS.iter().any(|own| field.starts_with(own))
    });
    let missing: Vec<String> = named
        .iter()
        .filter(|(_, field)| !has(root, &field.split('.').collect::<Vec<_>>()))
        .map(|(file, field)| format!("{file} names {field}, which is not in the definition"))
        .collect();
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// Whether the schema has the field; a part that is filled in at run time may be any.
fn has(schema: &Value, field: &[&str]) -> bool {
    let Some((name, rest)) = field.split_first() else {
        return true;
    };
    let (name, is_item) = match name.split_once('[') {
        Some((name, _)) => (name, true),
        None => (*name, false),
    };
    schema["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(property, _)| name.starts_with('{') || *property == name)
        .any(|(_, property)| {
            if is_item {
                has(&property["items"], rest)
            } else {
                has(property, rest)
            }
        })
}

/// `spec.a.b`, `spec.a[].b` and `spec.{a}.b` wherever a word begins with it.
fn fields_in(text: &str) -> impl Iterator<Item = String> {
    text.match_indices("spec.").filter_map(|(start, _)| {
        let goes_on = text[..start]
            .chars()
            .next_back()
            .is_some_and(|before| before.is_alphanumeric() || "._/{".contains(before));
        let is_part = |character: char| character.is_alphanumeric() || ".[]{}".contains(character);
        let field = text[start..]
            .split(|character| !is_part(character))
            .next()?
            .trim_end_matches('.');
        (!goes_on && field != "spec").then(|| field.to_owned())
    })
}

fn texts_below(directory: &Path, visit: &mut impl FnMut(&str, &str)) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts_below(&path, visit);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with("tests.rs")
        {
            let source = fs::read_to_string(&path).unwrap();
            for text in literals(&source) {
                visit(&path.display().to_string(), text);
            }
        }
    }
}

/// The string literals of a source, as they are written. Raw ones end at their first quote: good enough for texts.
fn literals(source: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find(['"', '\'', '/']) {
        let here = &rest[at..];
        rest = if here.starts_with("//") {
            here.split_once('\n').map_or("", |(_, after)| after)
        } else if let Some(quote) = ["'\"'", "'\\\"'", "'\\''", "'/'"]
            .iter()
            .find(|quote| here.starts_with(**quote))
        {
            &here[quote.len()..]
        } else if let Some(text) = here.strip_prefix('"') {
            let end = end_of(text);
            found.push(&text[..end]);
            text.get(end + 1..).unwrap_or("")
        } else {
            &here[1..]
        };
    }
    found
}

/// Where the closing quote stands.
fn end_of(text: &str) -> usize {
    let mut escaped = false;
    text.find(|character| {
        let closes = character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        closes
    })
    .unwrap_or(text.len())
}

#[test]
fn texts_and_fields_are_found() {
    let source = "// \"spec.comment\"\nlet quote = '\"'; say(\"set \\\"a\\\" or\n spec.a.b.\"); spec.code.x; f(\"spec.c[{i}].{d}: bad\")";
    let fields: Vec<String> = literals(source).into_iter().flat_map(fields_in).collect();
    assert_eq!(fields, ["spec.a.b", "spec.c[{i}].{d}"]);
}
