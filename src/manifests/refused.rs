//! What the API server would refuse of a GrpcBackend, as far as it can be told without one: fields that there are not, and
//! names that nobody knows.

use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray,
};

use super::node::{Content, Node};
use crate::api::{GrpcBackend, crd};
use crate::findings::CATALOGUE;
use crate::presets;

/// After so many it is no GrpcBackend.
const MOST: usize = 20;
/// What every object has beside its spec.
const COMMON: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

static SPEC: LazyLock<Option<JSONSchemaProps>> = LazyLock::new(|| {
    let version = crd().spec.versions.pop()?;
    let root = version.schema?.open_api_v3_schema?;
    root.properties?.remove("spec")
});

/// Each with its line; `backend` is what was read of the node, if it could be.
pub fn refused(node: &Node, backend: Option<&GrpcBackend>) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    if let Content::Map(entries) = &node.content {
        let others = entries
            .iter()
            .filter(|(key, _, _)| !COMMON.contains(&key.as_str()));
        found.extend(
            others
                .map(|(key, line, _)| (*line, unknown(key)))
                .take(MOST),
        );
    }
    if let (Some(spec), Some(schema)) = (node.get("spec"), &*SPEC) {
        fields(spec, schema, "spec", &mut found);
    }
    let values = backend.map(values).unwrap_or_default();
    found.extend(
        values
            .into_iter()
            .map(|(path, told)| (node.line_of(&path), told)),
    );
    found.truncate(MOST);
    let name = node.get("metadata").and_then(|own| own.get("name"));
    let name = name.and_then(|name| name.text()).unwrap_or_default();
    let said = |(line, told)| (line, format!("GrpcBackend {name}: {told}"));
    found.into_iter().map(said).collect()
}

fn unknown(path: &str) -> String {
    format!("{path} is no field of it: correct its name or remove it, docs/api.md has all fields")
}

fn fields(node: &Node, schema: &JSONSchemaProps, path: &str, found: &mut Vec<(usize, String)>) {
    if found.len() >= MOST {
        return;
    }
    match (&node.content, &schema.properties, &schema.items) {
        (Content::Map(entries), Some(known), _) => {
            for (key, line, value) in entries {
                let path = format!("{path}.{key}");
                match known.get(key) {
                    Some(field) => fields(value, field, &path, found),
                    None => found.push((*line, unknown(&path))),
                }
            }
        }
        (Content::List(items), _, Some(JSONSchemaPropsOrArray::Schema(schema))) => {
            for (index, item) in items.iter().enumerate() {
                fields(item, schema, &format!("{path}[{index}]"), found);
            }
        }
        _ => {}
    }
}

/// Values that mean nothing, by the path of their field.
fn values(backend: &GrpcBackend) -> Vec<(String, String)> {
    let spec = &backend.spec;
    let mut found = Vec::new();
    let age = spec.connection_age.as_ref();
    let times = [
        ("spec.connectionAge.maxAge", age.map(|own| &own.max_age)),
        (
            "spec.connectionAge.grace",
            age.and_then(|own| own.grace.as_ref()),
        ),
        (
            "spec.balance.interval",
            spec.balance.as_ref().and_then(|own| own.interval.as_ref()),
        ),
        (
            "spec.balance.window",
            spec.balance.as_ref().and_then(|own| own.window.as_ref()),
        ),
    ];
    for (path, time) in times {
        if let Some(time) = time.filter(|time| time.get().is_err()) {
            let told = format!(
                "{path} is {}, which is no duration: write one such as 5m or 30s",
                time.as_str()
            );
            found.push((path.to_owned(), told));
        }
    }
    let preset = age.and_then(|own| own.knob.preset.as_ref());
    if let Some(preset) = preset.filter(|own| presets::find(own.as_str()).is_none()) {
        let path = "spec.connectionAge.knob.preset";
        let told = format!(
            "{path} is {preset}, which nobody knows: evenkeel presets lists those that there are"
        );
        found.push((path.to_owned(), told));
    }
    for (index, ignored) in spec.ignore_findings.iter().enumerate() {
        if !CATALOGUE.iter().any(|rule| rule.id == ignored.id) {
            let path = format!("spec.ignoreFindings[{index}].id");
            let told = format!(
                "{path} is {}, which is no finding's: docs/findings has all of them",
                ignored.id
            );
            found.push((path, told));
        }
    }
    found
}
