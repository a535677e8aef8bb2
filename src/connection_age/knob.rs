//! What the knob of a server wants to have in its container, and what is there already.

use std::time::Duration;

use k8s_openapi::api::core::v1::Container;
use serde::{Deserialize, Serialize};

use super::arguments::{self, Given};
use super::pairs::{self, Held};
use crate::api::{DurationFormat, GoDuration};

/// Which of the knobs.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// Environment variables.
    Env,
    /// Flags with a value.
    Flags,
    /// Keys in the list of one flag.
    ListFlag,
    /// A flag without a value.
    Switch,
}

/// One thing that is written into a container.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Entry {
    /// An environment variable.
    Variable {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// A flag: one argument, or two where the value stands apart.
    Arguments(Vec<String>),
    /// An entry of a flag's list.
    Pair {
        /// The flag.
        flag: String,
        /// The key in its list.
        key: String,
        /// The key's value.
        value: String,
        /// Whether flag and list are two arguments, where the flag was not given before.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        separate: bool,
    },
}

impl Entry {
    /// What two entries must not share: the variable, or the flag whatever its dashes.
    pub fn key(&self) -> String {
        match self {
            Self::Variable { name, .. } => format!("env {name}"),
            Self::Arguments(group) => {
                format!("flag {}", arguments::name(group.first().map_or("", |a| a)))
            }
            Self::Pair { flag, key, .. } => format!("{key} of flag {}", arguments::name(flag)),
        }
    }

    /// The entry as a person would say it.
    pub fn text(&self) -> String {
        match self {
            Self::Variable { name, value } => format!("{name}={value}"),
            Self::Arguments(group) => group.join(" "),
            Self::Pair {
                flag, key, value, ..
            } => format!("{key}={value} in {flag}"),
        }
    }

    /// The entry's own value; a switch has none.
    fn value(&self) -> Option<&str> {
        match self {
            Self::Variable { value, .. } | Self::Pair { value, .. } => Some(value),
            Self::Arguments(group) => match group.as_slice() {
                [flag] => flag.split_once('=').map(|(_, value)| value),
                [_, value] => Some(value),
                _ => None,
            },
        }
    }
}

/// Everything that one backend wants in one container.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// By which knob.
    pub kind: Kind,
    /// The age as the user wrote it.
    pub age: GoDuration,
    /// The form of the values.
    pub format: DurationFormat,
    /// What to write: the age first, then the grace.
    pub entries: Vec<Entry>,
    /// Further variables and flags by which the server takes the same, for each of the entries.
    pub also: Vec<Vec<String>>,
}

/// What a container says of one entry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Found {
    /// Nothing.
    Absent,
    /// The same.
    Same,
    /// Something else, as a person would say it.
    Other(String),
    /// `envFrom` may set it; its source cannot be read.
    Hidden,
}

impl Wanted {
    /// What `container` says of `entry`.
    pub fn find(&self, container: &Container, entry: &Entry) -> Found {
        match entry {
            Entry::Variable { name, value } => find_variable(container, name, value, self.format),
            Entry::Arguments(_) => match given(container, entry) {
                None => Found::Absent,
                Some(given) if given.several => Found::Other(format!("{}, twice", given.text)),
                Some(given) if self.same_flag(entry, &given) => Found::Same,
                Some(given) => Found::Other(given.text),
            },
            Entry::Pair {
                flag, key, value, ..
            } => match held(container, flag, key) {
                Held::Absent => Found::Absent,
                Held::Value(live) if same_value(&live, value, self.format) => Found::Same,
                Held::Value(live) => {
                    Found::Other(format!("{key}={} in {flag}", super::short(&live)))
                }
                Held::Unclear(text) => Found::Other(text),
            },
        }
    }

