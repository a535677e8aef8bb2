//! Services.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;

use crate::api::BalanceMode;
use crate::observed::{Kind, Observed, Peers, Workload, labels};

use super::{Seen, age, mesh, snippet};

/// GB001: one connection, one pod.
pub(super) fn only_cluster_ip(observed: &Observed) -> Option<Seen> {
    if !observed.guessed {
        return disclaims_the_twin(observed);
    }
    let name = observed.cluster_ip.as_ref()?.name_any();
    (observed.headless.is_none() && wants_balance(observed)).then(|| {
        let message = format!(
            "Service {name} is the only way to its gRPC servers and has one virtual address: a client keeps one connection, so one pod has all of its requests and others may have none. \
             Give it a headless twin (evenkeel check --fix prints the GrpcBackend that keeps one) and have clients dial that with dns:/// and round_robin, unless a mesh or a proxy balances"
        );
        Seen::in_service(&name, "spec", message).write(&snippet::backend(observed, age::USUAL))
    })
}

/// The same where a GrpcBackend says that there is to be no other way, and not that the load need not be even.
fn disclaims_the_twin(observed: &Observed) -> Option<Seen> {
    let backend = &observed.backend;
    let names = crate::services::names(backend);
    let (name, None) = (names.cluster_ip?, names.headless) else {
        return None;
    };
    let balance = backend.spec.balance.as_ref();
    let is_meant = balance.is_some_and(|own| own.mode == Some(BalanceMode::Observe));
    let watches = backend.spec.endpoint_watch.is_some();
    (!watches && !is_meant && wants_balance(observed)).then(|| {
        let field = "spec.services.headless.policy";
        let message = format!(
            "{field} is None, so that Service {name} is the only way to the gRPC servers and has one virtual address: a client keeps one connection, so one pod has all of its requests and others may have none. \
             Take {field} out and have clients dial the headless Service with dns:/// and round_robin, or let them watch endpoints (spec.endpointWatch), unless a mesh or a proxy balances"
        );
        Seen::in_backend(observed, field, message)
            .instead("spec:\n  services: {headless: {policy: Manage}}   # or no such field")
    })
}

/// Whether each node's clients are meant to call the pod of their own node: an agent, of which there is nothing to balance.
fn is_of_each_node(observed: &Observed) -> bool {
    let service = observed.cluster_ip.as_ref();
    let policy = service.and_then(|own| own.spec.as_ref()?.internal_traffic_policy.as_deref());
    let mut servers = observed.serving_workloads().peekable();
    policy == Some("Local")
        && servers.peek().is_some()
        && servers.all(|own| own.kind == Kind::DaemonSet)
}

/// Whether a guess is about something that clients have to balance by themselves: one pod leaves nothing to balance, nor does one of
/// each node, peers with names of their own are dialled by those, and a mesh balances by itself.
pub(super) fn wants_balance(observed: &Observed) -> bool {
    let otherwise = |workload: &Workload| {
        workload.kind == Kind::StatefulSet && observed.peers == Peers::Possible
            || mesh::balances(observed, workload)
    };
    let mut servers = observed.serving_workloads().peekable();
    let is_otherwise = servers.peek().is_some() && servers.all(otherwise);
    observed.most_pods() != 1 && !is_of_each_node(observed) && !is_otherwise
}

/// GB003: a headless Service translates no ports.
pub(super) fn headless_port_differs(observed: &Observed) -> Vec<Seen> {
    let services = observed.headless.iter();
    let all = services.flat_map(|service| {
        ports(service)
            .iter()
            .enumerate()
            .map(move |at| (service, at))
    });
    let differ = all.filter_map(|(service, (index, port))| {
        let name = service.name_any();
        let target = target(observed, port)?;
        let number = port.port;
        if let Some((workload, other)) = named_otherwise(observed, port) {
            let message = format!(
                "headless Service {name} has port {number} for a name that stands for {other} in the pods of {workload}: nothing translates on that way, clients get the pods' addresses and connect to {number}, where those do not listen. Have all pods listen on one port"
            );
            let seen = Seen::in_service(&name, &format!("spec.ports[{index}].targetPort"), message);
            return Some(seen.write(&format!("# in {workload}: a server that listens on {number}, as those of the others")));
        }
        (target != number && serves(observed, target)).then(|| {
            let message = format!(
                "headless Service {name} has port {number} for the pods' port {target}: nothing translates on that way, clients get the pods' addresses and connect to {number}, where nobody listens. Set its port to {target}, and have clients dial that"
            );
            let mended = mended_ports(service, |own| {
                let to = self::target(observed, own).filter(|to| serves(observed, *to));
                own.port = to.unwrap_or(own.port);
            });
            // Another kind of patch tells ports apart by their numbers, and would keep the old one.
            let mended = mended + "   # all of them: kubectl patch --type merge";
            Seen::in_service(&name, &format!("spec.ports[{index}].port"), message).instead(&mended)
        })
    });
    differ.collect()
}

