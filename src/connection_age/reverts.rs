//! What is remembered of a workload: how often somebody took the age out again, that we gave up, and that its rollout failed.
//!
//! It is read from the backend's status: whoever puts a former Deployment back (`kubectl rollout undo`, `kubectl replace`) wipes
//! what is kept there.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::record::{List, Record};
use super::workload::View;
use super::{later, rollout};
use crate::api::{Reason, Server, SetBy};
use crate::observed::{Observed, Workload};

/// Attempts in [`WINDOW`] after which somebody else plainly wants the age out.
const MAX_ATTEMPTS: usize = 3;
/// Longer than any usual interval at which a pipeline applies all over again: one that does so hourly would otherwise roll the pods twice
/// an hour for ever.
const WINDOW: Duration = Duration::from_hours(6);

/// What the status says of a workload, if it speaks of the spec as it is: who changed the spec wants it tried anew.
pub fn past<'a>(observed: &'a Observed, workload: &Workload) -> Option<&'a Server> {
    let backend = &observed.backend;
    let status = backend.status.as_ref()?;
    let same =
        |server: &&Server| server.kind == workload.kind.as_str() && server.name == workload.name();
    (status.observed_generation == backend.metadata.generation)
        .then(|| status.servers.iter().find(same))
        .flatten()
}

/// Whether a row of the status says what is known from nowhere else.
pub fn remembers(row: &Server) -> bool {
    !row.reverts.is_empty()
        || row.gone_since.is_some()
        || [Reason::RolloutFailed, Reason::Reverted]
            .iter()
            .any(|lasting| row.state.as_deref() == Some(lasting.as_str()))
}

/// The attempts in [`WINDOW`].
pub fn recent(attempts: &[Time], now: Timestamp) -> Vec<Time> {
    let mut recent: Vec<Time> = attempts
        .iter()
        .filter(|at| now < later(at.0, WINDOW))
        .cloned()
        .collect();
    recent.sort_by_key(|at| at.0);
    recent
}

impl View<'_> {
    /// Since when the status knows that somebody took out of this container what we had set, or now where it says that it is
    /// in; `None` where it knows nothing of the kind.
    ///
    /// Without a record on it a Deployment may have been made anew, which is nobody's revert.
    pub(super) fn known_gone(&self, index: usize) -> Option<Timestamp> {
        let past = self.past?;
        let container = &self.workload.containers()[index].name;
        let same = past.container.as_ref() == Some(container)
            && (self.record.is_some() || !rollout::made_anew(self.workload));
        let since = past.gone_since.as_ref().map(|since| since.0);
        let was_in = past.set_by == Some(SetBy::Evenkeel);
        since.or(was_in.then_some(self.now)).filter(|_| same)
    }

    /// Whether arguments that somebody took out are there again by no attempt of ours: who put them in has claimed them. A variable's owner
    /// is known without that.
    pub(super) fn came_back(&self, record: &Record) -> bool {
        let Some(past) = self.past.filter(|_| record.list != List::Env) else {
            return false;
        };
        past.gone_since.as_ref().is_some_and(|gone| {
            let begun = record.under_way.as_ref().map(|ours| &ours.since);
            let mut attempts = past.reverts.iter().chain(begun);
            attempts.all(|at| at.0 < gone.0)
        })
    }

    /// Whether the rollout of this spec has failed before, and was taken back.
    pub(super) fn known_failed(&self) -> bool {
        let recorded = self.record.as_ref().and_then(|record| record.failed);
        let said = self.past.and_then(|past| past.state.as_deref());
        recorded == Some(self.generation())
            || said == Some(Reason::RolloutFailed.as_str()) && !rollout::made_anew(self.workload)
    }

    /// The workload's generation if the last attempt that is counted was not answered: the API server was busy, or the operator
    /// ended before it. One that arrives unknown to us changes the generation, or admission has made nothing of it.
    pub(super) fn open_attempt(&self) -> Option<i64> {
        let generation = self.workload.metadata.generation;
        self.past?
            .attempted_generation
            .filter(|at| Some(*at) == generation)
    }

    /// Whether too many attempts were made in [`WINDOW`], or once were and nothing was set since: a pause would only begin the war
    /// anew. Who changes the spec, or the list so that something else is to be said of it, ends that.
    pub(super) fn is_exhausted(&self) -> bool {
        let Some(past) = self.past else { return false };
        let mut recent = recent(&past.reverts, self.now);
        if self.open_attempt().is_some() {
            recent.pop();
        }
        let said = past.state.as_deref() == Some(Reason::Reverted.as_str());
        recent.len() >= MAX_ATTEMPTS || said
    }
}
