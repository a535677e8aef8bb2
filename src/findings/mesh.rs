//! Service meshes.

use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt as _;

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
        Some(format!(
            "{workload} asks {mesh} to put a proxy before its server"
        ))
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

/// The mesh that a template asks for a proxy that balances requests. What a namespace asks for is not known here.
pub(super) fn injected(observed: &Observed, workload: &Workload) -> Option<&'static str> {
    let metadata = workload.template.metadata.as_ref()?;
    let says = |key: &str, values: &[&str]| {
        [&metadata.labels, &metadata.annotations]
            .into_iter()
            .flatten()
            .any(|map| {
                map.get(key)
                    .is_some_and(|value| values.contains(&value.as_str()))
            })
    };
    let meshes = [
        ("Linkerd", "linkerd.io/inject", &["enabled", "ingress"][..]),
        ("Istio", "sidecar.istio.io/inject", &["true"]),
    ];
    if let Some(mesh) = meshes.iter().find(|(_, key, values)| says(key, values)) {
        return Some(mesh.0);
    }
    // By itself ambient mode carries bytes: requests are seen by a waypoint only.
    let ambient = says("istio.io/dataplane-mode", &["ambient"]);
    let waypoint = |service: &Service| {
        let name = service.labels().get("istio.io/use-waypoint");
        name.is_some_and(|name| !name.is_empty() && name != "none")
    };
    (ambient && both(observed).any(waypoint)).then_some("Istio")
}
