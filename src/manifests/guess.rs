//! Backends that nobody wrote a GrpcBackend for.
//!
//! A workload serves gRPC if a Service selects it and one of its ports says so, by the first of these that holds:
//!
//! 1. a Service's port to it is named `grpc`, `grpc-…` or `…-grpc`, or has the appProtocol `grpc` or `kubernetes.io/h2c`;
//! 2. the container's port is named so;
//! 3. a probe asks it by gRPC;
//! 4. it is 50051, which next to nothing but gRPC uses.
//!
//! Workloads that share a Service are one backend. A headless Service that publishes pods which are not ready, and governs a
//! StatefulSet or stands beside another Service, is there for peers or for monitoring, not for clients.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::api::core::v1::{Container, Probe, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;

use super::objects::{Objects, Placed};
use crate::api::{GrpcBackend, GrpcBackendSpec, Port, ServiceOptions, ServicePolicy, Services};
use crate::findings::{is_grpc, says_grpc};
use crate::observed::{Kind, Workload, labels, selects};

/// A port by which a server is known.
const WELL_KNOWN: i32 = 50051;
/// As many as a GrpcBackend may have.
const PORTS: usize = 8;

/// A backend made up.
pub struct Guess<'a> {
    /// As somebody could write it.
    pub backend: GrpcBackend,
    /// The Service with a virtual address.
    pub cluster_ip: Option<&'a Placed<Service>>,
    /// The headless one.
    pub headless: Option<&'a Placed<Service>>,
    /// How it was told, as a sentence.
    pub how: String,
}

/// Workloads with the Services that they share.
#[derive(Default)]
struct Group<'a> {
    services: Vec<&'a Placed<Service>>,
    workloads: Vec<&'a Placed<Workload>>,
    ports: BTreeMap<i32, Port>,
    how: Option<String>,
}

/// The backends that are guessed, of workloads for which `is_known` does not hold.
pub fn guess<'a>(
    objects: &'a Objects,
    is_known: impl Fn(&Placed<Workload>) -> bool,
) -> Vec<Guess<'a>> {
    let by_label = index(&objects.services);
    let mut groups: Vec<Group<'a>> = Vec::new();
    let mut of_service: HashMap<usize, usize> = HashMap::new();
    for workload in objects.workloads.iter().filter(|own| !is_known(own)) {
        let services = selecting(&objects.services, &by_label, workload);
        let selecting: Vec<&Service> = services
            .iter()
            .map(|at| &objects.services[*at].object)
            .collect();
        let ports = ports(&workload.object, &selecting);
        let Some(how) = ports.values().next().map(|(_, how)| how.clone()) else {
            continue;
        };
        let known = services.iter().find_map(|at| of_service.get(at)).copied();
        let number = known.unwrap_or_else(|| {
            groups.push(Group::default());
            groups.len() - 1
        });
        let group = &mut groups[number];
        for at in services {
            if of_service.insert(at, number).is_none() {
                group.services.push(&objects.services[at]);
            }
        }
        group.workloads.push(workload);
        group.how.get_or_insert(how);
        let ports = ports.into_iter().map(|(number, (port, _))| (number, port));
        group.ports.extend(ports);
    }
    groups.into_iter().filter_map(Group::guess).collect()
}

impl<'a> Group<'a> {
    fn guess(self) -> Option<Guess<'a>> {
        let first = self.workloads.first()?;
        let leads = |service: &&&Placed<Service>| {
            let all = service_ports(&service.object);
            let to = |port: &ServicePort| target(&first.object, port);
            all.is_empty()
                || all
                    .iter()
                    .any(|port| to(port).is_some_and(|to| self.ports.contains_key(&to)))
        };
        let is_headless = |service: &&&Placed<Service>| is_headless(&service.object);
        let cluster_ip = self
            .services
            .iter()
            .filter(leads)
            .find(|own| !is_headless(own))
            .copied();
        let headless = self.services.iter().filter(leads);
        let headless = headless
            .filter(is_headless)
            .find(|own| !self.is_for_peers(&own.object, cluster_ip.is_some()))
            .copied();
        let service = cluster_ip.or(headless)?;
        let selector = service.object.spec.as_ref()?.selector.clone()?;
        let name = match cluster_ip {
            Some(service) => service.object.name_any(),
            None => first.object.name().into(),
        };
        let twin = headless.map(|service| service.object.name_any());
        let how = format!(
            "Service {} selects {}, and {}",
            service.object.name_any(),
            first.object,
            self.how.unwrap_or_default()
        );
        let spec = GrpcBackendSpec {
            selector,
            ports: named_apart(self.ports.into_values().take(PORTS)),
            services: twin.and_then(|twin| named_otherwise(&name, twin)),
            ..GrpcBackendSpec::default()
        };
        let mut backend = GrpcBackend::new(&name, spec);
        backend.metadata.namespace = Some(first.namespace.clone());
        Some(Guess {
            backend,
            cluster_ip,
            headless,
            how,
        })
    }

    fn is_for_peers(&self, service: &Service, clients_have_another: bool) -> bool {
        let spec = service.spec.as_ref();
        let early = spec.is_some_and(|spec| spec.publish_not_ready_addresses == Some(true));
        let mut workloads = self.workloads.iter();
        early && (clients_have_another || workloads.any(|own| own.object.kind == Kind::StatefulSet))
    }
}

