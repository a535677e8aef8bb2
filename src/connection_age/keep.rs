//! What was set is there: how far its rollout has come.

use std::time::Duration;

use super::draft::Draft;
use super::knob::Wanted;
use super::record::Record;
use super::trial::is_told_by_pods;
use super::workload::{Outcome, View};
use super::{Change, rollout, until};
use crate::api::conditions::Statement;
use crate::api::{ConnectionAge, OnRemove, Reason};
use crate::observed::Update;

/// When to look again at what should be done but cannot yet.
const OVERDUE: Duration = Duration::from_secs(30);

impl View<'_> {
    /// Everything is in place by our hand.
    pub(super) fn keep(
        &self,
        age: &ConnectionAge,
        record: &Record,
        index: usize,
        wanted: &Wanted,
    ) -> Outcome {
        let workload = self.workload;
        if self.came_back(record) {
            return Outcome {
                statement: Some(self.settled(index, wanted)),
                step: Some(self.forget(&format!(
                    "Somebody has put the connection age of {workload} in again: it is theirs from now on"
                ))),
                ..Outcome::default()
            };
        }
        if self.ours_failed(record) {
            let draft = self.without(record);
            let record = record.failed(self.generation());
            return Outcome {
                statement: Some(self.rollout_failed(index, wanted)),
                step: draft
                    .changes_pods()
                    .then(|| self.take_back(draft, Some(&record))),
                ..Outcome::default()
            };
        }
        let leave = age.on_remove.unwrap_or_default() == OnRemove::Leave;
        let mut statement = self.settled(index, wanted);
        let rest = self.rest_is_to_come(record);
        if statement.reason == Reason::Applied && rest {
            // One pod after the other goes and comes: those that are ready now are not all.
            let text = format!("{}: wait for the rest of the rollout", statement.message);
            statement = Statement::no(Reason::RollingOut, text);
        }
        // Where pods tell, nothing is written when they have.
        let ours = record.under_way.as_ref();
        let writes = ours.is_some_and(|ours| !is_told_by_pods(workload.kind, ours));
        let soaks = self.soaks_until(record).filter(|_| writes);
        let served = statement.reason == Reason::Applied && workload.replicas > 0;
        let ended = !rest && soaks.is_none() && (served || self.rest_is_kept(record));
        let changed = Record {
            leave,
            under_way: ours.filter(|_| !ended || !writes).cloned(),
            ..record.clone()
        };
        let step = (changed != *record).then(|| {
            // That a rollout has ended is no news: the condition says so.
            let news = changed.leave != record.leave;
            let note = format!("Brought the record on {workload} up to date; its pods stay");
            let note = if news { note } else { String::new() };
            self.step(Change::Update, Draft::new(workload), Some(&changed), note)
        });
        let gives_up_at = self.gives_up_at(record);
        Outcome {
            statement: Some(statement),
            step,
            look_again: gives_up_at.or(soaks).map(|due| {
                // Overdue: the controller has not seen the last change yet, which may last.
                let overdue = due <= self.now;
                until(self.now, due).max(if overdue { OVERDUE } else { Duration::ZERO })
            }),
            ..Outcome::default()
        }
    }

    /// Whether pods may still be replaced by our rollout.
    fn rest_is_to_come(&self, record: &Record) -> bool {
        let (workload, pods) = (self.workload, &self.observed.pods);
        record.under_way.as_ref().is_some_and(|ours| {
            let (since, deadline) = (ours.since.0, self.permit.deadline);
            !is_told_by_pods(workload.kind, ours)
                && self.busy().is_some()
                && !rollout::is_stuck(workload, pods, Some(since), deadline, self.now)
        })
    }

    /// Whether the other pods follow only when somebody wants them to, and the age is no news any more where it is: a pod serves
    /// with it.
    fn rest_is_kept(&self, record: &Record) -> bool {
        let wanted = record.as_wanted();
        matches!(self.workload.update, Update::AllBut(_) | Update::OnDelete)
            && rollout::serving(self.workload, &self.observed.pods, &record.container)
                .into_iter()
                .flatten()
                .any(|own| wanted.runs_in(own))
    }
}
