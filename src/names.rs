//! Every name that the operator gives: objects, labels, annotations, field managers, the finalizer.

use crate::api::{GrpcBackend, GrpcBackendSpec};
use kube::ResourceExt as _;

/// Who asks, in audit logs and in those of servers.
pub const USER_AGENT: &str = concat!("evenkeel/", env!("CARGO_PKG_VERSION"));
/// Field manager of the objects that the operator owns.
pub const MANAGER: &str = "evenkeel";
/// Field manager of the status.
pub const STATUS_MANAGER: &str = "evenkeel-status";
/// Field manager of the moment between a write to a workload and the release of it.
pub const WORKLOAD_MANAGER: &str = "evenkeel-connection-age";
/// On a GrpcBackend only while an age is, or may be, set on a workload.
pub const FINALIZER: &str = "evenkeel.dev/connection-age";

/// Who keeps an object.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY_LABEL`].
pub const MANAGED_BY: &str = "evenkeel";
/// Which GrpcBackend an object belongs to.
pub const BACKEND_LABEL: &str = "evenkeel.dev/backend";
/// Which Service of the pair: [`CLUSTER_IP`] or [`HEADLESS`].
pub const SERVICE_LABEL: &str = "evenkeel.dev/service";
/// Value of [`SERVICE_LABEL`].
pub const CLUSTER_IP: &str = "clusterip";
/// Value of [`SERVICE_LABEL`].
pub const HEADLESS: &str = "headless";

/// Name of the container port that is taken for metrics, in the order of preference.
pub const METRICS_PORT_NAMES: [&str; 2] = ["metrics", "http-metrics"];
/// How the name of a container port may begin that is taken for metrics where none has one of [`METRICS_PORT_NAMES`].
pub const METRICS_PORT_PREFIX: &str = "prom";
/// The annotation of a pod that names the port of its metrics: an agreement that many Prometheus servers follow.
pub const METRICS_PORT_ANNOTATION: &str = "prometheus.io/port";
/// The annotation of a pod that names the path of its metrics.
pub const METRICS_PATH_ANNOTATION: &str = "prometheus.io/path";

/// The annotation by which Istio says, with [`AMBIENT_ENABLED`], that the node's proxy stands before a pod: ambient mode, without a sidecar.
pub const AMBIENT_ANNOTATION: &str = "ambient.istio.io/redirection";
/// Its value.
pub const AMBIENT_ENABLED: &str = "enabled";

/// Prefix of [`record_annotation`].
pub const RECORD_PREFIX: &str = "connection-age.evenkeel.dev/";

/// Prefix of what stands in the fields of an applier from whom a list was taken and is to be given back. No object has such a field.
pub const LENT_PREFIX: &str = "lent.evenkeel.dev/";

/// The annotation of a workload in which a backend records what it wrote there.
pub fn record_annotation(backend: &str) -> String {
    format!("{RECORD_PREFIX}{backend}")
}

/// The Service with a virtual address.
pub fn cluster_ip_service(backend: &GrpcBackend) -> String {
    options(&backend.spec, |services| services.cluster_ip.as_ref())
        .unwrap_or_else(|| backend.name_any())
}

/// The headless Service.
pub fn headless_service(backend: &GrpcBackend) -> String {
    options(&backend.spec, |services| services.headless.as_ref())
        .unwrap_or_else(|| format!("{}-headless", backend.name_any()))
}

/// Characters of a GrpcBackend's name at most, so that the headless Service's fits too.
const LONGEST: usize = 54;
/// Characters of a Service's name at most.
const LONGEST_OF_SERVICE: usize = 63;
/// With this the name of a headless Service ends.
const HEADLESS_END: &str = "-headless";

/// A name for a GrpcBackend, made of one that other objects may have.
pub fn fitting(name: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let plain: String = name.chars().map(plain).collect();
    let plain = plain.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    let mut name = plain.chars().take(LONGEST).collect::<String>();
    loop {
        let shorter = name.trim_end_matches('-').trim_end_matches(HEADLESS_END);
        if shorter.len() == name.len() {
            break;
        }
        name = shorter.to_owned();
    }
    // Of digits and dots nothing is left.
    if name.is_empty() || name == "headless" {
        name = "grpc".into();
    }
    name
}

/// The name of a Service or of a GrpcBackend with an end of its own, cut before that where both together are too long.
pub fn longer(name: &str, end: &str) -> String {
    let most = if end.ends_with(HEADLESS_END) {
        LONGEST_OF_SERVICE
    } else {
        LONGEST
    };
    let name: String = name.chars().take(most.saturating_sub(end.len())).collect();
    format!("{}{end}", name.trim_end_matches('-'))
}

fn options(
    spec: &GrpcBackendSpec,
    pick: fn(&crate::api::Services) -> Option<&crate::api::ServiceOptions>,
) -> Option<String> {
    pick(spec.services.as_ref()?)?.name.clone()
}

/// The ServiceAccount of watching clients in the backend's own namespace.
pub fn watch_service_account(backend: &GrpcBackend) -> String {
    backend
        .spec
        .endpoint_watch
        .as_ref()
        .and_then(|watch| watch.service_account.as_ref()?.name.clone())
        .unwrap_or_else(|| format!("{}-client", backend.name_any()))
}

/// The Role, and the RoleBinding too: after the backend, never after a ServiceAccount, which somebody else may have named.
pub fn watch_role(backend: &GrpcBackend) -> String {
    backend.name_any()
}

/// What a backend is known by in every map: a resource that is deleted and made anew takes its predecessor's place.
pub fn key(namespace: Option<&str>, name: &str) -> String {
    format!("{}/{name}", namespace.unwrap_or_default())
}

/// [`key`] of a backend.
pub fn key_of(backend: &GrpcBackend) -> String {
    key(
        backend.metadata.namespace.as_deref(),
        backend.metadata.name.as_deref().unwrap_or_default(),
    )
}
