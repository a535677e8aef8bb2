//! Service meshes.

use std::fmt::Write as _;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PodSpec, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use crate::child::is_ours;
use crate::observed::{Caller, Observed, Workload, mesh_proxy, redialled};

use super::Seen;
use super::services::{both, mended_ports, serving_ports, target};
use super::snippet;

/// GB028: a proxy beside the server balances requests already.
pub(super) fn beside_an_age(observed: &Observed) -> Option<Seen> {
    observed.backend.spec.connection_age.as_ref()?;
    if !balances_all(observed) {
        return None;
    }
    let mut servers = observed.serving_workloads();
    let seen = servers.find_map(|workload| how_it_shows(observed, workload))?;
    let seen = Seen::in_backend(
        observed,
        "spec.connectionAge",
        format!(
            "{seen} and spec.connectionAge is set: the mesh balances requests of meshed clients already, and the age then ends the connections between proxy and server only. \
         Remove spec.connectionAge, unless clients outside the mesh call these pods"
        ),
    );
    Some(seen.instead(&snippet::spec("connectionAge: null   # or no such field")))
}

/// How a mesh shows: first by what stays as it is when pods come and go.
fn how_it_shows(observed: &Observed, workload: &Workload) -> Option<String> {
    let there = |pod: &PodSpec| {
        let proxy = mesh_proxy(pod)?;
        Some(format!(
            "the pods of {workload} have the proxy {proxy} beside their server"
        ))
    };
    let asked = || {
        let Asked { mesh, by_namespace } = injected(observed, workload)?;
        Some(if by_namespace {
            format!(
                "namespace {} has {mesh} put a proxy before the server of {workload}",
                observed.namespace()
            )
        } else {
            format!("{workload} asks {mesh} to put a proxy before its server")
        })
    };
    let template = workload.template.spec.as_ref().and_then(there);
    template
        .or_else(asked)
        .or_else(|| pods(observed, workload).find_map(there))
}

/// Whether a mesh balances what is sent to each workload, so that no client has to look for pods.
pub(super) fn balances_all(observed: &Observed) -> bool {
    let mut servers = observed.serving_workloads().peekable();
    servers.peek().is_some() && servers.all(|own| balances(observed, own))
}

/// The mesh that puts a proxy before a workload's pods which balances requests, and whether it is their namespace that asks for it.
pub(super) fn injected(observed: &Observed, workload: &Workload) -> Option<Asked> {
    let namespace = observed.namespace_metadata.known().map(Arc::as_ref);
    let asked = sidecar(workload, namespace);
    asked.or_else(|| ambient(observed, workload, namespace))
}

/// Whether a mesh balances what is sent to a workload, request by request: it does not where it is told to carry bytes.
pub(super) fn balances(observed: &Observed, workload: &Workload) -> bool {
    let service = observed.cluster_ip.as_ref();
    let mut ports = service
        .into_iter()
        .flat_map(|service| serving_ports(observed, service));
    of(observed, workload).is_some_and(|mesh| {
        !ports.any(|(_, port)| as_bytes(observed, workload, mesh, port).is_some())
    })
}

/// The mesh before a workload's pods. What a namespace's label asks for may show only in its pods.
fn of(observed: &Observed, workload: &Workload) -> Option<&'static str> {
    let asked = injected(observed, workload).map(|asked| asked.mesh);
    asked.or_else(|| pods(observed, workload).find_map(mesh_of))
}

fn pods<'a>(observed: &'a Observed, workload: &'a Workload) -> impl Iterator<Item = &'a PodSpec> {
    let own = observed.pods.iter().filter(|pod| workload.owns(pod));
    own.filter_map(|pod| pod.spec.as_ref())
}

/// The mesh whose proxy is among the containers.
fn mesh_of(pod: &PodSpec) -> Option<&'static str> {
    match mesh_proxy(pod)? {
        "linkerd-proxy" => Some("Linkerd"),
        _ => Some("Istio"),
    }
}

/// GB083: what a mesh takes for plain bytes it balances by connections.
pub(super) fn taken_for_bytes(observed: &Observed) -> Vec<Seen> {
    let Some(service) = &observed.cluster_ip else {
        return Vec::new();
    };
    let name = service.name_any();
    let taken = serving_ports(observed, service).filter_map(|(index, port)| {
        let mut servers = observed.serving_workloads();
        let (mesh, why) = servers.find_map(|workload| {
            let mesh = of(observed, workload)?;
            Some((mesh, as_bytes(observed, workload, mesh, port)?))
        })?;
        let number = port.port;
        let begin = format!(
            "port {number} of Service {name} leads to gRPC servers, and {mesh} carries it as plain bytes, since {}: it balances the connections of it and not the requests, so that one pod has all of a client's",
            why.text
        );
        let seen = |to_do: &str| {
            let message = format!("{begin}. {to_do}");
            Seen::in_service(&name, &format!("spec.ports[{index}]"), message)
        };
        Some(if why.is_annotation {
            seen("Take the port out of that list, unless clients balance by themselves")
                .write(&format!("# {OPAQUE}: a list without {number}, at the Service, the pods and their namespace"))
        } else if is_ours(service, &observed.backend) {
            let message = format!("{begin}. Set appProtocol: grpc of that port in the GrpcBackend, unless clients balance by themselves");
            Seen::in_backend(observed, "spec.ports", message)
                .instead(&snippet::spec(&of_backend(observed, number)))
        } else {
            let mended = mended_ports(service, |own| {
                if own == port {
                    own.app_protocol = Some("grpc".into());
                }
            });
            seen("Set appProtocol: grpc, unless clients balance by themselves").instead(&mended)
        })
    });
    taken.collect()
}

