//! What can go wrong in a pass, by what is to be done about it.

use std::time::Duration;

use crate::api::Reason;
use crate::api::conditions::plain;

/// An error with the object and the action that it hit.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refuses what is asked: nothing changes until somebody changes it.
    #[error("{action}: the API server refused it: {message}")]
    Invalid {
        /// What was being done, with the object.
        action: String,
        /// The API server's words.
        message: String,
    },
    /// Something that will come by itself is not there yet.
    #[error("{action}: {message}")]
    NotReady {
        /// What was being done, with the object.
        action: String,
        /// What is missing.
        message: String,
    },
    /// Somebody else wrote meanwhile, or owns the name.
    #[error("{action}: {message}")]
    Conflict {
        /// What was being done, with the object.
        action: String,
        /// The API server's words.
        message: String,
        /// Whether the name is taken by an object that is not ours.
        taken: bool,
    },
    /// The operator has not the right.
    #[error("{action}: the operator may not: {message}")]
    Forbidden {
        /// What was being done, with the object.
        action: String,
        /// The API server's words.
        message: String,
    },
    /// The API server could not be reached or was busy.
    #[error("{action}: {message}")]
    Transient {
        /// What was being done, with the object.
        action: String,
        /// What happened.
        message: String,
    },
}

/// A pass that did not do all that it should.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Failed {
    /// Why; of several, what may mend itself first.
    pub error: Error,
    /// When another part wants to be looked at, whatever has become of this one.
    pub due: Option<Duration>,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, due: None }
    }
}

impl Failed {
    /// When to try again, after `attempts` failures in a row.
    pub fn requeue(&self, attempts: u32) -> Duration {
        let wait = self.error.requeue(attempts);
        // What is due again and again must not make a storm of what is refused.
        self.due
            .map_or(wait, |due| due.max(Duration::from_secs(30)).min(wait))
    }
}

impl Error {
    /// Sorts an answer of the API server.
    pub fn from_api(action: impl Into<String>, error: &kube::Error) -> Self {
        let action = action.into();
        let kube::Error::Api(status) = error else {
            return Self::Transient {
                action,
                message: bounded(&error.to_string()),
            };
        };
        let message = bounded(&status.message);
        match status.code {
            403 if lacks_a_right(&message) => Self::Forbidden { action, message },
            404 => Self::NotReady { action, message },
            409 => Self::Conflict {
                action,
                message,
                taken: status.reason == "AlreadyExists",
            },
            // A guard of ours that failed: what we saw is no longer so. The next pass sees what is.
            422 if failed_test(&message) => Self::Conflict {
                action,
                message,
                taken: false,
            },
            // A quota, a policy and an admission webhook say no by the same code as the API server where a right is missing.
            400 | 403 | 422 => Self::Invalid { action, message },
            _ => Self::Transient { action, message },
        }
    }

    /// The pass took too long.
    pub fn timeout(action: impl Into<String>, limit: Duration) -> Self {
        Self::Transient {
            action: action.into(),
            message: format!("no answer from the API server in {} s", limit.as_secs()),
        }
    }

    /// The reason for a condition; none where the next pass is likely to succeed.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Invalid { .. } => Some(Reason::Rejected),
            Self::Conflict { taken: true, .. } => Some(Reason::NameConflict),
            Self::Forbidden { .. } => Some(Reason::Forbidden),
            Self::NotReady { .. } | Self::Conflict { .. } | Self::Transient { .. } => None,
        }
    }

    /// What is tried again since the API server could not be reached or was busy; without its words, which differ each time.
    pub fn retried(&self) -> Option<&str> {
        match self {
            Self::Transient { action, .. } => Some(action),
            _ => None,
        }
    }

    /// Every label that there is.
    pub const LABELS: [&str; 5] = ["invalid", "not_ready", "conflict", "forbidden", "transient"];

    /// For the metric's label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "invalid",
            Self::NotReady { .. } => "not_ready",
            Self::Conflict { .. } => "conflict",
            Self::Forbidden { .. } => "forbidden",
            Self::Transient { .. } => "transient",
        }
    }

    /// When to try again, after `attempts` failures in a row.
    pub fn requeue(&self, attempts: u32) -> Duration {
        let exponential = |cap: Duration| {
            Duration::from_secs(1)
                .saturating_mul(2_u32.saturating_pow(attempts.min(16)))
                .min(cap)
        };
        match self {
            Self::Invalid { .. } => Duration::from_hours(1),
            Self::NotReady { .. } => Duration::from_secs(30),
            Self::Conflict { taken: true, .. } | Self::Forbidden { .. } => Duration::from_mins(5),
            Self::Conflict { .. } | Self::Transient { .. } => exponential(Duration::from_mins(5)),
        }
    }
}

