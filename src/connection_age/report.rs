//! What is said of one workload.

use super::MIXED;
use super::knob::{Entry, Found, Wanted};
use super::record::Record;
use super::reverts;
use super::rollout::{self, Busy};
use super::workload::{Outcome, View};
use crate::api::conditions::{MAX_MESSAGE, Statement};
use crate::api::{Reason, Server, SetBy};
use crate::observed::Update;

impl View<'_> {
    /// The template has it: do the ready pods?
    pub(super) fn settled(&self, index: usize, wanted: &Wanted) -> Statement {
        let workload = self.workload;
        let container = &self.workload.containers()[index].name;
        let ready = rollout::serving(self.workload, &self.observed.pods, container);
        let with = ready
            .iter()
            .filter(|own| own.is_some_and(|own| wanted.runs_in(own)))
            .count();
        if with == ready.len() && (with > 0 || self.workload.replicas == 0) {
            let text = format!("{with} ready pods of {workload} run with {}", wanted.age);
            return Statement::yes(Reason::Applied, text);
        }
        let (reason, what_next) = self.unsettled(container, wanted);
        Statement::no(
            reason,
            format!(
                "{with} of {} ready pods of {workload} run with {}{what_next}",
                ready.len(),
                wanted.age
            ),
        )
    }

    /// Why some pods are without it yet, and what follows from that.
    fn unsettled(&self, container: &str, wanted: &Wanted) -> (Reason, String) {
        let workload = self.workload;
        let left = self.left_behind(container, |own| !wanted.runs_in(own));
        match (self.busy(), workload.update, left) {
            (Some(Busy::Paused), ..) => {
                let command = rollout::command(workload, "resume");
                let text = format!(", and it is paused: resume it with {command}");
                (Reason::Paused, text)
            }
            (_, Update::OnDelete, Some(left)) => (Reason::Paused, format!("; {left}")),
            (None, Update::AllBut(kept), _) => (
                Reason::Paused,
                format!(
                    "; the partition of its updateStrategy keeps {kept} as they are: set spec.updateStrategy.rollingUpdate.partition to 0 when these are to follow"
                ),
            ),
            (_, _, Some(left)) => (Reason::RollingOut, format!("; {left}")),
            (_, Update::OnDelete, None) => (Reason::RollingOut, ": wait for its pods".into()),
            _ => {
                let command = rollout::command(workload, "status");
                let text = format!(": wait for the rollout, or look into it with {command}");
                (Reason::RollingOut, text)
            }
        }
    }

    pub(super) fn rollout_failed(&self, index: usize, wanted: &Wanted) -> Statement {
        let workload = self.workload;
        let container = &workload.containers()[index].name;
        let left = self
            .left_behind(container, |own| wanted.runs_in(own))
            .map_or_else(String::new, |left| format!("; {left}"));
        let what = format!(
            "the rollout of {workload} with the connection age made no progress and was taken back: check that the server takes this knob and format, then change spec.connectionAge"
        );
        Statement::no(Reason::RolloutFailed, what + &left)
    }

    /// Only words.
    pub(super) fn say(
        &self,
        index: Option<usize>,
        wanted: Option<&Wanted>,
        statement: Statement,
    ) -> Outcome {
        let container = index.map(|index| self.workload.containers()[index].name.as_str());
        Outcome {
            row: Some(self.row(container, wanted, &statement)),
            statement: Some(statement),
            ..Outcome::default()
        }
    }

    pub(super) fn row_of(&self, index: usize, wanted: &Wanted, statement: &Statement) -> Server {
        let container = &self.workload.containers()[index].name;
        self.row(Some(container), Some(wanted), statement)
    }

    pub(super) fn row(
        &self,
        container: Option<&str>,
        wanted: Option<&Wanted>,
        statement: &Statement,
    ) -> Server {
        let container = container.or(self.record.as_ref().map(|record| record.container.as_str()));
        let running = container.and_then(|container| self.running(container, wanted));
        let set_by = container
            .zip(wanted)
            .and_then(|(container, wanted)| self.set_by(container, wanted));
        Server {
            kind: self.workload.kind.as_str().into(),
            name: self.workload.name().to_owned(),
            container: container.map(str::to_owned),
            replicas: self.workload.replicas,
            set_by,
            observed: None,
            running,
            planned: wanted.map(|wanted| wanted.age.to_string()),
            state: Some(statement.reason.to_string()),
            gone_since: self
                .past
                .and_then(|past| past.gone_since.clone())
                .filter(|_| set_by.is_none()),
            reverts: self
                .past
                .map_or_else(Vec::new, |past| reverts::recent(&past.reverts, self.now)),
            attempted_generation: self.open_attempt(),
            message: (statement.reason != Reason::Applied)
                .then(|| statement.message.chars().take(MAX_MESSAGE).collect()),
        }
    }

    /// Who set what the template has of what is wanted. What we had set by an earlier spec counts for neither.
    fn set_by(&self, container: &str, wanted: &Wanted) -> Option<SetBy> {
        let live = self
            .workload
            .containers()
            .iter()
            .find(|own| own.name == container)?;
        let record = self.record.as_ref().filter(|r| r.container == container);
        let written = record.map(Record::as_wanted);
        let in_place = written
            .as_ref()
            .is_some_and(|written| written.runs_in(live));
        if in_place && record.is_some_and(|record| record.fits(container, wanted)) {
            return Some(SetBy::Evenkeel);
        }
        let ours = |entry: &Entry| {
            written.as_ref().is_some_and(|written| {
                let mut same = written.entries.iter().filter(|w| w.key() == entry.key());
                same.any(|w| written.find(live, w) == Found::Same)
            })
        };
        let there =
            |entry: &Entry| !matches!(wanted.find(live, entry), Found::Absent | Found::Hidden);
        let mut entries = wanted.entries.iter();
        let set = entries.any(|entry| there(entry) && !ours(entry));
        (set || wanted.otherwise(live).is_some()).then_some(SetBy::Owner)
    }

    pub(super) fn running(&self, container: &str, wanted: Option<&Wanted>) -> Option<String> {
        // Another knob or container of before; of the same one the record may hold the grace alone, which is no age.
        let former = self
            .record
            .as_ref()
            .filter(|record| wanted.is_none_or(|wanted| !record.fits(container, wanted)));
        let former = former.map(Record::as_wanted);
        let mut ages = rollout::serving(self.workload, &self.observed.pods, container)
            .into_iter()
            .map(|own| {
                let own = own?;
                let by = |wanted: &Wanted| wanted.running(own);
                wanted.and_then(by).or_else(|| former.as_ref().and_then(by))
            });
        let first = ages.next()?;
        if ages.all(|age| age == first) {
            first
        } else {
            Some(MIXED.into())
        }
    }
}
