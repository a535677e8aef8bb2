//! The catalogue for people.

use std::fmt::Write as _;

use super::{Condition, Connections, Counted, Meter, Place, catalogue};

/// The tables of docs/metrics.md.
pub fn markdown() -> String {
    let known = catalogue();
    let mut text = String::from(
        "## Requests\n\nBest first.\n\n| family | who counts | what | counters | RPCs under way |\n|---|---|---|---|---|\n",
    );
    for meter in &known.families {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} |",
            meter.name,
            who(meter),
            what(meter),
            counters(meter),
            under_way(meter)
        );
    }
    text += "\nWhat each takes into account, and where it was read:\n\n";
    for meter in &known.families {
        let _ = writeln!(text, "* `{}`: {}", meter.name, details(meter));
    }
    text += "\n## Connections\n\n| who counts | made | open |\n|---|---|---|\n";
    for counted in &known.connections {
        let _ = writeln!(
            text,
            "| {} | {} | {} |",
            counted.what,
            made(counted),
            names(&counted.open)
        );
    }
    text.push('\n');
    for counted in &known.connections {
        let note = counted.note.as_ref().map(|note| format!("; {note}"));
        let _ = writeln!(
            text,
            "* `{}`: {}, {} ({}){}",
            counted.name,
            counted.source.project,
            counted.source.file,
            counted.source.seen,
            note.unwrap_or_default()
        );
    }
    text
}

fn who(meter: &Meter) -> String {
    let place = match meter.place {
        Place::Server => "",
        Place::Sidecar => " (a sidecar)",
    };
    format!("{}{place}", meter.what)
}

fn what(meter: &Meter) -> &'static str {
    match meter.counts {
        Counted::Rpcs => "RPCs",
        Counted::Requests => "HTTP requests",
        Counted::Messages => "**messages**",
    }
}

fn counters(meter: &Meter) -> String {
    let sides = [("begun", &meter.started), ("ended", &meter.handled)];
    let told: Vec<String> = sides
        .iter()
        .filter(|(_, list)| !list.is_empty())
        .map(|(when, list)| format!("{when}: {}", names(list)))
        .collect();
    told.join("<br>")
}

fn under_way(meter: &Meter) -> String {
    if !meter.open.is_empty() {
        names(&meter.open)
    } else if meter.sees_open() {
        "begun − ended".into()
    } else {
        "not seen".into()
    }
}

fn made(counted: &Connections) -> String {
    if counted.created.is_empty() {
        format!("open + ended: {}", names(&counted.ended))
    } else {
        names(&counted.created)
    }
}

fn details(meter: &Meter) -> String {
    let mut parts = Vec::new();
    match (&meter.labels.service, &meter.labels.method) {
        (Some(label), _) => parts.push(format!("service by the label `{label}`")),
        (None, Some(label)) => parts.push(format!(
            "service by the label `{label}`, which has the method too"
        )),
        (None, None) => parts.push("services are not told apart".into()),
    }
    let streams: Vec<String> = meter.labels.streams.iter().map(condition).collect();
    if !streams.is_empty() {
        parts.push(format!("streams by {}", streams.join(" or ")));
    }
    parts.extend(
        meter
            .only
            .iter()
            .map(|only| format!("only {}", condition(only))),
    );
    parts.extend(
        meter
            .unless
            .iter()
            .map(|unless| format!("not {}", condition(unless))),
    );
    parts.extend(meter.note.clone());
    format!(
        "{}. {}, {} ({})",
        parts.join("; "),
        meter.source.project,
        meter.source.file,
        meter.source.seen
    )
}

fn condition(condition: &Condition) -> String {
    let Condition {
        label,
        is,
        starts,
        ends,
    } = condition;
    let part = |text: &Option<String>, form: &str| {
        text.as_ref().map(|text| format!("`{label}`{form}`{text}`"))
    };
    part(is, " = ")
        .or_else(|| part(starts, " that begins with "))
        .or_else(|| part(ends, " that ends with "))
        .unwrap_or_default()
}

fn names(list: &[String]) -> String {
    let quoted: Vec<String> = list.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}