/// A workload in which a port's name stands for another number than that of the port, and of the others. Where a GrpcBackend gives a number,
/// that is what is compared.
fn named_otherwise<'a>(observed: &'a Observed, port: &ServicePort) -> Option<(&'a Workload, i32)> {
    let Some(IntOrString::String(name)) = &port.target_port else {
        return None;
    };
    let numbers = || {
        let workloads = observed.serving_workloads();
        workloads.filter_map(|own| Some((own, named(own, name)?)))
    };
    let fits = |(_, number): &(&Workload, i32)| *number == port.port;
    let is_mixed =
        observed.guessed && serves(observed, port.port) && numbers().any(|own| fits(&own));
    numbers().find(|own| is_mixed && !fits(own))
}

/// All ports of a Service, some of them mended: who patches a list writes the whole of it. Two of the same number would be refused.
pub(super) fn mended_ports(service: &Service, mend: impl Fn(&mut ServicePort)) -> String {
    let mut numbers = HashSet::new();
    let all = ports(service).iter().filter_map(|port| {
        let mut port = port.clone();
        mend(&mut port);
        let number = (port.port, port.protocol.clone().unwrap_or("TCP".into()));
        numbers.insert(number).then(|| written(&port))
    });
    let all: Vec<String> = all.collect();
    format!("spec:\n  ports: [{}]", all.join(", "))
}

/// A port on one line, without what needs not be said.
fn written(port: &ServicePort) -> String {
    let name = port.name.as_deref().unwrap_or("grpc");
    let target = port.target_port.as_ref().and_then(|target| match target {
        IntOrString::Int(target) if *target == port.port => None,
        IntOrString::Int(target) => Some(target.to_string()),
        IntOrString::String(target) => Some(snippet::word(target)),
    });
    let protocol = port.protocol.as_deref().filter(|own| *own != "TCP");
    let app_protocol = port.app_protocol.as_deref();
    let fields = [
        Some(format!("name: {}", snippet::word(name))),
        Some(format!("port: {}", port.port)),
        target.map(|own| format!("targetPort: {own}")),
        protocol.map(|own| format!("protocol: {}", snippet::word(own))),
        app_protocol.map(|own| format!("appProtocol: {}", snippet::word(own))),
        port.node_port.map(|own| format!("nodePort: {own}")),
    ];
    let fields: Vec<String> = fields.into_iter().flatten().collect();
    format!("{{{}}}", fields.join(", "))
}

/// GB004: meshes and SRV records go by declared ports.
pub(super) fn headless_without_ports(observed: &Observed) -> Option<Seen> {
    let service = observed.headless.as_ref()?;
    let name = service.name_any();
    let target = observed.backend.spec.ports.first()?.target();
    ports(service).is_empty().then(|| {
        let message = format!(
            "headless Service {name} declares no ports: a mesh takes its traffic for plain bytes or drops it, and watching clients find no port. Add ports: [{{name: grpc, port: {target}, appProtocol: kubernetes.io/h2c}}]"
        );
        let remedy = format!("spec:\n  ports: [{{name: grpc, port: {target}, appProtocol: kubernetes.io/h2c}}]");
        Seen::in_service(&name, "spec", message).instead(&remedy)
    })
}

/// GB005: `ready` is then true for every pod, for those that are going too.
pub(super) fn publishes_not_ready(observed: &Observed) -> Vec<Seen> {
    let early = both(observed).filter(|service| publishes_early(service));
    let seen = |service: &Service| {
        let name = service.name_any();
        let message = format!(
            "Service {name} has publishNotReadyAddresses: true: clients are sent to pods that are not ready yet, or not any more. Set it to false; peers that must find each other before they are ready want a Service of their own"
        );
        Seen::in_service(&name, "spec.publishNotReadyAddresses", message)
            .instead("spec:\n  publishNotReadyAddresses: false")
    };
    early.map(seen).collect()
}

/// Whether pods are published before they are ready.
pub fn publishes_early(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.is_some_and(|spec| spec.publish_not_ready_addresses == Some(true))
}

/// GB006: clients of the one reach others than those of the other, or nobody reaches any.
pub(super) fn selects_otherwise(observed: &Observed) -> Vec<Seen> {
    let nothing = selects_nothing(observed);
    nothing
        .into_iter()
        .chain(selectors_differ(observed))
        .collect()
}

