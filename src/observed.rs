//! One backend's world as plain values: what every decision is made from, in the cluster or from files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;

use crate::api::GrpcBackend;
use crate::balance::Published;
use crate::names;

mod amount;
pub mod cluster_dns;
mod dials;
mod optional;
mod workload;

pub use amount::Amount;
pub use cluster_dns::ClusterDns;
pub use dials::redialled;
pub use optional::Optional;
pub use workload::{Kind, Progress, REVISION, Serves, Update, Workload, labels};

/// Everything that is known of one backend at one moment.
///
/// The children and the workloads are read live in each pass; pods come from the watch, since only their readiness and
/// their spec matter and the next change starts the next pass.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The resource itself.
    pub backend: GrpcBackend,
    /// What stands under the name of the ClusterIP Service, whoever made it; none where the spec wants no such Service.
    pub cluster_ip: Option<Service>,
    /// The same of the headless Service.
    pub headless: Option<Service>,
    /// Services that carry this backend's label, whatever their name: those no longer asked for are among them.
    pub labelled_services: Vec<Service>,
    /// ServiceAccounts that carry this backend's label, whatever their name.
    pub labelled_service_accounts: Vec<ServiceAccount>,
    /// What stands under the name of the watching clients' ServiceAccount, whoever made it.
    pub service_account: Option<ServiceAccount>,
    /// The ServiceAccounts of watching clients that the resource names, as far as they are seen: the operator may not look.
    pub watching: Vec<Watching>,
    /// What stands under the name of the Role, whoever made it.
    pub role: Option<Role>,
    /// What stands under the name of the RoleBinding, whoever made it.
    pub role_binding: Option<RoleBinding>,
    /// Where clients watch endpoints: how many EndpointSlices one of the two Services has, the larger number; none: not known.
    pub endpoint_slices: Option<usize>,
    /// Workloads of the namespace that match the selector, or that carry a record of this backend. Sorted by name, then kind.
    pub workloads: Vec<Workload>,
    /// Where none serves, the namespace's other workloads, as far as files or a visitor show them.
    pub unselected: Vec<Arc<Workload>>,
    /// How many more match the selector, which are too many to look at.
    pub workloads_left_out: usize,
    /// Kinds of workloads that the operator may not read: whether any serve is not known.
    pub unreadable: Vec<Unreadable>,
    /// Pods of the namespace that carry the selector's labels. Sorted by name.
    pub pods: Vec<Pod>,
    /// Jobs and CronJobs whose pods carry the selector's labels, as far as files show them; what runs shows their pods.
    pub jobs: Vec<Job>,
    /// Of the labelled ServiceAccounts those that pods run under, each with one of those pods.
    pub service_accounts_in_use: Vec<(String, String)>,
    /// The other GrpcBackends of the namespace. Sorted by name.
    pub siblings: Vec<GrpcBackend>,
    /// What the sampler found last in the pods' metrics.
    pub published: Option<Published>,
    /// Whether the namespace is being deleted: nothing may be created in it and nothing needs to be restored.
    pub namespace_terminating: bool,
    /// What scales the workloads.
    pub autoscalers: Optional<Vec<Autoscaler>>,
    /// How old answers of the cluster's DNS may be.
    pub cluster_dns: Optional<ClusterDns>,
    /// Labels and annotations of the namespace.
    pub namespace_metadata: Optional<Arc<ObjectMeta>>,
    /// Who dials the headless Service, as far as that is seen: the operator does not look.
    pub callers: Vec<Caller>,
    /// ConfigMaps of the servers that have a connection's age in them, as far as files show it: nobody else looks.
    pub age_configs: BTreeSet<String>,
    /// Who looked.
    pub observer: Observer,
    /// Nobody wrote a GrpcBackend: this one was made up from a workload and its Services.
    pub guessed: bool,
    /// The namespace, where files or a cluster name it; else it is that of whoever applies it.
    pub named_namespace: Option<String>,
    /// Where it was made up: whether the pods of a StatefulSet may be peers.
    pub peers: Peers,
}

