//! Service meshes.

use kube::ResourceExt as _;

use crate::observed::{Observed, mesh_proxy};

/// GB028: a proxy beside the server balances requests already.
pub(super) fn beside_an_age(observed: &Observed) -> Option<String> {
    observed.backend.spec.connection_age.as_ref()?;
    let mut meshed = observed.pods.iter();
    let (pod, proxy) = meshed.find_map(|pod| Some((pod.name_any(), mesh_proxy(pod)?)))?;
    Some(format!(
        "pod {pod} has the proxy {proxy} beside its server and spec.connectionAge is set: the mesh balances requests of meshed clients already, and the age then ends the connections between proxy and server only. \
         Remove spec.connectionAge, unless clients outside the mesh call these pods"
    ))
}
