use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};

use super::tests::{age, deployment, ids, observed};
use super::*;
use crate::observed::{Caller, Workload};

/// A workload whose template has these labels.
fn labelled(labels: &Value, args: &Value) -> Workload {
    let mut deployment = deployment(3, true);
    deployment["metadata"]["name"] = "front".into();
    deployment["spec"]["template"]["metadata"] = json!({"labels": labels});
    deployment["spec"]["template"]["spec"]["containers"][0]["args"] = args.clone();
    serde_json::from_value::<Deployment>(deployment)
        .unwrap()
        .into()
}

const CASES: [(&str, &str, bool); 12] = [
    ("{}", "{}", false),
    (r#"{"istio-injection": "enabled"}"#, "{}", true),
    (r#"{"istio-injection": "disabled"}"#, "{}", false),
    (
        r#"{"istio-injection": "disabled", "istio.io/rev": "canary"}"#,
        "{}",
        false,
    ),
    (r#"{"istio.io/rev": "canary"}"#, "{}", true),
    (
        r#"{"istio-injection": "enabled"}"#,
        r#"{"sidecar.istio.io/inject": "false"}"#,
        false,
    ),
    ("{}", r#"{"sidecar.istio.io/inject": "true"}"#, true),
    (r#"{"linkerd.io/inject": "enabled"}"#, "{}", true),
    (
        r#"{"linkerd.io/inject": "enabled"}"#,
        r#"{"linkerd.io/inject": "disabled"}"#,
        false,
    ),
    (
        r#"{"linkerd.io/inject": "disabled"}"#,
        r#"{"linkerd.io/inject": "enabled"}"#,
        true,
    ),
    (r#"{"istio.io/dataplane-mode": "ambient"}"#, "{}", false),
    (r#"{"team": "shop"}"#, "{}", false),
];

#[test]
fn what_a_namespace_asks_for_and_its_pods_refuse() {
    for (namespace, pods, expected) in CASES {
        let labels: Value = serde_json::from_str(namespace).unwrap();
        let metadata = serde_json::from_value(json!({"labels": labels})).unwrap();
        let own: Value = serde_json::from_str(pods).unwrap();
        let mut world = observed(&age("5m"), &deployment(3, true));
        let mut labels = own.clone();
        labels["app"] = "a".into();
        world.workloads = vec![labelled(&labels, &json!([]))];
        world.namespace_metadata = Some(metadata);
        let found = ids(&world).contains(&"GB028".to_owned());
        assert_eq!(found, expected, "{namespace} {pods}");
    }
}

#[test]
fn a_client_behind_a_proxy_dials_pods() {
    for (namespace, pods, expected) in CASES {
        let metadata: Value = serde_json::from_str(namespace).unwrap();
        let mut world = observed(&age("5m"), &deployment(3, true));
        world.observer = Observer::Manifests;
        world.callers = vec![Caller {
            namespace: Some("web".into()),
            namespace_metadata: Some(serde_json::from_value(json!({"labels": metadata})).unwrap()),
            workload: Arc::new(labelled(
                &serde_json::from_str(pods).unwrap(),
                &json!(["--target=dns:///a-headless.shop.svc:80"]),
            )),
        }];
        let found = ask(&world).found;
        let seen = found.into_iter().find(|(rule, _)| rule.id == "GB080");
        assert_eq!(seen.is_some(), expected, "{namespace} {pods}");
        if let Some((_, seen)) = seen {
            assert_eq!(seen[0].place.to_string(), "Deployment web/front");
            assert!(
                seen[0]
                    .remedy
                    .ends_with("args: [\"--target=dns:///a.shop.svc:80\"]"),
                "{}",
                seen[0].remedy
            );
        }
        // Nobody shows the operator who dials.
        world.observer = Observer::Operator;
        let answers = ask(&world);
        assert!(answers.unchecked.iter().all(|rule| rule.id != "GB080"));
        assert!(answers.found.iter().all(|(rule, _)| rule.id != "GB080"));
    }
}

#[test]
fn whom_a_workload_dials() {
    let dials = |text: &str, is_own| {
        labelled(&json!({}), &json!([text])).dials("a-headless", "shop", is_own)
    };
    for (text, own, other) in [
        ("dns:///a-headless.shop.svc:80", true, true),
        ("dns:///a-headless.shop", true, true),
        ("a-headless:80", true, false),
        ("a-headless", true, false),
        ("a-headless.shopping.svc:80", false, false),
        ("my-a-headless:80", false, false),
        ("a-headless-2:80", false, false),
        ("a:80", false, false),
    ] {
        assert_eq!(
            (dials(text, true), dials(text, false)),
            (own, other),
            "{text}"
        );
    }
}
