//! From what a resource asks for to what a container should have, or why it cannot be had from any.

use super::knob::{Entry, Kind, Wanted};
use crate::api::conditions::Statement;
use crate::api::{
    ConnectionAge, DurationFormat, EnvKnob, FlagStyle, FlagsKnob, GoDuration, Knob, ListFlagKnob,
    Preset, Reason, SwitchKnob,
};
use crate::presets::{self, Server, Takes};

/// Whether what is asked for can be had from some container at all; else why not, as the condition says it.
pub fn asked(age: &ConnectionAge) -> Result<(), Statement> {
    Wanted::of(age).map(|_| ())
}

/// The arguments by which an age is given; none where that is done otherwise, or cannot be done.
pub fn arguments(age: &ConnectionAge) -> Vec<String> {
    let entries = Wanted::of(age).map_or_else(|_| Vec::new(), |wanted| wanted.entries);
    let words = |entry| match entry {
        Entry::Variable { .. } => Vec::new(),
        Entry::Arguments(group) => group,
        Entry::Pair {
            flag, key, value, ..
        } => vec![format!("{flag}={key}={value}")],
    };
    entries.into_iter().flat_map(words).collect()
}

/// A knob, and how a person would call it.
struct Asked<'a> {
    age: &'a ConnectionAge,
    preset: Option<&'a Server>,
}

impl Wanted {
    /// What is asked for, or why it cannot be had from any container.
    pub fn of(age: &ConnectionAge) -> Result<Self, Statement> {
        let preset = age.knob.preset.as_ref().map(server).transpose()?;
        let asked = Asked { age, preset };
        let knob = match preset {
            Some(server) => asked.knob_of(server)?,
            None => &age.knob,
        };
        if let Some(env) = &knob.env {
            asked.variables(env)
        } else if let Some(flags) = &knob.flags {
            asked.flags(flags)
        } else if let Some(list) = &knob.list_flag {
            asked.list_flag(list)
        } else if let Some(switch) = &knob.switch {
            asked.switch(switch)
        } else {
            Err(Statement::no(
                Reason::NoKnob,
                "spec.connectionAge.knob names no knob: give one of preset, env, flags, listFlag and switch",
            ))
        }
    }
}

fn server(preset: &Preset) -> Result<&'static Server, Statement> {
    presets::find(preset.as_str()).ok_or_else(|| {
        Statement::no(
            Reason::NoKnob,
            format!(
                "spec.connectionAge.knob.preset is {}, which this version of the operator does not know: update the operator, or write the knob out as env, flags or listFlag",
                super::short(preset.as_str())
            ),
        )
    })
}

