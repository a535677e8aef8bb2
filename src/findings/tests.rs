use serde_json::{Value, json};

use super::*;

fn observed(spec: &Value, deployment: &Value) -> Observed {
    let mut whole = json!({"selector": {"app": "a"}, "ports": [{"port": 80}]});
    for (key, value) in spec.as_object().unwrap() {
        whole[key] = value.clone();
    }
    let backend = json!({"apiVersion": "evenkeel.dev/v1alpha1", "kind": "GrpcBackend", "metadata": {"name": "a"}, "spec": whole});
    Observed {
        backend: serde_json::from_value(backend).unwrap(),
        deployments: vec![serde_json::from_value(deployment.clone()).unwrap()],
        ..Observed::default()
    }
}

fn deployment(replicas: i32, probe: bool) -> Value {
    let mut container = json!({"name": "server", "ports": [{"containerPort": 80}]});
    if probe {
        container["readinessProbe"] = json!({"grpc": {"port": 80}});
    }
    json!({"metadata": {"name": "a"}, "spec": {"replicas": replicas, "selector": {}, "template": {
        "metadata": {"labels": {"app": "a"}}, "spec": {"containers": [container]}}}})
}

fn age(text: &str) -> Value {
    json!({"connectionAge": {"maxAge": text, "knob": {"env": {"maxAge": "A"}}}})
}

fn ids(observed: &Observed) -> Vec<String> {
    all(observed)
        .into_iter()
        .map(|finding| finding.id)
        .collect()
}

#[test]
fn a_healthy_backend_has_none() {
    assert!(ids(&observed(&age("5m"), &deployment(3, true))).is_empty());
}

#[test]
fn the_age() {
    assert_eq!(ids(&observed(&json!({}), &deployment(3, true))), ["GB021"]);
    for (text, found) in [
        ("29999ms", vec!["GB022"]),
        ("30s", vec![]),
        ("15m", vec![]),
        ("901s", vec!["GB029"]),
    ] {
        assert_eq!(
            ids(&observed(&age(text), &deployment(3, true))),
            found,
            "{text}"
        );
    }
}

#[test]
fn pods() {
    assert_eq!(ids(&observed(&age("5m"), &deployment(1, true))), ["GB033"]);
    assert_eq!(ids(&observed(&age("5m"), &deployment(2, false))), ["GB010"]);
}

#[test]
fn a_service_that_publishes_what_is_not_ready() {
    let mut world = observed(&age("5m"), &deployment(2, true));
    let service = json!({"metadata": {"name": "s"}, "spec": {"publishNotReadyAddresses": true}});
    world.headless = Some(serde_json::from_value(service).unwrap());
    assert_eq!(ids(&world), ["GB005"]);
}

#[test]
fn worst_first_and_without_what_is_ignored() {
    let mut world = observed(&json!({}), &deployment(1, false));
    assert_eq!(ids(&world), ["GB010", "GB021", "GB033"]);
    world.backend.spec.ignore_findings = vec![crate::api::IgnoredFinding {
        id: "GB021".into(),
        reason: "known".into(),
    }];
    assert_eq!(ids(&world), ["GB010", "GB033"]);
}

#[test]
fn ids_are_given_once() {
    let mut ids: Vec<_> = CATALOGUE.iter().map(|rule| rule.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), CATALOGUE.len());
}
