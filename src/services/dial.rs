//! Ready-made strings for clients.

use kube::ResourceExt as _;

use super::pair::{Side, wanted};
use crate::api::{GrpcBackend, ServiceNames, Target};

/// The Services' names; one that is not wanted is absent.
pub fn names(backend: &GrpcBackend) -> ServiceNames {
    ServiceNames {
        cluster_ip: wanted(backend, Side::ClusterIp).then(|| Side::ClusterIp.name(backend)),
        headless: wanted(backend, Side::Headless).then(|| Side::Headless.name(backend)),
    }
}

/// What to dial for each port. The headless names have the pods' port (there is no translation on that way), and end in
/// the cluster's domain only by the client's search path, which not every cluster calls `cluster.local`.
pub fn targets(backend: &GrpcBackend) -> Vec<Target> {
    let names = names(backend);
    let namespace = backend.namespace().unwrap_or_default();
    backend
        .spec
        .ports
        .iter()
        .map(|port| {
            let address =
                |service: &String, number: i32| format!("{service}.{namespace}.svc:{number}");
            Target {
                port: port.name.clone(),
                dns: names
                    .headless
                    .as_ref()
                    .map(|service| format!("dns:///{}", address(service, port.target()))),
                cluster_ip: names
                    .cluster_ip
                    .as_ref()
                    .map(|service| address(service, port.port)),
                // By the port's name: kuberesolver takes a number as the pods' port.
                kubernetes: names
                    .headless
                    .as_ref()
                    .or(names.cluster_ip.as_ref())
                    .map(|service| format!("kubernetes:///{service}.{namespace}:{}", port.name)),
                authority: names
                    .cluster_ip
                    .as_ref()
                    .or(names.headless.as_ref())
                    .map(|service| format!("{service}.{namespace}.svc")),
            }
        })
        .collect()
}
