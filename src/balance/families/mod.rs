//! What servers show of their requests, as data: `families.yaml`, which is part of the program.

mod names;
mod text;

#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::source::Source;

pub use names::{Kind, Names, Slot};
pub use text::markdown;

/// Everything that is known.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Catalogue {
    /// Who counts RPCs; best first.
    pub families: Vec<Meter>,
    /// Who counts connections; best first.
    pub connections: Vec<Connections>,
}

/// Who counts RPCs, and under which names.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Meter {
    /// What stands in `spec.balance.metrics.family`.
    pub name: String,
    /// Who counts.
    pub what: String,
    /// Where in the pod.
    pub place: Place,
    /// What is counted.
    pub counts: Counted,
    /// Counters that rise when an RPC begins; the first that a page has is used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub started: Vec<String>,
    /// Counters that rise when it ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handled: Vec<String>,
    /// Gauges of RPCs under way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<String>,
    /// Which labels tell what.
    #[serde(default)]
    pub labels: Labels,
    /// Series that do not fit all of these are of something else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<Condition>,
    /// Series that fit one of these are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unless: Vec<Condition>,
    /// Where it was read.
    pub source: Source,
    /// What to know besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Meter {
    /// Whether RPCs under way can be seen: they are counted, or both those that begin and those that end.
    pub fn sees_open(&self) -> bool {
        !self.open.is_empty() || !self.started.is_empty() && !self.handled.is_empty()
    }
}

/// Who counts connections.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Connections {
    /// In a word.
    pub name: String,
    /// Who counts.
    pub what: String,
    /// Counters of connections made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub created: Vec<String>,
    /// Counters of connections that ended, where those made are not counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<String>,
    /// Gauges of connections open now.
    pub open: Vec<String>,
    /// Where it was read.
    pub source: Source,
    /// What to know besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Where in the pod is counted.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Place {
    /// In the server's own program.
    Server,
    /// In a proxy beside it.
    Sidecar,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Counted {
    /// RPCs.
    Rpcs,
    /// HTTP requests, other ones than RPCs among them.
    Requests,
    /// Messages: a stream counts once for each.
    Messages,
}

impl Counted {
    /// In a sentence.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Rpcs => "RPCs",
            Self::Requests => "HTTP requests",
            Self::Messages => "messages",
        }
    }
}

/// Which labels tell what.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Labels {
    /// `pkg.Service`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// `pkg.Service/Method` or `/pkg.Service/Method`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Any of these tells a method that streams.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<Condition>,
}

/// What a label must be; exactly one of the three is given.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Condition {
    /// Its name, with underscores.
    pub label: String,
    /// Exactly this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is: Option<String>,
    /// Begins with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts: Option<String>,
    /// Ends with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<String>,
}

impl Condition {
    /// A label of exactly this value.
    pub fn equals(label: &str, value: &str) -> Self {
        Self {
            label: label.to_owned(),
            is: Some(value.to_owned()),
            starts: None,
            ends: None,
        }
    }

    /// Whether a value of the label fits.
    pub fn fits(&self, value: &[u8]) -> bool {
        let given = |part: &Option<String>, fits: fn(&[u8], &[u8]) -> bool| {
            part.as_ref()
                .is_none_or(|part| fits(value, part.as_bytes()))
        };
        given(&self.is, |value, part| value == part)
            && given(&self.starts, <[u8]>::starts_with)
            && given(&self.ends, <[u8]>::ends_with)
    }
}

/// The catalogue as a person writes it.
const FAMILIES: &str = include_str!("families.yaml");

/// Everything that is known.
pub fn catalogue() -> &'static Catalogue {
    static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
        // The file is part of the program, and a test reads it.
        serde_yaml_ng::from_str(FAMILIES).unwrap_or_default()
    });
    &CATALOGUE
}

/// The names on a page, for the reader.
pub fn names() -> &'static Names {
    static NAMES: LazyLock<Names> = LazyLock::new(|| Names::of(catalogue()));
    &NAMES
}

/// One of the catalogue's families. The best are the smallest.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MeterId(u8);

impl MeterId {
    /// Every family, best first.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..catalogue().families.len()).filter_map(|index| u8::try_from(index).ok().map(Self))
    }

    /// The family of exactly this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|id| id.meter().is_some_and(|meter| meter.name == name))
    }

    /// What is known of it.
    pub fn meter(self) -> Option<&'static Meter> {
        catalogue().families.get(usize::from(self.0))
    }

    /// Its place in the catalogue.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}
