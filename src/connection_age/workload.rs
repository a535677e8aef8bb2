//! One workload: what is to be done there, and what is to be said of it.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::assess::Assessment;
use super::draft::Draft;
use super::knob::{Entry, Found, Wanted};
use super::record::{Record, Recorded};
use super::rollout::Busy;
use super::target::{self, Target};
use super::{Change, Permit, Step, advice, reverts, rollout, turns};
use crate::api::conditions::Statement;
use crate::api::{AgeMode, ConnectionAge, OnRemove, Reason, Server};
use crate::observed::{Observed, Workload};

/// What one workload comes to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Its row in the status.
    pub row: Option<Server>,
    /// What it says, if it counts for the condition.
    pub statement: Option<Statement>,
    /// What to do.
    pub step: Option<Step>,
    /// The step waits for nothing: our own rollout has failed, or the resource has been going for long enough.
    pub urgent: bool,
    /// Why the step waits, as far as the workload itself tells.
    pub busy: Option<Busy>,
    /// A rollout that is ours alone is under way, and no pod serves with the age yet: until when it may be the age that keeps them
    /// from it. A step that corrects it does not wait for its end.
    pub trial_until: Option<Timestamp>,
    /// It has a record of ours, or is to get one.
    pub involved: bool,
    /// When to look again though nothing has changed.
    pub look_again: Option<Duration>,
    /// Since when somebody is known to have taken out what we had set.
    pub gone_since: Option<Timestamp>,
    /// What we had set once is to be set again.
    pub again: bool,
}

impl Outcome {
    /// Whether the step would replace pods.
    pub fn starts_rollout(&self) -> bool {
        self.step.as_ref().is_some_and(|step| step.starts_rollout)
    }

    /// The step is not taken: what was said of it as begun is said as waiting. A reason of its own stays.
    pub fn withhold(&mut self, reason: Reason, why: &str) {
        let begun = self.starts_rollout()
            && self
                .statement
                .as_ref()
                .is_some_and(|statement| statement.reason == Reason::RollingOut);
        self.step = None;
        if !begun {
            return;
        }
        if let Some(row) = &mut self.row {
            row.state = Some(reason.to_string());
            row.message = Some(why.to_owned());
        }
        self.statement = Some(Statement::no(reason, why));
    }

    /// What the row says when the step is carried out; tells whether that is an attempt to set the age again, which counts.
    ///
    /// One that follows another of which nothing came counts for both.
    pub fn foresee(&mut self, workload: &Workload, now: Timestamp) -> bool {
        let (Some(row), Some(step)) = (&mut self.row, &mut self.step) else {
            return false;
        };
        if matches!(step.change, Change::TakeBack | Change::Forget) {
            (row.set_by, row.gone_since) = (None, None);
        }
        let again = self.again && step.starts_rollout;
        if again {
            step.again = row.attempted_generation.is_none();
            if !step.again {
                row.reverts.pop();
            }
            row.reverts.push(Time(now));
            row.attempted_generation = workload.metadata.generation;
        }
        again
    }
}

/// One backend looking at one workload.
pub struct View<'a> {
    pub(super) observed: &'a Observed,
    pub(super) workload: &'a Workload,
    pub(super) record: Option<Record>,
    pub(super) permit: Permit,
    /// What the status says of it for the same spec.
    pub(super) past: Option<&'a Server>,
    pub(super) now: Timestamp,
}

/// Decides for one workload, as if no other were there.
pub fn look(observed: &Observed, workload: &Workload, permit: Permit, now: Timestamp) -> Outcome {
    let recorded = Record::of(workload, &observed.name());
    let record = match &recorded {
        Recorded::Record(record) => Some(record.clone()),
        Recorded::Nothing | Recorded::Malformed => None,
    };
    let view = View {
        observed,
        workload,
        record,
        permit,
        past: reverts::past(observed, workload),
        now,
    };
    let mut outcome = view.decide();
    if recorded == Recorded::Malformed {
        outcome.withhold(
            Reason::WaitingForRollout,
            &format!("an unreadable record on {workload} is forgotten first"),
        );
        outcome.step = Some(view.forget(&format!(
            "Forgot an unreadable record on {workload}; no value was touched"
        )));
    }
    outcome.involved |= recorded != Recorded::Nothing;
    let record = view.record.as_ref();
    outcome.trial_until = record.and_then(|record| view.gives_up_at(record));
    outcome
}

