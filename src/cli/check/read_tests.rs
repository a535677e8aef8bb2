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

#[test]
fn what_has_no_object_is_a_fault() {
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    for (text, expected) in [
        ("", 1),
        ("---\n# nothing\n", 1),
        ("replicas: 3\n", 1),
        ("[]\n", 1),
        (map, 0),
    ] {
        let root = directory("nothing", &[("a.yaml", text)]);
        for path in [root.join("a.yaml"), root.clone()] {
            let faults = read(&path).faults;
            assert_eq!(faults.len(), expected, "{text}: {faults:?}");
            let says =
                |own: &manifests::Fault| own.message.starts_with("has no object of Kubernetes");
            assert!(faults.iter().all(says), "{faults:?}");
        }
        fs::remove_dir_all(root).unwrap();
    }
}

/// A repository has more than manifests, and what somebody names is meant.
#[test]
fn what_is_no_manifest_is_no_fault_in_a_directory() {
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    // As long as such files are.
    let template = "a: {{ .Values.a }}\n".repeat(1000);
    let root = directory(
        "others",
        &[
            ("a.yaml", map),
            ("notes.yaml", "a: b: c\n"),
            ("values.yaml", &template),
            ("broken.yaml", "apiVersion: v1\nkind: {{ .Values.a }}\n"),
        ],
    );
    let objects = read(&root);
    let faults: Vec<&str> = objects
        .faults
        .iter()
        .map(|own| own.file.rsplit('/').next().unwrap())
        .collect();
    assert_eq!(faults, ["broken.yaml"]);
    assert_eq!(objects.skipped.get("file without apiVersion"), Some(&2));
    assert_eq!(read(&root.join("values.yaml")).faults.len(), 1);
    fs::remove_file(root.join("a.yaml")).unwrap();
    fs::remove_file(root.join("broken.yaml")).unwrap();
    let faults = read(&root).faults;
    assert!(
        faults[0].message.starts_with("has no object of Kubernetes"),
        "{faults:?}"
    );
    fs::remove_dir_all(root).unwrap();
}

/// Each document is small as it is written and within its own bound, and all of them are one file of a few kilobytes.
#[test]
fn many_small_documents_of_aliases_are_bounded_together() {
    let words = ["word"; 1_000].join(", ");
    let document = |kind: &str, times: usize| {
        let others = ", *c".repeat(times);
        format!(
            "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: a}}\nspec:\n  containers: [&c {{args: [{words}]}}{others}]\n"
        )
    };
    for kind in ["Deployment", "Other"] {
        // 7 MB each, written out.
        let text = vec![document(kind, 100); 20].join("---\n");
        assert!(text.len() < 1 << 18);
        let root = directory("heavy", &[("a.yaml", &text), ("b.yaml", &text)]);
        let limits = Limits {
            all_weight: 32 << 20,
            ..Limits::default()
        };
        let objects = read::all(&[root.display().to_string()], "default", &limits);
        fs::remove_dir_all(root).unwrap();
        let beyond = |own: &&manifests::Fault| own.message.contains("more than 32 MiB");
        let found: Vec<_> = objects.faults.iter().filter(beyond).collect();
        assert_eq!(found.len(), 1, "{:?}", objects.faults);
        assert!(
            found[0].file.ends_with("a.yaml") && found[0].line == 25,
            "{found:?}"
        );
        let taken = objects.workloads.len() + objects.faults.len() - 1;
        let skipped: usize = objects.skipped.values().sum();
        assert_eq!(taken + skipped, 4, "{:?}", objects.faults);
    }
}

/// As a ConfigMap is mounted, and as people keep one file for several environments.
#[test]
#[cfg(unix)]
fn a_link_leads_to_its_file_and_no_further() {
    use std::os::unix::fs::symlink;
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    let root = directory("links", &[("real/a.txt", map), ("in/b.yaml", map)]);
    let looked_at = root.join("in");
    symlink(root.join("real/a.txt"), looked_at.join("a.yaml")).unwrap();
    // In a circle.
    symlink(&looked_at, looked_at.join("again")).unwrap();
    let objects = read(&looked_at);
    assert_eq!(objects.faults, []);
    assert_eq!(objects.skipped["ConfigMap"], 2);
    assert_eq!(objects.skipped["link to a directory"], 1);
    symlink(root.join("gone"), looked_at.join("c.yaml")).unwrap();
    let faults = read(&looked_at).faults;
    let only_a_link = root.join("only-a-link");
    fs::create_dir(&only_a_link).unwrap();
    symlink(&looked_at, only_a_link.join("in")).unwrap();
    fs::write(only_a_link.join("values.yaml"), "a: b\n").unwrap();
    let nothing = read(&only_a_link).faults;
    assert!(
        nothing[0].message.starts_with("has no object"),
        "{nothing:?}"
    );
    fs::remove_dir_all(root).unwrap();
    assert!(
        faults.len() == 1 && faults[0].file.ends_with("c.yaml"),
        "{faults:?}"
    );
}

