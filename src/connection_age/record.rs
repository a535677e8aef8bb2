//! What a backend wrote into a workload, kept in an annotation of that workload.

use k8s_openapi::api::core::v1::Container;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

use super::knob::{Entry, Kind, Wanted};
use crate::api::{DurationFormat, GoDuration};
use crate::names;
use crate::observed::Workload;

/// More than any record that was written here: 32 arguments of 1024 characters, each of which JSON may double, and the rest.
const MAX_LENGTH: usize = 80 * 1024;
/// Entries of a record, and words of one: as many as a knob has at most.
const MAX_WORDS: usize = 32;

/// Which list of a container was written to.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum List {
    /// Environment variables.
    Env,
    /// The arguments.
    Args,
    /// The entry point.
    Command,
}

impl List {
    /// The field's name.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Env => "env",
            Self::Args => "args",
            Self::Command => "command",
        }
    }

    /// The words of a container's list; variables are none.
    pub fn of(self, container: &Container) -> Option<&Vec<String>> {
        match self {
            Self::Env => None,
            Self::Args => container.args.as_ref(),
            Self::Command => container.command.as_ref(),
        }
    }
}

/// What was there before.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Before {
    /// No such list: it becomes absent again, not empty.
    Absent,
    /// A list, to which was appended.
    Present,
    /// A list with the flag in it, whose own list was empty.
    EmptyFlag,
}

/// The record of one backend on one workload.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The container.
    pub container: String,
    /// The kind of knob.
    pub knob: Kind,
    /// The age, as the user wrote it.
    pub age: String,
    /// The list that was written to.
    pub list: List,
    /// What that list was before.
    pub before: Before,
    /// Exactly what was written; empty once it was taken back.
    pub entries: Vec<Entry>,
    /// The backend's generation that asked for it.
    pub generation: i64,
    /// The workload's revision before it: the next one is ours.
    pub revision: i64,
    /// `onRemove: Leave`. Kept here since it must be known when `connectionAge` is gone from the backend.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leave: bool,
    /// Since when its rollout is under way. Of a Deployment it stays when that has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under_way: Option<UnderWay>,
    /// The backend's generation whose rollout failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<i64>,
}

/// A rollout that our write started.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct UnderWay {
    /// When.
    pub since: Time,
    /// [`Workload::fingerprint`] of the template that was written: with another one the rollout is somebody else's.
    pub template: String,
    /// There were no pods to replace: the first ones come when somebody wants them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub idle: bool,
}

/// What a workload's annotation holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Recorded {
    /// There is none.
    Nothing,
    /// Somebody edited it: nothing can be told from it, so nothing is ours.
    Malformed,
    /// A record.
    Record(Record),
}

impl Record {
    /// The record of `backend` on `workload`.
    pub fn of(workload: &Workload, backend: &str) -> Recorded {
        let key = names::record_annotation(backend);
        match workload.annotation(&key) {
            None => Recorded::Nothing,
            Some(text) => Self::parse(text).map_or(Recorded::Malformed, Recorded::Record),
        }
    }

    /// Whether an annotation says that something was written into this list, as one does from which nothing can be told.
    pub fn is_of(text: &str, container: &str, list: List) -> bool {
        Self::parse(text).is_none_or(|own| {
            own.container == container && own.list == list && !own.entries.is_empty()
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let record: Self = (text.len() <= MAX_LENGTH)
            .then(|| serde_json::from_str(text).ok())
            .flatten()?;
        let coherent = record.entries.iter().all(|entry| match entry {
            Entry::Variable { name, .. } => record.list == List::Env && !name.is_empty(),
            Entry::Arguments(group) => {
                record.list != List::Env && (1..=MAX_WORDS).contains(&group.len())
            }
            Entry::Pair { flag, key, .. } => {
                record.list != List::Env && !flag.is_empty() && !key.is_empty()
            }
        });
        let says_something = !record.entries.is_empty() || record.failed.is_some();
        let is_short = record.entries.len() <= MAX_WORDS;
        (coherent && says_something && is_short).then_some(record)
    }

    /// As it stands in the annotation.
    pub fn text(&self) -> String {
        // A struct of strings and numbers always has a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether what was written is what is wanted still.
    pub fn fits(&self, container: &str, wanted: &Wanted) -> bool {
        !self.entries.is_empty()
            && self.container == container
            && self.knob == wanted.kind
            && self
                .entries
                .iter()
                .all(|entry| wanted.entries.iter().any(|w| wanted.same_entry(entry, w)))
    }

    /// What was written, as something to look for.
    pub fn as_wanted(&self) -> Wanted {
        Wanted {
            kind: self.knob,
            age: GoDuration::new(self.age.clone()),
            format: DurationFormat::default(),
            entries: self.entries.clone(),
            also: Vec::new(),
        }
    }

    /// The record of an attempt that failed and was taken back.
    pub fn failed(&self, generation: i64) -> Self {
        Self {
            entries: Vec::new(),
            failed: Some(generation),
            under_way: None,
            ..self.clone()
        }
    }
}
