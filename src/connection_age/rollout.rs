//! Where a workload stands, and what its pods run with.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt as _;

use super::record::{Record, Recorded};
use super::workload::View;
use super::{Change, Step, later, names};
use crate::observed::{Kind, Observed, Update, Workload, has_ended, is_serving};

/// As many pods as a message names.
const MAX_NAMES: usize = 5;

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

/// Whether pods are being replaced, or made.
fn is_rolling(workload: &Workload, pods: &[Pod], deadline: Duration, now: Timestamp) -> bool {
    workload.is_rolling() && !waits_for_the_dead(workload, pods, deadline, now)
}

/// A DaemonSet counts the pods of nodes that are dead for as long as Kubernetes knows these: what has not moved within the
/// deadline does not move any more.
pub fn waits_for_the_dead(
    workload: &Workload,
    pods: &[Pod],
    deadline: Duration,
    now: Timestamp,
) -> bool {
    workload.kind == Kind::DaemonSet && stands_still(workload, pods, deadline, now)
}

/// Whether a rollout goes no further by itself: it is paused, has failed, or nothing moves any more.
pub fn has_halted(workload: &Workload, pods: &[Pod], deadline: Duration, now: Timestamp) -> bool {
    workload.paused
        || workload.is_seen() && workload.progress.deadline_exceeded
        || stands_still(workload, pods, deadline, now)
}

/// Whether the controller has seen the last change, and nothing has come of it within the deadline.
fn stands_still(workload: &Workload, pods: &[Pod], deadline: Duration, now: Timestamp) -> bool {
    workload.is_seen() && is_stuck(workload, pods, set_in_motion(workload), deadline, now)
}

/// Whether a workload that serves is replacing its pods, and gets on with it: the old and the new pods of a rollout that has halted may
/// serve beside each other for days.
pub fn is_rolling_out(observed: &Observed, deadline: Duration, now: Timestamp) -> bool {
    observed.serving_workloads().any(|workload| {
        workload.is_replacing() && !has_halted(workload, &observed.pods, deadline, now)
    })
}

/// When we, or its controller, last did something about it: a rollout that has only just begun may have none but old pods.
/// Where something was taken back no record tells of it, but the controller's own write does.
fn set_in_motion(workload: &Workload) -> Option<Timestamp> {
    let metadata = &workload.metadata;
    let annotations = metadata.annotations.iter().flatten();
    let ours = annotations
        .filter_map(|(key, _)| key.strip_prefix(names::RECORD_PREFIX))
        .filter_map(|backend| match Record::of(workload, backend) {
            Recorded::Record(record) => Some(record.under_way?.since.0),
            Recorded::Nothing | Recorded::Malformed => None,
        });
    let fields = metadata.managed_fields.iter().flatten();
    let theirs = fields
        .filter(|entry| entry.subresource.as_deref() == Some("status"))
        .filter_map(|entry| Some(entry.time.as_ref()?.0));
    ours.chain(theirs).max()
}

/// Pods that may be missing while a rollout goes on: the controller of a DaemonSet counts those of dead nodes among the pods that
/// it may replace at once, and with one less to go it still gets past them. With as many as that it would stop half way.
fn tolerated(workload: &Workload) -> i64 {
    match workload.kind {
        Kind::DaemonSet => (workload.at_once(i64::from(workload.replicas)) - 1).max(0),
        Kind::Deployment | Kind::StatefulSet => 0,
    }
}

/// Why a workload whose pods are not all there waits, and what to do.
pub fn unavailable(workload: &Workload, pods: &[Pod]) -> String {
    let mut text = format!(
        "not all pods of {workload} are available: the connection age follows when they are"
    );
    if workload.kind != Kind::DaemonSet {
        return text;
    }
    let out = pods
        .iter()
        .filter(|pod| workload.owns(pod) && !is_serving(pod) && !has_ended(pod));
    let names: Vec<String> = out
        .map(|pod| {
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
            format!("{} on node {}", pod.name_any(), node.unwrap_or("(none)"))
        })
        .take(MAX_NAMES)
        .collect();
    if !names.is_empty() {
        let most = workload.at_once(i64::from(workload.replicas));
        text = format!(
            "{text}. Not ready: {}. Its updateStrategy replaces {most} at once, and a rollout would not get past them: bring them back, remove nodes that are dead from the cluster, or let updateStrategy.rollingUpdate.maxUnavailable allow more",
            names.join(", ")
        );
    }
    text
}