impl<'a> Asked<'a> {
    fn knob_of(&self, server: &'a Server) -> Result<&'a Knob, Statement> {
        let what = match server.takes() {
            Some(Takes::Knob(knob)) => return Ok(knob),
            Some(Takes::Config(config)) => format!(
                "takes a connection age only from a file, which Evenkeel does not write; put into {}: {}{} (and remove spec.connectionAge)",
                config.place,
                config.lines(&self.age.max_age, self.age.grace.as_ref()),
                self.note(),
            ),
            Some(Takes::None(nothing)) => format!(
                "takes no connection age ({}): {}{}",
                nothing.why,
                nothing.instead,
                self.note()
            ),
            None => "is not described: write the knob out as env or flags".into(),
        };
        Err(Statement::no(
            Reason::NoKnob,
            format!("preset {} ({}) {what}", server.name, server.what),
        ))
    }

    fn note(&self) -> String {
        let note = self.preset.and_then(|server| server.note.as_ref());
        note.map_or_else(String::new, |note| format!("; note that {note}"))
    }

    /// How the knob is called in a message.
    fn name(&self, kind: &str) -> String {
        match self.preset {
            Some(server) => format!("preset {}", server.name),
            None => format!("knob.{kind}"),
        }
    }

    fn wanted(&self, kind: Kind, format: DurationFormat, entries: Vec<Entry>) -> Wanted {
        Wanted {
            kind,
            age: self.age.max_age.clone(),
            format,
            entries,
            also: self.also(),
        }
    }

    fn also(&self) -> Vec<Vec<String>> {
        let Some(also) = self.preset.and_then(|server| server.also.as_ref()) else {
            return Vec::new();
        };
        let grace = self.age.grace.as_ref().map(|_| also.grace.clone());
        std::iter::once(also.max_age.clone()).chain(grace).collect()
    }

    fn variables(&self, env: &EnvKnob) -> Result<Wanted, Statement> {
        let format = env.format.unwrap_or_default();
        let entries = self
            .values("env", format, &env.max_age, env.grace.as_deref())?
            .into_iter()
            .map(|(name, value)| Entry::Variable { name, value })
            .collect();
        Ok(self.wanted(Kind::Env, format, entries))
    }

    fn flags(&self, flags: &FlagsKnob) -> Result<Wanted, Statement> {
        let format = flags.format.unwrap_or_default();
        let entries: Vec<Entry> = self
            .values("flags", format, &flags.max_age, flags.grace.as_deref())?
            .into_iter()
            .map(|(flag, value)| match flags.style.unwrap_or_default() {
                FlagStyle::Equals => Entry::Arguments(vec![format!("{flag}={value}")]),
                FlagStyle::Separate => Entry::Arguments(vec![flag, value]),
            })
            .collect();
        if let [age, grace] = entries.as_slice()
            && age.key() == grace.key()
        {
            return Err(Statement::no(
                Reason::InvalidSpec,
                format!(
                    "spec.connectionAge.knob.flags: {} and {} are one flag in two spellings: name the server's own flag for the grace, or remove spec.connectionAge.grace",
                    flags.max_age,
                    flags.grace.as_deref().unwrap_or_default()
                ),
            ));
        }
        Ok(self.wanted(Kind::Flags, format, entries))
    }

    fn list_flag(&self, list: &ListFlagKnob) -> Result<Wanted, Statement> {
        let format = list.format.unwrap_or_default();
        let entries = self
            .values("listFlag", format, &list.max_age, list.grace.as_deref())?
            .into_iter()
            .map(|(key, value)| Entry::Pair {
                flag: list.flag.clone(),
                key,
                value,
                separate: list.style == Some(FlagStyle::Separate),
            })
            .collect();
        Ok(self.wanted(Kind::ListFlag, format, entries))
    }

    fn switch(&self, switch: &SwitchKnob) -> Result<Wanted, Statement> {
        if self.age.grace.is_some() {
            return Err(self.grace_unsupported("switch"));
        }
        if switch.implies.get().ok() != self.age.max_age.get().ok() {
            return Err(Statement::no(
                Reason::InvalidSpec,
                format!(
                    "spec.connectionAge.maxAge is {}, but {} stands for {} and no other age: ask for that",
                    self.age.max_age,
                    self.name("switch"),
                    switch.implies
                ),
            ));
        }
        let flag = Entry::Arguments(vec![switch.flag.clone()]);
        Ok(self.wanted(Kind::Switch, DurationFormat::GoDuration, vec![flag]))
    }

    /// The names of the knob with the values they get.
    fn values(
        &self,
        kind: &str,
        format: DurationFormat,
        max_age: &str,
        grace: Option<&str>,
    ) -> Result<Vec<(String, String)>, Statement> {
        let remedy = match self.preset {
            Some(_) => format!("change it: {} takes whole seconds only", self.name(kind)),
            None => format!("change it or spec.connectionAge.knob.{kind}.format"),
        };
        let text = |field: &str, duration: &GoDuration| {
            duration.format(format).map_err(|error| {
                Statement::no(
                    Reason::InvalidSpec,
                    format!("spec.connectionAge.{field}: {error}; {remedy}"),
                )
            })
        };
        let mut values = vec![(max_age.to_owned(), text("maxAge", &self.age.max_age)?)];
        if let Some(asked) = &self.age.grace {
            let name = grace.ok_or_else(|| self.grace_unsupported(kind))?;
            values.push((name.to_owned(), text("grace", asked)?));
        }
        Ok(values)
    }

    fn grace_unsupported(&self, kind: &str) -> Statement {
        let remedy = match (self.preset, kind) {
            (Some(_), _) => "remove spec.connectionAge.grace".to_owned() + &self.note(),
            (None, "switch") => {
                "remove spec.connectionAge.grace: a switch carries no grace".to_owned()
            }
            (None, kind) => format!(
                "name the server's own in spec.connectionAge.knob.{kind}.grace, or remove spec.connectionAge.grace"
            ),
        };
        Statement::no(
            Reason::GraceUnsupported,
            format!(
                "spec.connectionAge.grace is asked for, but {} has nothing to carry it: {remedy}",
                self.name(kind)
            ),
        )
    }
}
