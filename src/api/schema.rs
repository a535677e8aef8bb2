//! The CustomResourceDefinition, as it is generated into `crds/`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt as _;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::GrpcBackend;

/// The definition with what derive cannot say.
pub fn crd() -> CustomResourceDefinition {
    let mut crd = GrpcBackend::crd();
    for version in &mut crd.spec.versions {
        let status = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
            .and_then(|root| property(root, "status"));
        if let Some(status) = status {
            // Until the operator has seen a resource, tools must take it as in progress, not as ready.
            status.default = Some(JSON(json!({ "observedGeneration": -1 })));
        }
        if let Some(root) = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
        {
            drop_nullable(root);
            describe_fields(root, &as_documented());
        }
    }
    crd
}

/// The schema before kube makes it structural: each field still has its own sentence beside that of its type.
fn as_documented() -> Value {
    let settings = SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
    settings
        .into_generator()
        .into_root_schema_for::<GrpcBackend>()
        .to_value()
}

/// An optional enum comes out of derive with the sentence of the enum, which knows no default: the field's own goes back.
fn describe_fields(schema: &mut JSONSchemaProps, documented: &Value) {
    for (name, field) in schema.properties.iter_mut().flatten() {
        let documented = &documented["properties"][name];
        if let Some(sentence) = documented["description"].as_str() {
            field.description = Some(sentence.to_owned());
        }
        describe_fields(field, documented);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(item)) = &mut schema.items {
        if item.format.as_deref() == Some("date-time") {
            // The sentence of the type speaks of the program that it was written for.
            item.description = None;
        }
        describe_fields(item, &documented["items"]);
    }
}

/// Without `nullable` the API server drops a null as if the field were absent; with it, rules would have to think of null.
fn drop_nullable(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    for child in schema
        .properties
        .iter_mut()
        .flat_map(|map| map.values_mut())
    {
        drop_nullable(child);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(item)) => drop_nullable(item),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(drop_nullable),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(value)) = &mut schema.additional_properties {
        drop_nullable(value);
    }
}

fn property<'a>(schema: &'a mut JSONSchemaProps, name: &str) -> Option<&'a mut JSONSchemaProps> {
    schema.properties.as_mut()?.get_mut(name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every field, with its place.
    fn fields(schema: &Value, place: &str, found: &mut Vec<(String, Value)>) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let place = format!("{place}.{name}");
            found.push((place.clone(), field.clone()));
            fields(field, &place, found);
            fields(&field["items"], &format!("{place}[]"), found);
        }
    }

    #[test]
    fn every_field_has_a_sentence_of_its_own_and_an_enum_names_its_default() {
        let types: BTreeSet<String> = SchemaSettings::openapi3()
            .into_generator()
            .into_root_schema_for::<GrpcBackend>()
            .to_value()["components"]["schemas"]
            .as_object()
            .unwrap()
            .values()
            .filter(|schema| schema.get("oneOf").is_some() || schema.get("enum").is_some())
            .map(|schema| schema["description"].as_str().unwrap().to_owned())
            .collect();
        assert!(!types.is_empty());
        let crd = serde_json::to_value(crd()).unwrap();
        let root = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut found = Vec::new();
        for part in ["spec", "status"] {
            fields(&root["properties"][part], part, &mut found);
        }
        let fault = |(place, field): &(String, Value)| {
            let Some(sentence) = field["description"].as_str() else {
                return Some(format!("{place} has no description"));
            };
            let is_enum = field.get("enum").is_some();
            if is_enum && types.contains(sentence) {
                return Some(format!("{place} has the sentence of its type: {sentence}"));
            }
            // What the operator writes has no default.
            let asked = place.starts_with("spec");
            (asked && is_enum && !sentence.contains("default"))
                .then(|| format!("{place} does not name its default: {sentence}"))
        };
        let faults: Vec<String> = found.iter().filter_map(fault).collect();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}