/// There are workloads where the backend is, and none is its own.
fn selects_nothing(observed: &Observed) -> Option<Seen> {
    let selector = &observed.backend.spec.selector;
    let shared = |own: &&Arc<Workload>| {
        let keys = labels(&own.template).into_iter().flatten();
        let shared = keys.filter(|(key, _)| selector.contains_key(*key)).count();
        (own.name() == observed.name(), shared)
    };
    let nearest = observed.unselected.iter().rev().max_by_key(shared)?;
    let theirs = labels(&nearest.template)?;
    let mended = snippet::labels(selector, theirs);
    let (selector, theirs) = (snippet::map(selector), snippet::map(theirs));
    let message = format!(
        "spec.selector {selector} is carried by the pods of no workload of namespace {} that is here; those of {nearest} have {theirs}: both Services would lead nowhere. Mend the selector, or check the servers' manifests together with this one",
        observed.namespace()
    );
    let seen = Seen::in_backend(observed, "spec.selector", message);
    Some(seen.instead(&format!("spec:\n  selector: {mended}   # or a part of it")))
}

/// Where nothing carries the selector: the labels of the workload of the same name, and it. Any other may be meant or not.
pub(super) fn carried_selector(
    observed: &Observed,
) -> Option<(BTreeMap<String, String>, &Arc<Workload>)> {
    let mut all = observed.unselected.iter();
    let own = all.find(|own| own.name() == observed.name())?;
    Some((labels(&own.template)?.clone(), own))
}

/// What the one counts as a pod of the backend, the other does not.
pub(super) fn selectors_differ(observed: &Observed) -> Vec<Seen> {
    let wanted = &observed.backend.spec.selector;
    let others = both(observed).filter(|service| {
        let spec = service.spec.as_ref();
        let selector = spec.and_then(|spec| spec.selector.as_ref());
        // A name for something outside selects nothing, whatever is written: GB008 says what is wrong.
        let is_name = spec.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName");
        !is_name && selector.is_none_or(|selector| selector != wanted)
    });
    let than = match (&observed.cluster_ip, observed.guessed) {
        (Some(twin), true) => format!("its twin {}", twin.name_any()),
        _ => "spec.selector".into(),
    };
    let seen = |service: &Service| {
        let name = service.name_any();
        let spec = service.spec.as_ref();
        let own = spec.and_then(|spec| spec.selector.clone());
        let mended = snippet::labels(&own.unwrap_or_default(), wanted);
        let wanted = snippet::map(wanted);
        let message = format!(
            "Service {name} selects other pods than {than}: clients of the one reach pods that those of the other do not. Give both the same selector: {wanted}"
        );
        Seen::in_service(&name, "spec.selector", message)
            .instead(&format!("spec:\n  selector: {mended}"))
    };
    others.map(seen).collect()
}

/// GB007: what ties clients to pods, or pods to nodes, skews the way through the virtual address.
pub(super) fn ties_clients(observed: &Observed) -> Vec<Seen> {
    let Some((service, spec)) = observed
        .cluster_ip
        .as_ref()
        .and_then(|own| Some((own, own.spec.as_ref()?)))
    else {
        return Vec::new();
    };
    let name = service.name_any();
    let ignoring = if observed.guessed {
        "check with --ignore GB007"
    } else {
        "put GB007 into spec.ignoreFindings"
    };
    let tied = |value: &Option<String>, which: &str| value.clone().filter(|value| value == which);
    let fields = [
        (
            "sessionAffinity",
            tied(&spec.session_affinity, "ClientIP"),
            "None",
        ),
        (
            "internalTrafficPolicy",
            tied(&spec.internal_traffic_policy, "Local").filter(|_| !is_of_each_node(observed)),
            "Cluster",
        ),
        (
            "trafficDistribution",
            spec.traffic_distribution.clone(),
            "null   # or no such field",
        ),
    ];
    let seen = |(field, value, mended): (&str, Option<String>, &str)| {
        let value = value?;
        let message = format!(
            "Service {name} has {field}: {value}: connections go to some of the pods by where the client is, not evenly, and clients of a headless Service do not notice it at all. Remove {field}, or accept the skew and {ignoring}"
        );
        let seen = Seen::in_service(&name, &format!("spec.{field}"), message);
        Some(seen.instead(&format!("spec:\n  {field}: {mended}")))
    };
    fields.into_iter().filter_map(seen).collect()
}

