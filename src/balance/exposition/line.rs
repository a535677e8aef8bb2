//! The parts of a line: name, labels, value.

use memchr::memchr2;

use super::Flaw;
use crate::balance::families::{Condition, Kind, Names, Slot};

/// The name of the line before: lines of one family follow one another.
#[derive(Debug, Default)]
pub(super) struct LastName {
    name: Vec<u8>,
    slot: Option<usize>,
}

impl LastName {
    /// What a line is wanted for, and what follows the name.
    pub fn find<'a>(&mut self, line: &'a [u8], names: &Names) -> Option<(usize, &'a [u8])> {
        let is_the_same = line.strip_prefix(self.name.as_slice()).filter(|rest| {
            !self.name.is_empty() && !rest.first().copied().is_some_and(is_of_a_name)
        });
        if let Some(rest) = is_the_same {
            return self.slot.map(|slot| (slot, rest));
        }
        let end = line
            .iter()
            .position(|byte| !is_of_a_name(*byte))
            .unwrap_or(line.len());
        let (name, rest) = line.split_at(end);
        self.name.clear();
        self.name.extend_from_slice(name);
        self.slot = names.find(name);
        self.slot.map(|slot| (slot, rest))
    }
}

/// The bytes that names are made of, since a look into a table is sooner done than six comparisons.
const NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte: u8 = 0;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
        byte += 1;
    }
    table
};

#[inline]
fn is_of_a_name(byte: u8) -> bool {
    NAME[usize::from(byte)]
}

/// Whether a comment is of no interest by its first bytes: nearly all are.
pub(super) fn is_other_comment(line: &[u8], names: &Names) -> bool {
    match line.strip_prefix(b"# TYPE ") {
        Some(name) => name.first().is_some_and(u8::is_ascii_alphabetic) && !names.may_begin(name),
        None => line.starts_with(b"# HELP "),
    }
}

/// The name that a `# TYPE` line is of. A broken one is a comment, as the format has it.
pub(super) fn declared_name(line: &[u8]) -> Option<&[u8]> {
    let mut words = line
        .strip_prefix(b"#")?
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    if words.next()? != b"TYPE" {
        return None;
    }
    let name = words.next()?;
    Some(
        name.strip_prefix(b"\"")
            .and_then(|name| name.strip_suffix(b"\""))
            .unwrap_or(name),
    )
}

/// The name that stands first within braces, and what follows it. None where a label stands first.
pub(super) fn quoted_name(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, rest, _) = quoted(line.strip_prefix(b"{")?.trim_ascii_start())?;
    (rest.trim_ascii_start().first() != Some(&b'=')).then_some((name, rest))
}

/// What the labels of a series tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    /// Conditions that are met, of those that all must be.
    pub fits: usize,
    /// Probes and tools, or what the catalogue leaves out.
    pub is_left_out: bool,
    /// Of a method that streams.
    pub is_stream: bool,
}

impl Told {
    pub const fn nothing() -> Self {
        Self {
            fits: 0,
            is_left_out: false,
            is_stream: false,
        }
    }

    fn label(&mut self, name: &[u8], value: &[u8], slot: &Slot, asked: &[Condition]) {
        if asked.is_empty() && !slot.may_look_at(name.len()) {
            return;
        }
        let is = |label: &str| is_same_label(name, label.as_bytes());
        let met = |conditions: &[Condition]| {
            let fitting = conditions
                .iter()
                .filter(|condition| is(&condition.label) && condition.fits(value));
            fitting.count()
        };
        self.fits += met(slot.only) + met(asked);
        self.is_left_out |= met(slot.unless) > 0
            || slot.service.is_some_and(is) && is_housekeeping(value)
            || slot.method.is_some_and(is) && is_housekeeping(service_of(value));
        self.is_stream |= met(slot.streams) > 0;
    }
}

/// What the labels tell, and what follows them. `None`: they are broken.
pub(super) fn labels<'a>(
    mut rest: &'a [u8],
    after_name: bool,
    slot: &Slot,
    asked: &[Condition],
) -> Option<(Told, &'a [u8])> {
    let mut told = Told::nothing();
    let mut may_continue = !after_name;
    loop {
        rest = rest.trim_ascii_start();
        match rest.split_first()? {
            (b'}', after) => return Some((told, after)),
            (b',', after) if !may_continue => {
                rest = after;
                may_continue = true;
                continue;
            }
            _ if !may_continue => return None,
            _ => {}
        }
        let (name, after) = label_name(rest)?;
        let after = after.trim_ascii_start().strip_prefix(b"=")?;
        let (text, after, has_escapes) = quoted(after.trim_ascii_start())?;
        if has_escapes {
            told.label(name, &unescaped(text), slot, asked);
        } else {
            told.label(name, text, slot, asked);
        }
        rest = after;
        may_continue = false;
    }
}

fn label_name(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    if rest.first() == Some(&b'"') {
        return quoted(rest).map(|(name, after, _)| (name, after));
    }
    let end = rest
        .iter()
        .position(|byte| *byte == b'=' || byte.is_ascii_whitespace())?;
    (end > 0).then(|| rest.split_at(end))
}

/// The text between two quotes, escapes left in, what follows, and whether there are escapes.
fn quoted(rest: &[u8]) -> Option<(&[u8], &[u8], bool)> {
    let rest = rest.strip_prefix(b"\"")?;
    let mut from = 0;
    loop {
        let at = from + memchr2(b'"', b'\\', rest.get(from..)?)?;
        if rest[at] == b'"' {
            return Some((&rest[..at], &rest[at + 1..], from > 0));
        }
        from = at + 2;
    }
}

fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = text.iter().copied();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => plain.extend(
                bytes
                    .next()
                    .map(|next| if next == b'n' { b'\n' } else { next }),
            ),
            _ => plain.push(byte),
        }
    }
    plain
}

/// OpenTelemetry's names have dots, which older servers write as underscores.
fn is_same_label(name: &[u8], wanted: &[u8]) -> bool {
    let is_same = |(byte, wanted): (&u8, &u8)| byte == wanted || (*byte == b'.' && *wanted == b'_');
    name == wanted || (name.len() == wanted.len() && name.iter().zip(wanted).all(is_same))
}

/// The service of `/pkg.Service/Method` or `pkg.Service/Method`.
fn service_of(method: &[u8]) -> &[u8] {
    let method = method.strip_prefix(b"/").unwrap_or(method);
    let end = method.iter().rposition(|byte| *byte == b'/');
    &method[..end.unwrap_or(method.len())]
}

/// Probes and tools, not load. Readiness probes alone are 0.2 to 0.3 RPCs a second and pod, so a pod
/// that no client has found would never look idle.
fn is_housekeeping(service: &[u8]) -> bool {
    service == b"grpc.health.v1.Health" || service.starts_with(b"grpc.reflection.")
}

/// The value; a timestamp or exemplar behind it is not looked at.
pub(super) fn value(rest: &[u8], kind: Kind) -> Result<f64, Flaw> {
    let token = rest
        .split(u8::is_ascii_whitespace)
        .find(|token| !token.is_empty())
        .ok_or(Flaw::Value)?;
    let number: f64 = std::str::from_utf8(token)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(Flaw::Value)?;
    let is_gauge = matches!(kind, Kind::Open | Kind::ConnectionsOpen);
    if !number.is_finite() || (number < 0.0 && !is_gauge) {
        return Err(Flaw::NotACount);
    }
    // Some libraries count below zero what they count down twice.
    Ok(number.max(0.0))
}
