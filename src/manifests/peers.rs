//! Services in which peers or monitoring look for pods, ready or not.

use k8s_openapi::api::core::v1::{Service, ServicePort};
use kube::ResourceExt as _;

use super::guess::{service_ports, target};
use crate::findings::publishes_early;
use crate::observed::{Kind, Workload};

/// Words of names that peers give what they find each other by.
const WORDS: [&str; 10] = [
    "peer",
    "peers",
    "gossip",
    "memberlist",
    "members",
    "discovery",
    "cluster",
    "raft",
    "ring",
    "quorum",
];

/// Whether a Service publishes pods that are not ready, and those who look there are no clients: it is a StatefulSet's, something
/// says so, or it leads to ports to which the clients' Service does not.
pub fn look_here(service: &Service, workload: &Workload, clients: Option<&Service>) -> bool {
    let ports = service_ports(service);
    let leads = |own: &Service, port: &ServicePort| {
        let to = target(workload, port);
        service_ports(own)
            .iter()
            .any(|one| target(workload, one) == to)
    };
    publishes_early(service)
        && (workload.kind == Kind::StatefulSet
            || are_named(service, workload)
            || clients.is_some_and(|clients| !ports.iter().all(|port| leads(clients, port))))
}

/// Whether a Service or a port of it is called after peers, or the pods dial it themselves.
fn are_named(service: &Service, workload: &Workload) -> bool {
    let ports = service_ports(service).iter();
    says(&service.name_any())
        || workload.names(&service.name_any())
        || ports.filter_map(|port| port.name.as_deref()).any(says)
}

fn says(name: &str) -> bool {
    name.split('-').any(|word| WORDS.contains(&word))
}

/// Whether anything says that the pods of a workload look for each other, by whichever Service.
pub fn find_each_other(service: &Service, workload: &Workload) -> bool {
    let containers = workload.containers().iter();
    let mut ports = containers.flat_map(|own| own.ports.iter().flatten());
    are_named(service, workload) || ports.any(|own| own.name.as_deref().is_some_and(says))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_is_there_for_peers() {
        let template = |env: &str| {
            json!({"metadata": {"name": "rng"}, "spec": {"selector": {}, "template": {"spec": {"containers": [
                {"name": "server", "env": [{"name": "PEERS", "value": env}], "ports": [{"name": "rpc", "containerPort": 8081}]}]}}}})
        };
        let deployment = |env: &str| {
            Workload::from(serde_json::from_value::<Deployment>(template(env)).unwrap())
        };
        let service = |name: &str, early: bool, ports: Value| -> Service {
            let spec = json!({"publishNotReadyAddresses": early, "ports": ports});
            serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
        };
        let grpc = || json!([{"name": "grpc", "port": 8081}]);
        let clients = service(
            "rng",
            false,
            json!([{"name": "grpc", "port": 443, "targetPort": "rpc"}]),
        );
        let alone = deployment("none");
        for (name, early, ports, workload, expected) in [
            ("rng-headless", true, grpc(), &alone, false),
            ("rng-peers", true, grpc(), &alone, true),
            ("rng-peers", false, grpc(), &alone, false),
            ("string", true, grpc(), &alone, false),
            (
                "rng-headless",
                true,
                json!([{"name": "tcp-gossip", "port": 8081}]),
                &alone,
                true,
            ),
            (
                "rng-headless",
                true,
                json!([{"name": "grpc", "port": 8081}, {"name": "metrics", "port": 9090}]),
                &alone,
                true,
            ),
            (
                "rng-headless",
                true,
                grpc(),
                &deployment("dns+rng-headless.shop.svc:8081"),
                true,
            ),
            (
                "rng-headless",
                true,
                grpc(),
                &deployment("_grpc._tcp.rng-headless"),
                true,
            ),
            (
                "rng-headless",
                true,
                grpc(),
                &deployment("my-rng-headless:8081"),
                false,
            ),
            (
                "rng-headless",
                true,
                grpc(),
                &deployment("rng-headless-2:8081"),
                false,
            ),
        ] {
            let service = service(name, early, ports);
            assert_eq!(
                look_here(&service, workload, Some(&clients)),
                expected,
                "{name} {workload:?}"
            );
        }
        let set: StatefulSet = serde_json::from_value(template("none")).unwrap();
        assert!(look_here(
            &service("rng-headless", true, grpc()),
            &set.into(),
            Some(&clients)
        ));
        assert!(!look_here(
            &service("rng-headless", true, grpc()),
            &alone,
            None
        ));
    }
}
