//! What is to be copied, beside what is said.

use std::path::Path;

use serde_json::Value;

use super::*;
use crate::findings::CATALOGUE;

/// The findings of a rule in its example.
fn found(id: &str) -> Vec<(String, String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/corpus/rules/{id}.yaml"));
    let names = [path.display().to_string()];
    let objects = read::all(&names, "default", &Limits::default());
    let report = Report::new(&objects, &manifests::backends(&objects));
    let of = report.findings().filter(|found| found.rule.id == id);
    of.map(|found| {
        (
            found.object.clone(),
            found.message.clone(),
            found.remedy.clone(),
        )
    })
    .collect()
}

/// What is shown is YAML of the object that it speaks of, or of another that it names.
#[test]
fn every_finding_shows_what_to_write() {
    for rule in CATALOGUE {
        if rule.is_measured() {
            continue;
        }
        let all = found(rule.id);
        assert!(!all.is_empty(), "{}", rule.id);
        for (object, _, remedy) in all {
            if remedy.starts_with('#') {
                continue;
            }
            let read: Value = serde_yaml_ng::from_str(&remedy)
                .unwrap_or_else(|error| panic!("{}: {error}: {remedy}", rule.id));
            let kind = read["kind"].as_str().unwrap();
            let own = format!("{kind} {}", read["metadata"]["name"].as_str().unwrap());
            let other = ["GrpcBackend", "Job"].contains(&kind);
            assert!(own == object || other, "{}: {own} for {object}", rule.id);
            let fields = read.as_object().unwrap().len();
            assert!(fields > 2, "{}: {remedy}", rule.id);
        }
    }
}

/// The figures to copy are those of the sentence.
#[test]
fn what_to_write_does_not_contradict_what_is_said() {
    let figures = |text: &str| -> Vec<String> {
        let parts = text.split(|c: char| !c.is_ascii_digit());
        parts
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    };
    for id in [
        "GB003", "GB004", "GB009", "GB010", "GB022", "GB024", "GB029", "GB030", "GB031", "GB032",
        "GB033",
    ] {
        for (_, message, remedy) in found(id) {
            let fields = remedy.split_once('}').unwrap().1;
            let said = figures(&message);
            for figure in figures(fields) {
                assert!(
                    said.contains(&figure),
                    "{id}: {figure}: {message}\n{remedy}"
                );
            }
        }
    }
}

/// In text the page is named once, in JSON, SARIF and annotations with each.
#[test]
fn a_finding_leads_to_its_page() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/rules/GB003.yaml");
    let names = [path.display().to_string(), path.display().to_string()];
    let objects = read::all(&names[..1], "default", &Limits::default());
    let report = Report::new(&objects, &manifests::backends(&objects));
    let page = "https://github.com/evenkeel/evenkeel/blob/main/docs/findings/GB003.md";
    assert_eq!(text::people(&report).matches(page).count(), 1);
    assert!(text::github(&report).contains(page));
    let log = sarif::log(&report);
    let rules = log["runs"][0]["tool"]["driver"]["rules"]
        .as_array()
        .unwrap();
    assert!(rules.iter().any(|rule| rule["helpUri"] == page));
}

#[test]
fn what_nobody_wants_to_hear_is_not_said() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/rules/GB003.yaml");
    let objects = read::all(&[path.display().to_string()], "default", &Limits::default());
    let report = |ids: &[&str]| {
        let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        Report::new(&objects, &manifests::backends(&objects)).without(&ids)
    };
    let says = |report: &Report, id: &str| report.findings().any(|found| found.rule.id == id);
    assert!(says(&report(&[]), "GB003") && says(&report(&["GB007"]), "GB003"));
    let without = report(&["GB003", "GB054"]);
    assert!(!says(&without, "GB003"));
    assert!(!text::people(&without).contains("GB054"));
}
