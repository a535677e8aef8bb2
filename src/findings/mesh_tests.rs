use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::tests::{age, deployment, ids, observed, pod};
use super::*;
use crate::names;
use crate::observed::{Caller, Optional, Workload};

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

const CASES: [(&str, &str, bool); 15] = [
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
    ("{}", r#"{"istio.io/rev": "canary"}"#, true),
    (
        r#"{"istio-injection": "disabled"}"#,
        r#"{"istio.io/rev": "canary"}"#,
        false,
    ),
    (
        "{}",
        r#"{"istio.io/rev": "canary", "sidecar.istio.io/inject": "false"}"#,
        false,
    ),
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
        let metadata: ObjectMeta = serde_json::from_value(json!({"labels": labels})).unwrap();
        let own: Value = serde_json::from_str(pods).unwrap();
        let mut world = observed(&age("5m"), &deployment(3, true));
        let mut labels = own.clone();
        labels["app"] = "a".into();
        world.workloads = vec![labelled(&labels, &json!([]))];
        world.namespace_metadata = Optional::Known(Arc::new(metadata));
        let found = ids(&world).contains(&"GB028".to_owned());
        assert_eq!(found, expected, "{namespace} {pods}");
    }
}

#[test]
fn a_client_behind_a_proxy_dials_pods() {
    for (namespace, pods, expected) in CASES {
        let labels: Value = serde_json::from_str(namespace).unwrap();
        let metadata: ObjectMeta = serde_json::from_value(json!({"labels": labels})).unwrap();
        let mut world = observed(&age("5m"), &deployment(3, true));
        world.observer = Observer::Manifests;
        world.backend.metadata.namespace = Some("shop".into());
        world.callers = vec![Caller {
            namespace: Some("web".into()),
            namespace_metadata: Some(Arc::new(metadata)),
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

/// What is to be written where a workload of these containers dials the pair of ports 80 for 9000 and 81 for 9001.
fn written(containers: &Value, namespace: Option<&str>) -> String {
    let ports = json!([{"name": "a", "port": 80, "targetPort": 9000}, {"name": "b", "port": 81, "targetPort": 9001}]);
    let mut world = observed(&json!({"ports": ports}), &deployment(3, true));
    world.backend.metadata.namespace = Some("shop".into());
    world.observer = Observer::Manifests;
    let mut caller = labelled(&json!({"linkerd.io/inject": "enabled"}), &json!([]));
    let pods = caller.template.spec.as_mut().unwrap();
    pods.containers = serde_json::from_value(containers.clone()).unwrap();
    world.callers = vec![Caller {
        namespace: namespace.map(str::to_owned),
        namespace_metadata: None,
        workload: Arc::new(caller),
    }];
    let found = ask(&world).found;
    let seen = found.into_iter().find(|(rule, _)| rule.id == "GB080");
    seen.unwrap().1[0].remedy.clone()
}

#[test]
fn only_the_host_that_is_meant_is_another() {
    for (text, namespace, expected) in [
        ("--b=a-headless:9000", None, "--b=a:80"),
        (
            "--b=a-headless.shop.svc.cluster.local:9001",
            None,
            "--b=a.shop.svc.cluster.local:81",
        ),
        ("dns:///a-headless:7000/x", None, "dns:///a:7000/x"),
        ("a-headless:90001", None, "a:90001"),
        (
            "dnssrv+_grpc._tcp.a-headless.shop.svc",
            None,
            "dnssrv+_grpc._tcp.a.shop.svc",
        ),
        (
            "a-headless:9000,a-headless-other:9000,my-a-headless:9000,other:9000",
            None,
            "a:80,a-headless-other:9000,my-a-headless:9000,other:9000",
        ),
        (
            "a-headless.shop:9000,a-headless.bar:9000",
            None,
            "a.shop:80,a-headless.bar:9000",
        ),
        // In another namespace the bare name is another Service.
        (
            "a-headless.shop:9000,a-headless:9000",
            Some("web"),
            "a.shop:80,a-headless:9000",
        ),
    ] {
        let other = "--metrics=:9000";
        let containers = json!([
            {"name": "log", "args": ["--to=a-headless.bar:9000"]},
            {"name": "front", "args": [other, text]},
        ]);
        let remedy = written(&containers, namespace);
        let words = snippet::list(&[other.to_owned(), expected.to_owned()]);
        let lines = format!("      containers:\n        - name: front\n          args: {words}");
        assert!(remedy.ends_with(&lines), "{text}: {remedy}");
    }
}

#[test]
fn all_that_dials_is_shown() {
    let containers = json!([
        {"name": "one", "env": [{"name": "A", "value": "a-headless"}, {"name": "B", "value": "b"}, {"name": "C", "value": "a-headless:9001"}]},
        {"name": "two", "command": ["x", "a-headless:9000"], "args": ["a-headless"]},
    ]);
    let remedy = written(&containers, None);
    let lines = "      containers:
        - name: one
          env: [{name: A, value: a}, {name: C, value: \"a:81\"}]
        - name: two
          args: [a]
          command: [x, \"a:80\"]";
    assert!(remedy.ends_with(lines), "{remedy}");
    let of_one_pod = json!([{"name": "one", "args": ["a-0.a-headless:9000"]}]);
    let remedy = written(&of_one_pod, None);
    assert!(
        remedy.starts_with("# in Deployment front: dial a,"),
        "{remedy}"
    );
}

/// The mesh, what Service, pods and namespace are annotated with, and the port; whether it is taken for bytes.
#[test]
fn a_port_that_a_mesh_does_not_look_into() {
    const OPAQUE: &str = "config.linkerd.io/opaque-ports";
    let (linkerd, istio) = ("linkerd.io/inject", "sidecar.istio.io/inject");
    let port = |name: &str, protocol: &str| {
        let mut port = json!({"name": name, "port": 443, "targetPort": 80});
        if !protocol.is_empty() {
            port["appProtocol"] = protocol.into();
        }
        port
    };
    let grpc = || port("grpc", "");
    for (mesh, [service, pods, namespace], port, expected) in [
        (linkerd, ["", "", ""], grpc(), false),
        (linkerd, ["443", "", ""], grpc(), true),
        (linkerd, ["80", "", ""], grpc(), false),
        (linkerd, ["400-500", "", ""], grpc(), true),
        (linkerd, ["", "9000, 80", ""], grpc(), true),
        (linkerd, ["", "443", ""], grpc(), false),
        (linkerd, ["", "", "443"], grpc(), true),
        (linkerd, ["9000", "9000", "443"], grpc(), false),
        (linkerd, ["", "", ""], port("tcp-grpc", "tcp"), false),
        (istio, ["443", "80", "80"], grpc(), false),
        (istio, ["", "", ""], port("tcp-grpc", ""), true),
        (istio, ["", "", ""], port("tcp", ""), true),
        (istio, ["", "", ""], port("tcpx", ""), false),
        (istio, ["", "", ""], port("tcp-grpc", "grpc"), false),
        (istio, ["", "", ""], port("grpc", "tcp"), true),
        ("none", ["443", "80", "443"], port("tcp-grpc", "tcp"), false),
    ] {
        let annotated = |list: &str| match list {
            "" => json!({}),
            list => json!({OPAQUE: list}),
        };
        let changes = json!({"ports": [port]});
        let mut world = super::services_tests::world(&changes, &json!({}));
        world.cluster_ip.as_mut().unwrap().metadata.annotations =
            serde_json::from_value(annotated(service)).unwrap();
        let mut own = annotated(pods);
        own[mesh] = if mesh == istio { "true" } else { "enabled" }.into();
        let metadata = json!({"labels": {"app": "a"}, "annotations": own});
        world.workloads[0].template.metadata = serde_json::from_value(metadata).unwrap();
        let metadata: ObjectMeta =
            serde_json::from_value(json!({"annotations": annotated(namespace)})).unwrap();
        world.namespace_metadata = Optional::Known(Arc::new(metadata));
        let found = ids(&world);
        let says = |id: &str| found.contains(&id.to_owned());
        assert_eq!(
            says("GB083"),
            expected,
            "{mesh} {service} {pods} {namespace} {port}"
        );
        // The age is needed where the mesh carries bytes.
        let is_balanced = !expected && mesh != "none";
        assert_eq!(says("GB028"), is_balanced, "{mesh} {port}");
        // Nobody is told of a port twice, and what a mesh does not balance wants the twin.
        assert!(!expected || !says("GB082"), "{found:?}");
        (world.guessed, world.headless) = (true, None);
        let wants = ids(&world).contains(&"GB001".to_owned());
        assert_eq!(wants, expected || mesh == "none", "{mesh} {port}");
    }
}

/// What the operator keeps by the GrpcBackend is changed there: in the Service it would be set back.
#[test]
fn a_port_of_a_service_that_the_operator_keeps() {
    for (is_kept, expected) in [
        (
            false,
            "kind: Service\nmetadata: {name: a}\nspec:\n  ports: [{name: tcp-rpc, port: 443, targetPort: 80, appProtocol: grpc}]",
        ),
        (
            true,
            "kind: GrpcBackend\nmetadata: {name: a}\nspec:\n  ports: [{name: tcp-rpc, port: 443, targetPort: 80, appProtocol: grpc}, {port: 9000}]",
        ),
    ] {
        let port = json!({"name": "tcp-rpc", "port": 443, "targetPort": 80});
        let mut world = super::services_tests::world(&json!({"ports": [port]}), &json!({}));
        let mut own = port.clone();
        own["appProtocol"] = "None".into();
        let ports = json!([own, {"port": 9000}]);
        world.backend.spec.ports = serde_json::from_value(ports).unwrap();
        let metadata =
            json!({"labels": {"app": "a"}, "annotations": {"sidecar.istio.io/inject": "true"}});
        world.workloads[0].template.metadata = serde_json::from_value(metadata).unwrap();
        if is_kept {
            let labels = [
                (names::MANAGED_BY_LABEL, names::MANAGED_BY),
                (names::BACKEND_LABEL, "a"),
            ];
            let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
            world.cluster_ip.as_mut().unwrap().metadata.labels = Some(labels.into());
        }
        let found = ask(&world).found;
        let (_, seen) = found.iter().find(|(rule, _)| rule.id == "GB083").unwrap();
        assert!(seen[0].remedy.ends_with(expected), "{}", seen[0].remedy);
    }
}

/// Between the pods of a rollout, or scaled to zero, nobody sees a proxy, or that there is none: nothing comes or goes by that.
#[test]
fn nothing_comes_or_goes_with_the_pods() {
    let one_way = json!({"services": {"headless": {"policy": "None"}}});
    let ignoring =
        json!({"ignoreFindings": [{"id": "GB021", "reason": "the program sets an age"}]});
    let (grpc, bytes) = ("grpc", "tcp-grpc");
    for (spec, port, is_meshed, found, ignored) in [
        (age("5m"), grpc, true, vec!["GB028"], 0),
        (age("5m"), grpc, false, vec![], 0),
        (age("5m"), bytes, true, vec!["GB083"], 0),
        (json!({}), grpc, true, vec![], 0),
        (json!({}), grpc, false, vec!["GB021", "GB071"], 0),
        (one_way.clone(), grpc, true, vec![], 0),
        (one_way, grpc, false, vec!["GB001", "GB021", "GB071"], 0),
        // Who says that the program has an age knows that clients look.
        (ignoring, grpc, false, vec![], 1),
    ] {
        let mut world = observed(&spec, &deployment(3, true));
        let ports = json!({"ports": [{"name": port, "port": 80}]});
        world.cluster_ip = super::services_tests::world(&ports, &json!({})).cluster_ip;
        world.autoscalers = Optional::Known(vec![super::services_tests::scaler(3, 9)]);
        let mut running = pod("a-h-0");
        let proxy = if is_meshed { "istio-proxy" } else { "log" };
        let containers = json!({"containers": [{"name": "server"}, {"name": proxy}]});
        running.spec = serde_json::from_value(containers).unwrap();
        let mut told = Vec::new();
        let busy = (vec![running.clone()], Optional::Missed);
        let seen = (vec![running.clone()], Optional::Unknown);
        let none = (vec![], Optional::Unknown);
        for looked in [seen.clone(), none.clone(), none, seen.clone(), busy, seen] {
            (world.pods, world.namespace_metadata) = looked;
            let answers = ask(&world);
            let mut now = answers.told();
            now.retain(|own| own.id != "GB082");
            let ids: Vec<&str> = now.iter().map(|own| own.id.as_str()).collect();
            let case = format!("{spec} {port} {is_meshed} {} pods", world.pods.len());
            assert_eq!((ids, answers.ignored), (found.clone(), ignored), "{case}");
            if !told.is_empty() {
                assert_eq!(now, told, "{case}");
            }
            told.clone_from(&now);
            world.backend.status.get_or_insert_default().findings = now;
        }
    }
}
