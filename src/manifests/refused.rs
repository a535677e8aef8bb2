//! What the API server would refuse of a GrpcBackend, as far as it can be told without one: fields that there are not, names
//! that nobody knows, and whatever breaks a limit or a rule of the schema.

use std::collections::HashSet;
use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool, ValidationRule,
};
use serde_json::{Value, json};

use super::node::{Content, Node};
use super::rules::is_broken;
use crate::api::{GrpcBackend, GrpcBackendSpec, crd};
use crate::findings::CATALOGUE;
use crate::presets;

/// After so many it is no GrpcBackend.
const MOST: usize = 20;
/// What every object has beside its spec.
const COMMON: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

/// The schema of the whole, and that of its spec.
static SCHEMA: LazyLock<Option<(JSONSchemaProps, JSONSchemaProps)>> = LazyLock::new(|| {
    let version = crd().spec.versions.pop()?;
    let mut root = version.schema?.open_api_v3_schema?;
    let spec = root.properties.as_mut()?.remove("spec")?;
    Some((root, spec))
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
    if let (Some(spec), Some((_, schema))) = (node.get("spec"), &*SCHEMA) {
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

/// Values that the schema refuses, by the path of their field.
fn values(backend: &GrpcBackend) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let Some((root, spec)) = &*SCHEMA else {
        return found;
    };
    names(backend, &mut found);
    // With a generateName there is no name yet.
    let name = backend.metadata.name.iter();
    for (name, rule) in name.flat_map(|name| rules(root).map(move |rule| (name, rule))) {
        let of_name = rule.rule.replace("self.metadata.name", "self");
        let message = rule.message.as_deref().unwrap_or_default();
        if is_broken(&of_name, message, &json!(name), &backend.spec) == Some(true) {
            found.push(("metadata.name".into(), message.into()));
        }
    }
    // Written out again, so that defaults count as on the API server.
    let value = json!(backend.spec);
    judge(&value, spec, "spec", &backend.spec, &mut found);
    let mut told = HashSet::new();
    found.retain(|(path, _)| told.insert(path.clone()));
    found
}

/// Names that are known elsewhere.
fn names(backend: &GrpcBackend, found: &mut Vec<(String, String)>) {
    let spec = &backend.spec;
    let preset = spec.connection_age.as_ref();
    let preset = preset.and_then(|own| own.knob.preset.as_ref());
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
}

fn rules(schema: &JSONSchemaProps) -> impl Iterator<Item = &ValidationRule> {
    schema.x_kubernetes_validations.iter().flatten()
}

/// A value and all below it, against the limits and the rules of its schema.
fn judge(
    value: &Value,
    schema: &JSONSchemaProps,
    path: &str,
    spec: &GrpcBackendSpec,
    found: &mut Vec<(String, String)>,
) {
    if found.len() >= MOST {
        return;
    }
    found.extend(limit(value, schema).map(|told| (path.to_owned(), format!("{path} {told}"))));
    for rule in rules(schema) {
        let message = rule.message.as_deref().unwrap_or_default();
        if is_broken(&rule.rule, message, value, spec) == Some(true) {
            let told = match value.as_str() {
                Some(text) => format!("{path} is {}: {message}", cut(text)),
                None => format!("{path}: {message}"),
            };
            found.push((path.to_owned(), told));
        }
    }
    let others = match &schema.additional_properties {
        Some(JSONSchemaPropsOrBool::Schema(others)) => Some(&**others),
        _ => None,
    };
    for (key, value) in value.as_object().into_iter().flatten() {
        let known = schema.properties.as_ref().and_then(|own| own.get(key));
        if let Some(schema) = known.or(others) {
            judge(value, schema, &format!("{path}.{key}"), spec, found);
        }
    }
    if let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items {
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            judge(item, schema, &format!("{path}[{index}]"), spec, found);
        }
    }
}

/// What is wrong with the size of a value, or with what is in it twice: the end of a sentence that its path begins.
fn limit(value: &Value, schema: &JSONSchemaProps) -> Option<String> {
    match value {
        Value::String(text) => {
            let bounds = (schema.min_length, schema.max_length);
            let known = schema.enum_.as_ref();
            let is_unknown = known.is_some_and(|known| known.iter().all(|own| own.0 != *value));
            counted(text.chars().count(), "characters", bounds).or_else(|| {
                let text = cut(text);
                is_unknown
                    .then(|| format!("is {text}, which nobody knows: docs/api.md has all names"))
            })
        }
        Value::Number(number) => {
            let (own, least, most) = (number.as_f64()?, schema.minimum?, schema.maximum?);
            (own < least || own > most)
                .then(|| format!("is {number}, and must be from {least} to {most}"))
        }
        Value::Array(items) => {
            let bounds = (schema.min_items, schema.max_items);
            counted(items.len(), "entries", bounds).or_else(|| repeated(items, schema))
        }
        Value::Object(fields) => {
            let bounds = (schema.min_properties, schema.max_properties);
            counted(fields.len(), "entries", bounds)
        }
        _ => None,
    }
}

fn counted(count: usize, what: &str, bounds: (Option<i64>, Option<i64>)) -> Option<String> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    match bounds {
        (Some(least), _) if count < least => Some(format!("has {count} {what}, and needs {least}")),
        (_, Some(most)) if count > most => {
            Some(format!("has {count} {what}, and may have {most} at most"))
        }
        _ => None,
    }
}

/// What tells the entries of a list apart, where two of them have the same.
fn repeated<'a>(items: &'a [Value], schema: &JSONSchemaProps) -> Option<String> {
    let key = schema.x_kubernetes_list_map_keys.as_ref();
    let key = key.and_then(|keys| keys.first());
    if key.is_none() && schema.x_kubernetes_list_type.as_deref() != Some("set") {
        return None;
    }
    let own = |item: &'a Value| key.map_or(item, |key| &item[key.as_str()]);
    let mut seen = HashSet::new();
    let twice = items.iter().map(own).find(|own| !seen.insert(*own))?;
    let (what, twice) = (key.map_or("text", |key| key), cut(twice.as_str()?));
    Some(format!(
        "has two entries with the {what} {twice}: give each its own"
    ))
}

/// As much of a text as a sentence bears.
fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each with a value of its field's type.
    fn all_rules<'a>(schema: &'a JSONSchemaProps, found: &mut Vec<(&'a ValidationRule, Value)>) {
        let value = match (schema.type_.as_deref(), &schema.additional_properties) {
            (Some("string"), _) => json!("x"),
            (_, Some(_)) => json!({"x": "x"}),
            _ => json!({}),
        };
        found.extend(rules(schema).map(|rule| (rule, value.clone())));
        for field in schema.properties.iter().flat_map(|own| own.values()) {
            all_rules(field, found);
        }
        if let Some(JSONSchemaPropsOrArray::Schema(item)) = &schema.items {
            all_rules(item, found);
        }
    }

    /// Who adds one in words that are not known here makes them known, or `check` calls good what is refused.
    #[test]
    fn every_rule_of_the_schema_is_understood() {
        let (root, spec) = SCHEMA.as_ref().unwrap();
        let mut all = Vec::new();
        all_rules(spec, &mut all);
        assert!(all.len() > 30, "{}", all.len());
        for rule in rules(root) {
            all.push((rule, json!("x")));
        }
        for (rule, value) in all {
            let text = rule.rule.replace("self.metadata.name", "self");
            let message = rule.message.as_deref().unwrap();
            let told = is_broken(&text, message, &value, &GrpcBackendSpec::default());
            assert!(told.is_some(), "{text}: {message}");
        }
    }
}
