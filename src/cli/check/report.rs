//! What is said, whatever it is printed as.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Serialize, Serializer};

use crate::findings::{self, Place, Rule};
use crate::manifests::{Backend, Objects, Repeated, Sets};
use crate::names;

/// All that was found.
#[derive(Serialize)]
pub struct Report {
    /// The backends, those that somebody wrote first.
    pub backends: Vec<Checked>,
    /// Objects that rules speak of.
    pub objects: usize,
    /// Objects of other kinds, counted.
    pub skipped: BTreeMap<String, usize>,
    /// What could not be read.
    pub faults: Vec<Unread>,
    /// Kinds that a cluster did not show, or not all of them.
    #[serde(rename = "notListed", skip_serializing_if = "Vec::is_empty")]
    pub unlisted: Vec<NotListed>,
    /// Objects and fields that do not count, since another of their name does.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub repeated: BTreeSet<Repeated>,
}

/// One backend.
#[derive(Serialize)]
pub struct Checked {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// How it was guessed; absent where a GrpcBackend is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guessed: Option<String>,
    /// Where objects stand several times over, as for several environments: the directory of those it was seen in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
    /// Worst first.
    pub findings: Vec<Found>,
    /// Rules that had no answer, and why.
    #[serde(rename = "notChecked")]
    pub unchecked: Vec<Unchecked>,
}

/// One finding.
#[derive(Serialize)]
pub struct Found {
    /// The rule.
    #[serde(flatten, serialize_with = "id_and_more")]
    pub rule: &'static Rule,
    /// The object that it speaks of.
    pub object: String,
    /// The field of it.
    pub field: String,
    /// The file that it stands in; none in a cluster.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// Counted from 1; 0 in a cluster.
    #[serde(skip_serializing_if = "is_nowhere")]
    pub line: usize,
    /// What was seen, why it matters and what to do.
    pub message: String,
    /// What to write, as YAML to copy.
    pub remedy: String,
}

/// A rule without an answer.
#[derive(Serialize)]
pub struct Unchecked {
    /// The rule's id.
    pub id: &'static str,
    /// What it would have to know.
    pub needs: String,
}

/// A kind that is not known in full.
#[derive(Serialize)]
pub struct NotListed {
    /// The kind.
    pub kind: String,
    /// Why.
    pub why: String,
}

/// Something that could not be read.
#[derive(Serialize)]
pub struct Unread {
    /// The file as it was named.
    pub file: String,
    /// Counted from 1; 0 where no line is to blame.
    pub line: usize,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Report {
    /// Asks the rules.
    pub fn new(objects: &Objects, backends: &[Backend]) -> Self {
        let sets = Sets::of(objects);
        let left_out = sets.left_out;
        let too_many = (left_out > 0).then(|| Unread {
            file: String::new(),
            line: 0,
            message: format!("{left_out} more directories have objects of the same names and are not looked at: check a part of them at a time"),
        });
        let (too_large, backends): (Vec<&Backend>, Vec<&Backend>) =
            backends.iter().partition(|own| own.is_left_out);
        Self {
            repeated: sets
                .repeated
                .into_iter()
                .chain(objects.repeated.iter().cloned())
                .collect(),
            backends: backends.into_iter().map(Checked::new).collect(),
            objects: objects.len(),
            skipped: objects.skipped.clone(),
            faults: objects
                .faults
                .iter()
                .map(|fault| Unread {
                    file: fault.file.clone(),
                    line: fault.line,
                    message: fault.message.clone(),
                })
                .chain(too_many)
                .chain(unlooked_at(&too_large))
                .collect(),
            unlisted: objects
                .unlisted
                .iter()
                .map(|own| NotListed {
                    kind: own.kind.clone(),
                    why: own.why.clone(),
                })
                .collect(),
        }
    }

    /// Without what somebody wants not to hear of.
    pub fn without(mut self, ids: &[String]) -> Self {
        for backend in &mut self.backends {
            let is_wanted = |id: &str| !ids.iter().any(|own| own == id);
            backend.findings.retain(|found| is_wanted(found.rule.id));
            backend.unchecked.retain(|rule| is_wanted(rule.id));
        }
        self
    }

    /// The findings of all backends.
    pub fn findings(&self) -> impl Iterator<Item = &Found> {
        self.backends.iter().flat_map(|backend| &backend.findings)
    }
}

/// That some are not looked at is said once, at the first of them.
fn unlooked_at(backends: &[&Backend]) -> Option<Unread> {
    let (first, more) = backends.split_first()?;
    let (file, line) = first.main();
    let others = match more.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(Unread {
        file: file.to_owned(),
        line,
        message: format!(
            "{}{others} and the backends before it have more workloads, pods and clients than can be looked at together: check a part of them at a time",
            names::key_of(&first.observed.backend)
        ),
    })
}

impl Checked {
    fn new(backend: &Backend) -> Self {
        let answers = findings::ask(&backend.observed);
        let places = answers.found.into_iter();
        let places = places.flat_map(|(rule, seen)| seen.into_iter().map(move |own| (rule, own)));
        let found = places.map(|(rule, seen)| {
            let (file, line) = backend.locate(&seen.place);
            Found {
                rule,
                object: object(&seen.place, backend),
                field: seen.place.path,
                file: file.to_owned(),
                line,
                message: seen.message,
                remedy: seen.remedy,
            }
        });
        Self {
            namespace: backend.observed.namespace(),
            name: backend.observed.name(),
            guessed: backend.how.clone(),
            set: backend.set.clone(),
            findings: found.collect(),
            unchecked: answers.unchecked.into_iter().map(Unchecked::new).collect(),
        }
    }
}

impl Unchecked {
    fn new(rule: &'static Rule) -> Self {
        let needs: Vec<_> = rule.needs.iter().map(|need| need.as_str()).collect();
        Self {
            id: rule.id,
            needs: needs.join(", "),
        }
    }
}

/// What it speaks of, by kind and name.
fn object(place: &Place, backend: &Backend) -> String {
    match (&place.name, &backend.how) {
        (None, None) => format!("{place} {}", backend.observed.name()),
        _ => place.to_string(),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants this form")]
fn is_nowhere(line: &usize) -> bool {
    *line == 0
}

impl Found {
    /// Where to look: the line of a file, or a field of an object.
    pub fn place(&self) -> String {
        match (self.file.is_empty(), self.field.is_empty()) {
            (false, _) => format!("{}:{}", self.file, self.line),
            (true, false) => format!("{} {}", self.object, self.field),
            (true, true) => self.object.clone(),
        }
    }
}

/// `file:12: what`.
impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            _ if self.file.is_empty() => write!(f, "{}", self.message),
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}:{line}: {}", self.file, self.message),
        }
    }
}

fn id_and_more<S: Serializer>(rule: &Rule, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Said {
        id: &'static str,
        severity: &'static str,
        title: &'static str,
        why: &'static str,
        page: String,
    }
    let said = Said {
        id: rule.id,
        severity: rule.severity.as_str(),
        title: rule.title,
        why: rule.why,
        page: rule.url(),
    };
    said.serialize(serializer)
}
