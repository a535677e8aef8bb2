//! Backends that nobody wrote a GrpcBackend for.
//!
//! A workload serves gRPC if a Service selects it and one of its ports says so, by the first of these that holds:
//!
//! 1. a Service's port to it is named `grpc`, `grpc-…` or `…-grpc`, or has the appProtocol `grpc` or `kubernetes.io/h2c`;
//! 2. the container's port is named so;
//! 3. a probe asks it by gRPC;
//! 4. it is 50051, which next to nothing but gRPC uses.
//!
//! What a Service leads to is one backend, with the ports of the ClusterIP Service. Where several lead to the same workloads, those with
//! a twin and those that lead to most go first, and others count only for workloads that are left. A twin is a headless Service that
//! leads to the same workloads, or also to such as no other ClusterIP Service leads to. A headless Service that publishes pods which are
//! not ready is there for peers or for monitoring, not for clients, if something says so (`peers`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;

use super::objects::{Objects, Placed};
use super::peers;
use crate::api::{GrpcBackend, GrpcBackendSpec, Port, ServiceOptions, ServicePolicy, Services};
use crate::findings::{asks_by_grpc, is_grpc, publishes_early, says_grpc};
use crate::names;
use crate::observed::{Peers, Workload, labels, selects};

/// A port by which a server is known.
const WELL_KNOWN: i32 = 50051;
/// As many as a GrpcBackend may have.
const PORTS: usize = 8;
/// Characters that the name of one of them may have.
const PORT_NAME: usize = 15;

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
    /// Whether the pods of a StatefulSet may be peers.
    pub peers: Peers,
}

/// A workload with the Services that select it.
struct Member<'a> {
    workload: &'a Placed<Arc<Workload>>,
    services: Vec<usize>,
    told: BTreeMap<i32, How>,
}

/// Services that lead to the same servers, and the workloads of these.
struct Pair<'m, 'a> {
    cluster_ip: Option<&'a Placed<Service>>,
    headless: Option<&'a Placed<Service>>,
    members: Vec<&'m Member<'a>>,
}

/// How a port was told.
struct How {
    /// The Service of which the sentence speaks, if it speaks of one.
    service: Option<String>,
    text: String,
}

/// The backends that are guessed, of workloads for which `is_known` does not hold.
pub fn guess<'a>(
    objects: &'a Objects,
    is_known: impl Fn(&Placed<Arc<Workload>>) -> bool,
) -> Vec<Guess<'a>> {
    let by_label = index(&objects.services);
    let mut groups: Vec<Vec<Member<'a>>> = Vec::new();
    let mut of_service: HashMap<usize, usize> = HashMap::new();
    for workload in objects.workloads.iter().filter(|own| !is_known(own)) {
        let services = selecting(&objects.services, &by_label, workload);
        let object = |at: &usize| &objects.services[*at].object;
        let selecting: Vec<&Service> = services.iter().map(object).collect();
        let told = told(&workload.object, &selecting);
        if told.is_empty() {
            continue;
        }
        // What peers or monitoring find pods by may select every workload of a product.
        let joins = |at: &&usize| {
            let service = object(at);
            !publishes_early(service) && carried(service, &workload.object, &told).count() > 0
        };
        let joining: Vec<usize> = services.iter().filter(joins).copied().collect();
        let known = joining.iter().find_map(|at| of_service.get(at)).copied();
        let number = known.unwrap_or_else(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        for at in joining {
            of_service.entry(at).or_insert(number);
        }
        groups[number].push(Member {
            workload,
            services,
            told,
        });
    }
    let standing = objects.services.iter();
    let standing: HashSet<(&str, String)> = standing
        .map(|own| (own.namespace.as_str(), own.object.name_any()))
        .collect();
    let mut given = HashSet::new();
    let pairs = groups.iter().flat_map(|own| pairs(own, &objects.services));
    pairs
        .filter_map(|pair| pair.guess(&objects.services, &standing, &mut given))
        .collect()
}

