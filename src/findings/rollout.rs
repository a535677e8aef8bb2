//! How pods go and how fast others come, against how late clients hear of it.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;

use crate::connection_age::timing::DNS_TTL;
use crate::observed::{Observed, selects};

/// Until every node has heard that a pod is going.
const PROPAGATION: Duration = Duration::from_secs(5);
/// A graceful stop takes some time after the hook: `grace` where it is set, and not less than this.
const DRAIN: i64 = 5;
/// As Kubernetes has it where nothing is said.
const DEFAULT_TERMINATION: i64 = 30;

/// GB030: clients that look names up by their own clock keep the address of a pod that is gone until the answer expires.
pub(super) fn pre_stop_is_short(observed: &Observed) -> Option<String> {
    let wanted = (DNS_TTL + PROPAGATION).as_secs();
    servers(observed).find_map(|(deployment, pod)| {
        let name = deployment.name_any();
        let container = serving(observed, pod)?;
        let seen = match pre_stop(container) {
            Hook::Sleeps(seconds) if seconds < i64::try_from(wanted).ok()? => format!("sleeps {seconds} s in its preStop hook"),
            Hook::Absent => "has no preStop hook".into(),
            Hook::Sleeps(_) | Hook::Unknown => return None,
        };
        Some(format!(
            "container {} of Deployment {name} {seen}: clients that look names up by their own clock (Envoy STRICT_DNS, ginepro) call a pod that is gone for up to {wanted} s. \
             Add lifecycle: {{preStop: {{sleep: {{seconds: {wanted}}}}}}} and terminationGracePeriodSeconds: {}, unless all clients balance by gRPC itself, which a graceful stop tells",
            container.name,
            wanted + 30,
        ))
    })
}

/// GB031: the kubelet kills a pod in the middle of its graceful stop.
pub(super) fn termination_is_short(observed: &Observed) -> Option<String> {
    servers(observed).find_map(|(deployment, pod)| {
        let container = serving(observed, pod)?;
        let Hook::Sleeps(sleep) = pre_stop(container) else {
            return None;
        };
        let period = pod.termination_grace_period_seconds.unwrap_or(DEFAULT_TERMINATION);
        (period < sleep + DRAIN).then(|| {
            format!(
                "Deployment {} gives its pods {period} s to end, of which the preStop hook of container {} sleeps {sleep}: running requests are cut off. Set terminationGracePeriodSeconds to {} or more",
                deployment.name_any(),
                container.name,
                sleep + 30,
            )
        })
    })
}

/// GB032: all pods are others before a client may look again.
pub(super) fn rollout_is_fast(observed: &Observed) -> Option<String> {
    let wanted = DNS_TTL.as_secs() + 30;
    servers(observed).find_map(|(deployment, _)| {
        let spec = deployment.spec.as_ref()?;
        let replicas = i64::from(spec.replicas.unwrap_or(1));
        let rolling = spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
        let share = |value: Option<&IntOrString>, up| part(value, replicas, up);
        let surge = share(rolling.and_then(|rolling| rolling.max_surge.as_ref()), true);
        let unavailable = share(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()), false);
        let batches = (replicas + (surge + unavailable).max(1) - 1) / (surge + unavailable).max(1);
        let pace = batches * i64::from(spec.min_ready_seconds.unwrap_or(0));
        (replicas > 1 && pace < i64::try_from(wanted).ok()?).then(|| {
            format!(
                "a rollout of Deployment {} may replace all {replicas} pods within {pace} s and their start, while DNS clients may look again only after {wanted} s: for a moment one may know no pod that lives. Set minReadySeconds to {}",
                deployment.name_any(),
                (i64::try_from(wanted).unwrap_or(i64::MAX) + batches - 1) / batches.max(1),
            )
        })
    })
}

/// The workloads that serve for the backend.
fn servers(observed: &Observed) -> impl Iterator<Item = (&Deployment, &PodSpec)> {
    observed.deployments.iter().filter_map(|deployment| {
        let template = &deployment.spec.as_ref()?.template;
        let labels = template.metadata.as_ref()?.labels.as_ref()?;
        let pod = template.spec.as_ref()?;
        selects(&observed.backend.spec.selector, labels).then_some((deployment, pod))
    })
}

fn serving<'a>(observed: &Observed, pod: &'a PodSpec) -> Option<&'a Container> {
    let serves = |number| {
        observed
            .backend
            .spec
            .ports
            .iter()
            .any(|port| port.target() == number)
    };
    pod.containers.iter().find(|container| {
        container
            .ports
            .iter()
            .flatten()
            .any(|port| serves(port.container_port))
    })
}

/// What a container does before it is told to end.
enum Hook {
    Absent,
    Sleeps(i64),
    /// Something whose length cannot be told.
    Unknown,
}

fn pre_stop(container: &Container) -> Hook {
    let Some(hook) = container
        .lifecycle
        .as_ref()
        .and_then(|lifecycle| lifecycle.pre_stop.as_ref())
    else {
        return Hook::Absent;
    };
    if let Some(sleep) = &hook.sleep {
        return Hook::Sleeps(sleep.seconds);
    }
    let words: Vec<&str> = hook
        .exec
        .iter()
        .flat_map(|exec| exec.command.iter().flatten())
        .flat_map(|word| word.split_whitespace())
        .collect();
    match words.as_slice() {
        [.., program, seconds] if program.rsplit('/').next() == Some("sleep") => seconds
            .trim_end_matches('s')
            .parse()
            .map_or(Hook::Unknown, Hook::Sleeps),
        _ => Hook::Unknown,
    }
}

/// A number or a share of the replicas, a quarter where nothing is said: Kubernetes rounds what may be added up and what may be missing down.
fn part(value: Option<&IntOrString>, replicas: i64, up: bool) -> i64 {
    let percent = match value {
        Some(IntOrString::Int(number)) => return i64::from(*number),
        Some(IntOrString::String(text)) => text.trim_end_matches('%').parse().unwrap_or(25),
        None => 25,
    };
    let hundredths = replicas.saturating_mul(percent);
    if up {
        (hundredths + 99) / 100
    } else {
        hundredths / 100
    }
}
