//! The rules of hygiene: one small function each, from what was observed to a sentence, and one catalogue of them.
//!
//! A rule says what was seen, why it matters and what to do. It is pure, so that the same rule speaks of a cluster and of
//! files. To add one: write the function in the file of its family, describe it in [`CATALOGUE`], give it an example in
//! `tests/corpus/rules/`, and run `make crds`, which writes its page.

mod age;
mod catalogue;
mod dns;
mod gitops;
mod mend;
mod mesh;
mod pair;
mod pods;
mod ports;
mod rollout;
mod scale;
mod seen;
mod services;
mod snippet;
mod watch;

pub use age::{ends_by_itself, has_an_age, mended, speaks};
pub use catalogue::CATALOGUE;
pub use mend::mend;
pub use ports::asks_by_grpc;
pub use rollout::{PRE_STOP, STOP};
pub use seen::{Place, Seen};
pub use services::{is_grpc, named, publishes_early, says_grpc};
pub use snippet::block;

use crate::api::conditions::plain;
use crate::api::{BalanceMode, Finding};
use crate::balance::{MetricsReason, Turnover};
use crate::observed::{Observed, Observer};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// Requests fail or pods idle because of it.
    Error,
    /// Requests will fail or pods will idle in a situation that is sure to come.
    Warning,
    /// Worth knowing.
    Info,
}

impl Severity {
    /// The word in status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "Error",
            Self::Warning => "Warning",
            Self::Info => "Info",
        }
    }
}

/// One rule.
pub struct Rule {
    /// GB and three digits; never given to another rule.
    pub id: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What is wrong, in a few words.
    pub title: &'static str,
    /// Why it matters.
    pub why: &'static str,
    /// What has to be known for an answer besides Services and workloads.
    pub needs: &'static [Need],
    /// How it is asked.
    pub check: Check,
}

/// How a rule is asked: what was seen, why it matters and what to do; nothing where all is well.
pub enum Check {
    /// There is one thing to say.
    One(fn(&Observed) -> Option<Seen>),
    /// Each place is told by itself.
    Each(fn(&Observed) -> Vec<Seen>),
}

/// Places of a backend that a rule tells of: nobody needs more to see what is wrong.
const PLACES: usize = 20;

impl Rule {
    /// Where it holds.
    fn seen(&self, observed: &Observed) -> Vec<Seen> {
        let mut seen = match self.check {
            Check::One(ask) => ask(observed).into_iter().collect(),
            Check::Each(ask) => ask(observed),
        };
        seen.truncate(PLACES);
        seen
    }

    /// Whether all is known that its answer takes.
    fn is_able(&self, observed: &Observed) -> bool {
        self.needs.iter().all(|need| need.is_met(observed, self.id))
    }

    /// Whether only what pods say of themselves shows it, and no file does.
    pub fn is_measured(&self) -> bool {
        let is_metric = |need| matches!(need, &Need::Metrics | &Need::Connections);
        self.needs.iter().any(is_metric)
    }

    /// Its page, in the repository.
    pub fn page(&self) -> String {
        format!("docs/findings/{}.md", self.id)
    }

    /// The same, for those who have not the repository at hand.
    pub fn url(&self) -> String {
        format!("{}/blob/main/{}", env!("CARGO_PKG_REPOSITORY"), self.page())
    }
}

/// What not every observer knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Need {
    /// Running pods.
    Pods,
    /// What the pods' metrics say.
    Metrics,
    /// That these count connections, which not every server's do.
    Connections,
    /// HorizontalPodAutoscalers.
    Autoscalers,
    /// How the cluster's DNS servers are configured.
    ClusterDns,
    /// Workloads that dial the backend: they may be anywhere, and are no business of the operator's.
    Callers,
}