/// Whether pods may be there for each other, and be dialled by their own names.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Peers {
    /// They may, as far as is known.
    #[default]
    Possible,
    /// One Service leads to them, and nothing says that they find each other by it.
    Unlikely,
}

/// Who looks at a backend: each knows other things.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Observer {
    /// The operator, that knows all but what it lacks a right for.
    #[default]
    Operator,
    /// Somebody who lists what runs, and reads no metrics.
    Visitor,
    /// A reader of files, to whom nothing runs.
    Manifests,
}

/// Clients that watch endpoints, by the ServiceAccount under which they run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Watching {
    /// Their namespace, where it is not the backend's.
    pub namespace: Option<String>,
    /// The name of their ServiceAccount.
    pub name: String,
    /// It, if it is known.
    pub account: Option<ServiceAccount>,
    /// Those of them that are known.
    pub workloads: Vec<Arc<Workload>>,
}

/// A workload that is told to dial a backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Caller {
    /// Its namespace, where it is not the backend's.
    pub namespace: Option<String>,
    /// Labels and annotations of its namespace; none: not known.
    pub namespace_metadata: Option<Arc<ObjectMeta>>,
    /// It.
    pub workload: Arc<Workload>,
}

/// What makes pods that end by themselves.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Job {
    /// Its kind, `Job` or `CronJob`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// The labels of its pods.
    pub labels: BTreeMap<String, String>,
}

/// What sets the replicas of a workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Autoscaler {
    /// Its kind, `HorizontalPodAutoscaler` or `ScaledObject`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// The workload's kind, as written.
    pub target_kind: String,
    /// The workload's name.
    pub target_name: String,
    /// Never fewer pods.
    pub min: i32,
    /// Never more.
    pub max: i32,
}

impl Autoscaler {
    /// Whether it scales this one.
    pub fn scales(&self, workload: &Workload) -> bool {
        self.target_kind == workload.kind.as_str() && self.target_name == workload.name()
    }

    /// The field that says how many pods there may be.
    pub fn max_field(&self) -> &'static str {
        match self.kind {
            "ScaledObject" => "spec.maxReplicaCount",
            _ => "spec.maxReplicas",
        }
    }
}

/// A kind that the operator lacks a right for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Unreadable {
    /// The kind.
    pub kind: Kind,
    /// What the API server refused.
    pub verb: &'static str,
}

impl Observed {
    /// The backend's name.
    pub fn name(&self) -> String {
        self.backend.name_any()
    }

    /// The name of the Service with a virtual address: of that which is there, else of that which there would be.
    pub fn cluster_ip_name(&self) -> String {
        let there = self.cluster_ip.as_ref();
        there.map_or_else(
            || names::cluster_ip_service(&self.backend),
            Service::name_any,
        )
    }

    /// The same of the headless Service.
    pub fn headless_name(&self) -> String {
        let there = self.headless.as_ref();
        there.map_or_else(|| names::headless_service(&self.backend), Service::name_any)
    }

    /// The backend's namespace.
    pub fn namespace(&self) -> String {
        self.backend.namespace().unwrap_or_default()
    }

    /// Whether the resource is being deleted.
    pub fn terminating(&self) -> bool {
        self.backend.metadata.deletion_timestamp.is_some()
    }

    /// The workloads whose pods serve.
    pub fn serving_workloads(&self) -> impl Iterator<Item = &Workload> {
        let selector = &self.backend.spec.selector;
        self.workloads
            .iter()
            .filter(|workload| workload.is_selected(selector))
    }

