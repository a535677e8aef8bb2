//! What a container has of what is wanted, and whether the rest can go in.

use super::draft::{Draft, Place};
use super::knob::{Entry, Found, Wanted};
use super::workload::View;
use super::{arguments, claims};
use crate::api::Reason;
use crate::api::conditions::Statement;

/// What a container has of what is wanted.
pub enum Assessment {
    /// All of it.
    Present,
    /// These are not there.
    Missing(Vec<Entry>),
    /// It cannot be set.
    Refused(Statement),
}

impl View<'_> {
    pub(super) fn claim(&self, index: usize, wanted: &Wanted) -> Option<Statement> {
        claims::refusal(self.observed, self.workload, index, wanted)
    }

    pub(super) fn assess(&self, draft: &Draft<'_>, index: usize, wanted: &Wanted) -> Assessment {
        let container = &draft.containers()[index];
        let of = format!("container {} of {}", container.name, self.workload);
        if let Some((theirs, entry)) = wanted.otherwise(container) {
            return Assessment::Refused(Statement::no(
                Reason::FieldConflict,
                format!(
                    "{of} has {theirs}, by which its server takes the same as by {}: remove it there, or remove spec.connectionAge",
                    entry.key()
                ),
            ));
        }
        let mut missing = Vec::new();
        let mut unverified = None;
        for (at, entry) in wanted.entries.iter().enumerate() {
            let found = wanted.find(container, entry);
            let unseen = match &found {
                Found::Hidden => Some(("envFrom".to_owned(), entry.key())),
                // What would go in may win over it unseen, or it over that.
                Found::Absent => wanted.hidden(container, at).map(|(source, way)| {
                    let key = entry.key();
                    let way = format!("{way}, by which its server takes the same as by {key},");
                    (source, way)
                }),
                Found::Same | Found::Other(_) => None,
            };
            // It was in before envFrom came, and went before it then too.
            let unseen = unseen.filter(|_| !self.has_ours(index, entry));
            match (found, unseen) {
                (Found::Same, _) => {}
                (Found::Other(theirs), _) => {
                    return Assessment::Refused(Statement::no(
                        Reason::FieldConflict,
                        format!(
                            "{of} has {theirs} already, where {} is asked for: remove it there, or ask for the same here",
                            entry.text()
                        ),
                    ));
                }
                (Found::Absent | Found::Hidden, None) => missing.push(entry.clone()),
                (Found::Absent | Found::Hidden, Some((source, unseen))) => {
                    let list = match entry {
                        Entry::Variable { .. } => "env",
                        Entry::Arguments(_) | Entry::Pair { .. } => "args",
                    };
                    unverified.get_or_insert_with(|| Statement::unknown(
                        Reason::EnvFromUnverified,
                        format!(
                            "{of} has {source}, which may set {unseen} and is not read: put {} into its {list}, or remove {source}",
                            entry.text()
                        ),
                    ));
                }
            }
        }
        let ours = || wanted.entries.iter().any(|e| self.has_ours(index, e));
        match unverified {
            // What is ours already changes beside what is not to be seen, which is told when it has.
            Some(statement) if missing.is_empty() || !ours() => Assessment::Refused(statement),
            _ if missing.is_empty() => Assessment::Present,
            _ => Assessment::Missing(missing),
        }
    }

    /// Whether such an entry stands there as we wrote it.
    fn has_ours(&self, index: usize, entry: &Entry) -> bool {
        let live = &self.workload.containers()[index];
        self.record.as_ref().is_some_and(|record| {
            let written = record.as_wanted();
            let mut same = record.entries.iter().filter(|own| own.key() == entry.key());
            record.container == live.name && same.any(|own| written.find(live, own) == Found::Same)
        })
    }

    pub(super) fn fill(
        &self,
        draft: &mut Draft<'_>,
        index: usize,
        missing: &[Entry],
    ) -> Result<Place, Statement> {
        let container = draft.containers()[index].clone();
        let of = format!("container {} of {}", container.name, self.workload);
        let words = [&container.command, &container.args];
        let words = words.into_iter().flatten().flatten();
        let flags = !missing.iter().all(|e| matches!(e, Entry::Variable { .. }));
        if flags && arguments::in_shell(words) {
            return Err(Statement::no(
                Reason::UnsupportedWorkload,
                format!(
                    "{of} is started by a shell with -c, which would not hand a flag on to the server: start the server without a shell, put the flag into the script, or use knob.env"
                ),
            ));
        }
        draft.inject(index, missing).ok_or_else(|| {
            Statement::no(
                Reason::NothingToExtend,
                format!(
                    "{of} sets neither args nor command, and setting one discards the image's own: write the image's command line into command of the container, or use knob.env"
                ),
            )
        })
    }
}
