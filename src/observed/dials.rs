//! What a workload is told to call.

use std::fmt::Write as _;

use super::Workload;

impl Workload {
    /// What its containers are told: the values of their variables, and their words.
    pub fn told(&self) -> impl Iterator<Item = &str> {
        self.containers().iter().flat_map(|own| {
            let values = own
                .env
                .iter()
                .flatten()
                .filter_map(|one| one.value.as_ref());
            let words = own
                .command
                .iter()
                .flatten()
                .chain(own.args.iter().flatten());
            values.chain(words).map(String::as_str)
        })
    }

    /// Whatever may be a host's name, up to its first dot, in what its containers are told.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.told()
            .flat_map(|text| text.split(|own: char| !is_part(own)))
    }

    /// Whether its containers are told a host of this name, whatever stands before and after it.
    pub fn names(&self, host: &str) -> bool {
        self.told().any(|text| after(text, host).next().is_some())
    }

    /// Whether its containers are told a Service, which without a namespace is one of its own.
    pub fn dials(&self, service: &str, namespace: &str, is_own: bool) -> bool {
        self.told()
            .any(|text| dialled(text, service, namespace, is_own).next().is_some())
    }
}

/// A text in which a Service is dialled, with another Service of that namespace in its place, and right behind it the port that
/// `port` has for the one that stands there. None: it is not dialled there, or only single pods of it are, by their own names.
pub fn redialled(
    text: &str,
    [service, other]: [&str; 2],
    namespace: &str,
    is_own: bool,
    port: impl Fn(i32) -> Option<i32>,
) -> Option<String> {
    let (mut changed, mut copied) = (String::new(), 0);
    for at in dialled(text, service, namespace, is_own) {
        // What a port is looked up by (_grpc._tcp.NAME) stands before the name too.
        let before = &text[copied..at];
        if before.ends_with('.') && !before.ends_with("_tcp.") {
            continue;
        }
        changed += before;
        changed += other;
        copied = at + service.len();
        let domain = text[copied..].find(|c| !is_part(c) && c != '.');
        let end = domain.map_or(text.len(), |length| copied + length);
        changed += &text[copied..end];
        copied = end;
        let Some(rest) = text[end..].strip_prefix(':') else {
            continue;
        };
        let digits = rest.find(|c: char| !c.is_ascii_digit());
        let digits = &rest[..digits.unwrap_or(rest.len())];
        if let Some(number) = digits.parse().ok().and_then(&port) {
            let _ = write!(changed, ":{number}");
            copied = end + 1 + digits.len();
        }
    }
    (copied > 0).then(|| changed + &text[copied..])
}

/// Where a Service stands in a text.
fn dialled<'a>(
    text: &'a str,
    service: &'a str,
    namespace: &'a str,
    is_own: bool,
) -> impl Iterator<Item = usize> {
    let is_it = move |rest: &str| match rest.strip_prefix('.') {
        Some(rest) => rest
            .strip_prefix(namespace)
            .is_some_and(|rest| !rest.starts_with(is_part)),
        None => is_own,
    };
    let found = after(text, service).filter(move |rest| is_it(rest));
    found.map(move |rest| text.len() - rest.len() - service.len())
}

/// What stands after each host of this name in a text.
fn after<'a>(text: &'a str, host: &'a str) -> impl Iterator<Item = &'a str> {
    text.match_indices(host)
        .filter(|(at, _)| !text[..*at].ends_with(is_part))
        .map(|(at, _)| &text[at + host.len()..])
        .filter(|rest| !rest.starts_with(is_part))
}

/// Whether a host's name may have it.
fn is_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-'
}