    /// The container of a workload that serves: the one that declares a port of the backend, else the only one, since a port
    /// need not be declared to serve.
    pub fn server<'a>(&self, workload: &'a Workload) -> Option<&'a Container> {
        let ports = &self.backend.spec.ports;
        let serves = |container: &&Container| {
            let mut declared = container.ports.iter().flatten();
            declared.any(|own| ports.iter().any(|port| port.target() == own.container_port))
        };
        let all = workload.containers();
        let only = || all.first().filter(|_| all.len() == 1);
        all.iter().find(serves).or_else(only)
    }

    /// What scales a workload, if that is known.
    pub fn autoscaler(&self, workload: &Workload) -> Option<&Autoscaler> {
        self.autoscalers
            .known()
            .into_iter()
            .flatten()
            .find(|scaler| scaler.scales(workload))
    }

    /// The most pods that may serve at once.
    pub fn most_pods(&self) -> i32 {
        let most = |workload| {
            let scaler = self.autoscaler(workload);
            scaler.map_or(workload.replicas, |scaler| {
                scaler.max.max(workload.replicas)
            })
        };
        self.serving_workloads()
            .map(most)
            .fold(0, i32::saturating_add)
    }
}

/// Whether `labels` carry all of `selector`.
pub fn selects(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    !selector.is_empty()
        && selector
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
}

/// Whether a pod is ready, running and not on its way out.
pub fn is_serving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && pod.status.as_ref().is_some_and(|status| {
            status
                .conditions
                .iter()
                .flatten()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True")
        })
}

/// Whether a pod is done, or the kubelet rejected or evicted it, and nobody has cleared it away yet: it is no endpoint any more.
pub fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|own| own.phase.as_deref());
    matches!(phase, Some("Failed" | "Succeeded"))
}

/// The container of a service mesh in a pod.
pub fn mesh_proxy(spec: &PodSpec) -> Option<&str> {
    const PROXIES: [&str; 2] = ["istio-proxy", "linkerd-proxy"];
    // Native sidecars stand among the init containers.
    spec.containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .map(|container| container.name.as_str())
        .find(|name| PROXIES.contains(name))
}

/// Thousandths of a processor that a pod's containers request together; none where none requests any, or in a unit that
/// processors have not.
pub fn cpu_request(pod: &Pod) -> Option<u32> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let requests = containers
        .filter_map(|container| container.resources.as_ref()?.requests.as_ref()?.get("cpu"));
    let total = requests
        .map(|quantity| milli_cpu(&quantity.0))
        .sum::<Option<f64>>()?;
    // A request of so many processors is no request.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounded above"
    )]
    (1.0..=1e9).contains(&total).then(|| total.round() as u32)
}

/// A quantity of processors as the API server writes it: `2`, `1.5`, `250m`, `100u`, `5n`, `1k`.
fn milli_cpu(quantity: &str) -> Option<f64> {
    let (number, factor) = match quantity.char_indices().last()? {
        (at, 'n') => (&quantity[..at], 1e-6),
        (at, 'u') => (&quantity[..at], 1e-3),
        (at, 'm') => (&quantity[..at], 1.0),
        (at, 'k') => (&quantity[..at], 1e6),
        _ => (quantity, 1e3),
    };
    let number: f64 = number.parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some(number * factor)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by it")]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_processors_that_a_pod_requests() {
        let of = |requests: &[Option<&str>]| {
            let container = |cpu: Option<&str>| match cpu {
                Some(cpu) => {
                    json!({"name": "c", "resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}})
                }
                None => json!({"name": "c"}),
            };
            let containers: Vec<_> = requests.iter().copied().map(container).collect();
            let pod = serde_json::from_value(json!({"spec": {"containers": containers}})).unwrap();
            cpu_request(&pod)
        };
        for (requests, expected) in [
            (&[Some("250m"), Some("1")][..], Some(1250)),
            (&[Some("1.5"), None], Some(1500)),
            (&[Some("100000u")], Some(100)),
            (&[Some("1k")], Some(1_000_000)),
            (&[None], None),
            (&[], None),
            (&[Some("0")], None),
            (&[Some("1Gi")], None),
            (&[Some("")], None),
            (&[Some("-1")], None),
        ] {
            assert_eq!(of(requests), expected, "{requests:?}");
        }
    }
}
