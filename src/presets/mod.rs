//! The knobs of real servers, as data: `servers.yaml`, which is part of the program.
//!
//! A stored resource may name a preset, so that its meaning never changes: `meanings.txt` is what has been promised, and a
//! test compares.

mod text;

#[cfg(test)]
mod tests;

use std::sync::LazyLock;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::{DurationFormat, GoDuration, Knob};
use crate::source::Source;

pub use text::{details, markdown, table};

/// What is known of one server.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Server {
    /// What stands in `spec.connectionAge.knob.preset`.
    pub name: String,
    /// The server, and which of its listeners.
    pub what: String,
    /// Images that run it, by the end of their names, where these end otherwise than in its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// What sets the age, in the API's own form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub knob: Option<Knob>,
    /// Further variables and flags that set the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub also: Option<Also>,
    /// Only a configuration file sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Config>,
    /// Nothing sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub none: Option<Nothing>,
    /// The age that the server has by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// Where it was read.
    pub source: Source,
    /// The first version for which it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// What to know besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Releases that the note names lose calls at the age: finding GB035.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub loses_calls: bool,
}

/// Names by which a server takes age and grace besides those of its knob. Where an owner has one of them, nothing is written.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Also {
    /// For the age: variables, and flags with their dashes.
    pub max_age: Vec<String>,
    /// For the grace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grace: Vec<String>,
}

/// What belongs into a configuration file.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Which file, and where in it.
    #[serde(rename = "where")]
    pub place: String,
    /// The line for an age, with `{maxAge}` in the place of the value.
    pub line: String,
    /// The line for age and grace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line_with_grace: Option<String>,
    /// The form of the values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<DurationFormat>,
}

/// Why nothing can be set.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Nothing {
    /// Why.
    pub why: String,
    /// What to do instead.
    pub instead: String,
}

/// What a server offers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Takes<'a> {
    /// Variables or flags.
    Knob(&'a Knob),
    /// A configuration file.
    Config(&'a Config),
    /// Nothing.
    None(&'a Nothing),
}

impl Server {
    /// What it offers. An entry that says nothing is none that a test lets pass.
    pub fn takes(&self) -> Option<Takes<'_>> {
        match (&self.knob, &self.config, &self.none) {
            (Some(knob), None, None) => Some(Takes::Knob(knob)),
            (None, Some(config), None) => Some(Takes::Config(config)),
            (None, None, Some(nothing)) => Some(Takes::None(nothing)),
            _ => None,
        }
    }

    /// The age that it has by itself, if there is one and it needs no more words.
    pub fn default_age(&self) -> Option<Duration> {
        let age = self.default.as_ref()?.split(',').next()?;
        GoDuration::new(age).get().ok()
    }

    /// Whether an image is one that runs it.
    fn is_run_by(&self, image: &str) -> bool {
        let plain = |text: &str| text.to_lowercase().replace(['-', '_'], "");
        let (path, last) = image.rsplit_once('/').unwrap_or(("", image));
        let last = last.split([':', '@']).next().unwrap_or_default();
        let whole = format!("/{path}/{last}");
        let mut images = self.images.iter();
        plain(last) == plain(&self.name) || images.any(|own| whole.ends_with(&format!("/{own}")))
    }

    /// What is promised to stored resources, as a line of `meanings.txt`.
    pub fn meaning(&self) -> String {
        let takes = match self.takes() {
            // A struct of strings always has a JSON form.
            Some(Takes::Knob(knob)) => serde_json::to_string(knob).unwrap_or_default(),
            Some(Takes::Config(_)) => "config".into(),
            Some(Takes::None(_)) | None => "none".into(),
        };
        format!("{} {takes}", self.name)
    }
}

impl Config {
    /// The lines for these values; a value that does not fit the unit is given as it was written.
    pub fn lines(&self, max_age: &GoDuration, grace: Option<&GoDuration>) -> String {
        let format = self.format.unwrap_or_default();
        let text = |value: &GoDuration| value.format(format).unwrap_or_else(|_| value.to_string());
        let line = match (grace, &self.line_with_grace) {
            (Some(grace), Some(both)) => both.replace("{grace}", &text(grace)),
            _ => self.line.clone(),
        };
        line.replace("{maxAge}", &text(max_age))
    }
}

/// The registry as a person writes it.
const SERVERS: &str = include_str!("servers.yaml");

/// All servers, by name.
pub fn all() -> &'static [Server] {
    static ALL: LazyLock<Vec<Server>> = LazyLock::new(|| {
        // The file is part of the program, and a test reads it.
        serde_yaml_ng::from_str(SERVERS).unwrap_or_default()
    });
    &ALL
}

/// The server of exactly this name.
pub fn find(name: &str) -> Option<&'static Server> {
    all().iter().find(|server| server.name == name)
}

/// The servers that an image may run: of some there are several, by version or by what sets the age.
pub fn of_image(image: &str) -> impl Iterator<Item = &'static Server> {
    all().iter().filter(move |server| server.is_run_by(image))
}

/// All names.
pub fn names() -> impl Iterator<Item = &'static str> {
    all().iter().map(|server| server.name.as_str())
}