    /// What a container has of the server's other ways to the same, as a person would say it, and to which entry.
    pub fn otherwise(&self, container: &Container) -> Option<(String, &Entry)> {
        let words = arguments::words(container);
        let java = arguments::java_options(container);
        let variables = || container.env.iter().flatten();
        let given = |name: &String| {
            if name.starts_with("-D") {
                let given = |words: &[String]| Some(arguments::find(words, name, false)?.text);
                let mut java = java.iter();
                let in_java = || {
                    java.find_map(|(variable, options)| {
                        Some(format!("{} in {variable}", given(options)?))
                    })
                };
                given(&words).or_else(in_java)
            } else if name.starts_with('-') {
                arguments::find(&words, name, true).map(|given| given.text)
            } else {
                let set = variables().any(|variable| &variable.name == name);
                set.then(|| name.clone())
            }
        };
        let mut pairs = self.also.iter().zip(&self.entries);
        pairs.find_map(|(ways, entry)| Some((ways.iter().find_map(given)?, entry)))
    }

    /// What may set the entry at that place unseen by another of the server's ways, and by which.
    pub fn hidden(&self, container: &Container, at: usize) -> Option<(String, String)> {
        self.also.get(at)?.iter().find_map(|name| {
            if name.starts_with("-D") {
                let source = arguments::unseen_java_options(container)?;
                return Some((source, name.clone()));
            }
            let unseen = !name.starts_with('-') && may_come_from_elsewhere(container, name);
            unseen.then(|| ("envFrom".to_owned(), format!("env {name}")))
        })
    }

    /// Where both would set one thing of a server: by which key this one, and by which the other. A server may take the same by several.
    pub fn meets(&self, other: &Self) -> Option<(String, String)> {
        self.entries.iter().map(Entry::key).find_map(|ours| {
            let mut all = other.entries.iter().map(Entry::key);
            let theirs = all
                .find(|theirs| *theirs == ours || self.takes_too(theirs) || other.takes_too(&ours));
            theirs.map(|theirs| (ours, theirs))
        })
    }

    fn takes_too(&self, key: &str) -> bool {
        self.also.iter().flatten().any(|name| {
            key == if name.starts_with('-') {
                format!("flag {}", arguments::name(name))
            } else {
                format!("env {name}")
            }
        })
    }

    /// Whether every entry is there with our value.
    pub fn runs_in(&self, container: &Container) -> bool {
        self.entries
            .iter()
            .all(|entry| self.find(container, entry) == Found::Same)
    }

    /// Whether two entries say the same to the server, and in the same style.
    pub fn same_entry(&self, one: &Entry, other: &Entry) -> bool {
        let style = match (one, other) {
            (Entry::Arguments(one), Entry::Arguments(other)) => one.len() == other.len(),
            (
                Entry::Pair { separate: one, .. },
                Entry::Pair {
                    separate: other, ..
                },
            ) => one == other,
            _ => true,
        };
        style
            && one.key() == other.key()
            && match (one.value(), other.value()) {
                (Some(one), Some(other)) => same_value(one, other, self.format),
                (one, other) => one == other,
            }
    }

    /// The age that a container runs with by this knob, whoever set it, as the status shows it.
    pub fn running(&self, container: &Container) -> Option<String> {
        let entry = self.entries.first()?;
        if self.otherwise(container).is_some() {
            return Some("unknown".into());
        }
        if self.find(container, entry) == Found::Same {
            return Some(self.age.to_string());
        }
        let value = match entry {
            Entry::Variable { name, .. } => {
                let variable = container.env.iter().flatten().rfind(|v| &v.name == name)?;
                variable.value.clone()
            }
            Entry::Arguments(_) => given(container, entry)?.value,
            Entry::Pair { flag, key, .. } => match held(container, flag, key) {
                Held::Absent => return None,
                Held::Value(live) => Some(live),
                Held::Unclear(_) => None,
            },
        };
        let age = value.and_then(|value| readable(&value, self.format));
        // Zero is for ever.
        let is_none = age.as_deref().and_then(length) == Some(Duration::ZERO);
        (!is_none).then(|| age.unwrap_or_else(|| "unknown".into()))
    }

