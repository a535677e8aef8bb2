//! For people, and for a runner that turns lines into annotations.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use super::report::{Checked, NotListed, Report};
use crate::findings::Severity;

pub(super) const NONE: &str = "No gRPC backend is seen. A workload is one if a Service selects it, and the name or appProtocol of a port says grpc or h2c,
or a probe asks by gRPC, or the port is 50051. With a GrpcBackend nothing has to be guessed.\n\n";
const SETS: &str = "Directories with objects of the same names are looked at one by one, each with what stands only once.\n";
const INDENT: &str = "      ";
const WIDTH: usize = 120;

/// For people. Writing to a String cannot fail.
pub fn people(report: &Report) -> String {
    let mut text = String::new();
    let mut said = HashSet::new();
    let mut explained = HashSet::new();
    for backend in &report.backends {
        let _ = write!(
            text,
            "{}/{}",
            printable(&backend.namespace),
            printable(&backend.name)
        );
        if let Some(set) = &backend.set {
            let _ = write!(text, " in {}", printable(set));
        }
        if let Some(how) = &backend.guessed {
            let _ = write!(text, " (no GrpcBackend; guessed: {})", printable(how));
        }
        text.push('\n');
        if backend.findings.is_empty() {
            text += "  nothing to say\n";
        }
        for found in &backend.findings {
            let (rule, place) = (found.rule, printable(&found.place()));
            let severity = rule.severity.as_str().to_lowercase();
            let _ = writeln!(text, "  {place}: {severity} {}: {}", rule.id, rule.title);
            if !said.insert(&found.message) {
                let _ = writeln!(text, "{INDENT}as above");
                continue;
            }
            wrap(&mut text, &printable(&found.message));
            for line in found.remedy.lines() {
                let _ = writeln!(text, "        {}", printable(line));
            }
            if explained.insert(rule.id) {
                let _ = writeln!(text, "{INDENT}{}", rule.url());
            }
        }
        text.push('\n');
    }
    text + &summary(report)
}

fn summary(report: &Report) -> String {
    let count = |severity| {
        let of = report
            .findings()
            .filter(|found| found.rule.severity == severity);
        of.count()
    };
    let mut text = String::new();
    if report.backends.is_empty() && report.faults.is_empty() {
        text += NONE;
    }
    let _ = writeln!(
        text,
        "{}: {}, {}, {}",
        many(report.backends.len(), "backend"),
        many(count(Severity::Error), "error"),
        many(count(Severity::Warning), "warning"),
        many(count(Severity::Info), "info"),
    );
    for (needs, ids) in unchecked(&report.backends) {
        let _ = writeln!(text, "not checked, for want of {needs}: {}", ids.join(", "));
    }
    let skipped: usize = report.skipped.values().sum();
    let _ = write!(text, "{} read", many(report.objects, "object"));
    if skipped > 0 {
        let kinds = report.skipped.iter().take(8);
        let kinds: Vec<_> = kinds
            .map(|(kind, count)| format!("{count} {}", printable(kind)))
            .collect();
        let _ = write!(
            text,
            ", {skipped} of other kinds skipped ({})",
            kinds.join(", ")
        );
    }
    text.push('\n');
    if report.backends.iter().any(|backend| backend.set.is_some()) {
        text += SETS;
    }
    for repeated in &report.repeated {
        let _ = writeln!(text, "{}", printable(&repeated.to_string()));
    }
    for unlisted in &report.unlisted {
        let _ = writeln!(text, "{}", printable(&not_listed(unlisted)));
    }
    text
}

/// Indented, in lines that a terminal holds.
fn wrap(text: &mut String, sentence: &str) {
    let mut column = WIDTH;
    for word in sentence.split(' ') {
        let length = word.chars().count();
        if column + 1 + length > WIDTH {
            if !text.ends_with('\n') {
                text.push('\n');
            }
            *text += INDENT;
            column = INDENT.len();
        } else {
            text.push(' ');
            column += 1;
        }
        *text += word;
        column += length;
    }
    text.push('\n');
}

fn unchecked(backends: &[Checked]) -> BTreeMap<&str, Vec<&str>> {
    let mut all: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for rule in backends.iter().flat_map(|backend| &backend.unchecked) {
        let ids = all.entry(&rule.needs).or_default();
        if !ids.contains(&rule.id) {
            ids.push(rule.id);
        }
    }
    all
}

fn many(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// What a manifest says must not steer a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// Workflow commands of GitHub Actions.
pub fn github(report: &Report) -> String {
    let mut text = String::new();
    for found in report.findings() {
        let command = match found.rule.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "notice",
        };
        let title = format!("{}: {}", found.rule.id, found.rule.title);
        let place = if found.file.is_empty() {
            String::new()
        } else {
            format!("file={},line={},", property(&found.file), found.line)
        };
        let _ = writeln!(
            text,
            "::{command} {place}title={}::{}",
            property(&title),
            data(&format!("{} {}", found.message, found.rule.url()))
        );
    }
    for fault in &report.faults {
        let place = place(&fault.file, fault.line);
        let _ = writeln!(text, "::error{place}::{}", data(&fault.message));
    }
    for repeated in &report.repeated {
        let place = place(&repeated.file, repeated.line);
        let message = data(&repeated.to_string());
        let _ = writeln!(text, "::warning{place}::{message}");
    }
    for unlisted in &report.unlisted {
        let message = data(&not_listed(unlisted));
        let _ = writeln!(text, "::warning::{message}");
    }
    // Some rules want what no file shows: that is so each time, and no warning.
    let unchecked = unchecked(&report.backends).into_iter();
    let unchecked: Vec<String> = unchecked
        .map(|(needs, ids)| format!("for want of {needs}: {}", ids.join(", ")))
        .collect();
    if !unchecked.is_empty() {
        let _ = writeln!(text, "::notice::not checked, {}", unchecked.join("; "));
    }
    text
}

/// Where an annotation goes, as far as that is known.
fn place(file: &str, line: usize) -> String {
    match (file, line) {
        ("", _) => String::new(),
        (file, 0) => format!(" file={}", property(file)),
        (file, line) => format!(" file={},line={line}", property(file)),
    }
}

fn not_listed(unlisted: &NotListed) -> String {
    let NotListed { kind, why } = unlisted;
    format!("{kind} not listed, so not looked at: {why}")
}

fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
