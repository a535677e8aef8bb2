//! GrpcBackends that the API server refuses, held to what `check` says of them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::api::conditions::State;
use crate::manifests::{self, Fault, Limits};
use crate::services;

use super::read;
use super::report::Report;

/// What is said of a file's GrpcBackend.
fn faults(path: &Path) -> Vec<Fault> {
    let names = [path.display().to_string()];
    read::all(&names, "default", &Limits::default()).faults
}

fn files(directory: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let entries = fs::read_dir(root).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.is_file()).collect()
}

#[test]
fn what_the_api_server_refuses_is_a_fault() {
    let samples = files("config/samples/invalid");
    assert!(samples.len() > 90, "{}", samples.len());
    let passed = samples.iter().filter(|path| faults(path).is_empty());
    let passed: Vec<_> = passed.map(|path| path.display()).collect();
    assert!(passed.is_empty(), "{passed:#?}");
}

#[test]
fn what_it_takes_is_none() {
    for path in files("config/samples") {
        assert_eq!(faults(&path), [], "{}", path.display());
    }
}

#[test]
fn what_is_said_names_the_value_the_bound_and_the_line() {
    let file = std::env::temp_dir().join(format!("evenkeel-refused-{}.yaml", std::process::id()));
    let name = "a".repeat(61);
    let text = format!(
        "apiVersion: evenkeel.dev/v1alpha1\nkind: GrpcBackend\nmetadata:\n  name: {name}\nspec:\n  selector: {{app: a}}\n  \
         ports:\n    - {{port: 80}}\n    - {{port: 0, targetPort: 8080}}\n  connectionAge:\n    maxAge: 25h\n    \
         knob:\n      preset: Thanos\n      env: {{maxAge: PATH}}\n"
    );
    fs::write(&file, text).unwrap();
    let said = faults(&file);
    fs::remove_file(&file).unwrap();
    let begin = format!("GrpcBackend {name}: ");
    let said = said
        .iter()
        .map(|own| (own.line, own.message.strip_prefix(&begin).unwrap()));
    let mut said: Vec<_> = said.collect();
    said.sort_unstable();
    let expected = [
        (
            4,
            "metadata.name becomes the name of Services: at most 54 characters",
        ),
        (
            7,
            "spec.ports has two entries with the name grpc: give each its own",
        ),
        (9, "spec.ports[1].port is 0, and must be from 1 to 65535"),
        (
            11,
            "spec.connectionAge.maxAge is 25h: a duration from 1s to 24h",
        ),
        (
            12,
            "spec.connectionAge.knob: knob takes exactly one of preset, env, flags",
        ),
        (
            14,
            "spec.connectionAge.knob.env.maxAge is PATH: LD_…, KUBERNETES_… and PATH are not",
        ),
    ];
    assert_eq!(said.len(), expected.len(), "{said:#?}");
    for ((line, told), (at, begin)) in said.into_iter().zip(expected) {
        assert!(line == at && told.starts_with(begin), "{line} {told}");
    }
}

/// A Deployment of three pods with its Services, each with these fields more, and an autoscaler.
fn set(workload: &str, services: &[(&str, &str)]) -> String {
    let template = "{metadata: {labels: {app: a}}, spec: {containers: [{name: a, ports: [{containerPort: 50051}]}]}}";
    let mut text = format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: '{workload}'}}\n\
         spec: {{replicas: 3, selector: {{}}, template: {template}}}\n---\n\
         apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {{name: s}}\n\
         spec: {{scaleTargetRef: {{kind: Deployment, name: '{workload}'}}, minReplicas: 1, maxReplicas: 9}}\n"
    );
    for (name, more) in services {
        let ports = "[{name: grpc-of-a-server-with-a-name, port: 50051}]";
        let service = format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{selector: {{app: a}}, ports: {ports}{more}}}\n"
        );
        text += &service;
    }
    text
}

/// What is shown to be applied is taken, whatever the names of what it was made from.
#[test]
fn a_backend_that_is_made_up_has_a_name_that_fits() {
    let file = std::env::temp_dir().join(format!("evenkeel-fitting-{}.yaml", std::process::id()));
    let names = [file.display().to_string()];
    let long = "a".repeat(62);
    for (workload, services, expected) in [
        ("a", vec![(long.as_str(), "")], "a".repeat(54)),
        ("a", vec![("rng-headless", "")], "rng".into()),
        (&long, vec![("s", ", clusterIP: None")], "a".repeat(54)),
        ("3.scale", vec![("s", ", clusterIP: None")], "scale".into()),
        ("3", vec![("s", ", clusterIP: None")], "grpc".into()),
    ] {
        let set = set(workload, &services);
        fs::write(&file, &set).unwrap();
        let objects = read::all(&names, "default", &Limits::default());
        let backends = manifests::backends(&objects);
        let report = Report::new(&objects, &backends);
        let remedies = report
            .findings()
            .filter(|own| own.remedy.contains("kind: GrpcBackend"));
        let mut shown: Vec<String> = remedies.map(|own| own.remedy.clone()).collect();
        assert!(!shown.is_empty(), "{set}");
        shown.push(manifests::fix(&backends[0], false));
        for shown in shown {
            fs::write(&file, format!("{set}---\n{shown}")).unwrap();
            let objects = read::all(&names, "default", &Limits::default());
            assert_eq!(objects.faults, [], "{shown}");
            let backend = &manifests::backends(&objects)[0];
            assert_eq!(backend.observed.name(), expected, "{shown}");
            let said = services::plan(&backend.observed).statement;
            assert_eq!(said.state, State::True, "{}: {shown}", said.message);
        }
    }
    fs::remove_file(&file).unwrap();
}

#[test]
fn two_that_are_cut_alike_keep_two_names() {
    let file = std::env::temp_dir().join(format!("evenkeel-alike-{}.yaml", std::process::id()));
    let long = "a".repeat(60);
    let [one, other] = ["1", "2"].map(|end| {
        let name = format!("{long}{end}");
        set(&name, &[(&name, "")]).replace("app: a", &format!("app: a{end}"))
    });
    fs::write(&file, format!("{one}---\n{other}")).unwrap();
    let objects = read::all(&[file.display().to_string()], "default", &Limits::default());
    fs::remove_file(&file).unwrap();
    let names: Vec<String> = manifests::backends(&objects)
        .iter()
        .map(|own| own.observed.name())
        .collect();
    assert_eq!(names, ["a".repeat(52) + "-2", "a".repeat(54)]);
}
