//! Service meshes.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use crate::observed::{Observed, Workload, mesh_proxy};

use super::Seen;
use super::services::both;
use super::snippet;

/// GB028: a proxy beside the server balances requests already.
pub(super) fn beside_an_age(observed: &Observed) -> Option<Seen> {
    observed.backend.spec.connection_age.as_ref()?;
    let of_pods = observed.pods.iter().find_map(|pod| {
        let proxy = mesh_proxy(pod)?;
        let name = pod.name_any();
        Some(format!(
            "pod {name} has the proxy {proxy} beside its server"
        ))
    });
    let seen = of_pods.or_else(|| {
        let (workload, mesh) = observed
            .serving_workloads()
            .find_map(|workload| Some((workload, injected(observed, workload)?)))?;
        let Asked { mesh, by_namespace } = mesh;
        Some(if by_namespace {
            format!(
                "namespace {} has {mesh} put a proxy before the server of {workload}",
                observed.namespace()
            )
        } else {
            format!("{workload} asks {mesh} to put a proxy before its server")
        })
    })?;
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

/// The mesh that puts a proxy before a workload's pods which balances requests, and whether it is their namespace that asks for it.
pub(super) fn injected(observed: &Observed, workload: &Workload) -> Option<Asked> {
    let namespace = observed.namespace_metadata.as_ref();
    let asked = sidecar(workload, namespace);
    asked.or_else(|| ambient(observed, workload, namespace))
}

/// A mesh, and who asks for it.
pub(super) struct Asked {
    pub(super) mesh: &'static str,
    pub(super) by_namespace: bool,
}

/// What pods say for themselves counts before what their namespace says.
pub(super) fn sidecar(workload: &Workload, namespace: Option<&ObjectMeta>) -> Option<Asked> {
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
            // Where a namespace refuses, a revision asks for nothing.
            let said = of_namespace
                .iter()
                .find_map(|(key, values)| Some((value(namespace, key)?, values)));
            let (value, values) = said?;
            (values.is_empty() && !value.is_empty() || values.contains(&value)).then_some(Asked {
                mesh,
                by_namespace: true,
            })
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
    let (twin, service) = (observed.headless_name(), observed.cluster_ip_name());
    let meshed = observed.callers.iter().filter_map(|caller| {
        let workload = &caller.workload;
        let mesh = sidecar(workload, caller.namespace_metadata.as_ref())?.mesh;
        let message = format!(
            "{workload} is behind a proxy of {mesh} and dials {twin}: by DNS it gets the pods' addresses, and a proxy that is given the address of a pod balances nothing. \
             Have it dial the Service {service}, which the mesh balances request by request"
        );
        let fields = redialled(observed, workload, &twin, &service)?;
        let seen = Seen::in_workload(workload, "spec.template.spec.containers", message);
        Some(seen.of(caller.namespace.as_deref()).instead(&snippet::pods(&fields)))
    });
    meshed.collect()
}

/// The container that dials, with the other name, and its port where that is another.
fn redialled(
    observed: &Observed,
    workload: &Workload,
    twin: &str,
    service: &str,
) -> Option<String> {
    let ports = &observed.backend.spec.ports;
    let other = |text: &String| {
        let text = text.replace(twin, service);
        ports.iter().fold(text, |text, port| {
            text.replace(&format!(":{}", port.target()), &format!(":{}", port.port))
        })
    };
    let dials = |text: &String| text.contains(twin);
    workload.containers().iter().find_map(|container| {
        let lists = [("args", &container.args), ("command", &container.command)];
        let list = lists.into_iter().find_map(|(field, words)| {
            let words = words.as_ref().filter(|words| words.iter().any(dials))?;
            let words: Vec<String> = words.iter().map(other).collect();
            Some(format!("{field}: {}", snippet::list(&words)))
        });
        let field = list.or_else(|| {
            let mut values = container.env.iter().flatten();
            let variable = values.find(|own| own.value.as_ref().is_some_and(dials))?;
            let value = snippet::word(&other(variable.value.as_ref()?));
            Some(format!(
                "env: [{{name: {}, value: {value}}}]",
                snippet::word(&variable.name)
            ))
        })?;
        Some(snippet::container(&container.name, &field))
    })
}
