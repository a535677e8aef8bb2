//! What --fix prints, held to what the operator would make of it.

use std::fs;
use std::path::Path;

use crate::api::conditions::State;
use crate::manifests::{self, Backend, Limits};
use crate::services;

use super::read;

fn backends(paths: &[&Path]) -> Vec<Backend> {
    let names: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    manifests::backends(&read::all(&names, "default", &Limits::default()))
}

fn corpus() -> Vec<std::path::PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let files = |path: &Path| {
        let entries = fs::read_dir(path).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.is_file()).collect::<Vec<_>>()
    };
    [files(&root), files(&root.join("rules"))].concat()
}

/// The operator takes the Services that are there, but for those of which the fix says that they have to change.
#[test]
fn no_fix_is_refused() {
    let to_change = ["GB003", "GB004", "GB006"].map(|id| format!("Still to do: {id} "));
    let file = std::env::temp_dir().join(format!("evenkeel-fixed-{}.yaml", std::process::id()));
    let mut asked = 0;
    for path in corpus() {
        let fixes = backends(&[&path]);
        if fixes.iter().any(|backend| backend.how.is_none()) {
            continue;
        }
        let fixes: Vec<String> = fixes.iter().map(|own| manifests::fix(own, false)).collect();
        let text = fixes.join("---\n");
        if text.is_empty() || to_change.iter().any(|note| text.contains(note)) {
            continue;
        }
        fs::write(&file, &text).unwrap();
        let names = [file.display().to_string()];
        let faults = read::all(&names, "default", &Limits::default()).faults;
        assert_eq!(faults, [], "{}: {text}", path.display());
        for backend in backends(&[&path, &file]) {
            let said = services::plan(&backend.observed).statement;
            assert!(backend.how.is_none(), "{}: {text}", path.display());
            assert_eq!(
                said.state,
                State::True,
                "{}: {}\n{text}",
                path.display(),
                said.message
            );
            asked += 1;
        }
    }
    fs::remove_file(&file).unwrap();
    assert!(asked >= 30, "only {asked}");
}

/// What somebody wrote is printed as it should be, and is what counts from then on.
#[test]
fn what_is_written_is_mended() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let file = std::env::temp_dir().join(format!("evenkeel-mended-{}.yaml", std::process::id()));
    let ids = |paths: &[&Path]| -> Vec<&str> {
        let all = backends(paths);
        let found = all
            .iter()
            .flat_map(|own| crate::findings::ask(&own.observed).found);
        found.map(|(rule, _)| rule.id).collect()
    };
    let own = corpus().into_iter().filter(|path| {
        let found = backends(&[path]);
        found.len() == 1 && found[0].how.is_none()
    });
    let mut asked = 0;
    for path in own {
        let fixed = manifests::fix(&backends(&[&path])[0], false);
        fs::write(&file, &fixed).unwrap();
        let names = [file.display().to_string()];
        let faults = read::all(&names, "default", &Limits::default()).faults;
        assert_eq!(faults, [], "{}: {fixed}", path.display());
        let (before, after) = (ids(&[&path]), ids(&[&path, &file]));
        let settled = |id: &&str| ["GB008", "GB009", "GB022", "GB024", "GB029"].contains(id);
        assert!(
            !after.iter().any(settled),
            "{}: {after:?}\n{fixed}",
            path.display()
        );
        asked += usize::from(before.iter().any(settled));
    }
    assert!(asked >= 5, "only {asked}");
    let typo = root.join("selector-with-a-typo.yaml");
    let fixed = manifests::fix(&backends(&[&typo])[0], false);
    fs::write(&file, &fixed).unwrap();
    assert!(
        ids(&[&typo]).contains(&"GB006") && !ids(&[&typo, &file]).contains(&"GB006"),
        "{fixed}"
    );
    assert!(!fixed.contains("Still to do: GB006"), "{fixed}");
    fs::remove_file(&file).unwrap();
}

/// Beside an age that the owner has set the operator would refuse its own.
#[test]
fn no_age_is_begun_where_one_is_set() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let set = fs::read_to_string(root.join("thanos-query-three.yaml")).unwrap();
    let file = std::env::temp_dir().join(format!("evenkeel-aged-{}.yaml", std::process::id()));
    for (args, is_begun, is_left) in [
        ("--x", true, false),
        ("--grpc-server-max-connection-age=2m", false, false),
        // For ever: what is left to its owner is not done.
        ("--grpc-server-max-connection-age=0", false, true),
    ] {
        let set = set.replacen("args: [", &format!("args: [{args}, "), 1);
        assert!(set.contains(args), "{set}");
        fs::write(&file, set).unwrap();
        let fixed = manifests::fix(&backends(&[&file])[0], false);
        assert_eq!(fixed.contains("preset: Thanos"), is_begun, "{fixed}");
        assert_eq!(
            fixed.contains("speak of a connection age already"),
            !is_begun,
            "{fixed}"
        );
        let left = fixed.contains("# Still to do: GB021 at ");
        assert_eq!(left, is_left, "{fixed}");
    }
    fs::remove_file(&file).unwrap();
}

