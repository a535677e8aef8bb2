use crate::observed::Workload;
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use super::tests::{age, all, deployment, ids, observed, pod};
use super::*;
use crate::observed::Optional;

/// A healthy backend with its two Services, and changes to them.
pub(super) fn world(cluster_ip: &Value, headless: &Value) -> Observed {
    let mut world = observed(&age("5m"), &deployment(3, true));
    let service = |name: &str, changes: &Value| {
        let ports = json!([{"name": "grpc", "port": 80}]);
        let mut spec = json!({"selector": {"app": "a"}, "ports": ports});
        for (key, value) in changes.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let service = json!({"metadata": {"name": name}, "spec": spec});
        Some(serde_json::from_value(service).unwrap())
    };
    world.cluster_ip = service("a", cluster_ip);
    world.headless = service("a-headless", headless);
    if let Some(spec) = world
        .headless
        .as_mut()
        .and_then(|service| service.spec.as_mut())
    {
        spec.cluster_ip = Some("None".into());
    }
    world
}

#[test]
fn a_healthy_pair_has_none() {
    assert!(ids(&world(&json!({}), &json!({}))).is_empty());
}

#[test]
fn a_guess_with_one_service_wants_the_twin() {
    let mut world = world(&json!({}), &json!({}));
    world.guessed = true;
    world.backend.spec.connection_age = None;
    assert_eq!(ids(&world), ["GB021"]);
    world.headless = None;
    assert_eq!(ids(&world), ["GB001", "GB021"]);
    world.guessed = false;
    assert_eq!(ids(&world), ["GB021"], "the operator makes the twin");
    world.guessed = true;
    let meshed = json!({"labels": {"app": "a"}, "annotations": {"linkerd.io/inject": "enabled"}});
    world.workloads[0].template.metadata = Some(serde_json::from_value(meshed).unwrap());
    assert!(ids(&world).is_empty(), "a mesh balances");
    world.workloads[0].template.metadata =
        Some(serde_json::from_value(json!({"labels": {"app": "a"}})).unwrap());
    let mut meshed = pod("a-h-0");
    let containers = json!({"containers": [{"name": "server"}, {"name": "istio-proxy"}]});
    meshed.spec = serde_json::from_value(containers).unwrap();
    world.pods = vec![meshed];
    assert!(ids(&world).is_empty(), "the namespace asks for it");
    world.pods.clear();
    world.workloads[0].kind = crate::observed::Kind::StatefulSet;
    world.workloads[0]
        .template
        .metadata
        .as_mut()
        .unwrap()
        .annotations = None;
    assert!(ids(&world).is_empty(), "peers are dialled by name");
    world.workloads[0].kind = crate::observed::Kind::Deployment;
    world.workloads[0].replicas = 1;
    assert_eq!(ids(&world), ["GB033"], "one pod leaves nothing to balance");
    world.autoscalers = Optional::Known(vec![scaler(1, 2)]);
    assert_eq!(ids(&world), ["GB001", "GB021", "GB071"]);
}

#[test]
fn a_guess_is_told_of_an_age_by_whatever_speaks_of_one() {
    let mut world = world(&json!({}), &json!({}));
    world.guessed = true;
    world.backend.spec.connection_age = None;
    for (key, value, found) in [
        (
            "env",
            json!([{"name": "GRPC_MAX_CONNECTION_AGE", "value": "5m"}]),
            vec![],
        ),
        (
            "args",
            json!(["--grpc-server-max-connection-age=5m"]),
            vec![],
        ),
        ("args", json!(["--max-connections=5"]), vec!["GB021"]),
    ] {
        let mut deployment = deployment(3, true);
        deployment["spec"]["template"]["spec"]["containers"][0][key] = value.clone();
        let read: k8s_openapi::api::apps::v1::Deployment =
            serde_json::from_value(deployment).unwrap();
        world.workloads = vec![read.into()];
        assert_eq!(ids(&world), found, "{value}");
    }
}

