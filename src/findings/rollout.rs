//! How pods go and how fast others come, against how late clients hear of it.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, PodSpec};

use crate::connection_age::timing::{DNS_TTL, LOOK_UP};
use crate::observed::{Kind, Observed, Update, Workload};

use super::{Seen, said_before, snippet};

/// Until every node has heard that a pod is going.
const PROPAGATION: Duration = Duration::from_secs(5);
/// How long a preStop hook should sleep: until then somebody may call the pod.
pub const PRE_STOP: Duration = DNS_TTL.saturating_add(PROPAGATION);
/// What a graceful stop should have after the hook.
pub const STOP: Duration = Duration::from_secs(30);
/// It takes some time; not less than this.
const DRAIN: i64 = 5;
/// As Kubernetes has it where nothing is said.
const DEFAULT_TERMINATION: i64 = 30;

/// GB030: clients that look names up by their own clock keep the address of a pod that is gone until the answer expires.
pub(super) fn pre_stop_is_short(observed: &Observed) -> Vec<Seen> {
    let wanted = PRE_STOP.as_secs();
    let short = servers(observed).filter_map(|(workload, pod)| {
        let container = observed.server(workload)?;
        let least = i64::try_from(wanted).ok()?;
        let period = pod.termination_grace_period_seconds.unwrap_or(DEFAULT_TERMINATION);
        let period = period.max(i64::try_from((PRE_STOP + STOP).as_secs()).ok()?);
        let sleeps = |seconds: i64| format!("sleeps {seconds} s in its preStop hook");
        let (seen, lifecycle) = match pre_stop(container) {
            Hook::Absent => ("has no preStop hook".into(), Some(sleeping(container, wanted))),
            Hook::Sleeps(seconds) if seconds < least => (sleeps(seconds), Some(sleeping(container, wanted))),
            // What it does besides is the owner's, and a second handler would be refused.
            Hook::SleepsLast(seconds) if seconds < least => (sleeps(seconds), None),
            Hook::Sleeps(_) | Hook::SleepsLast(_) | Hook::SleepsFirst(_) | Hook::Unknown => return None,
        };
        let to_do = match &lifecycle {
            Some(lifecycle) => format!("Set {lifecycle}"),
            None => format!("Have the hook that is there sleep {wanted} s before what else it does"),
        };
        let lifecycle = lifecycle.map(|own| snippet::container(&container.name, &own)).unwrap_or_default();
        let fields = format!("terminationGracePeriodSeconds: {period}\n{lifecycle}");
        let seen = Seen::in_container(workload, &container.name, "lifecycle", format!(
            "container {} of {workload} {seen}: clients that look names up by their own clock (Envoy STRICT_DNS, ginepro) call a pod that is gone for up to {wanted} s. \
             {to_do} and terminationGracePeriodSeconds: {period}, unless all clients balance by gRPC itself, which a graceful stop tells",
            container.name,
        ));
        Some(seen.instead(&snippet::pods(&fields)))
    });
    short.collect()
}

/// A hook that sleeps for so long, by the handler that is there: beside another one it would be refused.
fn sleeping(container: &Container, seconds: u64) -> String {
    let lifecycle = container.lifecycle.as_ref();
    let hook = lifecycle.and_then(|own| own.pre_stop.as_ref());
    let command = hook.and_then(|hook| hook.exec.as_ref()?.command.clone());
    let Some(mut command) = command else {
        return format!("lifecycle: {{preStop: {{sleep: {{seconds: {seconds}}}}}}}");
    };
    if let Some(last) = command.last_mut() {
        *last = match last.trim_end().rsplit_once(char::is_whitespace) {
            Some((before, _)) => format!("{before} {seconds}"),
            None => seconds.to_string(),
        };
    }
    let command = snippet::list(&command);
    format!("lifecycle: {{preStop: {{exec: {{command: {command}}}}}}}")
}

/// GB031: the kubelet kills a pod in the middle of its graceful stop.
pub(super) fn termination_is_short(observed: &Observed) -> Vec<Seen> {
    let short = servers(observed).filter_map(|(workload, pod)| {
        let container = observed.server(workload)?;
        let (sleep, of_which) = match pre_stop(container) {
            Hook::Absent => (0, String::new()),
            Hook::Sleeps(sleep) | Hook::SleepsFirst(sleep) | Hook::SleepsLast(sleep) => {
                let name = &container.name;
                let of_which = format!(", of which the preStop hook of container {name} sleeps {sleep}");
                (sleep, of_which)
            }
            Hook::Unknown => return None,
        };
        let stop = i64::try_from(STOP.as_secs()).ok()?;
        let period = pod.termination_grace_period_seconds.unwrap_or(DEFAULT_TERMINATION);
        let wanted = sleep.saturating_add(stop);
        (period < sleep.saturating_add(DRAIN)).then(|| {
            Seen::in_workload(workload, "spec.template.spec.terminationGracePeriodSeconds", format!(
                "{workload} gives its pods {period} s to end{of_which}: running requests are cut off. Set terminationGracePeriodSeconds to {wanted} or more",
            ))
            .instead(&snippet::pods(&format!("terminationGracePeriodSeconds: {wanted}")))
        })
    });
    short.collect()
}