/// What has to be said of the pair where the headless Service is not called after the backend.
fn named_otherwise(name: &str, twin: String) -> Option<Services> {
    if twin == format!("{name}-headless") {
        return None;
    }
    // One Service cannot be both.
    let taken = twin == name;
    let cluster_ip = taken.then(|| ServiceOptions {
        policy: Some(ServicePolicy::None),
        ..ServiceOptions::default()
    });
    let headless = Some(ServiceOptions {
        name: Some(twin),
        ..ServiceOptions::default()
    });
    Some(Services {
        cluster_ip,
        headless,
    })
}

/// Two ports of a backend have two names.
fn named_apart(ports: impl Iterator<Item = Port>) -> Vec<Port> {
    let mut names = BTreeSet::new();
    ports
        .map(|mut port| {
            if !names.insert(port.name.clone()) {
                port.name = format!("grpc-{}", port.target());
                names.insert(port.name.clone());
            }
            port
        })
        .collect()
}

/// Services by namespace and their selector's first label: most workloads have none of them.
type Index<'a> = HashMap<(&'a str, &'a str, &'a str), Vec<usize>>;

fn index(services: &[Placed<Service>]) -> Index<'_> {
    let mut index = Index::new();
    for (at, service) in services.iter().enumerate() {
        let selector = service
            .object
            .spec
            .as_ref()
            .and_then(|spec| spec.selector.as_ref());
        if let Some((key, value)) = selector.and_then(|selector| selector.iter().next()) {
            let label = (service.namespace.as_str(), key.as_str(), value.as_str());
            index.entry(label).or_default().push(at);
        }
    }
    index
}

fn selecting(
    services: &[Placed<Service>],
    index: &Index<'_>,
    workload: &Placed<Workload>,
) -> Vec<usize> {
    let Some(labels) = labels(&workload.object.template) else {
        return Vec::new();
    };
    let label = |(key, value): (&String, &String)| {
        let found = index.get(&(workload.namespace.as_str(), key.as_str(), value.as_str()));
        found.cloned().unwrap_or_default()
    };
    let selects = |at: &usize| {
        let selector = services[*at]
            .object
            .spec
            .as_ref()
            .and_then(|spec| spec.selector.as_ref());
        selector.is_some_and(|selector| selects(selector, labels))
    };
    let mut found: Vec<usize> = labels.iter().flat_map(label).filter(selects).collect();
    found.sort_unstable();
    found
}

/// The gRPC ports of a workload by number, each with how it was told.
fn ports(workload: &Workload, services: &[&Service]) -> BTreeMap<i32, (Port, String)> {
    if services.is_empty() {
        return BTreeMap::new();
    }
    let mut found = BTreeMap::new();
    for service in services {
        for port in service_ports(service).iter().filter(|port| port_says(port)) {
            if let Some(number) = target(workload, port) {
                let how = match (says_grpc(port.name.as_deref()), &port.name) {
                    (true, Some(name)) => format!("port {} is named {name}", port.port),
                    _ => format!("port {} has a gRPC appProtocol", port.port),
                };
                found
                    .entry(number)
                    .or_insert_with(|| (entry(number, port), how));
            }
        }
    }
    let declared = workload.containers().iter().flat_map(|container| {
        let ports = container.ports.iter().flatten();
        ports.map(move |port| (container, port))
    });
    for (container, port) in declared {
        let number = port.container_port;
        let how = if says_grpc(port.name.as_deref()) {
            format!(
                "container port {number} is named {}",
                port.name.as_deref().unwrap_or_default()
            )
        } else if probed(container, number) {
            format!("a probe asks port {number} by gRPC")
        } else if number == WELL_KNOWN {
            format!("port {number} is gRPC's usual one")
        } else {
            continue;
        };
        let mut all = services.iter().copied().flat_map(service_ports);
        let Some(of_service) = all.find(|port| target(workload, port) == Some(number)) else {
            continue;
        };
        found
            .entry(number)
            .or_insert_with(|| (entry(number, of_service), how));
    }
    found
}

fn entry(number: i32, port: &ServicePort) -> Port {
    // What the headless Service has may be the pods' port or not; the pods' is what counts.
    Port {
        name: port.name.clone().unwrap_or_else(|| "grpc".into()),
        port: port.port,
        target_port: (port.port != number).then_some(number),
        app_protocol: None,
    }
}

fn port_says(port: &ServicePort) -> bool {
    is_grpc(port.app_protocol.as_deref()) || says_grpc(port.name.as_deref())
}

fn probed(container: &Container, number: i32) -> bool {
    let asks = |probe: &&Probe| probe.grpc.as_ref().is_some_and(|grpc| grpc.port == number);
    let probes = [
        &container.readiness_probe,
        &container.liveness_probe,
        &container.startup_probe,
    ];
    probes.into_iter().flatten().any(|probe| asks(&probe))
}

fn target(workload: &Workload, port: &ServicePort) -> Option<i32> {
    match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => crate::findings::named(workload, name),
    }
}

fn service_ports(service: &Service) -> &[ServicePort] {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.ports.as_deref())
        .unwrap_or_default()
}

fn is_headless(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}
