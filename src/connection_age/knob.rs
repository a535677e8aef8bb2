//! What the knob of a server wants to have in its container, and what is there already.

use std::time::Duration;

use k8s_openapi::api::core::v1::Container;
use serde::{Deserialize, Serialize};

use super::arguments::{self, Given};
use crate::api::conditions::Statement;
use crate::api::{
    ConnectionAge, DurationFormat, EnvKnob, FlagStyle, FlagsKnob, GoDuration, Reason, SwitchKnob,
};

/// Which of the knobs.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// Environment variables.
    Env,
    /// Flags with a value.
    Flags,
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
}

impl Entry {
    /// What two entries must not share: the variable, or the flag whatever its dashes.
    pub fn key(&self) -> String {
        match self {
            Self::Variable { name, .. } => format!("env {name}"),
            Self::Arguments(group) => {
                format!("flag {}", arguments::name(group.first().map_or("", |a| a)))
            }
        }
    }

    /// The entry as a person would say it.
    pub fn text(&self) -> String {
        match self {
            Self::Variable { name, value } => format!("{name}={value}"),
            Self::Arguments(group) => group.join(" "),
        }
    }

    /// The entry's own value; a switch has none.
    fn value(&self) -> Option<&str> {
        match self {
            Self::Variable { value, .. } => Some(value),
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
    /// What is asked for, or why it cannot be had from any container.
    pub fn of(age: &ConnectionAge) -> Result<Self, Statement> {
        let knob = &age.knob;
        if let Some(env) = &knob.env {
            Self::variables(age, env)
        } else if let Some(flags) = &knob.flags {
            Self::flags(age, flags)
        } else if let Some(switch) = &knob.switch {
            Self::switch(age, switch)
        } else {
            Err(Statement::no(
                Reason::NoKnob,
                "spec.connectionAge.knob names no knob: give one of env, flags and switch",
            ))
        }
    }

    fn variables(age: &ConnectionAge, env: &EnvKnob) -> Result<Self, Statement> {
        let format = env.format.unwrap_or_default();
        let entries = values(age, "env", format, &env.max_age, env.grace.as_deref())?
            .into_iter()
            .map(|(name, value)| Entry::Variable { name, value })
            .collect();
        Ok(Self {
            kind: Kind::Env,
            age: age.max_age.clone(),
            format,
            entries,
        })
    }

    fn flags(age: &ConnectionAge, flags: &FlagsKnob) -> Result<Self, Statement> {
        let format = flags.format.unwrap_or_default();
        let entries = values(age, "flags", format, &flags.max_age, flags.grace.as_deref())?
            .into_iter()
            .map(|(flag, value)| match flags.style.unwrap_or_default() {
                FlagStyle::Equals => Entry::Arguments(vec![format!("{flag}={value}")]),
                FlagStyle::Separate => Entry::Arguments(vec![flag, value]),
            })
            .collect();
        Ok(Self {
            kind: Kind::Flags,
            age: age.max_age.clone(),
            format,
            entries,
        })
    }

    fn switch(age: &ConnectionAge, switch: &SwitchKnob) -> Result<Self, Statement> {
        if age.grace.is_some() {
            return Err(grace_unsupported("switch"));
        }
        Ok(Self {
            kind: Kind::Switch,
            age: switch.implies.clone(),
            format: DurationFormat::GoDuration,
            entries: vec![Entry::Arguments(vec![switch.flag.clone()])],
        })
    }

    /// What `container` says of `entry`.
    pub fn find(&self, container: &Container, entry: &Entry) -> Found {
        match entry {
            Entry::Variable { name, value } => find_variable(container, name, value, self.format),
            Entry::Arguments(_) => match given(container, entry) {
                None => Found::Absent,
                Some(given) if self.same_flag(entry, &given) => Found::Same,
                Some(given) => Found::Other(given.text),
            },
        }
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
        if self.find(container, entry) == Found::Same {
            return Some(self.age.to_string());
        }
        let value = match entry {
            Entry::Variable { name, .. } => {
                let variable = container.env.iter().flatten().rfind(|v| &v.name == name)?;
                variable.value.clone()
            }
            Entry::Arguments(_) => given(container, entry)?.value,
        };
        Some(
            value
                .and_then(|value| readable(&value, self.format))
                .unwrap_or_else(|| "unknown".into()),
        )
    }

    fn same_flag(&self, entry: &Entry, given: &Given) -> bool {
        match (entry.value(), given.value.as_deref()) {
            (None, value) => value.is_none_or(|value| matches!(value, "true" | "1")),
            (Some(_), None) => false,
            (Some(wanted), Some(value)) => same_value(wanted, value, self.format),
        }
    }
}

fn given(container: &Container, entry: &Entry) -> Option<Given> {
    let Entry::Arguments(group) = entry else {
        return None;
    };
    let words: Vec<&String> = [&container.command, &container.args]
        .into_iter()
        .flatten()
        .flatten()
        .collect();
    arguments::find(&words, group.first()?, entry.value().is_some())
}

/// The names of the knob with the values they get.
fn values(
    age: &ConnectionAge,
    knob: &str,
    format: DurationFormat,
    max_age: &str,
    grace: Option<&str>,
) -> Result<Vec<(String, String)>, Statement> {
    let text = |field: &str, duration: &GoDuration| {
        duration.format(format).map_err(|error| {
            Statement::no(
                Reason::InvalidSpec,
                format!(
                    "spec.connectionAge.{field}: {error}; change it or spec.connectionAge.knob.{knob}.format"
                ),
            )
        })
    };
    let mut values = vec![(max_age.to_owned(), text("maxAge", &age.max_age)?)];
    if let Some(asked) = &age.grace {
        let name = grace.ok_or_else(|| grace_unsupported(knob))?;
        values.push((name.to_owned(), text("grace", asked)?));
    }
    Ok(values)
}

fn grace_unsupported(knob: &str) -> Statement {
    let remedy = if knob == "switch" {
        "remove spec.connectionAge.grace: a switch carries no grace".to_owned()
    } else {
        format!(
            "name the server's own in spec.connectionAge.knob.{knob}.grace, or remove spec.connectionAge.grace"
        )
    };
    Statement::no(
        Reason::GraceUnsupported,
        format!(
            "spec.connectionAge.grace is asked for, but knob.{knob} has nothing to carry it: {remedy}"
        ),
    )
}

fn find_variable(container: &Container, name: &str, value: &str, format: DurationFormat) -> Found {
    let mut there = container.env.iter().flatten().filter(|v| v.name == name);
    let Some(first) = there.next() else {
        return if container.env_from.iter().flatten().next().is_some() {
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

/// Whether two texts stand for one time to a server that reads `format`.
fn same_value(one: &str, other: &str, format: DurationFormat) -> bool {
    one == other
        || format == DurationFormat::GoDuration
            && matches!((length(one), length(other)), (Some(one), Some(other)) if one == other)
}

fn length(text: &str) -> Option<Duration> {
    GoDuration::new(text).get().ok()
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
