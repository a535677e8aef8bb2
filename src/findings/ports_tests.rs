use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};

use super::tests::{age, deployment, ids, observed};
use super::{ask, asks_by_grpc, mend};

/// A backend with these ports before pods of these containers.
fn found(ports: &Value, containers: &Value) -> bool {
    let mut spec = age("5m");
    spec["ports"] = ports.clone();
    let mut workload = deployment(3, true);
    workload["spec"]["template"]["spec"]["containers"] = containers.clone();
    ids(&observed(&spec, &workload)).contains(&"GB009".to_owned())
}

#[test]
fn ports_that_lead_nowhere() {
    let named = |name: &str, number: i32| json!({"name": name, "containerPort": number});
    let server = |ports: Value| json!({"name": "server", "ports": ports});
    let probed = |ports: Value| json!({"name": "server", "ports": ports, "readinessProbe": {"grpc": {"port": 8080}}});
    let one = |container: Value| json!([container]);
    for (containers, target, expected) in [
        (one(server(json!([named("grpc", 8080)]))), 80, true),
        (one(server(json!([named("grpc", 8080)]))), 8080, false),
        // By the probe alone, and where the port is declared without a name.
        (one(probed(json!([]))), 80, true),
        (one(probed(json!([]))), 8080, false),
        (one(probed(json!([{"containerPort": 9000}]))), 9000, false),
        (one(probed(json!([{"containerPort": 8080}]))), 9000, true),
        // Nothing says which port is for gRPC.
        (one(server(json!([named("main", 8080)]))), 80, false),
        (one(server(json!([]))), 80, false),
        // Another port that is declared may serve too, unless its name says for what it is.
        (
            one(server(json!([named("grpc", 8080), named("main", 9000)]))),
            9000,
            false,
        ),
        (
            one(server(json!([named("grpc", 8080), named("http", 80)]))),
            80,
            true,
        ),
        (
            one(server(json!([named("grpc", 8080), named("http2", 80)]))),
            80,
            false,
        ),
        (
            one(server(json!([
                named("grpc", 8080),
                named("http-metrics", 80)
            ]))),
            80,
            true,
        ),
        // Connect and h2c servers call their port so; the gRPC port beside it is somebody else's.
        (
            json!([server(json!([named("http", 80)])), {"name": "otel", "ports": [named("otlp-grpc", 4317)]}]),
            80,
            false,
        ),
        // A collector beside a server that declares nothing says nothing of the server.
        (
            json!([server(json!([])), {"name": "otel", "ports": [named("otlp-grpc", 4317)]}]),
            80,
            false,
        ),
        (
            json!([server(json!([named("main", 9000)])), {"name": "otel", "ports": [named("otlp-grpc", 4317)]}]),
            80,
            true,
        ),
        (
            json!([server(json!([named("main", 9000)])), {"name": "otel", "ports": [named("otlp-grpc", 4317)]}]),
            9000,
            false,
        ),
    ] {
        let ports = json!([{"port": target}]);
        assert_eq!(
            found(&ports, &containers),
            expected,
            "{target} {containers}"
        );
        let by_target = json!([{"port": 443, "targetPort": target}]);
        assert_eq!(
            found(&by_target, &containers),
            expected,
            "{target} {containers}"
        );
    }
}

#[test]
fn each_of_several_ports_is_judged() {
    let told = |ports: &Value, containers: &Value| {
        let mut workload = deployment(3, true);
        workload["spec"]["template"]["spec"]["containers"] = containers.clone();
        let mut spec = age("5m");
        spec["ports"] = ports.clone();
        let found = ask(&observed(&spec, &workload)).found;
        let seen = found.into_iter().find(|(rule, _)| rule.id == "GB009");
        let seen = seen.map(|(_, seen)| seen).unwrap_or_default();
        let seen = seen.into_iter().map(|own| {
            let ports = own.remedy.rsplit("ports: ").next().unwrap().to_owned();
            (own.place.path, ports)
        });
        seen.collect::<Vec<_>>()
    };
    let nowhere = |path: &str, ports: &str| (path.to_owned(), ports.to_owned());
    let two = json!([{"name": "a", "port": 80}, {"name": "b", "port": 81, "targetPort": 8080}]);
    let container = |ports: Value| json!({"name": "server", "ports": ports});
    let grpc = json!({"name": "grpc", "containerPort": 8080});
    let only = container(json!([grpc]));
    let removed = "[{name: b, port: 81, targetPort: 8080}]";
    assert_eq!(
        told(&two, &json!([only])),
        [nowhere("spec.ports[0]", removed)]
    );
    let other = json!({"name": "grpc-admin", "containerPort": 9000});
    let both = container(json!([grpc, other]));
    let mended = "[{name: a, port: 80, targetPort: 9000}, {name: b, port: 81, targetPort: 8080}]";
    assert_eq!(
        told(&two, &json!([both])),
        [nowhere("spec.ports[0]", mended)]
    );
    // Where none leads to a server, one is told of at a time.
    let none = json!([{"name": "a", "port": 80}, {"name": "b", "port": 81}]);
    let mended = "[{name: a, port: 80, targetPort: 8080}, {name: b, port: 81}]";
    assert_eq!(
        told(&none, &json!([only])),
        [nowhere("spec.ports[0]", mended)]
    );
    // What declares nothing may listen anywhere.
    let silent = json!({"name": "silent"});
    assert_eq!(told(&two, &json!([only, silent])), []);
    let probed = json!({"name": "server", "readinessProbe": {"grpc": {"port": 8080}}});
    assert_eq!(told(&two, &json!([probed])), []);
    let serves = json!({"containerPort": 80});
    assert_eq!(told(&two, &json!([container(json!([grpc, serves]))])), []);
}

