//! Service meshes.

use kube::ResourceExt as _;

use crate::observed::Observed;

const PROXIES: [&str; 2] = ["istio-proxy", "linkerd-proxy"];

/// GB028: a proxy beside the server balances requests already.
pub(super) fn beside_an_age(observed: &Observed) -> Option<String> {
    observed.backend.spec.connection_age.as_ref()?;
    let (pod, proxy) = observed.pods.iter().find_map(|pod| {
        let spec = pod.spec.as_ref()?;
        // Native sidecars stand among the init containers.
        let proxy = spec
            .containers
            .iter()
            .chain(spec.init_containers.iter().flatten())
            .find(|container| PROXIES.contains(&container.name.as_str()))?;
        Some((pod.name_any(), proxy.name.as_str()))
    })?;
    Some(format!(
        "pod {pod} has the proxy {proxy} beside its server and spec.connectionAge is set: the mesh balances requests of meshed clients already, and the age then ends the connections between proxy and server only. \
         Remove spec.connectionAge, unless clients outside the mesh call these pods"
    ))
}