/// Whether a rollout that began `since` needs its place among those under way: not when it has ended or failed, nor when nothing
/// has come of it for as long as one pod may take. StatefulSets and DaemonSets never say that one has failed.
pub fn needs_place(
    observed: &Observed,
    uid: &str,
    since: Timestamp,
    deadline: Duration,
    now: Timestamp,
) -> bool {
    let own = |workload: &&Workload| workload.metadata.uid.as_deref() == Some(uid);
    let Some(workload) = observed.workloads.iter().find(own) else {
        return false;
    };
    workload.is_replacing()
        && !workload.paused
        && !workload.progress.deadline_exceeded
        && !is_stuck(workload, &observed.pods, Some(since), deadline, now)
}

/// Whether no pod has been made, become ready or gone since then, for as long as one may take.
pub fn is_stuck(
    workload: &Workload,
    pods: &[Pod],
    since: Option<Timestamp>,
    deadline: Duration,
    now: Timestamp,
) -> bool {
    let own = pods.iter().filter(|pod| workload.owns(pod));
    let last = own.flat_map(moments).max().max(since);
    last.is_some_and(|last| now >= later(last, patience(workload, deadline)))
}

/// How long one pod may take.
pub fn patience(workload: &Workload, deadline: Duration) -> Duration {
    let ready_for = Duration::from_secs(workload.min_ready_seconds.unsigned_abs().into());
    deadline.saturating_add(ready_for)
}

/// When a pod was made, became ready, and is to be gone.
fn moments(pod: &Pod) -> impl Iterator<Item = Timestamp> + use<> {
    let metadata = &pod.metadata;
    let times = [
        metadata.creation_timestamp.as_ref().map(|at| at.0),
        metadata.deletion_timestamp.as_ref().map(|at| at.0),
        ready_since(pod),
    ];
    times.into_iter().flatten()
}

impl View<'_> {
    /// Why it is to be left alone now.
    pub(super) fn busy(&self) -> Option<Busy> {
        let (workload, deadline) = (self.workload, self.permit.deadline);
        let missing = workload.replicas - workload.progress.available;
        if workload.paused {
            Some(Busy::Paused)
        } else if is_rolling(workload, &self.observed.pods, deadline, self.now) {
            Some(Busy::Rolling)
        } else {
            (i64::from(missing) > tolerated(workload)).then_some(Busy::Unavailable)
        }
    }

    /// Why what is not asked for any more is not to be taken out now.
    ///
    /// What was set may itself be what keeps the workload busy, and then it would never end: so this waits neither for pods that are
    /// missing nor for a rollout that goes no further, whoever began that.
    pub(super) fn keeps_in(&self) -> Option<Busy> {
        let (workload, pods) = (self.workload, &self.observed.pods);
        self.busy().filter(|busy| match busy {
            Busy::Paused => true,
            Busy::Rolling => !has_halted(workload, pods, self.permit.deadline, self.now),
            Busy::Unavailable => false,
        })
    }

    /// Why another step that replaces its pods is not to be taken now. Where what was set goes out, or gives way to something else, it
    /// waits for no more than if nobody asked for it, unless something else is the likelier cause.
    pub(super) fn keeps_waiting(&self, step: &Step) -> Option<Busy> {
        let busy = self.busy()?;
        let leads_out = matches!(step.change, Change::Update | Change::TakeBack)
            && self
                .record
                .as_ref()
                .is_some_and(|record| self.may_be_the_cause(record, busy));
        if leads_out {
            self.keeps_in()
        } else {
            Some(busy)
        }
    }

    /// Whether what we wrote may be what keeps the workload busy. Where a pod serves with it something else is the likelier cause: what
    /// its owner changed, or a dead node, whose pods only a Deployment has again elsewhere.
    fn may_be_the_cause(&self, record: &Record, busy: Busy) -> bool {
        let others = busy == Busy::Rolling || self.workload.kind != Kind::Deployment;
        // Anything of it is in the template, and ours still.
        self.without(record).changes_pods()
            && (!others || !self.serves_with(record) || self.stands_twice(record))
    }

    /// Pods that follow no change of the template by themselves and are as `left` says: who has to delete them, and how.
    ///
    /// A StatefulSet under OrderedReady waits for a pod that never becomes ready, even if a change would heal it
    /// (kubernetes#67250).
    pub(super) fn left_behind(
        &self,
        container: &str,
        left: impl Fn(&Container) -> bool,
    ) -> Option<String> {
        let workload = self.workload;
        let by_hand = workload.update == Update::OnDelete;
        if !by_hand && !workload.ordered {
            return None;
        }
        let names: Vec<String> = pods(workload, &self.observed.pods, container)
            .filter(|(pod, _)| by_hand || !is_serving(pod))
            .filter(|(_, own)| own.is_some_and(&left))
            .map(|(pod, _)| pod.name_any())
            .take(MAX_NAMES)
            .collect();
        let why = if by_hand {
            "updateStrategy OnDelete replaces no pod"
        } else {
            "podManagementPolicy OrderedReady replaces no pod that never became ready"
        };
        (!names.is_empty()).then(|| {
            format!(
                "{why}: delete it yourself, with kubectl delete pod -n {} {}",
                self.observed.namespace(),
                names.join(" ")
            )
        })
    }

    /// Pods that keep what is being taken back until somebody deletes them.
    pub(super) fn left_with_it(&self) -> String {
        self.record
            .as_ref()
            .and_then(|record| {
                let wanted = record.as_wanted();
                self.left_behind(&record.container, |own| wanted.runs_in(own))
            })
            .map_or_else(String::new, |left| format!("; {left}"))
    }
}

