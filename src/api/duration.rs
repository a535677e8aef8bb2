//! Durations as Go and Kubernetes write them, and as the knobs of servers want them.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A duration as a user writes it: `30s`, `5m`, `1m30s`, `500ms`.
///
/// The text is kept as written, so that what comes back from the cluster is what was applied.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(transparent)]
pub struct GoDuration(String);

/// The form in which a server wants an age.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum DurationFormat {
    /// A Go duration such as `1m30s`.
    #[default]
    GoDuration,
    /// A whole number of seconds such as `90`.
    Seconds,
    /// A whole number of milliseconds such as `90000`.
    Milliseconds,
}

/// The duration is not one of the texts that the schema admits.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not a duration: write it like 30s, 5m or 1m30s")]
pub struct InvalidDuration(String);

/// The duration has no exact value in the unit that the server wants.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{duration} is no whole number of {unit}, and the server takes nothing else")]
pub struct DoesNotFit {
    duration: String,
    unit: &'static str,
}

impl GoDuration {
    /// Keeps the text; [`GoDuration::get`] tells whether it is a duration.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The length of time that the text stands for.
    pub fn get(&self) -> Result<Duration, InvalidDuration> {
        parse(&self.0).ok_or_else(|| InvalidDuration(self.0.clone()))
    }

    /// The text that a server which wants `format` is given. It is never rounded: a value in the wrong unit is fatal in
    /// some servers and means "for ever" in others. A duration of several groups is written in one, as 90s for 1m30s: Go reads
    /// both, and what else reads Go's form reads one group only.
    pub fn format(&self, format: DurationFormat) -> Result<String, FormatError> {
        let duration = self.get()?;
        match format {
            DurationFormat::GoDuration => Ok(one_group(&self.0, duration)),
            DurationFormat::Milliseconds => Ok(duration.as_millis().to_string()),
            DurationFormat::Seconds if duration.subsec_nanos() == 0 => {
                Ok(duration.as_secs().to_string())
            }
            DurationFormat::Seconds => Err(DoesNotFit {
                duration: self.0.clone(),
                unit: "seconds",
            }
            .into()),
        }
    }
}

/// Why a duration cannot be given to a server.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FormatError {
    /// Not a duration at all: an object from before the schema's rule.
    #[error(transparent)]
    Invalid(#[from] InvalidDuration),
    /// A duration, but not in this unit.
    #[error(transparent)]
    DoesNotFit(#[from] DoesNotFit),
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for GoDuration {
    fn schema_name() -> Cow<'static, str> {
        "GoDuration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": 24 })
    }
}

/// A duration of several groups in seconds or milliseconds, as long as that can be read back; any other as it is.
fn one_group(text: &str, duration: Duration) -> String {
    let numbers = text.split(|letter: char| !letter.is_ascii_digit());
    let groups = numbers.filter(|number| !number.is_empty()).count();
    let one = match duration.subsec_nanos() {
        0 => format!("{}s", duration.as_secs()),
        _ => format!("{}ms", duration.as_millis()),
    };
    let is_better = groups > 1 && parse(&one) == Some(duration);
    if is_better { one } else { text.to_owned() }
}

/// One to four groups of a whole number and a unit, as the schema's pattern has it.
fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    let mut groups = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        if number.is_empty() || number.len() > 5 {
            return None;
        }
        let number: u64 = number.parse().ok()?;
        let (unit, after) = [
            ("ms", Duration::from_millis(1)),
            ("h", Duration::from_hours(1)),
            ("m", Duration::from_mins(1)),
            ("s", Duration::from_secs(1)),
        ]
        .into_iter()
        .find_map(|(suffix, unit)| Some((unit, after.strip_prefix(suffix)?)))?;
        total += unit * u32::try_from(number).ok()?;
        groups += 1;
        rest = after;
    }
    (1..=4).contains(&groups).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        for (text, millis) in [
            ("30s", 30_000),
            ("1m", 60_000),
            ("1m30s", 90_000),
            ("500ms", 500),
            ("1h1m1s1ms", 3_661_001),
            ("24h", 86_400_000),
        ] {
            assert_eq!(
                GoDuration::new(text).get().unwrap(),
                Duration::from_millis(millis)
            );
        }
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for text in [
            "",
            "30",
            "s",
            "-1s",
            "1.5s",
            "30 s",
            "100000s",
            "1s1s1s1s1s",
            "1d",
            "1sx",
        ] {
            assert!(GoDuration::new(text).get().is_err(), "{text}");
        }
    }

    #[test]
    fn never_rounds() {
        let age = GoDuration::new("1500ms");
        assert_eq!(age.format(DurationFormat::Milliseconds).unwrap(), "1500");
        assert_eq!(age.format(DurationFormat::GoDuration).unwrap(), "1500ms");
        assert_eq!(
            age.format(DurationFormat::Seconds).unwrap_err().to_string(),
            "1500ms is no whole number of seconds, and the server takes nothing else"
        );
    }

    #[test]
    fn is_written_in_one_group() {
        for (text, written) in [
            ("1m30s", "90s"),
            ("1h30m", "5400s"),
            ("1s500ms", "1500ms"),
            ("2m", "2m"),
        ] {
            let format = GoDuration::new(text).format(DurationFormat::GoDuration);
            assert_eq!(format.unwrap(), written);
        }
    }
}
