//! Directories with several environments in them.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;

fn environments() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/environments")
}

fn report(names: &[PathBuf]) -> Report {
    let names: Vec<String> = names
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let objects = read::all(&names, "default", &Limits::default());
    Report::new(&objects, &manifests::backends(&objects))
}

/// A line for each backend, and one for each object that does not count.
fn said(report: &Report) -> Vec<String> {
    assert!(report.faults.is_empty(), "{}", report.faults[0]);
    let backends = report.backends.iter().map(|own| {
        let mut ids: Vec<&str> = own.findings.iter().map(|found| found.rule.id).collect();
        ids.sort_unstable();
        let ids = if ids.is_empty() {
            "none".into()
        } else {
            ids.join(" ")
        };
        let set = own
            .set
            .as_ref()
            .map_or_else(String::new, |set| format!(" in {set}"));
        format!("{}/{}{set}: {ids}", own.namespace, own.name)
    });
    let repeated = report.repeated.iter().map(ToString::to_string);
    let root = format!("{}/", environments().display());
    backends
        .chain(repeated)
        .map(|line| line.replace(&root, ""))
        .collect()
}

#[test]
fn each_environment_is_looked_at_by_itself() {
    let mut sets = 0;
    for entry in fs::read_dir(environments()).unwrap() {
        let path = entry.unwrap().path();
        let expect = fs::read_to_string(path.join("expect")).unwrap();
        let (_, expect) = expect.split_once("\n\n").unwrap();
        assert_eq!(said(&report(&[path])), expect.lines().collect::<Vec<_>>());
        sets += 1;
    }
    assert!(sets > 5, "only {sets} sets");
}

/// kubectl takes the last without a word.
#[test]
fn a_field_that_is_written_twice_is_told() {
    let set = fs::read_to_string(environments().join("../healthy-pair.yaml")).unwrap();
    let twice = set.replacen("  replicas: 3\n", "  replicas: 1\n  replicas: 3\n", 1);
    let line = 1 + twice
        .lines()
        .position(|line| line == "  replicas: 1")
        .unwrap();
    let root = std::env::temp_dir().join(format!("evenkeel-twice-{}.yaml", std::process::id()));
    fs::write(&root, &twice).unwrap();
    let report = report(std::slice::from_ref(&root));
    fs::remove_file(&root).unwrap();
    let file = root.display();
    let again = line + 1;
    let told = format!(
        "{file}:{line}: field replicas of a Deployment stands again in {file}:{again}, which is the one that counts"
    );
    assert!(said(&report).contains(&told), "{:?}", said(&report));
    assert_eq!(report.findings().count(), 0);
}

/// Whoever names files one by one wants them together, and the last to count.
#[test]
fn files_that_are_named_go_together() {
    let root = environments();
    let file = |name: &str| root.join(name);
    let (prod, staging) = (
        file("directories/prod/rng.yaml"),
        file("directories/staging/rng.yaml"),
    );
    let both = report(&[
        file("directories/backend.yaml"),
        prod.clone(),
        staging.clone(),
    ]);
    let told = "directories/prod/rng.yaml:1: Deployment shop/rng stands again in directories/staging/rng.yaml:1, which is the one that counts";
    assert_eq!(said(&both), ["shop/rng: GB033", told]);
    // Twice the same file is once.
    let twice = report(&[file("directories/backend.yaml"), prod.clone(), prod]);
    assert_eq!(said(&twice), ["shop/rng: none"]);
    // A file that is named counts in every environment.
    let with = report(&[file("directories"), file("below/staging/backend.yaml")]);
    assert_eq!(with.backends.len(), 2);
    for line in &said(&with)[..2] {
        assert!(line.contains("GB022"), "{line}");
    }
    // So do two directories that are named.
    let shared = file("directories/backend.yaml");
    let two = report(&[
        shared,
        file("directories/prod"),
        file("directories/staging"),
    ]);
    let expect = [
        "shop/rng in directories/prod: none",
        "shop/rng in directories/staging: GB033",
    ];
    assert_eq!(said(&two), expect);
}

#[test]
fn people_and_programs_are_told_which_environment() {
    let report = report(&[environments().join("directories")]);
    let shown = text::people(&report);
    assert!(shown.contains("directories/staging\n"), "{shown}");
    assert!(shown.contains("looked at one by one"), "{shown}");
    let json = serde_json::to_value(&report).unwrap();
    let set = json["backends"][1]["set"].as_str().unwrap();
    assert!(set.contains("directories/staging"), "{set}");
}

/// No more sets than anybody reads, and it is said that there are more.
#[test]
fn environments_are_bounded() {
    let directory = std::env::temp_dir().join(format!("evenkeel-sets-{}", std::process::id()));
    for number in 0..1_003 {
        let one = directory.join(number.to_string());
        fs::create_dir_all(&one).unwrap();
        let text = format!(
            "apiVersion: evenkeel.dev/v1alpha1\nkind: GrpcBackend\nmetadata: {{name: a}}\nspec: {{selector: {{app: a}}, ports: [{{port: {}}}]}}\n",
            1 + number
        );
        fs::write(one.join("a.yaml"), text).unwrap();
    }
    let names = [directory.display().to_string()];
    let objects = read::all(&names, "default", &Limits::default());
    let report = Report::new(&objects, &manifests::backends(&objects));
    fs::remove_dir_all(&directory).unwrap();
    assert_eq!(report.backends.len(), 1_000);
    let fault = report.faults[0].to_string();
    assert!(fault.starts_with("3 more directories"), "{fault}");
}

#[test]
fn a_directory_without_manifests_does_not_pass() {
    let directory = std::env::temp_dir().join(format!("evenkeel-empty-{}", std::process::id()));
    fs::create_dir_all(directory.join("deeper")).unwrap();
    fs::write(directory.join("deeper/README.md"), "a: 1").unwrap();
    let limits = Limits::default();
    let read = || read::all(&[directory.display().to_string()], "default", &limits);
    let empty = read();
    fs::write(directory.join("deeper/values.yaml"), "a: 1").unwrap();
    let values = read();
    fs::remove_dir_all(&directory).unwrap();
    assert!(
        empty.faults[0].message.contains("no file that ends in"),
        "{:?}",
        empty.faults
    );
    // Values alone are no object either.
    let message = &values.faults[0].message;
    assert!(
        message.starts_with("has no object of Kubernetes"),
        "{message}"
    );
}
