//! Files that are no manifests, or that are to become some first.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::*;

/// A directory of its own, with these files.
fn directory(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let root = std::env::temp_dir().join(format!("evenkeel-{name}-{}", std::process::id()));
    for (file, text) in files {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn read(path: &std::path::Path) -> Objects {
    let names = [path.display().to_string()];
    read::all(&names, "default", &Limits::default())
}

/// Whole objects are in the namespace of what is there, and set nothing that the program may not know.
#[test]
fn a_backend_that_is_begun_is_where_the_rest_is() {
    let corpus =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/first-day.yaml");
    let text = fs::read_to_string(corpus).unwrap();
    for (text, namespace) in [
        (text.clone(), Value::from("shop")),
        (text.replace(", namespace: shop", ""), Value::Null),
    ] {
        let root = directory("begun", &[("a.yaml", &text)]);
        let objects = read(&root);
        let report = Report::new(&objects, &manifests::backends(&objects));
        fs::remove_dir_all(root).unwrap();
        for id in ["GB001", "GB021"] {
            let mut found = report.findings();
            let remedy = &found.find(|own| own.rule.id == id).unwrap().remedy;
            assert!(
                remedy.contains("  # connectionAge: {maxAge: 5m"),
                "{remedy}"
            );
            let read: Value = serde_yaml_ng::from_str(remedy).unwrap();
            assert_eq!(read["metadata"]["namespace"], namespace, "{remedy}");
            assert_eq!(read["spec"]["connectionAge"], Value::Null, "{remedy}");
        }
    }
}
