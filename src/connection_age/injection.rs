//! What is missing goes in, unless experience speaks against it.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::assess::Assessment;
use super::draft::{Draft, Place};
use super::knob::{Entry, Wanted};
use super::record::{List, Record, UnderWay};
use super::workload::{Outcome, View};
use super::{Change, advice, later, owner, rollout, until};
use crate::api::conditions::Statement;
use crate::api::{ConnectionAge, OnRemove, Reason};

/// Whoever undid a rollout did so for a reason, and should not find us undoing theirs at once.
const AFTER_UNDO: Duration = Duration::from_mins(10);

impl View<'_> {
    /// Something is missing: it goes in, unless experience speaks against it.
    pub(super) fn put_in(
        &self,
        age: &ConnectionAge,
        mut draft: Draft<'_>,
        fitting: Option<&Record>,
        index: usize,
        wanted: &Wanted,
        missing: &[Entry],
    ) -> Outcome {
        if self.known_failed() {
            return Outcome {
                statement: Some(self.rollout_failed(index, wanted)),
                ..Outcome::default()
            };
        }
        let written = |entry: &Entry| {
            fitting.is_some_and(|r| r.entries.iter().any(|w| wanted.same_entry(w, entry)))
        };
        // Ours is there, and the owner's beside it: nobody has undone anything, and given twice it must not stay.
        let container = &self.workload.containers()[index].name;
        let twice = self
            .record
            .as_ref()
            .is_some_and(|record| record.fits(container, wanted))
            && fitting.is_none();
        // Where all that we wrote is in place, what is missing was never ours: the spec asks for more, or the owner's own half went.
        let lost = fitting.is_none() || missing.iter().any(written);
        let gone = self.known_gone(index).filter(|_| !twice && lost);
        let again = gone.is_some() || missing.iter().any(written);
        if let Some(record) = fitting {
            draft.undo(record);
        }
        let missing = match self.assess(&draft, index, wanted) {
            Assessment::Missing(missing) => missing,
            Assessment::Present => Vec::new(),
            Assessment::Refused(statement) => return self.stand_back(draft, fitting, statement),
        };
        let before = draft.clone();
        let place = match self.fill(&mut draft, index, &missing) {
            Ok(place) => place,
            Err(statement) => return self.stand_back(before, fitting, statement),
        };
        let outcome = again
            .then(|| self.hold_off(gone, fitting, index, wanted, place.list))
            .flatten()
            .unwrap_or_else(|| {
                let record = self.record_of(age, index, wanted, missing, place);
                self.injected(draft, record, again)
            });
        Outcome {
            gone_since: gone,
            again,
            ..outcome
        }
    }

    fn record_of(
        &self,
        age: &ConnectionAge,
        index: usize,
        wanted: &Wanted,
        entries: Vec<Entry>,
        place: Place,
    ) -> Record {
        Record {
            container: self.workload.containers()[index].name.clone(),
            knob: wanted.kind,
            age: wanted.age.to_string(),
            list: place.list,
            before: place.before,
            entries,
            generation: self.generation(),
            revision: self.workload.revision(),
            leave: age.on_remove.unwrap_or_default() == OnRemove::Leave,
            under_way: None,
            failed: None,
        }
    }

    fn injected(&self, draft: Draft<'_>, mut record: Record, again: bool) -> Outcome {
        record.under_way = Some(UnderWay {
            since: Time(self.now),
            template: draft.after().fingerprint(),
            idle: self.workload.replicas == 0,
        });
        let texts: Vec<String> = record.entries.iter().map(Entry::text).collect();
        let note = format!(
            "Set {}{} in container {} of {}: {}",
            texts.join(" "),
            if again { " again" } else { "" },
            record.container,
            self.workload,
            // The same words may be there already, where only how they would be written has changed.
            if draft.changes_pods() {
                rollout::consequence(self.workload)
            } else {
                "its pods stay".into()
            },
        );
        let had = self.record.as_ref().is_some_and(|r| !r.entries.is_empty());
        let change = if had && !again {
            Change::Update
        } else {
            Change::Inject
        };
        Outcome {
            statement: Some(Statement::no(Reason::RollingOut, lower(&note))),
            step: Some(self.step(change, draft, Some(&record), note)),
            ..Outcome::default()
        }
    }

    /// Somebody took out what we had set: whether to wait with the next attempt, or to leave it.
    fn hold_off(
        &self,
        gone: Option<Timestamp>,
        fitting: Option<&Record>,
        index: usize,
        wanted: &Wanted,
        list: List,
    ) -> Option<Outcome> {
        let workload = self.workload;
        let container = &self.workload.containers()[index].name;
        if self.is_exhausted() {
            let lines = advice::lines(wanted, container, Some(list));
            return Some(Outcome {
                statement: Some(Statement::no(
                    Reason::Reverted,
                    format!(
                        "somebody takes the connection age out of {workload} again and again: {lines}; or change spec.connectionAge to have it tried anew"
                    ),
                )),
                ..Outcome::default()
            });
        }
        // Where it was not in when somebody wrote last (an override of theirs was), nothing of ours was undone.
        let due = later(gone?, AFTER_UNDO);
        let undone = fitting.is_none_or(|record| owner::looks_undone(workload, record));
        if !undone || self.now >= due {
            return None;
        }
        Some(Outcome {
            statement: Some(Statement::no(
                Reason::WaitingForRollout,
                format!(
                    "the connection age was taken out of {workload} by an undo or a replacement: it is set again 10 minutes after that; remove spec.connectionAge to prevent it"
                ),
            )),
            look_again: Some(until(self.now, due)),
            ..Outcome::default()
        })
    }
}

fn lower(note: &str) -> String {
    let mut characters = note.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(characters).collect()
    })
}