/// Its own words where a right is missing, where more would be handed on than is held, and in a namespace that is going.
fn lacks_a_right(message: &str) -> bool {
    let refused = message.split_once("is forbidden: User \"");
    refused.is_some_and(|(_, why)| why.contains(" cannot ") && why.contains(" resource "))
        || message.contains("attempting to grant RBAC permissions")
        || message.contains("being terminated")
}

/// The API server has one bare sentence for every JSON patch that does not fit what is there, a failed `test` among them. Whoever else
/// says no by this code has other words: an admission webhook's begin with its name, and an invalid object's with the object's.
fn failed_test(message: &str) -> bool {
    message.starts_with("the server rejected our request due to an error in our request")
}

/// The API server repeats what it was sent; that must neither fill a log nor forge a line of it.
fn bounded(message: &str) -> String {
    const MAX: usize = 500;
    let message = plain(message);
    match message.char_indices().nth(MAX) {
        None => message,
        Some((end, _)) => format!("{}…", &message[..end]),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn unprocessable(message: &str) -> Error {
        let status = Status::failure(message, "Invalid").with_code(422);
        Error::from_api("patching", &kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn what_is_due_does_not_wait_for_what_was_refused() {
        let again = |due: Option<u64>| {
            let failed = Failed {
                error: Error::Invalid {
                    action: String::new(),
                    message: String::new(),
                },
                due: due.map(Duration::from_secs),
            };
            failed.requeue(0).as_secs()
        };
        assert_eq!(again(None), 3600);
        assert_eq!(again(Some(7200)), 3600);
        assert_eq!(again(Some(300)), 300);
        assert_eq!(again(Some(1)), 30, "no storm");
    }

    #[test]
    fn only_a_missing_right_is_said_to_be_one() {
        for (message, label) in [
            (
                "admission webhook \"validation.gatekeeper.sh\" denied the request: no",
                "invalid",
            ),
            (
                "admission webhook \"platform.example\" denied the request: User \"b\" cannot change a resource of the platform",
                "invalid",
            ),
            (
                "services \"a\" is forbidden: exceeded quota: few, requested: count/services=1, used: count/services=1, limited: count/services=1",
                "invalid",
            ),
            (
                "deployments.apps \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
                "invalid",
            ),
            (
                "deployments.apps \"a\" is forbidden: User \"b\" cannot patch resource \"deployments\" in API group \"apps\" in the namespace \"c\"",
                "forbidden",
            ),
            (
                "roles.rbac.authorization.k8s.io \"a\" is forbidden: user \"b\" (groups=[\"c\"]) is attempting to grant RBAC permissions not currently held",
                "forbidden",
            ),
            (
                "services \"a\" is forbidden: unable to create new content in namespace c because it is being terminated",
                "forbidden",
            ),
        ] {
            let status = Status::failure(message, "Forbidden").with_code(403);
            let error = Error::from_api("patching", &kube::Error::Api(Box::new(status)));
            assert_eq!(error.label(), label, "{message}");
        }
    }

    /// As Kubernetes 1.36 answers.
    #[test]
    fn a_failed_guard_is_no_refusal() {
        let error = unprocessable("the server rejected our request due to an error in our request");
        assert!(
            matches!(error, Error::Conflict { taken: false, .. }),
            "{error:?}"
        );
        assert_eq!(error.reason(), None);
    }

    #[test]
    fn whoever_denies_a_patch_is_heard() {
        for message in [
            "Deployment.apps \"a\" is invalid: spec.template.spec.containers[0].env[0].name: Required value",
            "admission webhook \"platform.example\" denied the request: ages are the platform's",
            "admission webhook \"platform.example\" denied the request: the server rejected our request due to an error in our request",
        ] {
            let error = unprocessable(message);
            assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
            assert!(error.to_string().ends_with(message), "{error}");
        }
    }
}
