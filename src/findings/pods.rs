//! Pods and scale.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use crate::observed::{Kind, Observed, has_ended};

use super::{Seen, said_before, snippet};

/// GB010: without a probe a pod is published from the moment that its process starts.
pub(super) fn no_readiness_probe(observed: &Observed) -> Vec<Seen> {
    let probeless = observed.serving_workloads().filter_map(|workload| {
        let container = observed.server(workload)?;
        let port = observed.backend.spec.ports.first()?.target();
        let probe = format!("readinessProbe: {{grpc: {{port: {port}}}}}");
        container.readiness_probe.is_none().then(|| {
            let fields = snippet::container(&container.name, &probe);
            Seen::in_container(workload, &container.name, "readinessProbe", format!(
                "container {} of {workload} has no readinessProbe: a pod gets requests before its server listens, and keeps getting them when it can no longer serve. Add {probe}, or tcpSocket in place of grpc if the server has TLS or no grpc.health.v1.Health",
                container.name,
            ))
            .instead(&snippet::pods(&fields))
        })
    });
    probeless.collect()
}

/// GB033: with one pod there is nothing to balance.
pub(super) fn one_replica(observed: &Observed) -> Option<Seen> {
    let mut serving = observed.serving_workloads().filter(|own| own.replicas > 0);
    let (workload, None) = (serving.next()?, serving.next()) else {
        return None;
    };
    if observed.autoscalers.is_missed() {
        let said = said_before(observed, "GB033");
        return said.map(|said| Seen::in_workload(workload, "spec.replicas", said));
    }
    let is_its = |pod: &&Pod| pod.metadata.deletion_timestamp.is_none() && workload.owns(pod);
    let pod = observed.pods.iter().find(is_its);
    let pod = pod.map_or_else(String::new, |pod| format!(" ({})", pod.name_any()));
    let (remedy, fields) = match workload.kind {
        Kind::DaemonSet => ("Have it run on 2 nodes or more", None),
        Kind::Deployment | Kind::StatefulSet => {
            let fields = snippet::spec("replicas: 2");
            ("Set its replicas to 2 or more", Some(fields))
        }
    };
    // One that has not set any yet.
    let unless = match observed.autoscalers.known() {
        None if workload.kind != Kind::DaemonSet => ", unless an autoscaler sets them",
        _ => "",
    };
    // Where they may not be read, what one has set shows that there is one: else it would be said whenever the load is low.
    let scales = match observed.autoscalers.known() {
        None => workload.is_scaled(),
        Some(_) => observed.autoscaler(workload).is_some_and(|own| own.max > 1),
    };
    (workload.replicas == 1 && !scales).then(|| {
        let seen = Seen::in_workload(workload, "spec.replicas", format!("{workload} has one pod{pod}, and no other serves: nothing can be balanced, and each rollout or eviction is an outage for clients with a connection. {remedy}{unless}"));
        match fields {
            Some(fields) => seen.instead(&fields),
            None => seen.write(&format!("# in spec.template.spec of {workload}: a nodeSelector of labels that 2 nodes or more have")),
        }
    })
}

/// GB054: pods of a Job carry the selector's labels.
pub(super) fn owned_by_job(observed: &Observed) -> Option<Seen> {
    let mut of_jobs = observed.pods.iter().filter_map(|pod| {
        let mut owners = pod.owner_references().iter();
        Some((pod, owners.find(|owner| owner.kind == "Job")?))
    });
    let of_a_job = of_jobs.clone().find(|(pod, _)| !has_ended(pod));
    // Each run of a CronJob has another name, and while pods are left of the last one the next is to come: what was said stands.
    if let (true, Some((pod, _)), Some(said)) = (
        observed.jobs.is_empty(),
        of_jobs.next(),
        said_before(observed, "GB054"),
    ) {
        let path = "metadata.labels".into();
        return Some(Seen::at("Pod", &pod.name_any(), path, said).write(OTHER_LABELS));
    }
    let (kind, name) = match (observed.jobs.first(), of_a_job) {
        (Some(job), _) => (job.kind, &job.name),
        (None, pod) => ("Job", &pod?.1.name),
    };
    let message = format!(
        "the pods of {kind} {name} carry the labels of spec.selector: while they run they are endpoints of the Services, but are left out of the balance. Give them other labels"
    );
    let path = match kind {
        "CronJob" => "spec.jobTemplate.spec.template.metadata.labels",
        _ => "spec.template.metadata.labels",
    };
    let seen = match of_a_job {
        Some((pod, _)) if observed.jobs.is_empty() => {
            Seen::at("Pod", &pod.name_any(), "metadata.labels".into(), message)
        }
        _ => Seen::at(kind, name, path.into(), message),
    };
    if kind != "CronJob" {
        return Some(seen.write(OTHER_LABELS));
    }
    let (key, _) = observed.backend.spec.selector.first_key_value()?;
    let label = format!("{}: {}", snippet::word(key), snippet::word(name));
    let template = format!("template:\n  metadata: {{labels: {{{label}}}}}");
    let template = snippet::spec(&template).trim_end().replace('\n', "\n  ");
    Some(seen.instead(&snippet::spec(&format!("jobTemplate:\n  {template}"))))
}

/// What is in a Job cannot be changed, and a CronJob may have made it.
const OTHER_LABELS: &str = "# other labels in the pods' template of the Job's manifest: in place it cannot be changed, so delete the Job and apply it anew;\n# of a CronJob in that of its jobTemplate";
