//! The rules of hygiene: one small function each, from what was observed to a sentence, and one catalogue of them.
//!
//! A rule says what was seen, why it matters and what to do. It is pure, so that the same rule speaks of a cluster and of
//! files. To add one: write the function in the file of its family and name it in [`CATALOGUE`].

mod age;
mod mesh;
mod pods;
mod rollout;
mod services;

use crate::api::Finding;
use crate::observed::Observed;

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
    /// What was seen, why it matters and what to do; nothing where all is well.
    pub check: fn(&Observed) -> Option<String>,
}

/// Every rule.
pub const CATALOGUE: &[Rule] = &[
    Rule {
        id: "GB005",
        severity: Severity::Error,
        check: services::publishes_not_ready,
    },
    Rule {
        id: "GB010",
        severity: Severity::Warning,
        check: pods::no_readiness_probe,
    },
    Rule {
        id: "GB021",
        severity: Severity::Warning,
        check: age::absent,
    },
    Rule {
        id: "GB022",
        severity: Severity::Warning,
        check: age::short,
    },
    Rule {
        id: "GB023",
        severity: Severity::Warning,
        check: age::hurried,
    },
    Rule {
        id: "GB024",
        severity: Severity::Warning,
        check: age::short_grace,
    },
    Rule {
        id: "GB025",
        severity: Severity::Warning,
        check: age::streams_without_grace,
    },
    Rule {
        id: "GB028",
        severity: Severity::Info,
        check: mesh::beside_an_age,
    },
    Rule {
        id: "GB029",
        severity: Severity::Warning,
        check: age::long,
    },
    Rule {
        id: "GB030",
        severity: Severity::Info,
        check: rollout::pre_stop_is_short,
    },
    Rule {
        id: "GB031",
        severity: Severity::Error,
        check: rollout::termination_is_short,
    },
    Rule {
        id: "GB032",
        severity: Severity::Info,
        check: rollout::rollout_is_fast,
    },
    Rule {
        id: "GB033",
        severity: Severity::Info,
        check: pods::one_replica,
    },
    Rule {
        id: "GB034",
        severity: Severity::Error,
        check: age::outlived,
    },
    Rule {
        id: "GB054",
        severity: Severity::Info,
        check: pods::owned_by_job,
    },
];

/// At most this many go into the status.
const MAX: usize = 20;

/// What is worth changing, worst first, without what the user ignores.
pub fn all(observed: &Observed) -> Vec<Finding> {
    let ignored = &observed.backend.spec.ignore_findings;
    let mut found: Vec<_> = CATALOGUE
        .iter()
        .filter(|rule| !ignored.iter().any(|ignored| ignored.id == rule.id))
        .filter_map(|rule| Some((rule, (rule.check)(observed)?)))
        .collect();
    found.sort_by_key(|(rule, _)| (rule.severity, rule.id));
    found
        .into_iter()
        .take(MAX)
        .map(|(rule, message)| Finding {
            id: rule.id.into(),
            severity: rule.severity.as_str().into(),
            message,
        })
        .collect()
}

#[cfg(test)]
mod tests;