/// Whether nobody can have put back a former template yet: ours is the second at least and theirs comes after it. (The revision
/// says it only when the controller has written it, and who replaces the whole object wipes it; the generation stays.)
pub fn made_anew(workload: &Workload) -> bool {
    workload.metadata.generation.unwrap_or(0) < 3
}

/// The backends whose write started the rollout that is under way, by what is on the workload itself: it is known after a
/// restart of the operator too.
pub fn started_by(workload: &Workload) -> Vec<String> {
    if !workload.is_replacing() {
        return Vec::new();
    }
    let annotations = workload.metadata.annotations.iter().flatten();
    annotations
        .filter_map(|(key, _)| key.strip_prefix(names::RECORD_PREFIX))
        .filter(|backend| match Record::of(workload, backend) {
            // The controller may not have counted the revision up yet.
            Recorded::Record(record) => {
                !record.entries.is_empty()
                    && workload.revision() <= record.revision.saturating_add(1)
            }
            Recorded::Nothing | Recorded::Malformed => false,
        })
        .map(str::to_owned)
        .collect()
}

/// What becomes of the pods when the template is changed.
pub fn consequence(workload: &Workload) -> String {
    match workload.update {
        Update::Rolling | Update::Recreate => "its pods are replaced once".into(),
        Update::AllBut(kept) => format!(
            "its pods are replaced once, but for {kept} that the partition of its updateStrategy keeps"
        ),
        Update::OnDelete => {
            "its pods follow as they are deleted, since its updateStrategy is OnDelete".into()
        }
    }
}

/// Its pods that are not on their way out, each with the container of that name.
pub fn pods<'a>(
    workload: &'a Workload,
    all: &'a [Pod],
    container: &'a str,
) -> impl Iterator<Item = (&'a Pod, Option<&'a Container>)> {
    all.iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none() && workload.owns(pod))
        .map(move |pod| {
            let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
            let own = containers.into_iter().find(|own| own.name == container);
            (pod, own)
        })
}

/// When its youngest serving pod became ready.
pub fn newest_ready(workload: &Workload, pods: &[Pod]) -> Option<Timestamp> {
    pods.iter()
        .filter(|pod| is_serving(pod) && workload.owns(pod))
        .filter_map(ready_since)
        .max()
}

fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let mut conditions = pod.status.as_ref()?.conditions.iter().flatten();
    let ready = conditions.find(|condition| condition.type_ == "Ready")?;
    let since = ready.last_transition_time.as_ref()?.0;
    (ready.status == "True").then_some(since)
}

/// The container of that name in each serving pod of the workload.
pub fn serving<'a>(
    workload: &'a Workload,
    all: &'a [Pod],
    container: &'a str,
) -> Vec<Option<&'a Container>> {
    pods(workload, all, container)
        .filter(|(pod, _)| is_serving(pod))
        .map(|(_, own)| own)
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