#[test]
fn the_port_of_a_headless_service() {
    for (port, found) in [
        (json!({"name": "grpc", "port": 80}), vec![]),
        (
            json!({"name": "grpc", "port": 80, "targetPort": 80}),
            vec![],
        ),
        (
            json!({"name": "grpc", "port": 81, "targetPort": 80}),
            vec!["GB003"],
        ),
        (
            json!({"name": "grpc", "port": 81, "targetPort": "main"}),
            vec!["GB003"],
        ),
        (
            json!({"name": "grpc", "port": 80, "targetPort": "main"}),
            vec![],
        ),
        (
            json!({"name": "grpc", "port": 81, "targetPort": "unknown"}),
            vec![],
        ),
    ] {
        let mut world = world(&json!({}), &json!({"ports": [port]}));
        let mut deployment = deployment(3, true);
        deployment["spec"]["template"]["spec"]["containers"][0]["ports"][0]["name"] = "main".into();
        let read: k8s_openapi::api::apps::v1::Deployment =
            serde_json::from_value(deployment).unwrap();
        world.workloads = vec![read.into()];
        assert_eq!(ids(&world), found, "{port}");
    }
    assert_eq!(ids(&world(&json!({}), &json!({"ports": []}))), ["GB004"]);
    let translated = json!({"ports": [{"name": "grpc", "port": 81, "targetPort": 80}]});
    assert!(
        ids(&world(&translated, &json!({}))).is_empty(),
        "a virtual address translates"
    );
}

/// A name may stand for another number in each workload, and clients of a headless Service dial one.
#[test]
fn a_port_by_a_name_of_two_numbers() {
    for (other, is_guessed, found) in [
        (80, true, vec![]),
        (81, true, vec!["GB003"]),
        // The number of a written backend is compared with each workload's.
        (81, false, vec!["GB009"]),
    ] {
        let ports = json!({"ports": [{"name": "grpc", "port": 80, "targetPort": "grpc"}]});
        let mut world = world(&json!({}), &ports);
        let workload = |number: i32| -> Workload {
            let mut own = deployment(3, true);
            let port = json!([{"name": "grpc", "containerPort": number}]);
            let container = &mut own["spec"]["template"]["spec"]["containers"][0];
            container["readinessProbe"] = json!({"tcpSocket": {"port": number}});
            container["ports"] = port;
            let own: k8s_openapi::api::apps::v1::Deployment = serde_json::from_value(own).unwrap();
            own.into()
        };
        world.workloads = vec![workload(80), workload(other)];
        world.guessed = is_guessed;
        if is_guessed {
            world.backend.spec.connection_age = None;
        }
        let mut told = ids(&world);
        told.retain(|id| ["GB003", "GB009"].contains(&id.as_str()));
        assert_eq!(told, found, "{other} {is_guessed}");
    }
}

/// A patch of a list replaces all of it.
#[test]
fn what_is_shown_has_all_ports_of_a_service() {
    let ports = json!([
        {"name": "metrics", "port": 9090, "targetPort": "metrics", "protocol": "TCP"},
        {"name": "main", "port": 81, "targetPort": 80, "nodePort": 30081},
        {"name": "dns", "port": 53, "protocol": "UDP"},
    ]);
    let shown = |world: &Observed, id: &str| {
        let found = ask(world).found;
        let (_, seen) = found.into_iter().find(|(rule, _)| rule.id == id).unwrap();
        seen[0].remedy.lines().last().unwrap().to_owned()
    };
    let world = world(&json!({"ports": ports}), &json!({"ports": ports}));
    assert_eq!(
        shown(&world, "GB003"),
        "  ports: [{name: metrics, port: 9090, targetPort: metrics}, {name: main, port: 80, nodePort: 30081}, {name: dns, port: 53, protocol: UDP}]   # all of them: kubectl patch --type merge"
    );
    assert_eq!(
        shown(&world, "GB082"),
        "  ports: [{name: metrics, port: 9090, targetPort: metrics}, {name: main, port: 81, targetPort: 80, appProtocol: kubernetes.io/h2c, nodePort: 30081}, {name: dns, port: 53, protocol: UDP}]"
    );
}

#[test]
fn the_two_select_the_same() {
    for (selector, found) in [
        (json!({"app": "a"}), vec![]),
        (json!({"app": "a", "version": "2"}), vec!["GB006"]),
        (json!({}), vec!["GB006"]),
        (json!(null), vec!["GB006"]),
    ] {
        let changes = json!({"selector": selector});
        assert_eq!(ids(&world(&json!({}), &changes)), found, "{selector}");
        assert_eq!(ids(&world(&changes, &json!({}))), found, "{selector}");
    }
}