impl Need {
    /// As a sentence names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pods => "running pods",
            Self::Metrics | Self::Connections => "the pods' metrics",
            Self::Autoscalers => "HorizontalPodAutoscalers",
            Self::ClusterDns => "the cluster's DNS configuration",
            Self::Callers => "the clients' workloads",
        }
    }

    /// Whether it is not known for once, so that what was said holds.
    fn is_missed(self, observed: &Observed, id: &str) -> bool {
        match self {
            Self::Autoscalers => observed.autoscalers.is_missed(),
            Self::ClusterDns => observed.cluster_dns.is_missed(),
            // They may be read again, unless there is nothing to read. What was not said meanwhile is not checked.
            Self::Metrics | Self::Connections => {
                let is_failure = |reason| reason != MetricsReason::NoMetricsPort;
                never_read(observed).is_some_and(is_failure) && said_before(observed, id).is_some()
            }
            Self::Pods | Self::Callers => false,
        }
    }

    fn is_met(self, observed: &Observed, id: &str) -> bool {
        match self {
            // To the operator no pods is an answer too, and files have what makes them.
            Self::Pods => observed.observer != Observer::Visitor || !observed.pods.is_empty(),
            Self::Metrics => is_sampled(observed, id),
            Self::Connections => is_sampled(observed, id) && counts_connections(observed),
            Self::Autoscalers => observed.autoscalers.known().is_some(),
            Self::ClusterDns => observed.cluster_dns.known().is_some(),
            Self::Callers => observed.observer != Observer::Operator,
        }
    }
}

/// Whether the pods' metrics are read. After a restart of the operator it is as the status says of the rule, until they have been asked
/// anew.
fn is_sampled(observed: &Observed, id: &str) -> bool {
    let balance = observed.backend.spec.balance.as_ref();
    let mode = balance.and_then(|balance| balance.mode).unwrap_or_default();
    let is_read = observed.observer == Observer::Operator && mode != BalanceMode::Disabled;
    let published = observed.published.as_ref();
    let asked = published.is_some_and(|published| published.crowd.is_some());
    let status = observed.backend.status.as_ref();
    let lacked =
        status.is_some_and(|status| status.unchecked_findings.iter().any(|lacked| lacked == id));
    is_read && never_read(observed).is_none() && (asked || !lacked)
}

/// Why no pod that is there was ever read, where that is so.
fn never_read(observed: &Observed) -> Option<MetricsReason> {
    use MetricsReason::{Forbidden, NoCredentials, NoMetricsPort, Refused, ScrapeFailed};
    let published = observed.published.as_ref()?;
    let reason = published.metrics.reason;
    let is_failure = matches!(
        reason,
        NoMetricsPort | ScrapeFailed | Refused | NoCredentials | Forbidden
    );
    (published.crowd.is_none() && is_failure).then_some(reason)
}

/// Whether the pods' pages, as far as they were read, count connections.
fn counts_connections(observed: &Observed) -> bool {
    let published = observed.published.as_ref();
    let seen = |which: fn(&Turnover) -> bool| {
        published.is_some_and(|published| published.turnover.values().any(which))
    };
    seen(|seen| !matches!(seen, Turnover::Unknown | Turnover::Measuring))
        || !seen(|seen| *seen == Turnover::Unknown)
}