/// What is to be written is only said where it leads nobody astray.
#[test]
fn where_a_port_is_to_lead_instead() {
    let told = |ports: Value, workloads: &[Value]| {
        let mut spec = age("5m");
        spec["ports"] = ports;
        let mut world = observed(&spec, &deployment(3, true));
        let own = workloads.iter().map(|containers| {
            let mut own = deployment(3, true);
            own["spec"]["template"]["spec"]["containers"] = containers.clone();
            serde_json::from_value::<Deployment>(own).unwrap().into()
        });
        world.workloads = own.collect();
        let found = ask(&world).found;
        let seen = found.into_iter().find(|(rule, _)| rule.id == "GB009");
        let seen = seen.map(|(_, seen)| seen).unwrap_or_default();
        let remedies: Vec<String> = seen.into_iter().map(|own| own.remedy).collect();
        (remedies, mend(&world).0.backend.spec.ports[0].target())
    };
    let server = |name: &str, number: i32| json!({"name": "server", "ports": [{"name": name, "containerPort": number}]});
    let collector =
        json!({"name": "otel", "ports": [{"name": "otlp-grpc", "containerPort": 4317}]});
    // All fields of the port stay.
    let port = json!([{"name": "api", "port": 443, "appProtocol": "None", "targetPort": 80}]);
    let (remedies, to) = told(port.clone(), &[json!([server("grpc", 8080)])]);
    let whole = "ports: [{name: api, port: 443, targetPort: 8080, appProtocol: None}]";
    assert!(remedies[0].ends_with(whole), "{remedies:?}");
    assert_eq!(to, 8080);
    // A collector's port is no server's.
    let (remedies, to) = told(port.clone(), &[json!([server("main", 8080), collector])]);
    assert!(remedies[0].starts_with('#') && to == 80, "{remedies:?}");
    // The one workload goes elsewhere, the others would then lead to nobody.
    let canary = [json!([server("grpc", 80)]), json!([server("grpc", 9090)])];
    let (remedies, to) = told(port.clone(), &canary);
    assert!(
        remedies.len() == 1 && remedies[0].starts_with('#') && to == 80,
        "{remedies:?}"
    );
    let both = [json!([server("grpc", 9090)]), json!([server("grpc", 9090)])];
    assert_eq!(told(port, &both).1, 9090);
}

#[test]
fn the_program_that_asks_by_grpc() {
    for (command, expected) in [
        (json!(["/bin/grpc_health_probe", "-addr=:8080"]), vec![8080]),
        (
            json!(["grpc-health-probe", "--addr=localhost:8080", "-tls"]),
            vec![8080],
        ),
        (
            json!(["grpc_health_probe", "-tls", "-addr", "127.0.0.1:8080"]),
            vec![8080],
        ),
        (
            json!(["sh", "-c", "/bin/grpc_health_probe -addr=:8080 || exit 1"]),
            vec![8080],
        ),
        (json!(["grpc_health_probe", "-addr=unix:/run/a"]), vec![]),
        (json!(["grpc_health_probe"]), vec![]),
        (json!(["grpc_health_probe", "-addr"]), vec![]),
        (json!(["curl", "-addr=:8080"]), vec![]),
    ] {
        let container = json!({"name": "server", "readinessProbe": {"exec": {"command": command}}});
        let container = serde_json::from_value(container).unwrap();
        assert_eq!(asks_by_grpc(&container), expected, "{command}");
    }
}
