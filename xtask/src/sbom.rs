//! What is in the binary, as CycloneDX tells it: made from the lock file, without a time or a random number, so that the same
//! sources give the same file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::process::{cargo, output};

/// Writes dist/evenkeel.cdx.json.
pub fn write(root: &Path) -> Result<()> {
    let text = output(
        cargo(root)
            .args(["metadata", "--format-version=1", "--locked"])
            .args(["--filter-platform", "x86_64-unknown-linux-gnu"]),
    )?;
    let metadata = serde_json::from_str(&text).context("cannot read what cargo metadata says")?;
    let bill = bill(&metadata)?;
    let dist = root.join("dist");
    fs::create_dir_all(&dist)?;
    let file = dist.join("evenkeel.cdx.json");
    fs::write(&file, serde_json::to_string_pretty(&bill)? + "\n")?;
    let count = bill["components"].as_array().map_or(0, Vec::len);
    println!("{count} components are in dist/evenkeel.cdx.json");
    Ok(())
}

fn bill(metadata: &Value) -> Result<Value> {
    let packages: BTreeMap<&str, &Value> = list(&metadata["packages"])
        .filter_map(|package| Some((package["id"].as_str()?, package)))
        .collect();
    let links: BTreeMap<&str, Vec<&str>> = list(&metadata["resolve"]["nodes"])
        .filter_map(|node| Some((node["id"].as_str()?, linked(node))))
        .collect();
    let product = packages
        .iter()
        .find(|(_, package)| package["name"] == "evenkeel")
        .map(|(id, _)| *id)
        .context("cargo metadata knows no package evenkeel")?;
    let within = reach(product, &links);
    let reference = |id: &str| packages.get(id).map(|package| purl(package));
    let components = within.iter().filter(|id| **id != product);
    let dependencies = within.iter().map(|id| {
        let on = links.get(id).into_iter().flatten();
        json!({"ref": reference(id), "dependsOn": on.filter_map(|id| reference(id)).collect::<BTreeSet<_>>()})
    });
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": component(packages[product], "application")},
        "components": components.map(|id| component(packages[id], "library")).collect::<Vec<_>>(),
        "dependencies": dependencies.collect::<Vec<_>>(),
    }))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// What becomes part of the binary: no tests' and no build scripts' dependencies.
fn linked(node: &Value) -> Vec<&str> {
    list(&node["deps"])
        .filter(|dependency| list(&dependency["dep_kinds"]).any(|kind| kind["kind"].is_null()))
        .filter_map(|dependency| dependency["pkg"].as_str())
        .collect()
}

fn reach<'a>(from: &'a str, links: &BTreeMap<&'a str, Vec<&'a str>>) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open = vec![from];
    while let Some(id) = open.pop() {
        if found.insert(id) {
            open.extend(links.get(id).into_iter().flatten());
        }
    }
    found
}

fn purl(package: &Value) -> String {
    let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
    format!("pkg:cargo/{}@{}", text("name"), text("version"))
}

fn component(package: &Value, kind: &str) -> Value {
    let mut component = json!({
        "type": kind,
        "bom-ref": purl(package),
        "purl": purl(package),
        "name": package["name"],
        "version": package["version"],
    });
    if let Some(license) = package["license"].as_str() {
        // The older form, which the expressions of SPDX do not have.
        let expression = license.replace(" / ", " OR ").replace('/', " OR ");
        component["licenses"] = json!([{ "expression": expression }]);
    }
    component
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_linked_is_listed() {
        let package = |name: &str| json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0"});
        let node = |id: &str, deps: &[(&str, Option<&str>)]| {
            let deps: Vec<Value> = deps
                .iter()
                .map(|(pkg, kind)| json!({"pkg": pkg, "dep_kinds": [{ "kind": kind }]}))
                .collect();
            json!({"id": id, "deps": deps})
        };
        let packages = ["evenkeel", "linked", "below", "builds", "tests"].map(package);
        let metadata = json!({
            "packages": packages,
            "resolve": {"nodes": [
                node("evenkeel", &[("linked", None), ("builds", Some("build")), ("tests", Some("dev"))]),
                node("linked", &[("below", None)]),
                node("below", &[]), node("builds", &[]), node("tests", &[]),
            ]},
        });
        let bill = bill(&metadata).unwrap();
        let names: Vec<&Value> = list(&bill["components"])
            .map(|part| &part["name"])
            .collect();
        assert_eq!(names, ["below", "linked"]);
        assert_eq!(
            bill["components"][0]["licenses"][0]["expression"],
            "MIT OR Apache-2.0"
        );
        assert_eq!(
            bill["dependencies"][1]["dependsOn"],
            json!(["pkg:cargo/linked@1.0.0"])
        );
    }
}
