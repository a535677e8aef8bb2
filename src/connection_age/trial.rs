//! Whether the rollout that our write started comes to nothing.
//!
//! The controller of a Deployment may say so; the others never do, and a Deployment's neither where a ReplicaSet of the template is
//! there already (its condition stays at `NewReplicaSetAvailable`, of the rollout before). So the pods are looked at.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerState, ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::record::{Record, UnderWay};
use super::workload::View;
use super::{later, rollout};
use crate::observed::{Kind, has_ended, is_serving};

/// So soon after its start a pod has not been ready to any purpose.
const BLINK: Duration = Duration::from_secs(10);
/// A container that ran for less has crashed rather than served. Without a readiness probe its pod was Ready all the same.
const SOAK: Duration = Duration::from_mins(1);

impl View<'_> {
    /// Whether the rollout that our write started came to nothing, with no other change to the template since.
    pub(super) fn ours_failed(&self, record: &Record) -> bool {
        let workload = self.workload;
        let told = workload.progress.deadline_exceeded
            && workload.revision() == record.revision.saturating_add(1);
        workload.is_seen() && (told || self.gives_up_at(record).is_some_and(|due| self.now >= due))
    }

    /// When a pod that was made with the age will have had its time to become ready; `None` where another template came after
    /// ours, or a pod serves with the age: then it is not the age that keeps one from it.
    pub(super) fn gives_up_at(&self, record: &Record) -> Option<Timestamp> {
        let ours = record.under_way.as_ref()?;
        if ours.template != self.workload.fingerprint() || self.workload.paused {
            return None;
        }
        let began = ours.since.0;
        if self.serves_with(record) {
            return None;
        }
        let with = self.with_age(record);
        let deadline = self.permit.deadline.max(self.workload.progress.deadline);
        // One pod that did serve, or came later, is enough to say that it is not the age.
        let ends = later(began, deadline);
        let is_of_it = |(pod, own): &(&Pod, &Container)| {
            is_made_by(pod, ends)
                && (never_was_ready(pod)
                    || is_crashing(pod, own, self.now) && self.now <= later(ends, deadline))
        };
        if is_told_by_pods(self.workload.kind, ours) && !with.iter().all(is_of_it) {
            return None;
        }
        let since = |(pod, own): (&Pod, &Container)| {
            // It is ready for a moment each time.
            let crashes = is_crashing(pod, own, self.now);
            let made = pod.metadata.creation_timestamp.as_ref();
            let since = if crashes { made } else { unready_since(pod) };
            since.map_or(began, |since| since.0.max(began))
        };
        Some(later(with.into_iter().map(since).min()?, deadline))
    }

    /// Whether a pod serves with the age: then it is not the age that keeps others from it.
    pub(super) fn serves_with(&self, record: &Record) -> bool {
        let with = self.with_age(record);
        let serves =
            |(pod, own): &(&Pod, &Container)| is_serving(pod) && !is_crashing(pod, own, self.now);
        with.iter().any(serves)
    }

    /// Until when a pod with the age may be Ready only because nobody asks it.
    pub(super) fn soaks_until(&self, record: &Record) -> Option<Timestamp> {
        let pods = self.with_age(record).into_iter();
        let unproved = pods.filter(|(_, own)| own.readiness_probe.is_none());
        let until = unproved.filter_map(|(pod, own)| {
            let started = running_since(status(pod, own)?.state.as_ref()?)?;
            Some(later(started.0, SOAK)).filter(|until| *until > self.now)
        });
        until.max()
    }

    /// The pods that were made with the age and have not ended, each with its server.
    fn with_age<'a>(&'a self, record: &'a Record) -> Vec<(&'a Pod, &'a Container)> {
        let wanted = record.as_wanted();
        let pods = rollout::pods(self.workload, &self.observed.pods, &record.container);
        let own = pods.filter_map(|(pod, own)| Some((pod, own?)));
        own.filter(|(pod, own)| wanted.runs_in(own) && !has_ended(pod))
            .collect()
    }
}

/// Whether the record is left alone when the rollout has ended, since the pods tell: a changed annotation would be a new generation
/// of the Deployment. The pods of one that had none come at any time.
pub fn is_told_by_pods(kind: Kind, ours: &UnderWay) -> bool {
    kind == Kind::Deployment && !ours.idle
}

fn is_made_by(pod: &Pod, time: Timestamp) -> bool {
    let made = pod.metadata.creation_timestamp.as_ref();
    made.is_some_and(|made| made.0 <= time)
}

/// Whether it is not ready since it was started: it may have been for the blink between a start and a crash.
fn never_was_ready(pod: &Pod) -> bool {
    let started = pod.status.as_ref().and_then(|own| own.start_time.as_ref());
    let started = started.or(pod.metadata.creation_timestamp.as_ref());
    let since = unready_since(pod);
    started.is_some_and(|started| since.is_some_and(|since| since.0 <= later(started.0, BLINK)))
}

/// Since when a pod is not ready.
fn unready_since(pod: &Pod) -> Option<&Time> {
    let conditions = pod.status.as_ref()?.conditions.iter().flatten();
    let ready = conditions
        .into_iter()
        .find(|condition| condition.type_ == "Ready");
    ready
        .and_then(|ready| ready.last_transition_time.as_ref())
        .or(pod.metadata.creation_timestamp.as_ref())
}

/// Whether the container ran only for a moment the last time, and has not run for longer since.
fn is_crashing(pod: &Pod, container: &Container, now: Timestamp) -> bool {
    let Some(status) = status(pod, container) else {
        return false;
    };
    let last = status.last_state.as_ref();
    let ended = last.and_then(|last| last.terminated.as_ref());
    let ran =
        ended.and_then(|ended| Some((ended.started_at.as_ref()?.0, ended.finished_at.as_ref()?.0)));
    let runs = status.state.as_ref().and_then(running_since);
    ran.is_some_and(|(from, to)| to < later(from, SOAK))
        && runs.is_none_or(|since| now < later(since.0, SOAK))
}

fn status<'a>(pod: &'a Pod, container: &Container) -> Option<&'a ContainerStatus> {
    let mut all = pod.status.as_ref()?.container_statuses.iter().flatten();
    all.find(|own| own.name == container.name)
}

fn running_since(state: &ContainerState) -> Option<&Time> {
    state.running.as_ref()?.started_at.as_ref()
}