/// GB032: all pods are others before a client may look again. Where an autoscaler sets the pods, what is said does not follow the load.
pub(super) fn rollout_is_fast(observed: &Observed) -> Vec<Seen> {
    let said = said_before(observed, "GB032");
    let mut workloads = servers(observed).map(|(workload, _)| workload);
    if observed.autoscalers.is_missed() && workloads.any(Workload::is_scaled) {
        let seen = said.map(|said| Seen::in_backend(observed, "spec", said));
        return seen.into_iter().collect();
    }
    let fast = servers(observed).filter_map(|(workload, _)| {
        let outruns = |pods: i32, all: &str| outruns(observed, workload, i64::from(pods), all);
        let now = workload.replicas;
        if let Some(scaler) = observed.autoscaler(workload) {
            return outruns(scaler.min, &format!("all {} pods", scaler.min));
        }
        if observed.autoscalers.known().is_some() || !workload.is_scaled() {
            return outruns(now, &format!("all {now} pods"));
        }
        // How few it may set is not known: what was said stands as long as it would be so of the fewest.
        let fewest = outruns(2, "all pods");
        fewest.filter(|_| said.is_some() || outruns(now, "all pods").is_some())
    });
    fast.collect()
}

/// Of so many pods, and how a sentence names them.
fn outruns(observed: &Observed, workload: &Workload, pods: i64, all: &str) -> Option<Seen> {
    let wanted = i64::try_from(LOOK_UP.as_secs()).unwrap_or(i64::MAX);
    let at_once = workload.at_once(pods).max(1);
    let batches = pods.saturating_add(at_once - 1) / at_once;
    let pace = batches.saturating_mul(i64::from(workload.min_ready_seconds));
    if pods < 2 || workload.update == Update::OnDelete {
        return None;
    }
    if workload.update == Update::Recreate {
        return Some(stops_all(workload, all));
    }
    if workload.missing.of(pods) >= pods {
        return Some(may_stop_all(workload, all));
    }
    (pace < wanted && !are_told(observed)).then(|| {
        let seconds = wanted.saturating_add(batches - 1) / batches.max(1);
        Seen::in_workload(workload, "spec.minReadySeconds", format!(
            "a rollout of {workload} may replace {all} within {pace} s and their start, while DNS clients may look again only after {wanted} s: one that looked just before knows no pod that lives until then, and its calls fail. Set minReadySeconds to {seconds}"
        ))
        .instead(&snippet::spec(&format!("minReadySeconds: {seconds}")))
    })
}

/// Whether clients are told of pods, and no age asks any to look up names.
fn are_told(observed: &Observed) -> bool {
    let spec = &observed.backend.spec;
    spec.endpoint_watch.is_some() && spec.connection_age.is_none()
}

/// With the strategy `Recreate`.
fn stops_all(workload: &Workload, all: &str) -> Seen {
    let message = format!(
        "a rollout of {workload} stops {all} before it starts another (strategy Recreate): every call fails until the new ones are ready, and clients that have no connection left by then wait before they try again. \
         Set strategy: {{type: RollingUpdate}}, unless two versions must never run at the same time"
    );
    let fields = "strategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}";
    Seen::in_workload(workload, "spec.strategy.type", message).instead(&snippet::spec(fields))
}

/// With a rolling update that needs to leave none.
fn may_stop_all(workload: &Workload, all: &str) -> Seen {
    let field = match workload.kind {
        Kind::Deployment => "strategy",
        Kind::StatefulSet | Kind::DaemonSet => "updateStrategy",
    };
    let message = format!(
        "a rollout of {workload} may stop {all} at once (maxUnavailable): every call fails until new ones are ready, however long minReadySeconds is. Set maxUnavailable to 1"
    );
    let path = format!("spec.{field}.rollingUpdate.maxUnavailable");
    let fields = format!("{field}: {{rollingUpdate: {{maxUnavailable: 1}}}}");
    Seen::in_workload(workload, path, message).instead(&snippet::spec(&fields))
}

/// The workloads that serve for the backend.
fn servers(observed: &Observed) -> impl Iterator<Item = (&Workload, &PodSpec)> {
    observed
        .serving_workloads()
        .filter_map(|workload| Some((workload, workload.template.spec.as_ref()?)))
}

/// What a container does before it is told to end.
enum Hook {
    Absent,
    /// It sleeps for so long, and does nothing else.
    Sleeps(i64),
    /// It does something else, and then sleeps for so long.
    SleepsLast(i64),
    /// It sleeps for so long, and does something else.
    SleepsFirst(i64),
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
    let seconds = |word: &str| {
        word.trim_end_matches(';')
            .trim_end_matches('s')
            .parse()
            .ok()
    };
    let sleep = |(at, pair): (usize, &[&str])| {
        let sleeps = pair[0].rsplit('/').next() == Some("sleep");
        let last = at + 2 == words.len();
        // A shell and its flag do nothing themselves.
        let is_shell = |word: &&str| {
            let name = word.rsplit('/').next().unwrap_or_default();
            matches!(name, "sh" | "ash" | "bash" | "dash") || word.starts_with('-')
        };
        let first = words[..at].iter().all(is_shell);
        sleeps
            .then(|| seconds(pair[1]))
            .flatten()
            .map(|own| (own, first, last))
    };
    match words.windows(2).enumerate().find_map(sleep) {
        Some((slept, true, true)) => Hook::Sleeps(slept),
        Some((slept, false, true)) => Hook::SleepsLast(slept),
        Some((slept, _, false)) => Hook::SleepsFirst(slept),
        None => Hook::Unknown,
    }
}
