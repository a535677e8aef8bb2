use serde_json::{Value, json};

use super::*;
use crate::api::conditions::State;

fn observed(spec: &Value) -> Observed {
    let mut whole = json!({"selector": {"app": "rng"}, "ports": [{"port": 8081}]});
    for (key, value) in spec.as_object().unwrap() {
        whole[key] = value.clone();
    }
    let backend = json!({
        "apiVersion": "evenkeel.dev/v1alpha1",
        "kind": "GrpcBackend",
        "metadata": {"name": "rng", "namespace": "n", "uid": "backend"},
        "spec": whole,
    });
    Observed {
        backend: serde_json::from_value(backend).unwrap(),
        ..Observed::default()
    }
}

/// Somebody else's, with changes.
#[expect(clippy::unnecessary_wraps, reason = "that is how it is observed")]
fn theirs(change: impl FnOnce(&mut Value)) -> Option<Service> {
    let mut service = json!({
        "metadata": {"name": "rng", "namespace": "n", "uid": "theirs"},
        "spec": {"type": "ClusterIP", "clusterIP": "10.0.0.1", "selector": {"app": "rng"}, "ports": [{"port": 8081, "targetPort": 8081}]},
    });
    change(&mut service);
    Some(serde_json::from_value(service).unwrap())
}

/// What the API server makes of what we send.
fn stored(child: Child<Service>) -> Option<Service> {
    let Child::Create(service) = child else {
        panic!("{child:?}")
    };
    let mut service = *service;
    service.metadata.uid = Some("ours".into());
    service.spec.as_mut()?.session_affinity = Some("None".into());
    Some(service)
}

#[test]
fn both_are_created_and_then_left_alone() {
    let mut world = observed(&json!({"ports": [{"port": 80, "targetPort": 8081}]}));
    let pair = plan(&world);
    assert_eq!(pair.statement.reason, Reason::Created);
    world.cluster_ip = stored(pair.cluster_ip);
    world.headless = stored(pair.headless);
    let port =
        |service: &Option<Service>| service.clone().unwrap().spec.unwrap().ports.unwrap()[0].port;
    assert_eq!((port(&world.cluster_ip), port(&world.headless)), (80, 8081));
    world.labelled_services = [world.cluster_ip.clone(), world.headless.clone()]
        .into_iter()
        .flatten()
        .collect();
    let again = plan(&world);
    assert_eq!(
        (again.cluster_ip, again.headless),
        (Child::Leave, Child::Leave)
    );
    assert!(again.given_up.is_empty());
}

#[test]
fn what_drifts_is_put_right() {
    let mut world = observed(&json!({}));
    world.cluster_ip = stored(plan(&world).cluster_ip);
    world
        .cluster_ip
        .as_mut()
        .unwrap()
        .spec
        .as_mut()
        .unwrap()
        .selector
        .as_mut()
        .unwrap()
        .insert("more".into(), "x".into());
    let Child::Update(service) = plan(&world).cluster_ip else {
        panic!()
    };
    assert_eq!(service.metadata.uid.as_deref(), Some("ours"));
}

#[test]
fn somebody_elses_that_fits_is_used_as_it_is() {
    let mut world = observed(&json!({}));
    world.cluster_ip = theirs(|_| {});
    let pair = plan(&world);
    assert_eq!(pair.cluster_ip, Child::Leave);
    assert!(matches!(pair.headless, Child::Create(_)));
    assert_eq!(pair.statement.state, State::True);
    // A named port is resolved by each pod.
    world.cluster_ip = theirs(|service| service["spec"]["ports"][0]["targetPort"] = json!("grpc"));
    assert_eq!(plan(&world).statement.state, State::True);
}

#[test]
fn somebody_elses_that_does_not_fit_is_left_alone_and_named() {
    type Change = fn(&mut Value);
    let wrong: [(Change, Reason); 5] = [
        (
            |service| service["spec"]["selector"] = json!({"app": "other"}),
            Reason::SelectorMismatch,
        ),
        (
            |service| service["spec"]["ports"][0]["port"] = json!(9),
            Reason::PortMismatch,
        ),
        (
            |service| service["spec"]["ports"][0]["targetPort"] = json!(9),
            Reason::PortMismatch,
        ),
        (
            |service| service["spec"]["ports"][0]["protocol"] = json!("UDP"),
            Reason::PortMismatch,
        ),
        (
            |service| service["spec"]["clusterIP"] = json!("None"),
            Reason::NameConflict,
        ),
    ];
    for (change, precise) in wrong {
        for (policy, reason) in [("Manage", Reason::NameConflict), ("UseExisting", precise)] {
            let mut world = observed(&json!({"services": {"clusterIP": {"policy": policy}}}));
            world.cluster_ip = theirs(change);
            let pair = plan(&world);
            assert_eq!(pair.cluster_ip, Child::Leave);
            assert_eq!(
                pair.statement.reason, reason,
                "{policy}: {}",
                pair.statement.message
            );
            assert!(
                pair.statement.message.contains("Service rng"),
                "{}",
                pair.statement.message
            );
        }
    }
}