/// The ports of a GrpcBackend, of which one says gRPC: the Service that the operator keeps by them would be set back.
fn of_backend(observed: &Observed, number: i32) -> String {
    let ports = observed.backend.spec.ports.iter().map(|port| {
        let mut port = port.clone();
        if port.port == number {
            port.app_protocol = Some("grpc".into());
        }
        snippet::port(&port)
    });
    let ports: Vec<String> = ports.collect();
    format!("ports: [{}]", ports.join(", "))
}

/// Ports that are for the mesh not to look into, as Linkerd reads it.
const OPAQUE: &str = "config.linkerd.io/opaque-ports";

/// Why a mesh takes a port for plain bytes.
struct AsBytes {
    text: String,
    is_annotation: bool,
}

fn as_bytes(
    observed: &Observed,
    workload: &Workload,
    mesh: &str,
    port: &ServicePort,
) -> Option<AsBytes> {
    if mesh == "Istio" {
        let text = declared_tcp(port)?;
        let is_annotation = false;
        return Some(AsBytes {
            text,
            is_annotation,
        });
    }
    let service = observed.cluster_ip.as_ref()?;
    // What an object says for itself counts before what its namespace says.
    let of_namespace = value(observed.namespace_metadata.known().map(Arc::as_ref), OPAQUE);
    let listed = |metadata: Option<&ObjectMeta>, number: i32, who: String| {
        let own = value(metadata, OPAQUE);
        let list = own.or(of_namespace)?;
        let who = own.map_or_else(|| format!("namespace {}", observed.namespace()), |_| who);
        lists(list, number).then(|| format!("{OPAQUE} of {who} has it"))
    };
    let text = listed(
        Some(&service.metadata),
        port.port,
        format!("Service {}", service.name_any()),
    );
    let of_pods = || {
        let metadata = workload.template.metadata.as_ref();
        let number = target(observed, port)?;
        listed(metadata, number, format!("the pods of {workload}"))
    };
    text.or_else(of_pods).map(|text| AsBytes {
        text,
        is_annotation: true,
    })
}

/// What Istio does not ask the bytes themselves about: appProtocol counts before the name.
fn declared_tcp(port: &ServicePort) -> Option<String> {
    let is_tcp = |own: &str| matches!(own.to_ascii_lowercase().as_str(), "tcp" | "tls");
    if let Some(protocol) = &port.app_protocol {
        return is_tcp(protocol).then(|| format!("its appProtocol is {protocol}"));
    }
    let name = port.name.as_deref()?;
    is_tcp(name.split('-').next()?).then(|| format!("its name is {name}"))
}

/// Whether a list such as `9000,9010-9020` has a port.
fn lists(ranges: &str, number: i32) -> bool {
    ranges.split(',').any(|range| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let bounds = (from.trim().parse::<i32>(), to.trim().parse::<i32>());
        matches!(bounds, (Ok(from), Ok(to)) if (from..=to).contains(&number))
    })
}

/// A mesh, and who asks for it.
pub(super) struct Asked {
    pub(super) mesh: &'static str,
    pub(super) by_namespace: bool,
}

/// What pods say for themselves counts before what their namespace says, and a proxy that is written into their template before both.
pub(super) fn sidecar(workload: &Workload, namespace: Option<&ObjectMeta>) -> Option<Asked> {
    if let Some(mesh) = workload.template.spec.as_ref().and_then(mesh_of) {
        let by_namespace = false;
        return Some(Asked { mesh, by_namespace });
    }
    let own = workload.template.metadata.as_ref();
    let meshes: [(_, _, &[_], &[(_, &[_])]); 2] = [
        (
            "Linkerd",
            "linkerd.io/inject",
            &["enabled", "ingress"],
            &[("linkerd.io/inject", &["enabled", "ingress"])],
        ),
        (
            "Istio",
            "sidecar.istio.io/inject",
            &["true"],
            &[("istio-injection", &["enabled"]), ("istio.io/rev", &[])],
        ),
    ];
    meshes
        .into_iter()
        .find_map(|(mesh, key, values, of_namespace)| {
            if let Some(value) = value(own, key) {
                return values.contains(&value).then_some(Asked {
                    mesh,
                    by_namespace: false,
                });
            }
            // Where a namespace refuses, a revision asks for nothing; where it says nothing, that of the pods counts.
            let of = |metadata, by_namespace| {
                let mut said = of_namespace.iter().filter_map(move |(key, values)| {
                    let is_asked = by_namespace || values.is_empty();
                    let value = value(metadata, key).filter(|_| is_asked)?;
                    Some((value, values, by_namespace))
                });
                said.next()
            };
            let (value, values, by_namespace) = of(namespace, true).or_else(|| of(own, false))?;
            let asks = values.is_empty() && !value.is_empty() || values.contains(&value);
            asks.then_some(Asked { mesh, by_namespace })
        })
}

