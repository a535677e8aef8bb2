//! What a workload is told to call.

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
        let is_it = |rest: &str| match rest.strip_prefix('.') {
            Some(rest) => rest
                .strip_prefix(namespace)
                .is_some_and(|rest| !rest.starts_with(is_part)),
            None => is_own,
        };
        self.told().any(|text| after(text, service).any(is_it))
    }
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