/// As many as it takes to lead to all of the workloads.
fn pairs<'m, 'a>(members: &'m [Member<'a>], services: &'a [Placed<Service>]) -> Vec<Pair<'m, 'a>> {
    let mut led: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (number, member) in members.iter().enumerate() {
        let leads = |at: &&usize| {
            let service = &services[**at].object;
            service_ports(service).is_empty() || member.ports(service) > 0
        };
        for at in member.services.iter().filter(leads) {
            led.entry(*at).or_default().insert(number);
        }
    }
    let object = |at: usize| &services[at].object;
    let ports = |at: usize| {
        let first = led[&at].first();
        first.map_or(0, |number| members[*number].ports(object(at)))
    };
    let (headless, dialled): (Vec<usize>, Vec<usize>) =
        led.keys().partition(|at| is_headless(object(**at)));
    let by_address: BTreeSet<usize> = dialled.iter().flat_map(|at| &led[at]).copied().collect();
    let for_clients = |at: usize, twin: Option<&Service>| {
        let theirs = led[&at].iter().map(|number| &members[*number]);
        let mut workloads = theirs.map(|own| &own.workload.object);
        !workloads.any(|own| peers::look_here(object(at), own, twin))
    };
    let twin = |own: usize| {
        let fits = |at: &usize| {
            let mut more = led[at].difference(&led[&own]);
            led[at].is_superset(&led[&own])
                && more.all(|number| !by_address.contains(number))
                && for_clients(*at, Some(object(own)))
        };
        let alike = |at: usize| selector(object(at)) == selector(object(own));
        let fitting = headless.iter().copied().filter(fits);
        fitting.min_by_key(|at| Reverse((led[at] == led[&own], alike(*at), ports(*at))))
    };
    let paired: HashSet<&BTreeSet<usize>> = headless.iter().map(|at| &led[at]).collect();
    let mut ordered = [dialled, headless.clone()].concat();
    ordered.sort_by_cached_key(|at| {
        let is_paired = paired.contains(&led[at]);
        let is_dialled = !is_headless(object(*at));
        Reverse((is_dialled, is_paired, led[at].len(), ports(*at)))
    });
    let mut covered = BTreeSet::new();
    let mut found = Vec::new();
    for at in ordered {
        let pair = match is_headless(object(at)) {
            _ if led[&at].is_subset(&covered) => continue,
            false => [Some(at), twin(at)],
            true if for_clients(at, None) => [None, Some(at)],
            true => continue,
        };
        covered.extend(pair.iter().flatten().flat_map(|at| &led[at]).copied());
        let [cluster_ip, headless] = pair.map(|at| at.map(|at| &services[at]));
        found.push(Pair {
            cluster_ip,
            headless,
            members: led[&at].iter().map(|number| &members[*number]).collect(),
        });
    }
    found
}

impl Member<'_> {
    /// How many ports of a Service lead to its gRPC ports.
    fn ports(&self, service: &Service) -> usize {
        carried(service, &self.workload.object, &self.told).count()
    }
}

