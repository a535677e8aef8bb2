//! What is installed says the same everywhere: chart, kustomize, generated definition and samples.
#![allow(
    clippy::unwrap_used,
    reason = "a test may fail by it: the trace says where"
)]

mod alerts;
mod chart;
mod definition;
mod installers;
mod krew;
mod network;
mod rbac;
mod release;
mod supply;
mod texts;
mod upgrade;

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use serde_json::Value;

const RULES: &str = "charts/evenkeel/files/rbac";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The documents of a YAML file.
fn documents(name: &str) -> Vec<Value> {
    serde_yaml_ng::Deserializer::from_str(&text(name))
        .map(|document| {
            Value::deserialize(document).unwrap_or_else(|error| panic!("{name}: {error}"))
        })
        .filter(|document| !document.is_null())
        .collect()
}

fn document(name: &str) -> Value {
    let mut all = documents(name);
    assert_eq!(all.len(), 1, "{name} has one document");
    all.remove(0)
}

/// The YAML files of a directory, in order.
fn yaml_files(directory: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(path(directory))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| {
            Path::new(name)
                .extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .map(|name| format!("{directory}/{name}"))
        .collect();
    names.sort();
    names
}

fn strings(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}
