//! The chart's NetworkPolicy: what it lets through, and nothing besides.

use serde_json::{Value, json};

use crate::chart::{chart, helm, of_kind, rendered};
use crate::document;

/// The policy's spec for a combination of values, for the pods that the Deployment makes.
fn policy(combination: &str) -> Value {
    let objects = rendered(&format!("charts/evenkeel/ci/{combination}-values.yaml"));
    let policies = of_kind(&objects, "NetworkPolicy");
    assert_eq!(policies.len(), 1, "{combination}");
    let spec = policies[0]["spec"].clone();
    let template = &of_kind(&objects, "Deployment")[0]["spec"]["template"];
    let selector = spec["podSelector"]["matchLabels"].as_object().unwrap();
    assert!(
        !selector.is_empty(),
        "{combination}: every pod of the namespace"
    );
    for (label, value) in selector {
        assert_eq!(
            &template["metadata"]["labels"][label], value,
            "{combination}"
        );
    }
    let ports = template["spec"]["containers"][0]["ports"]
        .as_array()
        .unwrap();
    let is_metrics = |port: &&Value| port["name"] == "metrics";
    assert!(ports.iter().any(|port| is_metrics(&port)), "{combination}");
    assert_eq!(spec["policyTypes"], json!(["Egress", "Ingress"]));
    spec
}

fn tcp<P: Into<Value>>(ports: impl IntoIterator<Item = P>) -> Value {
    let port = |port: P| json!({"protocol": "TCP", "port": port.into()});
    ports.into_iter().map(port).collect()
}

fn dns(ports: &[u16]) -> Value {
    let of_one = |port: &u16| [("UDP", *port), ("TCP", *port)];
    let ports = ports.iter().flat_map(of_one);
    let ports = ports.map(|(protocol, port)| json!({"protocol": protocol, "port": port}));
    json!({"ports": ports.collect::<Value>()})
}

#[test]
fn only_what_is_named_is_reached() {
    let spec = policy("locked-down");
    let addresses = ["10.96.0.1/32", "192.0.2.10/32"];
    let addresses = addresses.map(|cidr| json!({"ipBlock": {"cidr": cidr}}));
    let egress = json!([
        dns(&[53]),
        {"ports": tcp([443, 6443]), "to": addresses},
        // Prometheus.
        {"ports": tcp([9090])},
        // The collector of traces.
        {"ports": tcp([4318])},
        {"to": [{"namespaceSelector": {}}], "ports": tcp([9090, 9464])},
    ]);
    assert_eq!(spec["egress"], egress);
    let values = document("charts/evenkeel/ci/locked-down-values.yaml");
    let mut from = values["networkPolicy"]["metricsFrom"].clone();
    let release = "app.kubernetes.io/instance";
    let test = json!({"app.kubernetes.io/name": "evenkeel-test", release: "evenkeel"});
    let test = json!({"podSelector": {"matchLabels": test}});
    from.as_array_mut().unwrap().push(test);
    assert_eq!(
        spec["ingress"],
        json!([{"ports": tcp(["metrics"]), "from": from}])
    );
}

#[test]
fn of_the_pods_only_those_of_watched_namespaces() {
    let spec = policy("namespaces-only");
    let watched = json!({"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["shop", "warehouse"]});
    let egress = json!([
        dns(&[53, 5353]),
        {"ports": tcp([443, 6443])},
        {"to": [{"namespaceSelector": {"matchExpressions": [watched]}}]},
    ]);
    assert_eq!(spec["egress"], egress);
    assert_eq!(spec["ingress"], json!([{"ports": tcp(["metrics"])}]));
}

/// Where nothing else is said, the ports are those of the URLs.
#[test]
fn servers_are_reached_at_the_ports_of_their_urls() {
    for (values, port) in [
        ("prometheus.url=http://prometheus", 80),
        ("prometheus.url=http://prometheus:9090/prom", 9090),
        (
            "prometheus.url=https://[2001:db8::1]/,prometheus.caConfigMap=ca",
            443,
        ),
        ("traces.otlpEndpoint=http://collector", 4318),
        ("traces.otlpEndpoint=http://collector:8318", 8318),
    ] {
        let sets = format!("networkPolicy.enabled=true,{values}");
        let only = ["--show-only", "templates/networkpolicy.yaml"];
        let release = ["template", "evenkeel", &chart(), "--set", &sets];
        let text = helm(&[&release[..], &only].concat()).unwrap();
        let policy: Value = serde_yaml_ng::from_str(&text).unwrap();
        assert_eq!(
            policy["spec"]["egress"][2],
            json!({"ports": tcp([port])}),
            "{values}"
        );
    }
}

#[test]
fn there_is_none_unless_asked_for() {
    let objects = rendered("charts/evenkeel/ci/default-values.yaml");
    assert!(of_kind(&objects, "NetworkPolicy").is_empty());
}
