//! The requests that pass a [`crate::Proxy`], and what may happen to them.

use std::time::Duration;

use http::Method;

use crate::control::{Control, Request};
use crate::process::{Process, Signal};

/// A request that came by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The program, as it names itself.
    pub user_agent: String,
    /// As in the audit log: `get`, `list`, `watch`, `create`, …
    pub verb: String,
    /// The plural, with `/status` and the like; empty for other paths.
    pub resource: String,
    /// The whole path with its query.
    pub uri: String,
}

impl Seen {
    /// Whether it changes something.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }
}

/// What happens to a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It is forwarded after this time.
    Delay(Duration),
    /// It is answered with this HTTP status and not forwarded.
    Refuse(u16),
    /// The program is killed; the request does not reach the API server.
    KillBefore(Victim),
    /// It is forwarded, then the program is killed: it never sees the answer.
    KillAfter(Victim),
}

/// A process to kill.
#[derive(Clone, Debug)]
pub struct Victim(Control, String);

impl Victim {
    pub(crate) fn kill(&self) {
        let request = Request::Signal {
            name: self.1.clone(),
            signal: Signal::Kill.number(),
        };
        if let Err(error) = self.0.ask(&request) {
            eprintln!("proxy: {error:#}");
        }
    }
}

impl std::convert::From<&Process> for Victim {
    fn from(process: &Process) -> Self {
        let (control, name) = process.handle();
        Self(control, name)
    }
}

type Matches = Box<dyn Fn(&Seen) -> bool + Send + Sync>;

/// Which requests suffer which fault.
pub struct Rule {
    pub(crate) matches: Matches,
    pub(crate) skip: usize,
    pub(crate) times: usize,
    pub(crate) fault: Fault,
}

impl Rule {
    /// Every request that fits.
    pub fn new(matches: impl Fn(&Seen) -> bool + Send + Sync + 'static, fault: Fault) -> Self {
        Self {
            matches: Box::new(matches),
            skip: 0,
            times: usize::MAX,
            fault,
        }
    }

    /// Only the `n`th write from now on (the first is 1).
    pub fn nth_write(n: usize, fault: Fault) -> Self {
        Self {
            matches: Box::new(Seen::is_write),
            skip: n.saturating_sub(1),
            times: 1,
            fault,
        }
    }

    /// Lets the first ones pass.
    #[must_use]
    pub fn skip(self, skip: usize) -> Self {
        Self { skip, ..self }
    }

    /// Ends after so many.
    #[must_use]
    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }
}

/// Verb and resource of a request, as the API server's authorizer reads them.
pub(crate) fn classify(method: &Method, path: &str, query: &str) -> (String, String) {
    let mut parts = path.trim_matches('/').split('/').collect::<Vec<_>>();
    let prefix = match parts.first() {
        Some(&"api") => 2,
        Some(&"apis") => 3,
        _ => usize::MAX,
    };
    let rest = if parts.len() > prefix {
        parts.split_off(prefix)
    } else {
        Vec::new()
    };
    let rest = match rest.as_slice() {
        ["namespaces", _, resource, ..] if !matches!(*resource, "status" | "finalize") => {
            &rest[2..]
        }
        all => all,
    };
    let named = rest.len() > 1;
    let watches = query
        .split('&')
        .any(|pair| matches!(pair, "watch=true" | "watch=1" | "watch"));
    let verb = match (method.as_str(), named) {
        ("GET", _) if watches => "watch",
        ("GET", false) if !rest.is_empty() => "list",
        ("GET" | "HEAD", _) => "get",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) => "delete",
        ("DELETE", false) => "deletecollection",
        (other, _) => other,
    };
    let resource = match rest {
        [resource, _, subresource, ..] => format!("{resource}/{subresource}"),
        [resource, ..] => (*resource).to_owned(),
        [] => String::new(),
    };
    (verb.to_owned(), resource)
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::classify;

    #[test]
    fn requests_are_read_as_the_authorizer_reads_them() {
        let cases = [
            (
                Method::GET,
                "/api/v1/namespaces/a/services",
                "",
                "list",
                "services",
            ),
            (
                Method::GET,
                "/api/v1/services",
                "watch=true&x=1",
                "watch",
                "services",
            ),
            (Method::GET, "/api/v1/namespaces/a", "", "get", "namespaces"),
            (
                Method::POST,
                "/api/v1/namespaces",
                "",
                "create",
                "namespaces",
            ),
            (
                Method::PATCH,
                "/apis/apps/v1/namespaces/a/deployments/d",
                "",
                "patch",
                "deployments",
            ),
            (
                Method::PATCH,
                "/apis/e.dev/v1/namespaces/a/backends/d/status",
                "",
                "patch",
                "backends/status",
            ),
            (
                Method::DELETE,
                "/apis/apps/v1/namespaces/a/deployments",
                "",
                "deletecollection",
                "deployments",
            ),
            (Method::GET, "/version", "", "get", ""),
            (Method::GET, "/apis/apps/v1", "", "get", ""),
        ];
        for (method, path, query, verb, resource) in cases {
            let expected = (verb.to_owned(), resource.to_owned());
            assert_eq!(classify(&method, path, query), expected, "{method} {path}");
        }
    }
}