    fn same_flag(&self, entry: &Entry, given: &Given) -> bool {
        match (entry.value(), given.value.as_deref()) {
            (None, value) => value
                .is_none_or(|value| matches!(value, "1" | "t" | "T" | "true" | "True" | "TRUE")),
            (Some(_), None) => false,
            (Some(wanted), Some(value)) => same_value(wanted, value, self.format),
        }
    }
}

fn held(container: &Container, flag: &str, key: &str) -> Held {
    let [command, args] = [&container.command, &container.args].map(Option::as_deref);
    let (command, args) = (command.unwrap_or_default(), args.unwrap_or_default());
    let held = pairs::find(command, args, flag, key);
    let written = pairs::is_given(command, flag) || pairs::is_given(args, flag);
    match arguments::find(&arguments::words(container), flag, true) {
        // By a variable: what cannot be seen in the list cannot be extended there.
        Some(given) if !written => Held::Unclear(given.text),
        _ => held,
    }
}

fn given(container: &Container, entry: &Entry) -> Option<Given> {
    let Entry::Arguments(group) = entry else {
        return None;
    };
    arguments::find(
        &arguments::words(container),
        group.first()?,
        entry.value().is_some(),
    )
}

fn find_variable(container: &Container, name: &str, value: &str, format: DurationFormat) -> Found {
    let mut there = container.env.iter().flatten().filter(|v| v.name == name);
    let Some(first) = there.next() else {
        return if may_come_from_elsewhere(container, name) {
            Found::Hidden
        } else {
            Found::Absent
        };
    };
    if there.next().is_some() {
        return Found::Other(format!("{name}, twice"));
    }
    if first.value_from.is_some() {
        return Found::Other(format!("{name} by valueFrom"));
    }
    let live = first.value.as_deref().unwrap_or_default();
    if same_value(live, value, format) {
        Found::Same
    } else {
        Found::Other(format!("{name}={}", super::short(live)))
    }
}

/// Whether an `envFrom` may have a variable of that name.
fn may_come_from_elsewhere(container: &Container, name: &str) -> bool {
    let mut sources = container.env_from.iter().flatten();
    let fits = |prefix: &String| name.starts_with(prefix.as_str());
    sources.any(|source| source.prefix.as_ref().is_none_or(fits))
}

/// Whether two texts stand for one time to a server that reads `format`.
fn same_value(one: &str, other: &str, format: DurationFormat) -> bool {
    one == other
        || format == DurationFormat::GoDuration
            && matches!((length(one), length(other)), (Some(one), Some(other)) if one == other)
}

fn length(text: &str) -> Option<Duration> {
    // Without a unit Go takes it alone.
    let zero = || (text == "0").then_some(Duration::ZERO);
    let duration = GoDuration::new(text).get().ok();
    duration.or_else(|| fraction(text)).or_else(zero)
}

/// `1.5m`, which Go reads too: it is never written here.
fn fraction(text: &str) -> Option<Duration> {
    let units = [("ms", 0.001), ("h", 3600.0), ("m", 60.0), ("s", 1.0)];
    let number = |(unit, seconds): (&str, f64)| Some((text.strip_suffix(unit)?, seconds));
    let (number, seconds) = units.into_iter().find_map(number)?;
    let (whole, rest) = number.split_once('.')?;
    let digits = |part: &str| part.len() <= 5 && part.bytes().all(|byte| byte.is_ascii_digit());
    let number: f64 = (digits(whole) && digits(rest)).then(|| number.parse().ok())??;
    Some(Duration::from_secs_f64(number * seconds))
}

/// A value as a duration that a person reads, if it is one.
fn readable(value: &str, format: DurationFormat) -> Option<String> {
    let text = match format {
        DurationFormat::GoDuration => value.to_owned(),
        DurationFormat::Seconds => format!("{value}s"),
        DurationFormat::Milliseconds => match value.strip_suffix("000") {
            Some(seconds) if !seconds.is_empty() => format!("{seconds}s"),
            _ => format!("{value}ms"),
        },
    };
    (text.len() <= 24 && length(&text).is_some()).then_some(text)
}