/// The answers of all rules.
pub struct Answers {
    /// What is worth changing, worst first, without what the user ignores: each rule with all places.
    pub found: Vec<(&'static Rule, Vec<Seen>)>,
    /// How many more the user ignores.
    pub ignored: usize,
    /// The rules that had no answer for want of what they need.
    pub unchecked: Vec<&'static Rule>,
}

/// Asks every rule.
pub fn ask(observed: &Observed) -> Answers {
    let (able, unchecked): (Vec<&Rule>, Vec<&Rule>) =
        CATALOGUE.iter().partition(|rule| rule.is_able(observed));
    // That something else is for `evenkeel check` is no news of this backend.
    let is_others = |rule: &&Rule| rule.needs.contains(&Need::Callers);
    let (held, unchecked): (Vec<&Rule>, Vec<&Rule>) = unchecked
        .into_iter()
        .filter(|rule| !is_others(rule))
        .partition(|rule| {
            rule.needs
                .iter()
                .any(|need| need.is_missed(observed, rule.id))
        });
    let held = held
        .into_iter()
        .map(|rule| (rule, said(observed, rule).into_iter().collect()));
    let is_ignored = |rule: &Rule| is_ignored(observed, rule.id);
    let (kept, mut found): (Vec<_>, Vec<_>) = able
        .into_iter()
        .map(|rule| (rule, as_before(observed, rule, rule.seen(observed))))
        .chain(held)
        .filter(|(_, seen)| !seen.is_empty())
        .partition(|(rule, _)| is_ignored(rule));
    found.sort_by_key(|(rule, _)| (rule.severity, rule.id));
    Answers {
        found,
        ignored: kept.len(),
        unchecked: unchecked
            .into_iter()
            .filter(|rule| !is_ignored(rule))
            .collect(),
    }
}

/// Whether the user ignores it.
fn is_ignored(observed: &Observed, id: &str) -> bool {
    let mut ignored = observed.backend.spec.ignore_findings.iter();
    ignored.any(|ignored| ignored.id == id)
}

/// What a rule saw, as it is to be told where pods, or labels of their namespace, may be all that shows a mesh. To the operator there may
/// be no pods, as between those of a rollout, and the labels cannot be read for once: what was said stands then, and nothing new is said for
/// want of a mesh.
fn as_before(observed: &Observed, rule: &Rule, seen: Vec<Seen>) -> Vec<Seen> {
    let is_unseen = observed.pods.is_empty() || observed.namespace_metadata.is_missed();
    let is_held = observed.observer == Observer::Operator
        && is_unseen
        && was_asked(observed)
        && !is_ignored(observed, rule.id);
    match (rule.id, said(observed, rule)) {
        ("GB028" | "GB083", Some(said)) if is_held => vec![said],
        ("GB001" | "GB021" | "GB071", None) if is_held => Vec::new(),
        _ => seen,
    }
}

/// What the status says of it, as something seen.
fn said(observed: &Observed, rule: &Rule) -> Option<Seen> {
    let said = said_before(observed, rule.id)?;
    Some(Seen::in_backend(observed, "spec", said))
}

/// What the status says of a rule already, if it is of this spec. A rule that looks at changing data holds to it until the data
/// are clearly better.
fn said_before(observed: &Observed, id: &str) -> Option<String> {
    let status = observed.backend.status.as_ref()?;
    let said = status.findings.iter().find(|finding| finding.id == id)?;
    was_asked(observed).then(|| said.message.clone())
}

/// Whether the status is of this spec: what it does not say was not so when it was written.
fn was_asked(observed: &Observed) -> bool {
    let status = observed.backend.status.as_ref();
    status.is_some_and(|own| own.observed_generation == observed.backend.metadata.generation)
}

/// At most this many go into the status.
const MAX: usize = 20;

impl Answers {
    /// The rules that had no answer.
    pub fn unchecked_ids(&self) -> Vec<String> {
        let ids = self.unchecked.iter().take(MAX);
        ids.map(|rule| rule.id.to_owned()).collect()
    }

    /// What goes into the status: worst first, without what the user ignores.
    pub fn told(&self) -> Vec<Finding> {
        let found = self.found.iter().take(MAX);
        found
            .map(|(rule, seen)| Finding {
                id: rule.id.into(),
                severity: rule.severity.as_str().into(),
                message: plain(&in_short(seen)),
            })
            .collect()
    }
}

/// The first place, and how many more there are.
fn in_short(seen: &[Seen]) -> String {
    match seen {
        [] => String::new(),
        [first] => first.message.clone(),
        [first, second, ..] => format!(
            "{}. The same holds in {} more, the next of which is {}",
            first.message,
            seen.len() - 1,
            second.place
        ),
    }
}

#[cfg(test)]
mod age_tests;
#[cfg(test)]
mod mesh_tests;
#[cfg(test)]
mod places_tests;
#[cfg(test)]
mod ports_tests;
#[cfg(test)]
mod rollout_tests;
#[cfg(test)]
mod selector_tests;
#[cfg(test)]
mod services_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod watch_tests;
