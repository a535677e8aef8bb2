use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};

use super::tests::{age, deployment, observed};
use super::*;

/// Two workloads without a probe behind one backend.
fn world(workloads: usize) -> Observed {
    let mut world = observed(&age("5m"), &deployment(3, false));
    let another = |number: usize| {
        let mut another = deployment(3, false);
        another["metadata"]["name"] = json!(format!("b{number:02}"));
        let read: Deployment = serde_json::from_value(another).unwrap();
        read.into()
    };
    world.workloads.extend((1..workloads).map(another));
    world
}

fn places(observed: &Observed, id: &str) -> Vec<String> {
    let found = ask(observed).found;
    let of = found.into_iter().filter(|(rule, _)| rule.id == id);
    of.flat_map(|(_, seen)| seen)
        .map(|seen| seen.place.to_string())
        .collect()
}

/// In files each place is wanted; a status has one line for each rule.
#[test]
fn every_place_is_told() {
    let one = world(1);
    assert_eq!(places(&one, "GB010"), ["Deployment a"]);
    assert!(!ask(&one).told()[0].message.contains("more"));
    let two = world(2);
    assert_eq!(places(&two, "GB010"), ["Deployment a", "Deployment b01"]);
    let told = ask(&two).told();
    assert_eq!(told.len(), 1);
    let message = &told[0].message;
    assert!(message.contains("of Deployment a has no"), "{message}");
    let more = "The same holds in 1 more, the next of which is Deployment b01";
    assert!(message.ends_with(more), "{message}");
    assert_eq!(places(&world(30), "GB010").len(), 20);
    // What is ignored is ignored everywhere, and is one.
    let mut ignored = two;
    ignored.backend.spec.ignore_findings = vec![crate::api::IgnoredFinding {
        id: "GB010".into(),
        reason: "known".into(),
    }];
    assert_eq!(ask(&ignored).ignored, 1);
    assert!(ask(&ignored).found.is_empty());
}

/// Each port and each field that is wrong.
#[test]
fn every_place_of_a_service_is_told() {
    let mut world = observed(&age("5m"), &deployment(3, true));
    let service = |name: &str, spec: Value| {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
    };
    let selector = json!({"app": "a"});
    world.cluster_ip = Some(service(
        "a",
        json!({"selector": selector, "sessionAffinity": "ClientIP", "internalTrafficPolicy": "Local", "ports": [{"port": 80}]}),
    ));
    world.headless = Some(service(
        "a-headless",
        json!({"selector": selector, "clusterIP": "None", "ports": [{"name": "grpc", "port": 81, "targetPort": 80}, {"name": "x", "port": 82, "targetPort": 80}]}),
    ));
    let remedies = |id: &str| -> Vec<String> {
        let found = ask(&world).found;
        let of = found.into_iter().filter(|(rule, _)| rule.id == id);
        of.flat_map(|(_, seen)| seen)
            .map(|seen| seen.remedy)
            .collect()
    };
    let head = |name: &str| format!("kind: Service\nmetadata: {{name: {name}}}\nspec:\n");
    let (pair, twin) = (head("a"), head("a-headless"));
    assert_eq!(
        remedies("GB007"),
        [
            format!("{pair}  sessionAffinity: None"),
            format!("{pair}  internalTrafficPolicy: Cluster")
        ]
    );
    // Two of the same number would be refused.
    let one = format!(
        "{twin}  ports: [{{name: grpc, port: 80}}]   # all of them: kubectl patch --type merge"
    );
    assert_eq!(remedies("GB003"), [one.clone(), one]);
    assert_eq!(
        remedies("GB082"),
        [
            format!("{pair}  ports: [{{name: grpc, port: 80, appProtocol: kubernetes.io/h2c}}]"),
            format!(
                "{twin}  ports: [{{name: grpc, port: 81, targetPort: 80}}, {{name: x, port: 82, targetPort: 80, appProtocol: kubernetes.io/h2c}}]"
            )
        ]
    );
}

#[test]
fn the_worst_twenty_are_told() {
    let world = observed(&json!({}), &deployment(3, true));
    let seen = || vec![Seen::in_backend(&world, "spec", "seen".into())];
    let mut found: Vec<_> = CATALOGUE.iter().map(|rule| (rule, seen())).collect();
    found.sort_by_key(|(rule, _)| (rule.severity, rule.id));
    let answers = Answers {
        found,
        ignored: 0,
        unchecked: CATALOGUE.iter().collect(),
    };
    let told = answers.told();
    assert_eq!((told.len(), answers.unchecked_ids().len()), (20, 20));
    let of = |severity: &str| told.iter().filter(|own| own.severity == severity).count();
    let errors = CATALOGUE
        .iter()
        .filter(|rule| rule.severity == Severity::Error);
    assert_eq!(of("Error"), errors.count());
    assert!(told.is_sorted_by_key(|own| {
        ["Error", "Warning", "Info"]
            .iter()
            .position(|word| *word == own.severity)
    }));
}
