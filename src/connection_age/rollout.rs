//! Where a workload stands, and what its pods run with.

use k8s_openapi::api::core::v1::{Container, Pod};

use super::record::Record;
use crate::observed::{Workload, is_serving};

/// Why a workload is not to be touched now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Busy {
    /// `spec.paused`.
    Paused,
    /// Its pods are being replaced.
    Rolling,
    /// Its pods are not all available.
    Unavailable,
}

/// Whether a workload is to be left alone now.
pub fn busy(workload: &Workload) -> Option<Busy> {
    if workload.paused {
        Some(Busy::Paused)
    } else if workload.is_rolling() {
        Some(Busy::Rolling)
    } else {
        (workload.progress.available < workload.replicas).then_some(Busy::Unavailable)
    }
}

/// Whether the rollout that our write started did not make progress in its time, with no other change to the template since.
pub fn ours_failed(workload: &Workload, record: &Record) -> bool {
    workload.is_seen()
        && record.gone_since.is_none()
        && workload.revision() == record.revision + 1
        && workload.progress.deadline_exceeded
}

/// The container of that name in each serving pod of the workload.
pub fn serving<'a>(
    workload: &Workload,
    pods: &'a [Pod],
    container: &str,
) -> Vec<Option<&'a Container>> {
    pods.iter()
        .filter(|pod| is_serving(pod) && workload.owns(pod))
        .map(|pod| {
            pod.spec
                .iter()
                .flat_map(|spec| &spec.containers)
                .find(|own| own.name == container)
        })
        .collect()
}

/// `kubectl rollout <verb> <kind> <name>`, for somebody to run.
pub fn command(workload: &Workload, verb: &str) -> String {
    format!(
        "kubectl rollout {verb} {} {}",
        workload.kind.resource(),
        workload.name()
    )
}
