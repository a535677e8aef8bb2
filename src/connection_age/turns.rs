//! Whose pods are replaced now, and whose later.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::rollout::{self, Busy};
use super::workload::Outcome;
use super::{Change, Permit, later, timing, until};
use crate::api::Reason;
use crate::observed::{Observed, Workload};

/// For how long a deletion takes one workload after the other. Then the rest follows at once: whoever deletes must not wait for
/// a rollout that never ends, and the namespace, the chart or the pipeline around it neither.
const PACED: Duration = Duration::from_mins(5);

/// What keeps the others waiting.
struct Others {
    /// Their pods are being replaced.
    rolling: Vec<Other>,
    /// Their youngest pods are not known to all clients before this.
    fresh: Vec<(Other, Timestamp)>,
    /// It begins in this pass.
    started: Option<String>,
}

struct Other {
    name: String,
    /// It has a record of ours, or is to get one. What was taken back has none any more, and its pods may be in motion for it.
    involved: bool,
    /// Its pods are not replaced any further as things are. The age does not go in beside it, but it comes out.
    halted: bool,
}

/// One rollout at a time, none where something else moves, none before clients can know the pods of the last, none beyond
/// the budget. Tells whether something waits.
pub fn take(
    observed: &Observed,
    looks: &mut [(&Workload, Outcome)],
    permit: Permit,
    now: Timestamp,
) -> bool {
    let mut others = Others::of(observed, looks, permit, now);
    let mut waits = false;
    for (workload, outcome) in looks.iter_mut() {
        if outcome.urgent || !outcome.starts_rollout() {
            continue;
        }
        let taken_back = |step: &super::Step| step.change == Change::TakeBack;
        let all = outcome.step.as_ref().is_some_and(taken_back);
        // The state of its own and the budget keep nobody from deleting; what it does to its neighbours waits.
        let free = observed.terminating();
        // It has its place, and gives it back the sooner.
        let corrects = outcome.trial_until.is_some();
        let (reason, why) = if let Some(busy) = outcome.busy.filter(|_| !free && !corrects) {
            let patience = rollout::patience(workload, permit.deadline);
            waiting(busy, workload, &observed.pods, all.then_some(patience))
        } else if let Some((due, why)) = others.hold_up(workload, all) {
            outcome.look_again = due.map(|due| until(now, due));
            (Reason::WaitingForRollout, why)
        } else if !permit.rollout && !free && !corrects {
            let text =
                format!("{workload} waits until fewer rollouts are under way in the cluster");
            (Reason::WaitingForRollout, text)
        } else {
            others.started = Some(workload.to_string());
            continue;
        };
        if let Some(end) = paced_until(observed) {
            let end = until(now, end);
            outcome.look_again = Some(outcome.look_again.map_or(end, |due| due.min(end)));
        }
        outcome.withhold(reason, &why);
        waits = true;
    }
    waits
}

/// Until when a deletion takes turns.
fn paced_until(observed: &Observed) -> Option<Timestamp> {
    let deleted = observed.backend.metadata.deletion_timestamp.as_ref()?;
    Some(later(deleted.0, PACED))
}

/// Whether a deletion has taken turns for long enough.
pub fn overdue(observed: &Observed, now: Timestamp) -> bool {
    paced_until(observed).is_some_and(|end| now >= end)
}

impl Others {
    fn of(
        observed: &Observed,
        looks: &[(&Workload, Outcome)],
        permit: Permit,
        now: Timestamp,
    ) -> Self {
        let selector = &observed.backend.spec.selector;
        let serving = looks
            .iter()
            .filter(|(workload, outcome)| outcome.involved || workload.is_selected(selector))
            .map(|(workload, outcome)| (*workload, outcome.involved));
        let (pods, deadline) = (&observed.pods, permit.deadline);
        let other = |workload: &Workload, involved| Other {
            name: workload.to_string(),
            involved,
            halted: rollout::has_halted(workload, pods, deadline, now),
        };
        let fresh = serving.clone().filter_map(|(workload, involved)| {
            let known = later(rollout::newest_ready(workload, pods)?, timing::LOOK_UP);
            // A clock that is far ahead must not hold everything up.
            let soon = known > now && known <= later(now, timing::LOOK_UP);
            soon.then(|| (other(workload, involved), known))
        });
        // Whether the age is what keeps it is told by `keep`, which may need a little longer.
        let on_trial = |own: &Workload| {
            let mut looks = looks.iter();
            looks.any(|(other, outcome)| *other == own && outcome.trial_until.is_some())
        };
        // Of one that has nothing of ours only a new template counts, and not that it is scaled.
        let rolling = serving.clone().filter(|(own, involved)| {
            (*involved && own.is_rolling() || own.is_replacing())
                && (on_trial(own) || !rollout::waits_for_the_dead(own, pods, deadline, now))
        });
        let urgent =
            |(_, outcome): &&(&Workload, Outcome)| outcome.urgent && outcome.starts_rollout();
        Self {
            fresh: fresh.collect(),
            rolling: rolling
                .map(|(own, involved)| other(own, involved))
                .collect(),
            started: looks.iter().find(urgent).map(|(own, _)| own.to_string()),
        }
    }

    /// What a workload waits for, and until when if that is known. Who takes back looks at all that serve, but for rollouts that
    /// somebody would have to help on first.
    fn hold_up(&self, workload: &Workload, all: bool) -> Option<(Option<Timestamp>, String)> {
        let name = workload.to_string();
        let counts = |other: &&Other| other.name != name && (all || other.involved);
        let started = self.started.iter().filter(|other| **other != name);
        let rolling = self.rolling.iter().filter(counts);
        let rolling = rolling
            .filter(|other| !all || !other.halted)
            .map(|other| &other.name);
        if let Some(other) = started.chain(rolling).next() {
            let text = format!("{workload} waits for the rollout of {other}");
            return Some((None, text));
        }
        let (other, known) = self.fresh.iter().find(|(other, _)| counts(&other))?;
        let text = format!(
            "{workload} waits until clients that balance by DNS know the new pods of {}, which may take {} s",
            other.name,
            timing::LOOK_UP.as_secs()
        );
        Some((Some(*known), text))
    }
}

/// What it says while it waits; `patience`: what is to be taken back waits for no rollout of which nothing has come for so long.
fn waiting(
    busy: Busy,
    workload: &Workload,
    pods: &[Pod],
    patience: Option<Duration>,
) -> (Reason, String) {
    match busy {
        Busy::Paused => (
            Reason::Paused,
            format!(
                "{workload} is paused: resume it with {}",
                rollout::command(workload, "resume")
            ),
        ),
        Busy::Rolling => (
            Reason::WaitingForRollout,
            match patience {
                None => format!(
                    "{workload} is rolling out: the connection age follows when that has ended"
                ),
                Some(patience) => format!(
                    "{workload} is rolling out: the connection age is taken back when that has ended or failed, or has made no progress for {} s",
                    patience.as_secs()
                ),
            },
        ),
        Busy::Unavailable => (
            Reason::WaitingForRollout,
            rollout::unavailable(workload, pods),
        ),
    }
}