impl<'a> Pair<'_, 'a> {
    fn guess(
        self,
        services: &'a [Placed<Service>],
        standing: &HashSet<(&str, String)>,
        given: &mut HashSet<(String, String)>,
    ) -> Option<Guess<'a>> {
        let Self {
            cluster_ip,
            headless,
            members,
        } = self;
        let service = cluster_ip.or(headless)?;
        let first = members.first()?.workload;
        let mut told: BTreeMap<i32, &How> = BTreeMap::new();
        for (number, how) in members.iter().flat_map(|own| &own.told) {
            told.entry(*number).or_insert(how);
        }
        let selecting = members.iter().flat_map(|own| &own.services);
        let selecting: BTreeSet<usize> = selecting.copied().collect();
        let is_governed = |own: &Placed<Arc<Workload>>| {
            let spec = own.source.node.get("spec");
            let governing = spec.and_then(|spec| spec.get("serviceName"));
            let governing = governing.and_then(|name| name.text()).unwrap_or_default();
            governing.is_empty() || governing == service.object.name_any()
        };
        let is_alone = selecting.len() == 1
            && members.iter().all(|own| {
                let own = own.workload;
                is_governed(own) && !peers::find_each_other(&service.object, &own.object)
            });
        let name = match cluster_ip {
            Some(service) => names::fitting(&service.object.name_any()),
            None => names::fitting(first.object.name()),
        };
        // Two that are made to fit may have come to the same.
        let numbered = (2..).map(|number| names::longer(&name, &format!("-{number}")));
        let mut tried = std::iter::once(name.clone()).chain(numbered);
        let name = tried.find(|name| given.insert((first.namespace.clone(), name.clone())))?;
        // What the one Service does not lead to, its clients do not call; one without ports says nothing.
        let silent = service_ports(&service.object).is_empty();
        let from = if silent {
            selecting.iter().map(|at| &services[*at]).collect()
        } else {
            vec![service]
        };
        let port = |number: &i32| {
            let mut leading = from.iter().filter_map(|own| {
                let ports = carried(&own.object, &first.object, &told);
                let its = ports.filter(|(_, to)| to == number).map(|(port, _)| port);
                its.min_by_key(|port| !port_says(port))
            });
            Some(entry(*number, leading.next()?))
        };
        let mut numbers = HashSet::new();
        let ports = told.keys().filter_map(port);
        let ports = ports.filter(|port| numbers.insert(port.port)).take(PORTS);
        let ports = named_apart(ports);
        let how = told.get(&ports.first()?.target())?;
        let how = format!(
            "Service {} selects {}, and {}",
            service.object.name_any(),
            first.object,
            how.beside(&service.object.name_any())
        );
        let taken = |name: &str| standing.contains(&(first.namespace.as_str(), name.to_owned()));
        let [cluster_ip_name, twin] =
            [cluster_ip, headless].map(|service| service.map(|own| own.object.name_any()));
        let spec = GrpcBackendSpec {
            selector: selector(&service.object)?.clone(),
            ports,
            services: named_otherwise(&name, cluster_ip_name, twin, taken),
            ..GrpcBackendSpec::default()
        };
        let mut backend = GrpcBackend::new(&name, spec);
        backend.metadata.namespace = Some(first.namespace.clone());
        Some(Guess {
            backend,
            cluster_ip,
            headless,
            how,
            peers: if is_alone {
                Peers::Unlikely
            } else {
                Peers::Possible
            },
        })
    }
}

impl How {
    /// As said of the Service named before.
    fn beside(&self, service: &str) -> String {
        match &self.service {
            Some(other) if other != service => format!("Service {other}: {}", self.text),
            _ => self.text.clone(),
        }
    }
}

/// What has to be said of the pair where a Service is not called after the backend, or another one is.
fn named_otherwise(
    name: &str,
    cluster_ip: Option<String>,
    twin: Option<String>,
    taken: impl Fn(&str) -> bool,
) -> Option<Services> {
    let named = |name: String| ServiceOptions {
        name: Some(name),
        ..ServiceOptions::default()
    };
    let default = format!("{name}-headless");
    let cluster_ip = if let Some(own) = cluster_ip {
        (own != name).then(|| named(own))
    } else if !taken(name) {
        None
    } else if twin.as_deref() == Some(name) {
        // One Service cannot be both.
        Some(ServiceOptions {
            policy: Some(ServicePolicy::None),
            ..ServiceOptions::default()
        })
    } else {
        Some(named(names::longer(name, "-grpc")))
    };
    let headless = match twin {
        Some(twin) => (twin != default).then_some(twin),
        None => taken(&default).then(|| names::longer(name, "-grpc-headless")),
    };
    let headless = headless.map(named);
    (cluster_ip.is_some() || headless.is_some()).then_some(Services {
        cluster_ip,
        headless,
    })
}

