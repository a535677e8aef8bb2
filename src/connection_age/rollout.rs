//! Where a Deployment stands, and what its pods run with.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus};
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt as _;

use super::record::Record;
use crate::observed::is_serving;

const REVISION: &str = "deployment.kubernetes.io/revision";
const TEMPLATE_HASH: &str = "pod-template-hash";

/// Why a Deployment is not to be touched now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Busy {
    /// `spec.paused`.
    Paused,
    /// Its pods are being replaced.
    Rolling,
    /// Its pods are not all available.
    Unavailable,
}

/// Whether a Deployment is to be left alone now.
pub fn busy(deployment: &Deployment) -> Option<Busy> {
    if deployment.spec.as_ref().and_then(|spec| spec.paused) == Some(true) {
        Some(Busy::Paused)
    } else if is_rolling(deployment) {
        Some(Busy::Rolling)
    } else {
        let available = status(deployment).available_replicas.unwrap_or(0);
        (available < replicas(deployment)).then_some(Busy::Unavailable)
    }
}

/// Whether pods are being replaced, whoever asked for it.
pub fn is_rolling(deployment: &Deployment) -> bool {
    let status = status(deployment);
    let updated = status.updated_replicas.unwrap_or(0);
    !is_seen(deployment) || updated < replicas(deployment) || status.replicas.unwrap_or(0) > updated
}

/// The replicas asked for.
pub fn replicas(deployment: &Deployment) -> i32 {
    deployment
        .spec
        .as_ref()
        .map_or(0, |spec| spec.replicas.unwrap_or(1))
}

/// The revision of the template.
pub fn revision(deployment: &Deployment) -> i64 {
    deployment
        .metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(REVISION)?.parse().ok())
        .unwrap_or(0)
}

/// Whether the rollout that our write started did not make progress in its time, with no other change to the template since.
pub fn ours_failed(deployment: &Deployment, record: &Record) -> bool {
    is_seen(deployment)
        && record.gone_since.is_none()
        && revision(deployment) == record.revision + 1
        && status(deployment)
            .conditions
            .iter()
            .flatten()
            .any(|condition| {
                condition.type_ == "Progressing"
                    && condition.status == "False"
                    && condition.reason.as_deref() == Some("ProgressDeadlineExceeded")
            })
}

/// The container of that name in each serving pod of the Deployment.
pub fn serving<'a>(
    deployment: &Deployment,
    pods: &'a [Pod],
    container: &str,
) -> Vec<Option<&'a Container>> {
    let name = deployment.name_any();
    pods.iter()
        .filter(|pod| is_serving(pod) && belongs(pod, &name))
        .map(|pod| {
            pod.spec
                .iter()
                .flat_map(|spec| &spec.containers)
                .find(|own| own.name == container)
        })
        .collect()
}

/// A Deployment's pods belong to a ReplicaSet that is named after it and the hash of the template.
fn belongs(pod: &Pod, deployment: &str) -> bool {
    let Some(hash) = pod.labels().get(TEMPLATE_HASH) else {
        return false;
    };
    let replica_set = format!("{deployment}-{hash}");
    pod.owner_references()
        .iter()
        .any(|owner| owner.kind == "ReplicaSet" && owner.name == replica_set)
}

/// Whether the controller has seen the last change.
fn is_seen(deployment: &Deployment) -> bool {
    deployment.metadata.generation == status(deployment).observed_generation
}

fn status(deployment: &Deployment) -> DeploymentStatus {
    deployment.status.clone().unwrap_or_default()
}
