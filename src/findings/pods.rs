//! Pods and scale.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use crate::observed::{Kind, Observed};

use super::{Seen, said_before};

/// GB010: without a probe a pod is published from the moment that its process starts.
pub(super) fn no_readiness_probe(observed: &Observed) -> Option<Seen> {
    observed.serving_workloads().find_map(|workload| {
        let container = observed.server(workload)?;
        container.readiness_probe.is_none().then(|| {
            Seen::in_container(workload, &container.name, "readinessProbe", format!(
                "container {} of {workload} has no readinessProbe: a pod gets requests before its server listens, and keeps getting them when it can no longer serve. Add readinessProbe: {{grpc: {{port: {}}}}}, or tcpSocket in place of grpc if the server has TLS or no grpc.health.v1.Health",
                container.name,
                observed.backend.spec.ports[0].target(),
            ))
        })
    })
}

/// GB033: with one pod there is nothing to balance.
pub(super) fn one_replica(observed: &Observed) -> Option<Seen> {
    let mut serving = observed.serving_workloads().filter(|own| own.replicas > 0);
    let (workload, None) = (serving.next()?, serving.next()) else {
        return None;
    };
    if observed.autoscalers_missed {
        let said = said_before(observed, "GB033");
        return said.map(|said| Seen::in_workload(workload, "spec.replicas", said));
    }
    let is_its = |pod: &&Pod| pod.metadata.deletion_timestamp.is_none() && workload.owns(pod);
    let pod = observed.pods.iter().find(is_its);
    let pod = pod.map_or_else(String::new, |pod| format!(" ({})", pod.name_any()));
    let remedy = match workload.kind {
        Kind::DaemonSet => "Have it run on 2 nodes or more",
        Kind::Deployment | Kind::StatefulSet => "Set its replicas to 2 or more",
    };
    // One that has not set any yet.
    let unless = match observed.autoscalers {
        None if workload.kind != Kind::DaemonSet => ", unless an autoscaler sets them",
        _ => "",
    };
    // Where they may not be read, what one has set shows that there is one: else it would be said whenever the load is low.
    let scales = match observed.autoscalers {
        None => workload.is_scaled(),
        Some(_) => observed.autoscaler(workload).is_some_and(|own| own.max > 1),
    };
    (workload.replicas == 1 && !scales).then(|| {
        Seen::in_workload(workload, "spec.replicas", format!("{workload} has one pod{pod}, and no other serves: nothing can be balanced, and each rollout or eviction is an outage for clients with a connection. {remedy}{unless}"))
    })
}

/// GB054: pods of a Job carry the selector's labels.
pub(super) fn owned_by_job(observed: &Observed) -> Option<Seen> {
    let pod = observed.pods.iter().find(|pod| {
        pod.owner_references()
            .iter()
            .any(|owner| owner.kind == "Job")
    })?;
    let name = pod.name_any();
    Some(Seen::at(
        "Pod",
        Some(&name),
        "metadata.labels".into(),
        format!(
            "pod {name} belongs to a Job and carries the labels of spec.selector: it is an endpoint of the Services, but is left out of the balance. Give the Job's pods other labels"
        ),
    ))
}
