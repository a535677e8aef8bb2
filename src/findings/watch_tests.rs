use serde_json::json;

use super::services_tests::world;
use super::tests::ids;
use super::*;
use crate::api::{EndpointWatch, GrpcBackendStatus};

#[test]
fn clients_that_watch() {
    let mut world = world(&json!({}), &json!({}));
    world.backend.spec.endpoint_watch = Some(EndpointWatch::default());
    world.workloads[0].min_ready_seconds = 60;
    world.backend.metadata.namespace = Some("shop".into());
    let slices_said = |world: &Observed| ids(world).contains(&"GB050".to_owned());
    for (replicas, said) in [(80, false), (81, true)] {
        world.workloads[0].replicas = replicas;
        assert_eq!(slices_said(&world), said, "{replicas} and a quarter more");
    }
    world.workloads[0].surge = crate::observed::Amount::Pods(0);
    world.workloads[0].replicas = 100;
    assert!(!slices_said(&world));
    world.workloads[0].replicas = 101;
    assert!(slices_said(&world));
    // It neither comes nor goes while an autoscaler crosses the border.
    let findings = ask(&world).told();
    world.backend.status = Some(GrpcBackendStatus {
        observed_generation: world.backend.metadata.generation,
        findings,
        ..Default::default()
    });
    for (replicas, said) in [(100, true), (91, true), (90, false)] {
        world.workloads[0].replicas = replicas;
        assert_eq!(slices_said(&world), said, "{replicas}");
    }
    world.workloads[0].replicas = 3;
    families(&mut world, Some("RequireDualStack"));
    assert_eq!(ids(&world), ["GB050"]);
    families(&mut world, None);
    // Where slices can be seen, few pods can have more than one: a cluster may put fewer endpoints into each.
    for (slices, said) in [(None, false), (Some(1), false), (Some(2), true)] {
        world.endpoint_slices = slices;
        assert_eq!(slices_said(&world), said, "{slices:?}");
    }
    // It stays, word for word, while an autoscaler goes to and fro over what one slice takes.
    let findings = ask(&world).told();
    world.backend.status.get_or_insert_default().findings = findings.clone();
    for (replicas, slices, said) in [
        (3, Some(1), true),
        (4, Some(2), true),
        (3, None, true),
        (2, Some(1), false),
    ] {
        world.workloads[0].replicas = replicas;
        world.endpoint_slices = slices;
        let told = ask(&world).told();
        let expected: &[Finding] = if said { &findings } else { &[] };
        assert_eq!(told, expected, "{replicas} {slices:?}");
    }
    world.backend.status = None;
    world.backend.spec.endpoint_watch = None;
    assert!(ids(&world).is_empty());
}

#[test]
fn the_token_of_clients_that_watch() {
    for (mounts, found) in [
        (None, vec![]),
        (Some(true), vec![]),
        (Some(false), vec!["GB052"]),
    ] {
        let mut world = world(&json!({}), &json!({}));
        world.service_account = Some(k8s_openapi::api::core::v1::ServiceAccount {
            automount_service_account_token: mounts,
            ..Default::default()
        });
        // One that nobody asks for is not the clients'.
        world.backend.spec.endpoint_watch = Some(EndpointWatch::default());
        assert!(ids(&world).is_empty());
        let watch = serde_json::from_value(json!({"serviceAccount": {}})).unwrap();
        world.backend.spec.endpoint_watch = Some(watch);
        assert_eq!(ids(&world), found, "{mounts:?}");
    }
}

fn families(world: &mut Observed, policy: Option<&str>) {
    let service = world.cluster_ip.as_mut().unwrap();
    service.spec.as_mut().unwrap().ip_family_policy = policy.map(Into::into);
}