/// Who applies what is printed loses nothing of what they wrote.
#[test]
fn labels_and_annotations_stay() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let set = fs::read_to_string(root.join("rules/GB022.yaml")).unwrap();
    let file = std::env::temp_dir().join(format!("evenkeel-kept-{}.yaml", std::process::id()));
    let more = ", labels: {team: 'no'}, annotations: {note: x, kubectl.kubernetes.io/last-applied-configuration: '{}'}}";
    fs::write(&file, set.replacen('}', more, 1)).unwrap();
    let found = backends(&[&file]);
    fs::remove_file(&file).unwrap();
    let fixed = manifests::fix(&found[0], false);
    assert!(
        fixed.contains("team: \"no\"") && fixed.contains("note: x"),
        "{fixed}"
    );
    assert!(!fixed.contains("last-applied"), "{fixed}");
}

#[test]
fn ports_are_those_that_clients_dial() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let found = backends(&[&root.join("peers-stand-first.yaml")]);
    let fixed = manifests::fix(&found[0], false);
    assert!(fixed.contains("port: 443\n    targetPort: 8081"), "{fixed}");
    assert!(fixed.contains("name: rng-grpc-headless"), "{fixed}");
    assert!(
        fixed.starts_with(
            "# Guessed: Service rng selects Deployment rng, and Service rng-headless: port 8081 is named grpc."
        ),
        "{fixed}"
    );
}

#[test]
fn a_gossip_ring_joins_nothing() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let found = backends(&[&root.join("gossip-ring.yaml")]);
    let names: Vec<String> = found.iter().map(|own| own.observed.name()).collect();
    assert_eq!(names, ["distributor", "querier"]);
}

#[test]
fn a_sidecar_chooses_no_preset() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let found = backends(&[&root.join("image-of-a-sidecar.yaml")]);
    let fixed = manifests::fix(&found[0], false);
    assert!(!fixed.contains("preset: Thanos"), "{fixed}");
}

/// A server that ends connections by itself keeps its age.
#[test]
fn an_age_that_is_there_is_not_made_longer() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let fixed = |set: &str| manifests::fix(&backends(&[&root.join(set)])[0], false);
    for (set, note) in [
        (
            "spicedb-three.yaml",
            "# The image looks like SpiceDB, which ends connections by itself after 30s.",
        ),
        (
            "cerbos-three.yaml",
            "# The image looks like Cerbos, which ends connections by itself after 10m.",
        ),
    ] {
        let fixed = fixed(set);
        assert!(
            fixed.contains(note) && !fixed.contains("connectionAge"),
            "{fixed}"
        );
    }
    let thanos = fixed("thanos-query-three.yaml");
    assert!(
        thanos.contains("maxAge: 5m") && thanos.contains("preset: Thanos"),
        "{thanos}"
    );
}

/// Numbers as large as they can be written: no sum of them may end the program.
#[test]
fn the_largest_numbers_are_borne() {
    let file = std::env::temp_dir().join(format!("evenkeel-large-{}.yaml", std::process::id()));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let set = fs::read_to_string(root.join("first-day.yaml")).unwrap();
    assert!(set.contains("      containers:"), "{set}");
    let most = i64::MAX;
    for share in [
        format!("'{most}%'"),
        format!("'-{most}%'"),
        "'0%'".into(),
        i32::MAX.to_string(),
    ] {
        let rolling = format!("rollingUpdate: {{maxSurge: {share}, maxUnavailable: {share}}}");
        for (kind, field) in [
            ("Deployment", "strategy"),
            ("DaemonSet", "updateStrategy"),
            ("StatefulSet", "updateStrategy"),
        ] {
            let large = format!(
                "  {field}: {{{rolling}}}\n  replicas: {}\n  minReadySeconds: {}\n  template:",
                i32::MAX,
                i32::MAX
            );
            let stop = format!("      terminationGracePeriodSeconds: {most}\n      containers:");
            let set = set
                .replace("kind: Deployment", &format!("kind: {kind}"))
                .replace("  template:", &large)
                .replace("      containers:", &stop)
                .replace("          ports:", &format!("          lifecycle: {{preStop: {{sleep: {{seconds: {most}}}}}}}\n          ports:"));
            fs::write(&file, set).unwrap();
            for backend in backends(&[&file]) {
                let _ = crate::findings::ask(&backend.observed);
            }
        }
    }
    fs::remove_file(&file).unwrap();
}

/// A namespace that nobody wrote is that of whoever applies it.
#[test]
fn no_namespace_is_made_up() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let set = fs::read_to_string(root.join("first-day.yaml")).unwrap();
    let file = std::env::temp_dir().join(format!("evenkeel-nowhere-{}.yaml", std::process::id()));
    fs::write(&file, set.replace(", namespace: shop", "")).unwrap();
    let unwritten = backends(&[&file]);
    fs::remove_file(&file).unwrap();
    assert!(!manifests::fix(&unwritten[0], false).contains("namespace:"));
    assert!(manifests::fix(&unwritten[0], true).contains("namespace: default"));
    let written = backends(&[&root.join("first-day.yaml")]);
    assert!(manifests::fix(&written[0], false).contains("namespace: shop"));
}