#[test]
fn policies() {
    let none = observed(
        &json!({"services": {"clusterIP": {"policy": "None"}, "headless": {"policy": "UseExisting"}}}),
    );
    let pair = plan(&none);
    assert_eq!(
        (pair.cluster_ip, pair.headless),
        (Child::Leave, Child::Leave)
    );
    assert_eq!(pair.statement.reason, Reason::ServiceNotFound);
}

#[test]
fn an_orphan_of_ours_is_adopted_and_one_of_another_backend_is_not() {
    let mut world = observed(&json!({}));
    let label = |name: &str| {
        let name = name.to_owned();
        theirs(move |service| {
            service["metadata"]["labels"] =
                json!({names::MANAGED_BY_LABEL: "evenkeel", names::BACKEND_LABEL: name});
        })
    };
    world.cluster_ip = label("rng");
    let Child::Update(service) = plan(&world).cluster_ip else {
        panic!()
    };
    assert_eq!(service.metadata.owner_references.unwrap()[0].uid, "backend");
    world.cluster_ip = label("another");
    assert_eq!(plan(&world).cluster_ip, Child::Leave);
}

#[test]
fn a_name_that_is_given_up_is_cleared() {
    let mut world = observed(&json!({"services": {"headless": {"name": "fresh"}}}));
    world.labelled_services = [stored(plan(&observed(&json!({}))).headless)]
        .into_iter()
        .flatten()
        .collect();
    let pair = plan(&world);
    assert_eq!(pair.given_up[0].name, "rng-headless");
}

/// Somebody copied ours for another purpose, labels and all.
#[test]
fn what_only_has_our_labels_is_never_deleted() {
    let mut world = observed(&json!({}));
    let copy = stored(plan(&world).cluster_ip).map(|mut copy| {
        copy.metadata.name = Some("copy".into());
        copy.metadata.owner_references = None;
        copy
    });
    world.labelled_services = copy.into_iter().collect();
    assert!(plan(&world).given_up.is_empty());
}

#[test]
fn what_is_said_to_exist_is_given_to_its_owner() {
    let policy = |policy| json!({"services": {"clusterIP": {"policy": policy}}});
    let mut world = observed(&policy("UseExisting"));
    let mut service = stored(plan(&observed(&policy("Manage"))).cluster_ip).unwrap();
    service.metadata.resource_version = Some("7".into());
    let spec = service.spec.as_mut().unwrap();
    spec.cluster_ip = Some("10.0.0.1".into());
    let labels = service.metadata.labels.get_or_insert_default();
    labels.insert("team".into(), "shop".into());
    world.cluster_ip = Some(service.clone());
    let pair = plan(&world);
    let message = pair.statement.message;
    assert!(
        message.contains("Service rng is used as it is"),
        "{message}"
    );
    let Child::Release(target, patch) = pair.cluster_ip else {
        panic!("{:?}", pair.cluster_ip)
    };
    assert_eq!((target.name.as_str(), target.uid.as_str()), ("rng", "ours"));
    let mut live = serde_json::to_value(&service).unwrap();
    json_patch::patch(&mut live, &patch).unwrap();
    assert_eq!(live["metadata"]["ownerReferences"], json!([]));
    assert_eq!(live["metadata"]["labels"], json!({"team": "shop"}));
    assert_eq!(live["spec"], serde_json::to_value(&service.spec).unwrap());
    world.cluster_ip = Some(serde_json::from_value(live).unwrap());
    assert_eq!(plan(&world).cluster_ip, Child::Leave);
}

#[test]
fn one_service_cannot_be_both() {
    let world = observed(&json!({"services": {"headless": {"name": "rng"}}}));
    assert_eq!(plan(&world).statement.reason, Reason::NameConflict);
}

#[test]
fn a_protocol_that_is_given_up_is_taken_out() {
    let mut world = observed(&json!({}));
    world.cluster_ip = stored(plan(&world).cluster_ip);
    world.backend.spec.ports[0].app_protocol = Some("None".into());
    let Child::Update(service) = plan(&world).cluster_ip else {
        panic!("the old protocol stays")
    };
    assert_eq!(service.spec.unwrap().ports.unwrap()[0].app_protocol, None);
}