/// GB082: meshes, gateways and dashboards tell gRPC by the port's name or its protocol.
pub(super) fn protocol_unsaid(observed: &Observed) -> Vec<Seen> {
    // What says something else to a mesh is told of more loudly.
    let otherwise: Vec<Seen> = mesh::taken_for_bytes(observed);
    let is_told = move |service: &Service, index: usize| {
        let place = (Some(service.name_any()), format!("spec.ports[{index}]"));
        let mut told = otherwise.iter();
        told.any(|own| own.place.name == place.0 && own.place.path == place.1)
    };
    // Who has the GrpcBackend leave it out means that, as for TLS.
    let is_left_out = |port: &ServicePort| {
        let to = target(observed, port);
        let mut own = observed.backend.spec.ports.iter();
        own.any(|own| Some(own.target()) == to && own.app_protocol().is_none())
    };
    let unsaid = both(observed).flat_map(|service| {
        let unsaid = serving_ports(observed, service).filter(|(index, port)| {
            let is_silent = match port.app_protocol.as_deref() {
                Some(protocol) => protocol.eq_ignore_ascii_case("http"),
                None => !says_grpc(port.name.as_deref()) && !is_left_out(port),
            };
            is_silent && !is_told(service, *index)
        });
        let unsaid: Vec<_> = unsaid.collect();
        let unsaid = unsaid.into_iter();
        unsaid.map(move |(index, port)| unsaid_of(service, index, port))
    });
    unsaid.collect()
}

fn unsaid_of(service: &Service, index: usize, port: &ServicePort) -> Seen {
    const REMEDY: &str =
        "Name it grpc, or add appProtocol: kubernetes.io/h2c (Gateway API) or grpc (Istio)";
    let (name, number) = (service.name_any(), port.port);
    let said = port.app_protocol.as_ref().or(port.name.as_ref());
    let says = |word: &str| said.is_some_and(|own| own.split('-').next() == Some(word));
    let message = if says("http2") {
        format!(
            "port {number} of Service {name} says HTTP/2 and not gRPC: meshes balance its requests, gateways and dashboards do not know gRPC by it. {REMEDY}"
        )
    } else if says("http") {
        format!(
            "port {number} of Service {name} says HTTP/1.1 and not gRPC: meshes and gateways may speak that to the servers, and gRPC needs HTTP/2. {REMEDY}"
        )
    } else {
        format!(
            "port {number} of Service {name} does not say that it is gRPC: meshes and gateways take it for plain TCP and balance connections, not requests. {REMEDY}"
        )
    };
    let mended = mended_ports(service, |own| {
        if own == port {
            own.app_protocol = Some("kubernetes.io/h2c".into());
        }
    });
    Seen::in_service(&name, &format!("spec.ports[{index}]"), message).instead(&mended)
}

/// Whether a port's name says gRPC: as Istio reads it, and as people put it the other way round. gRPC-Web is HTTP/1.1 too, and what a
/// gateway to gRPC listens for is REST.
pub fn says_grpc(name: Option<&str>) -> bool {
    name.is_some_and(|name| {
        let name = name.to_ascii_lowercase();
        let words = || name.split('-');
        let other = name.contains("web") || words().any(|word| matches!(word, "gateway" | "gw"));
        !other && words().any(|word| matches!(word, "grpc" | "grpcs" | "h2c"))
    })
}

/// Whether a protocol says gRPC.
pub fn is_grpc(protocol: Option<&str>) -> bool {
    matches!(protocol, Some("grpc" | "kubernetes.io/h2c" | "h2c"))
}

/// The number of the pods' port that a Service's port leads to, if that can be told.
pub fn target(observed: &Observed, port: &ServicePort) -> Option<i32> {
    match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => observed
            .serving_workloads()
            .find_map(|workload| named(workload, name)),
    }
}

/// The number of a named port.
pub fn named(workload: &Workload, name: &str) -> Option<i32> {
    let ports = workload
        .containers()
        .iter()
        .flat_map(|own| own.ports.iter().flatten());
    ports
        .into_iter()
        .find(|port| port.name.as_deref() == Some(name))
        .map(|port| port.container_port)
}

/// Whether a port of the pods is one of the backend's; others are not its business.
fn serves(observed: &Observed, number: i32) -> bool {
    let mut ports = observed.backend.spec.ports.iter();
    ports.any(|port| port.target() == number)
}

/// The ports of a Service that lead to one of the backend's, with their places.
pub(super) fn serving_ports<'a>(
    observed: &'a Observed,
    service: &'a Service,
) -> impl Iterator<Item = (usize, &'a ServicePort)> {
    let all = ports(service).iter().enumerate();
    all.filter(|(_, port)| target(observed, port).is_some_and(|to| serves(observed, to)))
}

/// The Services that there are, the headless one last.
pub(super) fn both(observed: &Observed) -> impl Iterator<Item = &Service> {
    [&observed.cluster_ip, &observed.headless]
        .into_iter()
        .flatten()
}

fn ports(service: &Service) -> &[ServicePort] {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.ports.as_deref())
        .unwrap_or_default()
}