/// Two ports of a backend have two names, and a Service's may be longer than a GrpcBackend's.
fn named_apart(ports: impl Iterator<Item = Port>) -> Vec<Port> {
    let mut names = BTreeSet::new();
    ports
        .map(|mut port| {
            if port.name.len() > PORT_NAME || !names.insert(port.name.clone()) {
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
        if let Some((key, value)) =
            selector(&service.object).and_then(|selector| selector.iter().next())
        {
            let label = (service.namespace.as_str(), key.as_str(), value.as_str());
            index.entry(label).or_default().push(at);
        }
    }
    index
}

fn selecting(
    services: &[Placed<Service>],
    index: &Index<'_>,
    workload: &Placed<Arc<Workload>>,
) -> Vec<usize> {
    let Some(labels) = labels(&workload.object.template) else {
        return Vec::new();
    };
    let label = |(key, value): (&String, &String)| {
        let found = index.get(&(workload.namespace.as_str(), key.as_str(), value.as_str()));
        found.cloned().unwrap_or_default()
    };
    let selects = |at: &usize| {
        let selector = selector(&services[*at].object);
        selector.is_some_and(|selector| selects(selector, labels))
    };
    let mut found: Vec<usize> = labels.iter().flat_map(label).filter(selects).collect();
    found.sort_unstable();
    found
}

/// The gRPC ports of a workload by number, each with how it was told.
fn told(workload: &Workload, services: &[&Service]) -> BTreeMap<i32, How> {
    let mut found = BTreeMap::new();
    // What clients dial is believed first.
    let (headless, others): (Vec<&Service>, Vec<&Service>) =
        services.iter().partition(|service| is_headless(service));
    let services = || others.iter().chain(&headless).copied();
    for service in services() {
        for port in service_ports(service).iter().filter(|port| port_says(port)) {
            if let Some(number) = target(workload, port) {
                let text = match (says_grpc(port.name.as_deref()), &port.name) {
                    (true, Some(name)) => format!("port {} is named {name}", port.port),
                    _ => format!("port {} has a gRPC appProtocol", port.port),
                };
                let service = Some(service.name_any());
                found.entry(number).or_insert(How { service, text });
            }
        }
    }
    let declared = workload.containers().iter().flat_map(|container| {
        let ports = container.ports.iter().flatten();
        ports.map(move |port| (container, port))
    });
    for (container, port) in declared {
        let number = port.container_port;
        let text = if says_grpc(port.name.as_deref()) {
            format!(
                "container port {number} is named {}",
                port.name.as_deref().unwrap_or_default()
            )
        } else if asks_by_grpc(container).contains(&number) {
            format!("a probe asks port {number} by gRPC")
        } else if number == WELL_KNOWN {
            format!("port {number} is gRPC's usual one")
        } else {
            continue;
        };
        let mut all = services().flat_map(service_ports);
        if all.any(|port| target(workload, port) == Some(number)) {
            let service = None;
            found.entry(number).or_insert(How { service, text });
        }
    }
    found
}

/// The ports of a Service that lead to gRPC ports, each with the number that it leads to.
fn carried<'a, T>(
    service: &'a Service,
    workload: &Workload,
    told: &BTreeMap<i32, T>,
) -> impl Iterator<Item = (&'a ServicePort, i32)> {
    let ports = service_ports(service).iter();
    ports.filter_map(move |port| {
        let to = target(workload, port).filter(|to| told.contains_key(to))?;
        Some((port, to))
    })
}

fn entry(number: i32, port: &ServicePort) -> Port {
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

pub(super) fn target(workload: &Workload, port: &ServicePort) -> Option<i32> {
    match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => crate::findings::named(workload, name),
    }
}

pub(super) fn service_ports(service: &Service) -> &[ServicePort] {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.ports.as_deref())
        .unwrap_or_default()
}

fn is_headless(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

fn selector(service: &Service) -> Option<&BTreeMap<String, String>> {
    service.spec.as_ref()?.selector.as_ref()
}
