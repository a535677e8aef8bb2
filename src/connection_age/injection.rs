//! What is missing goes in, unless experience speaks against it.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::assess::Assessment;
use super::draft::{Draft, Place};
use super::knob::{Entry, Wanted};
use super::record::{Record, UnderWay};
use super::workload::{Outcome, View};
use super::{Change, advice, owner, rollout, until};
use crate::api::conditions::Statement;
use crate::api::{ConnectionAge, OnRemove, Reason};
use crate::observed::Kind;

/// Whoever undid a rollout did so for a reason, and should not find us undoing theirs at once.
const AFTER_UNDO: SignedDuration = SignedDuration::from_mins(10);

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
        if self
            .record
            .as_ref()
            .is_some_and(|record| record.failed == Some(self.generation()))
        {
            return Outcome {
                statement: Some(self.rollout_failed(index, wanted)),
                ..Outcome::default()
            };
        }
        let written = |entry: &Entry| {
            fitting.filter(|r| r.entries.iter().any(|w| wanted.same_entry(w, entry)))
        };
        let reverted = missing.iter().find_map(written);
        if let Some(outcome) = reverted.and_then(|record| self.hold_off(record, index, wanted)) {
            return outcome;
        }
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
        let record = self.record_of(age, index, wanted, missing, place, reverted);
        if self.lost_with_its_record()
            && let Some(outcome) = self.wait_after_undo(&record)
        {
            return outcome;
        }
        self.injected(draft, record, reverted.is_some())
    }

    /// Whether the status says that it was in, though there is no trace of it: `kubectl rollout undo` brings back the former
    /// annotations too, and `kubectl replace` those of a file. (Ours was the second template at least, theirs came after it;
    /// a workload that was made anew starts from one.)
    fn lost_with_its_record(&self) -> bool {
        let backend = &self.observed.backend;
        // What was said of another spec may be of an age that was taken back since.
        let status = backend
            .status
            .as_ref()
            .filter(|status| status.observed_generation == backend.metadata.generation);
        self.record.is_none()
            && self.workload.revision() >= 3
            && status
                .iter()
                .flat_map(|status| &status.servers)
                .any(|server| {
                    // Not RollingOut: that is said of a write too which then did not come about.
                    server.kind == self.workload.kind.as_str()
                        && server.name == self.workload.name()
                        && server.planned.is_some()
                        && server.state.as_deref() == Some(Reason::Applied.as_str())
                })
    }

    fn record_of(
        &self,
        age: &ConnectionAge,
        index: usize,
        wanted: &Wanted,
        entries: Vec<Entry>,
        place: Place,
        reverted: Option<&Record>,
    ) -> Record {
        let reverts = reverted.map_or_else(Vec::new, |record| {
            let mut recent = record.recent_reverts(self.now);
            recent.push(Time(self.now));
            recent
        });
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
            reverts,
            gone_since: None,
            under_way: None,
            failed: None,
        }
    }

    fn injected(&self, draft: Draft<'_>, mut record: Record, again: bool) -> Outcome {
        record.under_way = (self.workload.kind != Kind::Deployment).then(|| UnderWay {
            since: Time(self.now),
            template: draft.after().fingerprint(),
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
    pub(super) fn hold_off(
        &self,
        record: &Record,
        index: usize,
        wanted: &Wanted,
    ) -> Option<Outcome> {
        let workload = self.workload;
        let container = &self.workload.containers()[index].name;
        if let Some(due) = record.exhausted_until(self.now) {
            let lines = advice::lines(wanted, container, Some(record.list));
            return Some(Outcome {
                statement: Some(Statement::no(
                    Reason::Reverted,
                    format!(
                        "somebody takes the connection age out of {workload} again and again: {lines}"
                    ),
                )),
                look_again: Some(until(self.now, due)),
                ..Outcome::default()
            });
        }
        let undone = record.gone_since.is_some() || owner::looks_undone(self.workload, record);
        undone.then(|| self.wait_after_undo(record)).flatten()
    }

    /// Notes when the age was found to be out, and waits; `None` once that is long enough ago.
    fn wait_after_undo(&self, record: &Record) -> Option<Outcome> {
        let workload = self.workload;
        let since = record.gone_since.as_ref().map_or(self.now, |since| since.0);
        let due = since + AFTER_UNDO;
        if self.now >= due {
            return None;
        }
        let step = record.gone_since.is_none().then(|| {
            let noticed = Record {
                gone_since: Some(Time(self.now)),
                ..record.clone()
            };
            let note = format!("The connection age was taken out of {workload} by an undo or a replacement; it is set again in 10 minutes");
            self.step(Change::Update, Draft::new(self.workload), Some(&noticed), note)
        });
        Some(Outcome {
            statement: Some(Statement::no(
                Reason::WaitingForRollout,
                format!(
                    "the connection age was taken out of {workload} by an undo or a replacement: it is set again 10 minutes after that; remove spec.connectionAge to prevent it"
                ),
            )),
            step,
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