#[test]
fn what_ties_clients() {
    for (changes, found) in [
        (json!({"sessionAffinity": "None"}), vec![]),
        (json!({"sessionAffinity": "ClientIP"}), vec!["GB007"]),
        (json!({"internalTrafficPolicy": "Cluster"}), vec![]),
        (json!({"internalTrafficPolicy": "Local"}), vec!["GB007"]),
        (json!({"trafficDistribution": "PreferClose"}), vec!["GB007"]),
    ] {
        assert_eq!(ids(&world(&changes, &json!({}))), found, "{changes}");
    }
    assert!(ids(&world(&json!({}), &json!({"sessionAffinity": "ClientIP"}))).is_empty());
}

#[test]
fn a_port_says_that_it_is_grpc() {
    for (port, found) in [
        (json!({"port": 80}), vec!["GB082"]),
        (json!({"port": 80, "name": "main"}), vec!["GB082"]),
        (json!({"port": 80, "name": "grpc-web"}), vec!["GB082"]),
        (json!({"port": 80, "name": "tls-grpc"}), vec![]),
        (json!({"port": 80, "name": "http"}), vec!["GB082"]),
        (
            json!({"port": 80, "name": "main", "appProtocol": "http"}),
            vec!["GB082"],
        ),
        (
            json!({"port": 80, "name": "main", "appProtocol": "https"}),
            vec![],
        ),
        (
            json!({"port": 80, "name": "main", "appProtocol": "kubernetes.io/h2c"}),
            vec![],
        ),
        (json!({"port": 9090, "name": "metrics"}), vec![]),
    ] {
        let changes = json!({"ports": [port]});
        assert_eq!(ids(&world(&changes, &json!({}))), found, "{port}");
    }
    let told = |name: &str| {
        let ports = json!({"ports": [{"port": 80, "name": name}]});
        all(&world(&ports, &json!({}))).remove(0).message
    };
    assert!(told("main").contains("does not say that it is gRPC"));
    assert!(told("http2").contains("says HTTP/2 and not gRPC"));
    assert!(told("http").contains("says HTTP/1.1 and not gRPC"));
    // Who has the GrpcBackend leave it out means that: the port may be of TLS, and the operator would set it back.
    let ports = json!({"ports": [{"port": 80, "name": "main"}]});
    let mut left_out = world(&ports, &ports);
    left_out.backend.spec.ports[0].app_protocol = Some("None".into());
    assert!(ids(&left_out).is_empty());
}

/// One of several that is meshed leaves the others as they are.
#[test]
fn a_mesh_before_some_of_the_servers() {
    let mut aged = world(&json!({}), &json!({}));
    let other = aged.workloads[0].clone();
    let meshed = json!({"labels": {"app": "a"}, "annotations": {"linkerd.io/inject": "enabled"}});
    aged.workloads[0].template.metadata = Some(serde_json::from_value(meshed).unwrap());
    let mut world = aged.clone();
    world.backend.spec.connection_age = None;
    assert!(ids(&world).is_empty());
    assert_eq!(ids(&aged), ["GB028"]);
    world.workloads.push(other.clone());
    aged.workloads.push(other);
    assert_eq!(ids(&world), ["GB021"]);
    assert!(ids(&aged).is_empty(), "the age is for the other");
    (world.guessed, world.headless) = (true, None);
    assert_eq!(ids(&world), ["GB001", "GB021"]);
}

/// A Service of somebody else's that has a name of the pair's is refused, unless a rule says better what is wrong with it.
#[test]
fn a_name_that_is_taken() {
    let one_address = |service: &mut Option<Service>| {
        let spec = service.as_mut().unwrap().spec.as_mut().unwrap();
        spec.cluster_ip = Some("10.0.0.1".into());
    };
    let healthy = world(&json!({}), &json!({}));
    for (is_taken, observer, found) in [
        (false, Observer::Manifests, vec![]),
        (true, Observer::Manifests, vec!["GB008"]),
        (true, Observer::Visitor, vec!["GB008"]),
        // The condition ServicesReady says it.
        (true, Observer::Operator, vec![]),
    ] {
        let mut world = healthy.clone();
        world.observer = observer;
        if is_taken {
            one_address(&mut world.headless);
        }
        let mut told = ids(&world);
        told.retain(|id| id == "GB008");
        assert_eq!(told, found, "{is_taken} {observer:?}");
    }
    let mut guessed = healthy.clone();
    guessed.observer = Observer::Manifests;
    one_address(&mut guessed.headless);
    let found = ask(&guessed).found;
    let (_, seen) = found.iter().find(|(rule, _)| rule.id == "GB008").unwrap();
    let remedy = &seen[0].remedy;
    assert!(
        remedy.contains("services: {headless: {name: a-grpc-headless}}"),
        "{remedy}"
    );
    guessed.guessed = true;
    assert!(!ids(&guessed).contains(&"GB008".to_owned()));
    // The selector is what is wrong with it, and is told of by itself.
    let mut otherwise = world(&json!({}), &json!({"selector": {"app": "b"}}));
    otherwise.observer = Observer::Manifests;
    one_address(&mut otherwise.headless);
    let told = ids(&otherwise);
    assert!(
        told.contains(&"GB006".to_owned()) && !told.contains(&"GB008".to_owned()),
        "{told:?}"
    );
}

