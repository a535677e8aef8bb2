//! What the operator is built from: licences and sources, as deny.toml says.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::{path, text};

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";
/// Types of two versions do not mix.
const ONCE: [&str; 4] = ["json-patch", "k8s-openapi", "kube", "schemars"];

/// Every package that anything is built from on the platforms of deny.toml. Those of others need not be on the machine.
fn packages() -> Vec<Value> {
    let deny = text("deny.toml");
    let targets = deny.lines().find(|line| line.starts_with("targets = "));
    let targets: Vec<_> = targets.unwrap().split('"').skip(1).step_by(2).collect();
    assert!(!targets.is_empty());
    let platforms = targets
        .iter()
        .map(|target| format!("--filter-platform={target}"));
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked"])
        .args(platforms)
        .current_dir(path("."))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata: {said}");
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap().clone();
    assert!(packages.len() > 100, "only {} packages", packages.len());
    packages
}

/// The licences that deny.toml allows.
fn allowed() -> BTreeSet<String> {
    let text = text("deny.toml");
    let list = text.split_once("\nallow = [").unwrap().1;
    let list = list.split_once(']').unwrap().0;
    list.split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// Whether an expression can be kept with what is allowed, in the SPDX form and the older one with a stroke.
fn fits(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let fits = any(&mut rest, allowed);
    fits && rest.is_empty()
}

fn any(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut fits = all(words, allowed);
    while let Some(("OR", rest)) = split(words) {
        *words = rest;
        fits |= all(words, allowed);
    }
    fits
}

fn all(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut fits = one(words, allowed);
    while let Some(("AND", rest)) = split(words) {
        *words = rest;
        fits &= one(words, allowed);
    }
    fits
}

fn one(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let Some((first, rest)) = split(words) else {
        return false;
    };
    *words = rest;
    if first == "(" {
        let fits = any(words, allowed);
        let Some((")", rest)) = split(words) else {
            return false;
        };
        *words = rest;
        return fits;
    }
    if let ["WITH", exception, rest @ ..] = *words {
        *words = rest;
        return allowed.contains(&format!("{first} WITH {exception}"));
    }
    allowed.contains(first)
}

fn split<'a, 'b>(words: &'b [&'a str]) -> Option<(&'a str, &'b [&'a str])> {
    words.split_first().map(|(first, rest)| (*first, rest))
}

#[test]
fn every_licence_is_allowed() {
    let allowed = allowed();
    let refused: Vec<String> = packages()
        .iter()
        .filter(|package| !fits(package["license"].as_str().unwrap_or_default(), &allowed))
        .map(|package| format!("{}: {}", package["name"], package["license"]))
        .collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

#[test]
fn everything_comes_from_the_registry() {
    for package in packages() {
        let source = package["source"].as_str();
        let (name, manifest) = (&package["name"], package["manifest_path"].as_str().unwrap());
        let ours = source.is_none() && manifest.starts_with(env!("CARGO_MANIFEST_DIR"));
        assert!(
            ours || source == Some(REGISTRY),
            "{name} comes from {source:?}"
        );
    }
}

/// The crates that deny.toml bans.
fn banned() -> Vec<String> {
    let text = text("deny.toml");
    let list = text.split_once("\ndeny = [").unwrap().1;
    let list = list.split_once("\n]").unwrap().0;
    let crates = list.split("crate = \"").skip(1);
    crates
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect()
}

#[test]
fn nothing_banned_is_built_in() {
    let (banned, packages) = (banned(), packages());
    assert!(banned.contains(&"openssl-sys".to_owned()), "{banned:?}");
    for name in banned {
        let found = packages.iter().find(|package| package["name"] == *name);
        assert!(found.is_none(), "{name} is built in, against deny.toml");
    }
}

#[test]
fn what_has_types_of_its_own_is_there_once() {
    let packages = packages();
    for name in ONCE {
        let versions = packages.iter().filter(|package| package["name"] == name);
        assert_eq!(versions.count(), 1, "{name}");
    }
}

/// The check itself.
#[test]
fn expressions_are_read_as_they_are_meant() {
    let allowed: BTreeSet<String> = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"]
        .map(str::to_owned)
        .into();
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("MIT OR GPL-3.0", true),
        ("GPL-3.0/MIT", true),
        ("MIT AND GPL-3.0", false),
        ("(GPL-3.0 OR ISC) AND MIT", true),
        ("(GPL-3.0 OR MIT) AND Unicode-3.0", false),
        ("GPL-3.0 OR MIT AND ISC", true),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("Apache-2.0", false),
        ("", false),
        ("(MIT", false),
        ("MIT ISC", false),
    ] {
        assert_eq!(fits(expression, &allowed), expected, "{expression}");
    }
}
