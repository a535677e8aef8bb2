//! The registry as a person reads it.

use std::fmt::Write as _;

use super::{Server, Takes, all};
use crate::api::{FlagStyle, GoDuration, Knob};
use crate::columns;

/// What sets an age or a grace, and in which form.
struct Names {
    age: String,
    grace: String,
    format: String,
}

impl Names {
    fn of(server: &Server) -> Self {
        let none = || "-".to_owned();
        match server.takes() {
            Some(Takes::Knob(knob)) => Self::of_knob(knob),
            Some(Takes::Config(config)) => Self {
                age: "configuration file only".into(),
                grace: if config.line_with_grace.is_some() {
                    "there too".into()
                } else {
                    none()
                },
                format: format!("{:?}", config.format.unwrap_or_default()),
            },
            Some(Takes::None(_)) | None => Self {
                age: "nothing".into(),
                grace: none(),
                format: none(),
            },
        }
    }

    fn of_knob(knob: &Knob) -> Self {
        let (age, grace, format) = if let Some(env) = &knob.env {
            (env.max_age.clone(), env.grace.clone(), env.format)
        } else if let Some(flags) = &knob.flags {
            (flags.max_age.clone(), flags.grace.clone(), flags.format)
        } else if let Some(list) = &knob.list_flag {
            let gap = match list.style.unwrap_or_default() {
                FlagStyle::Equals => '=',
                FlagStyle::Separate => ' ',
            };
            let within = |key: &String| format!("{}{gap}{key}=", list.flag);
            (
                within(&list.max_age),
                list.grace.as_ref().map(within),
                list.format,
            )
        } else {
            let flag = knob.switch.as_ref().map(|switch| switch.flag.clone());
            (flag.unwrap_or_default(), None, None)
        };
        Self {
            age,
            grace: grace.unwrap_or_else(|| "-".into()),
            format: format!("{:?}", format.unwrap_or_default()),
        }
    }
}

fn versions(server: &Server) -> String {
    match (&server.since, &server.until) {
        (None, None) => "-".into(),
        (Some(since), None) => format!("since {since}"),
        (None, Some(until)) => format!("until {until}"),
        (Some(since), Some(until)) => format!("{since} to {until}"),
    }
}

/// A line for each server, in columns.
pub fn table() -> String {
    let rows: Vec<[String; 5]> = all()
        .iter()
        .map(|server| {
            let names = Names::of(server);
            let default = server.default.clone().unwrap_or_else(|| "-".into());
            [
                server.name.clone(),
                names.age,
                names.grace,
                names.format,
                default,
            ]
        })
        .collect();
    columns::table(["NAME", "MAXAGE", "GRACE", "FORMAT", "DEFAULT"], &rows)
}

/// Everything about one server, and what to put into a resource.
pub fn details(server: &Server) -> String {
    let mut text = format!("{}: {}\n\n", server.name, server.what);
    let names = Names::of(server);
    let source = format!(
        "{}, {}, {}",
        server.source.project, server.source.file, server.source.seen
    );
    let rows = [
        ("age", Some(names.age)),
        ("grace", Some(names.grace)),
        ("format", Some(names.format)),
        (
            "also by",
            server.also.as_ref().map(|_| also_by(server).join(", ")),
        ),
        ("default", server.default.clone()),
        ("versions", Some(versions(server))),
        ("note", server.note.clone()),
        ("source", Some(source)),
    ];
    for (name, value) in rows {
        if let Some(value) = value.filter(|value| value != "-") {
            let _ = writeln!(text, "  {name:10}{value}");
        }
    }
    text.push('\n');
    text += &use_of(server);
    text
}

/// What to write, ready to copy.
fn use_of(server: &Server) -> String {
    let age = GoDuration::new("5m");
    let grace = GoDuration::new("30s");
    match server.takes() {
        Some(Takes::Knob(knob)) => {
            let grace = if Names::of_knob(knob).grace == "-" {
                String::new()
            } else {
                format!("    grace: {grace}\n")
            };
            // Strings and durations always have a YAML form.
            let long = serde_yaml_ng::to_string(knob).unwrap_or_default();
            format!(
                "Use it with\n\nspec:\n  connectionAge:\n    maxAge: {age}\n{grace}    knob:\n      preset: {}\n\nwhich stands for\n\n    knob:\n{}",
                server.name,
                indented(&long, "      "),
            )
        }
        Some(Takes::Config(config)) => format!(
            "No variable or flag sets it. Put into {}, for example\n\n{}",
            config.place,
            indented(&config.lines(&age, Some(&grace)), "  ")
        ),
        Some(Takes::None(nothing)) => {
            format!(
                "Not possible: {}. Instead: {}\n",
                nothing.why, nothing.instead
            )
        }
        None => String::new(),
    }
}