#[test]
fn two_families() {
    for (changes, found) in [
        (json!({"ipFamilyPolicy": "SingleStack"}), vec![]),
        (json!({"ipFamilyPolicy": "PreferDualStack"}), vec!["GB046"]),
        (
            json!({"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv4"]}),
            vec![],
        ),
        (json!({"ipFamilies": ["IPv4", "IPv6"]}), vec!["GB046"]),
    ] {
        assert_eq!(ids(&world(&json!({}), &changes)), found, "{changes}");
        assert!(ids(&world(&changes, &json!({}))).is_empty(), "{changes}");
    }
}

/// The borders are those of the arithmetic: (512 - 12 - (length + 2) - 4) / 16, and so on.
#[test]
fn how_many_pods_an_answer_holds() {
    // a-headless.shop.svc.cluster.local: 33 letters.
    let (four, six) = (json!({}), json!({"ipFamilies": ["IPv6"]}));
    for (pods, of, found) in [
        (28, &four, vec![]),
        (29, &four, vec!["GB040"]),
        (73, &four, vec!["GB040"]),
        (74, &four, vec!["GB040", "GB041"]),
        (4_092, &four, vec!["GB040", "GB041"]),
        (4_093, &four, vec!["GB042", "GB040", "GB041"]),
        (16, &six, vec![]),
        (17, &six, vec!["GB040"]),
        (41, &six, vec!["GB040"]),
        (42, &six, vec!["GB040", "GB041"]),
        (2_338, &six, vec!["GB040", "GB041"]),
        (2_339, &six, vec!["GB042", "GB040", "GB041"]),
    ] {
        let mut world = world(of, &json!({}));
        world.backend.metadata.namespace = Some("shop".into());
        world.workloads[0].replicas = pods;
        assert_eq!(ids(&world), found, "{pods} {of}");
        world.workloads[0].replicas = 3;
        world.autoscalers = Optional::Known(vec![scaler(3, pods)]);
        assert_eq!(ids(&world), found, "{pods} {of} by an autoscaler");
    }
    // What the headless Service itself has counts before its twin.
    for (headless, found) in [
        (four, vec!["GB040"]),
        (json!({"ipFamilies": ["IPv4"]}), vec![]),
    ] {
        let mut world = world(&six, &headless);
        world.backend.metadata.namespace = Some("shop".into());
        world.workloads[0].replicas = 17;
        assert_eq!(ids(&world), found, "{headless}");
    }
}

/// An autoscaler goes to and fro over the border: what is said stays, word for word, until there are a tenth fewer.
#[test]
fn too_many_pods_are_so_until_they_are_clearly_fewer() {
    let mut world = world(&json!({}), &json!({}));
    world.backend.metadata.namespace = Some("shop".into());
    world.backend.metadata.generation = Some(2);
    let mut said = Vec::new();
    for (pods, found) in [
        (28, vec![]),
        (29, vec!["GB040"]),
        (28, vec!["GB040"]),
        (26, vec!["GB040"]),
        (25, vec![]),
        (28, vec![]),
    ] {
        world.workloads[0].replicas = pods;
        let findings = ask(&world).told();
        assert_eq!(ids(&world), found, "{pods}");
        if pods < 29 && !findings.is_empty() {
            assert_eq!(findings, said, "{pods}");
        }
        said.clone_from(&findings);
        world.backend.status = Some(crate::api::GrpcBackendStatus {
            observed_generation: Some(2),
            findings,
            ..Default::default()
        });
    }
}