/// What is of a kind that rules speak of is looked at or said to be left out.
#[test]
fn a_list_of_one_kind_and_an_api_that_is_gone() {
    let pods = "spec: {selector: {matchLabels: {app: a}}, template: {metadata: {labels: {app: a}}, spec: {containers: [{name: a}]}}}";
    let typed = format!(
        "apiVersion: apps/v1\nkind: DeploymentList\nitems: [{{metadata: {{name: a}}, {pods}}}]\n"
    );
    let gone = format!(
        "apiVersion: extensions/v1beta1\nkind: Deployment\nmetadata: {{name: b}}\n{pods}\n"
    );
    let root = directory("kinds", &[("a.yaml", &typed), ("b.yaml", &gone)]);
    let objects = read(&root);
    fs::remove_dir_all(root).unwrap();
    assert_eq!(objects.faults, []);
    assert_eq!(objects.workloads[0].object.name(), "a");
    assert_eq!(objects.skipped["Deployment of extensions/v1beta1"], 1);
}

#[test]
fn a_backend_and_its_servers_that_are_apart_by_a_slip() {
    let backend = |namespace: &str| {
        format!(
            "apiVersion: evenkeel.dev/v1alpha1\nkind: GrpcBackend\nmetadata: {{name: rng{namespace}}}\nspec: {{selector: {{app: a}}, ports: [{{port: 80}}]}}\n"
        )
    };
    let server = |namespace: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: a{namespace}}}\nspec: {{selector: {{matchLabels: {{app: a}}}}, template: {{metadata: {{labels: {{app: a}}}}, spec: {{containers: [{{name: a}}]}}}}}}\n"
        )
    };
    for (own, other, says) in [
        (
            "",
            ", namespace: shop",
            Some(
                "one of namespace default, and Deployment a, which has its labels, for one of shop",
            ),
        ),
        (
            ", namespace: shop",
            "",
            Some(
                "one of namespace shop, and Deployment a, which has its labels, for one of default",
            ),
        ),
        ("", "", None),
        (", namespace: shop", ", namespace: other", None),
    ] {
        let root = directory(
            "apart",
            &[("a.yaml", &backend(own)), ("b.yaml", &server(other))],
        );
        let told = manifests::apart(&read(&root));
        fs::remove_dir_all(root).unwrap();
        assert_eq!(told.is_some(), says.is_some(), "{told:?}");
        assert!(says.is_none_or(|says| told.unwrap().contains(says)));
    }
}

#[test]
fn what_kustomize_puts_together_has_a_hint() {
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    let root = directory(
        "kustomized",
        &[
            ("base/a.yaml", map),
            ("base/kustomization.yaml", "resources: [a.yaml]\n"),
            (
                "overlays/prod/kustomization.yml",
                "resources: [../../base]\n",
            ),
        ],
    );
    let told = hint(&read(&root)).unwrap();
    let prod = root.join("overlays/prod").display().to_string();
    let command = format!("kustomize build {prod} | evenkeel check -");
    assert!(told.ends_with(&command), "{told}");
    assert_eq!(hint(&read(&root.join("base/a.yaml"))), None);
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn a_name_that_yaml_takes_for_something_else() {
    for (name, said) in [
        (
            "y",
            "Service has the metadata.name true, as YAML 1.1 reads y, n,",
        ),
        (
            "off",
            "Service has the metadata.name false, as YAML 1.1 reads",
        ),
        (
            "10",
            "Service has the number 10 for metadata.name: put the name into quotes",
        ),
        ("", "Service without metadata.name: give it one"),
    ] {
        let text = format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n");
        let root = directory("named", &[("a.yaml", &text)]);
        let faults = read(&root).faults;
        fs::remove_dir_all(root).unwrap();
        assert!(faults[0].message.starts_with(said), "{:?}", faults[0]);
    }
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