fn indented(text: &str, by: &str) -> String {
    text.lines().fold(String::new(), |mut all, line| {
        let _ = writeln!(all, "{by}{line}");
        all
    })
}

/// The page `docs/presets.md`, without its head.
pub fn markdown() -> String {
    let mut text = String::from(
        "| preset | server | age | grace | format | its default | versions | read in |\n|---|---|---|---|---|---|---|---|\n",
    );
    let code = |name: &str| match name {
        "-" => "–".to_owned(),
        name => format!("`{name}`"),
    };
    for server in all() {
        if let Some(Takes::Knob(_)) = server.takes() {
            let names = Names::of(server);
            let _ = writeln!(
                text,
                "| **{}** | {} | {} | {} | {} | {} | {} | {} |",
                server.name,
                with_note(server),
                code(&names.age),
                code(&names.grace),
                names.format,
                server.default.as_deref().unwrap_or("–"),
                versions(server).replace('-', "–"),
                read_in(server),
            );
        }
    }
    text += "\nSome take the same in other ways too. Where the owner has one of these it is theirs: nothing is written, and the condition says `FieldConflict`;\nwhere an `envFrom` may have such a variable, it is `EnvFromUnverified`. `-D` is looked for in `JAVA_TOOL_OPTIONS`, `JDK_JAVA_OPTIONS` and\n`_JAVA_OPTIONS` too; where these have options by `valueFrom`, that is `EnvFromUnverified` as well. A server's own configuration file is not\nread; with most servers a flag or a variable wins over it.\n\n| preset | also by |\n|---|---|\n";
    for server in all() {
        let also: Vec<String> = also_by(server).into_iter().map(code).collect();
        if !also.is_empty() {
            let _ = writeln!(text, "| **{}** | {} |", server.name, also.join(", "));
        }
    }
    text += "\n## Only by a configuration file\n\nEvenkeel does not write files. The condition `ConnectionAgeApplied` says `NoKnob` with these lines, for the age and grace that were asked for.\n\n";
    for server in all() {
        if let Some(Takes::Config(config)) = server.takes() {
            let lines = config.lines(&GoDuration::new("5m"), Some(&GoDuration::new("30s")));
            let _ = writeln!(
                text,
                "**{}**: {}. Its default: {}. Into {}:\n\n```\n{lines}\n```\n\n{}\n",
                server.name,
                with_note(server),
                server.default.as_deref().unwrap_or("unknown"),
                config.place,
                read_in(server),
            );
        }
    }
    text += "## Not at all\n\nWho reads the age in a program of their own names that in `knob.env` or another knob, and finding [GB035](findings/GB035.md) does not know then\nwhat the program is built on: the warnings about releases and graces in this table hold all the same.\n\n| preset | server | why | instead | read in |\n|---|---|---|---|---|\n";
    for server in all() {
        if let Some(Takes::None(nothing)) = server.takes() {
            let _ = writeln!(
                text,
                "| **{}** | {} | {} | {} | {} |",
                server.name,
                with_note(server),
                nothing.why,
                nothing.instead,
                read_in(server),
            );
        }
    }
    text
}

/// The other variables and flags by which it takes the same.
fn also_by(server: &Server) -> Vec<&str> {
    let also = server.also.iter();
    let names = also.flat_map(|also| also.max_age.iter().chain(&also.grace));
    names.map(String::as_str).collect()
}

fn with_note(server: &Server) -> String {
    match &server.note {
        Some(note) => format!("{}; {note}", server.what),
        None => server.what.clone(),
    }
}

fn read_in(server: &Server) -> String {
    let source = &server.source;
    format!("{}: {}, {}", source.project, source.file, source.seen)
}