/// What an autoscaler may raise is not one pod for good; and it does not come and go with the load.
#[test]
fn one_pod_of_an_autoscaler_is_not_all() {
    let mut world = world(&json!({}), &json!({}));
    world.workloads[0].replicas = 1;
    assert_eq!(ids(&world), ["GB033"]);
    for (max, found) in [(1, vec!["GB033"]), (2, vec![])] {
        world.autoscalers = Optional::Known(vec![scaler(1, max)]);
        assert_eq!(ids(&world), found, "{max}");
    }
}

pub(super) fn scaler(min: i32, max: i32) -> crate::observed::Autoscaler {
    crate::observed::Autoscaler {
        kind: "HorizontalPodAutoscaler",
        name: "a".into(),
        target_kind: "Deployment".into(),
        target_name: "a".into(),
        min,
        max,
    }
}

#[test]
fn an_autoscaler_without_an_age() {
    let mut world = world(&json!({}), &json!({}));
    world.backend.spec.connection_age = None;
    for (scalers, found) in [
        (None, vec!["GB021"]),
        (Some(vec![]), vec!["GB021"]),
        (Some(vec![scaler(3, 3)]), vec!["GB021"]),
        (Some(vec![scaler(3, 4)]), vec!["GB021", "GB071"]),
    ] {
        world.autoscalers = scalers.into();
        assert_eq!(ids(&world), found);
    }
    let unchecked =
        |world: &Observed| -> Vec<_> { ask(world).unchecked.iter().map(|rule| rule.id).collect() };
    assert_eq!(unchecked(&world), ["GB048"]);
    world.autoscalers = Optional::Unknown;
    assert_eq!(unchecked(&world), ["GB048", "GB071"]);
}

#[test]
fn a_flag_in_args_that_are_applied() {
    let flags =
        json!({"connectionAge": {"maxAge": "5m", "knob": {"flags": {"maxAge": "--max-age"}}}});
    for (args, marks, found) in [
        (
            json!(["serve"]),
            json!({"argocd.argoproj.io/tracking-id": "x"}),
            vec!["GB090"],
        ),
        (
            json!(["serve", "-max-age=1m"]),
            json!({"argocd.argoproj.io/tracking-id": "x"}),
            vec![],
        ),
        (json!(["serve"]), json!({}), vec![]),
        (
            json!(null),
            json!({"argocd.argoproj.io/tracking-id": "x"}),
            vec![],
        ),
    ] {
        let mut deployment = deployment(3, true);
        deployment["metadata"]["annotations"] = marks.clone();
        deployment["spec"]["template"]["spec"]["containers"][0]["args"] = args.clone();
        let mut world = observed(&flags, &deployment);
        assert_eq!(ids(&world), found, "{args} {marks}");
        world.observer = crate::observed::Observer::Manifests;
        let in_files = args == json!(["serve"]);
        assert_eq!(
            ids(&world).contains(&"GB090".to_owned()),
            in_files,
            "{args}"
        );
        world.backend.spec.connection_age.as_mut().unwrap().mode =
            Some(crate::api::AgeMode::Advise);
        assert!(ids(&world).is_empty());
    }
    let mut world = observed(&age("5m"), &deployment(3, true));
    world.observer = crate::observed::Observer::Manifests;
    assert!(ids(&world).is_empty(), "a variable stays through applies");
}

/// What is to be written into the args is what GB022, GB024 and GB029 ask for.
#[test]
fn a_flag_is_shown_with_the_age_that_other_findings_want() {
    for (max_age, grace, expected) in [
        ("10s", "1s", "[serve, --max-age=30s, --grace=30s]"),
        ("1h", "5s", "[serve, --max-age=5m, --grace=5s]"),
        ("30s", "10s", "[serve, --max-age=30s, --grace=10s]"),
    ] {
        let knob = json!({"flags": {"maxAge": "--max-age", "grace": "--grace"}});
        let spec = json!({"connectionAge": {"maxAge": max_age, "grace": grace, "knob": knob}});
        let mut deployment = deployment(3, true);
        deployment["spec"]["template"]["spec"]["containers"][0]["args"] = json!(["serve"]);
        let mut world = observed(&spec, &deployment);
        world.observer = crate::observed::Observer::Manifests;
        let found = ask(&world).found;
        let mut seen = found.into_iter().filter(|(rule, _)| rule.id == "GB090");
        let (_, seen) = seen.next().unwrap();
        assert!(seen[0].remedy.ends_with(expected), "{}", seen[0].remedy);
    }
}