impl View<'_> {
    fn decide(&self) -> Outcome {
        let spec = &self.observed.backend.spec;
        let Some(age) = &spec.connection_age else {
            let leave = self.record.as_ref().is_some_and(|record| record.leave);
            return self.give_up(leave);
        };
        let leave = age.on_remove.unwrap_or_default() == OnRemove::Leave;
        if self.observed.terminating() {
            return self.give_up(leave);
        }
        match target::find(spec, age, self.workload) {
            Target::Foreign => self.give_up(leave),
            Target::NoServer(statement) => {
                let counts = age
                    .workloads
                    .iter()
                    .any(|name| name == self.workload.name());
                let mut outcome = self.give_up(leave);
                outcome.row = Some(self.row(None, None, &statement));
                outcome.statement = outcome.statement.or(counts.then_some(statement));
                outcome
            }
            Target::Unfit(statement) => self.say(None, None, statement),
            Target::Container(index) => match Wanted::of(age) {
                // A spec that cannot be carried out is no order to take back what runs.
                Err(mut statement) => {
                    if self.record.as_ref().is_some_and(|r| !r.entries.is_empty()) {
                        statement.message +=
                            "; what was set before stays until spec.connectionAge is removed";
                    }
                    self.say(Some(index), None, statement)
                }
                Ok(wanted) if age.mode.unwrap_or_default() == AgeMode::Advise => {
                    self.advise(index, &wanted, leave)
                }
                Ok(wanted) => self.enforce(age, index, &wanted),
            },
        }
    }

    /// It is not asked for, or no longer.
    fn give_up(&self, leave: bool) -> Outcome {
        let Some(record) = &self.record else {
            return Outcome::default();
        };
        let workload = self.workload;
        if leave {
            let note = format!("Left the connection age on {workload} as it is, as onRemove says");
            return Outcome {
                step: Some(self.forget(&note)),
                ..Outcome::default()
            };
        }
        let draft = self.without(record);
        if !draft.changes_pods() {
            let note = format!(
                "Nothing to take back from {workload}: nothing of what was set is left as ours"
            );
            return Outcome {
                step: Some(self.forget(&note)),
                ..Outcome::default()
            };
        }
        let statement = Statement::no(
            Reason::RollingOut,
            format!("the connection age is being taken back from {workload}"),
        );
        Outcome {
            row: Some(self.row(Some(&record.container), None, &statement)),
            statement: Some(statement),
            step: Some(self.take_back(draft, None)),
            urgent: turns::overdue(self.observed, self.now) || self.ours_failed(record),
            busy: self.keeps_in(),
            involved: true,
            ..Outcome::default()
        }
    }

    fn advise(&self, index: usize, wanted: &Wanted, leave: bool) -> Outcome {
        let mut outcome = self.give_up(leave);
        let mut draft = Draft::new(self.workload);
        if let Some(record) = self.record.as_ref().filter(|_| !leave) {
            draft.undo(record);
        }
        let undone = draft.changes_pods();
        let statement = match (
            self.claim(index, wanted),
            self.assess(&draft, index, wanted),
        ) {
            (Some(statement), _) | (None, Assessment::Refused(statement)) => statement,
            (None, Assessment::Present) => self.settled(index, wanted),
            (None, Assessment::Missing(missing)) => match self.fill(&mut draft, index, &missing) {
                Err(statement) => statement,
                Ok(_) if undone => not_applied("what Evenkeel set is taken back first"),
                Ok(place) => {
                    let container = &self.workload.containers()[index].name;
                    let lines = advice::lines(wanted, container, Some(place.list));
                    not_applied(&advice::command(&draft, self.workload, &lines))
                }
            },
        };
        outcome.row = Some(self.row_of(index, wanted, &statement));
        outcome.statement = Some(statement);
        outcome
    }

    fn enforce(&self, age: &ConnectionAge, index: usize, wanted: &Wanted) -> Outcome {
        let container = &self.workload.containers()[index].name;
        let claimed = self.claim(index, wanted);
        let fitting = self
            .record
            .as_ref()
            .filter(|record| claimed.is_none() && record.fits(container, wanted))
            .filter(|record| !self.given_twice(record, index, wanted));
        let mut draft = Draft::new(self.workload);
        if let (None, Some(record)) = (fitting, &self.record) {
            draft.undo(record);
        }
        let mut outcome = match (claimed, self.assess(&draft, index, wanted)) {
            (Some(statement), _) | (None, Assessment::Refused(statement)) => {
                self.stand_back(draft, fitting, statement)
            }
            (None, Assessment::Present) => match fitting {
                Some(record) => self.keep(age, record, index, wanted),
                None => self.stand_back(draft, None, self.settled(index, wanted)),
            },
            (None, Assessment::Missing(missing)) => {
                self.put_in(age, draft, fitting, index, wanted, &missing)
            }
        };
        let failed = |record: &Record| self.ours_failed(record);
        outcome.urgent = outcome.step.is_some() && self.record.as_ref().is_some_and(failed);
        let step = outcome.step.as_ref();
        outcome.busy = step.and_then(|step| self.keeps_waiting(step));
        outcome.involved = true;
        if let Some(statement) = &outcome.statement {
            let row = self.row_of(index, wanted, statement);
            outcome.row = Some(Server {
                gone_since: outcome.gone_since.map(Time).or(row.gone_since.clone()),
                ..row
            });
        }
        outcome
    }

    /// Whether the owner gives what we had set by now too, as a flag or in another way.
    fn given_twice(&self, record: &Record, index: usize, wanted: &Wanted) -> bool {
        let live = &self.workload.containers()[index];
        wanted.otherwise(live).is_some() || self.stands_twice(record)
    }

    /// Whether the owner gives a flag by now that we had appended: twice is fatal in some servers.
    pub(super) fn stands_twice(&self, record: &Record) -> bool {
        let (without, written) = (self.without(record), record.as_wanted());
        let mut pairs = self.workload.containers().iter().zip(without.containers());
        let own = pairs.find(|(live, _)| live.name == record.container);
        own.filter(|_| without.changes_pods())
            .is_some_and(|(live, left)| {
                record
                    .entries
                    .iter()
                    .filter(|entry| !matches!(entry, Entry::Variable { .. }))
                    .any(|entry| {
                        written.find(left, entry) != Found::Absent
                            || written.find(live, entry) != Found::Same
                    })
            })
    }

    /// The workload as it would be without what we wrote.
    pub(super) fn without(&self, record: &Record) -> Draft<'_> {
        let mut without = Draft::new(self.workload);
        without.undo(record);
        without
    }

    /// Nothing goes in. What went in earlier by another spec comes out, and its record goes.
    pub(super) fn stand_back(
        &self,
        draft: Draft<'_>,
        fitting: Option<&Record>,
        statement: Statement,
    ) -> Outcome {
        let done = fitting.is_some() || self.record.as_ref().is_none_or(|r| r.entries.is_empty());
        let step = if draft.changes_pods() {
            Some(self.take_back(draft, None))
        } else if done {
            None
        } else {
            Some(self.forget(&format!(
                "Forgot what was set on {}: nothing of it is left as ours",
                self.workload
            )))
        };
        Outcome {
            statement: Some(statement),
            step,
            ..Outcome::default()
        }
    }

    pub(super) fn generation(&self) -> i64 {
        self.observed.backend.metadata.generation.unwrap_or(0)
    }

    pub(super) fn forget(&self, note: &str) -> Step {
        self.step(
            Change::Forget,
            Draft::new(self.workload),
            None,
            note.to_owned(),
        )
    }

    pub(super) fn take_back(&self, draft: Draft<'_>, record: Option<&Record>) -> Step {
        let note = format!(
            "Took the connection age back from {}: {}{}",
            self.workload,
            rollout::consequence(self.workload),
            self.left_with_it()
        );
        self.step(Change::TakeBack, draft, record, note)
    }

    pub(super) fn step(
        &self,
        change: Change,
        draft: Draft<'_>,
        record: Option<&Record>,
        note: String,
    ) -> Step {
        let starts_rollout = draft.changes_pods();
        Step {
            kind: self.workload.kind,
            name: self.workload.name().to_owned(),
            uid: self.workload.metadata.uid.clone().unwrap_or_default(),
            change,
            patch: draft.finish(&self.observed.name(), record),
            starts_rollout,
            again: false,
            urgent: false,
            note,
        }
    }
}

fn not_applied(what: &str) -> Statement {
    Statement::no(
        Reason::NotApplied,
        format!("mode: Advise writes nothing; {what}"),
    )
}