/// By itself ambient mode carries bytes: requests are seen by a waypoint only.
fn ambient(
    observed: &Observed,
    workload: &Workload,
    namespace: Option<&ObjectMeta>,
) -> Option<Asked> {
    const MODE: &str = "istio.io/dataplane-mode";
    const WAYPOINT: &str = "istio.io/use-waypoint";
    let own = value(workload.template.metadata.as_ref(), MODE);
    let mode = own.or_else(|| value(namespace, MODE));
    let named = |name: Option<&str>| name.is_some_and(|name| !name.is_empty() && name != "none");
    let waypoint = |service: &Service| {
        let labelled = service.labels().get(WAYPOINT).map(String::as_str);
        named(labelled.or_else(|| value(namespace, WAYPOINT)))
    };
    (mode == Some("ambient") && both(observed).any(waypoint)).then_some(Asked {
        mesh: "Istio",
        by_namespace: own.is_none(),
    })
}

/// A label or an annotation.
fn value<'a>(metadata: Option<&'a ObjectMeta>, key: &str) -> Option<&'a str> {
    let metadata = metadata?;
    let maps = [&metadata.labels, &metadata.annotations];
    let mut found = maps.into_iter().flatten().filter_map(|map| map.get(key));
    found.next().map(String::as_str)
}

/// GB080: a proxy that is given the address of a pod has nothing to choose.
pub(super) fn callers_dial_pods(observed: &Observed) -> Vec<Seen> {
    let names = crate::services::names(&observed.backend);
    if names.cluster_ip.is_none() || names.headless.is_none() {
        return Vec::new();
    }
    let (twin, service) = (observed.headless_name(), observed.cluster_ip_name());
    let meshed = observed.callers.iter().filter_map(|caller| {
        let workload = &caller.workload;
        let mesh = sidecar(workload, caller.namespace_metadata.as_deref())?.mesh;
        let message = format!(
            "{workload} is behind a proxy of {mesh} and dials {twin}: by DNS it gets the pods' addresses, and a proxy that is given the address of a pod balances nothing. \
             Have it dial the Service {service}, which the mesh balances request by request"
        );
        let seen = Seen::in_workload(workload, "spec.template.spec.containers", message);
        let seen = seen.of(caller.namespace.as_deref());
        Some(match dialling(observed, caller, [&twin, &service]) {
            Some(fields) => seen.instead(&snippet::pods(&fields)),
            None => seen.write(&format!("# in {workload}: dial {service}, and no pod by its own name")),
        })
    });
    meshed.collect()
}

/// The containers that dial, with the other name, and its port where that is another. Lists are whole, since they are one value.
fn dialling(observed: &Observed, caller: &Caller, names: [&str; 2]) -> Option<String> {
    let (namespace, is_own) = (observed.namespace(), caller.namespace.is_none());
    let ports = &observed.backend.spec.ports;
    let port = |dialled: i32| {
        let mut ports = ports.iter();
        ports
            .find(|port| port.target() == dialled)
            .map(|own| own.port)
    };
    let other = |text: &String| redialled(text, names, &namespace, is_own, port);
    let containers = caller.workload.containers().iter().filter_map(|container| {
        let lists = [("args", &container.args), ("command", &container.command)];
        let lists = lists.into_iter().filter_map(|(field, words)| {
            let words = words.as_ref()?;
            let dials = words.iter().any(|own| other(own).is_some());
            let words = words
                .iter()
                .map(|own| other(own).unwrap_or_else(|| own.clone()));
            let words: Vec<String> = words.collect();
            dials.then(|| format!("{field}: {}\n", snippet::list(&words)))
        });
        let values = container.env.iter().flatten().filter_map(|own| {
            let (name, value) = (snippet::word(&own.name), other(own.value.as_ref()?)?);
            Some(format!(
                "{{name: {name}, value: {}}}",
                snippet::word(&value)
            ))
        });
        let values: Vec<String> = values.collect();
        let mut fields: String = lists.collect();
        if !values.is_empty() {
            let _ = writeln!(fields, "env: [{}]", values.join(", "));
        }
        (!fields.is_empty()).then(|| snippet::item(&container.name, &fields))
    });
    let containers: String = containers.collect();
    (!containers.is_empty()).then(|| format!("containers:\n{containers}"))
}
