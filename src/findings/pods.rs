//! Pods and scale.

use kube::ResourceExt as _;

use crate::observed::{Observed, selects};

/// GB010: without a probe a pod is published from the moment that its process starts.
pub(super) fn no_readiness_probe(observed: &Observed) -> Option<String> {
    observed.deployments.iter().find_map(|deployment| {
        let template = &deployment.spec.as_ref()?.template;
        let labels = template.metadata.as_ref()?.labels.as_ref()?;
        if !selects(&observed.backend.spec.selector, labels) {
            return None;
        }
        let serves = |number: i32| observed.backend.spec.ports.iter().any(|port| port.target() == number);
        let container = template.spec.as_ref()?.containers.iter().find(|container| {
            container.ports.iter().flatten().any(|port| serves(port.container_port))
        })?;
        container.readiness_probe.is_none().then(|| {
            let name = deployment.name_any();
            format!(
                "container {} of Deployment {name} has no readinessProbe: a pod gets requests before its server listens, and keeps getting them when it can no longer serve. Add readinessProbe: {{grpc: {{port: {}}}}}",
                container.name,
                observed.backend.spec.ports[0].target(),
            )
        })
    })
}

/// GB033: with one pod there is nothing to balance.
pub(super) fn one_replica(observed: &Observed) -> Option<String> {
    let replicas: i32 = observed
        .deployments
        .iter()
        .filter(|deployment| {
            deployment
                .spec
                .as_ref()
                .and_then(|spec| spec.template.metadata.as_ref()?.labels.as_ref())
                .is_some_and(|labels| selects(&observed.backend.spec.selector, labels))
        })
        .filter_map(|deployment| deployment.spec.as_ref()?.replicas)
        .sum();
    (replicas == 1).then(|| {
        "there is one replica: nothing can be balanced, and each rollout or eviction is an outage for clients with a connection. Set spec.replicas to 2 or more".into()
    })
}

/// GB054: pods of a Job carry the selector's labels.
pub(super) fn owned_by_job(observed: &Observed) -> Option<String> {
    let pod = observed.pods.iter().find(|pod| {
        pod.owner_references()
            .iter()
            .any(|owner| owner.kind == "Job")
    })?;
    Some(format!(
        "pod {} belongs to a Job and carries the labels of spec.selector: it is an endpoint of the Services, but is left out of the balance. Give the Job's pods other labels",
        pod.name_any()
    ))
}
