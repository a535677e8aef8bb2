use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::json;

use super::tests::{age, deployment, observed};
use super::*;
use crate::observed::Workload;

fn workload(name: &str, labels: &serde_json::Value) -> Arc<Workload> {
    let mut deployment = deployment(3, true);
    deployment["metadata"]["name"] = name.into();
    deployment["spec"]["template"]["metadata"]["labels"] = labels.clone();
    let deployment: Deployment = serde_json::from_value(deployment).unwrap();
    Arc::new(deployment.into())
}

/// The nearest is named: that of its name, else that with the same keys.
#[test]
fn a_selector_that_nothing_carries() {
    let mut world = observed(&age("5m"), &deployment(3, true));
    world.workloads.clear();
    let said = |world: &Observed| {
        let found = ask(world).found;
        let (_, seen) = found.into_iter().find(|(rule, _)| rule.id == "GB006")?;
        Some(seen[0].message.clone())
    };
    assert_eq!(said(&world), None, "nothing is known of the namespace");
    let other = workload("x", &json!({"team": "b"}));
    let near = workload("y", &json!({"app": "b"}));
    let named = workload("a", &json!({"app.kubernetes.io/name": "a"}));
    for (unselected, expected) in [
        (vec![other.clone()], "Deployment x have {team: b}"),
        (
            vec![other.clone(), near.clone()],
            "Deployment y have {app: b}",
        ),
        (
            vec![other, near, named],
            "Deployment a have {app.kubernetes.io/name: a}",
        ),
    ] {
        world.unselected = unselected;
        let said = said(&world).unwrap();
        assert!(said.contains(expected), "{said}");
    }
}
