//! Why something cannot be read with a user's rights and from a user's place, in words. Pure.

use anyhow::anyhow;

use crate::api::BalanceSource;
use crate::balance::ScrapeError;
use crate::cli::connect::why;
use crate::operator::{Answer, Asked};

/// How such a sentence begins.
const ONLY_STATUS: &str = "of single pods only those that the status names are shown";

/// Said of an API server that takes too long.
pub const SILENT: &str = "the API server does not answer";

/// Why these may not be listed there (none: in all namespaces), and what to do about it.
pub fn unlisted(error: &kube::Error, what: &str, namespace: Option<&str>) -> anyhow::Error {
    let place = namespace.map_or("all namespaces".into(), |name| format!("namespace {name}"));
    let code = match error {
        kube::Error::Api(status) => status.code,
        _ => 0,
    };
    match code {
        401 => anyhow!(why(error)),
        403 => anyhow!(
            "you may not list {what} in {place}: choose a namespace with -n, or ask for the role view, which has that right where \
             Evenkeel is installed"
        ),
        404 => anyhow!(
            "this cluster knows no {what}: install Evenkeel there, or choose another cluster with --context"
        ),
        _ => anyhow!("{what} cannot be listed in {place}: {}", why(error)),
    }
}

/// Why no pod could be read, where it is the way that is missing; the operator has another.
pub fn unread(answers: &[Answer], asked: &Asked) -> Option<String> {
    let all = |is: fn(&ScrapeError) -> bool| {
        let fits = |answer: &Answer| answer.page.as_ref().is_err_and(is);
        !answers.is_empty() && answers.iter().all(fits)
    };
    let https = asked.https.as_ref();
    let has_token = https.is_some_and(|https| https.bearer_token.is_some());
    // Of a mesh's pod too: it is the API server that is asked.
    let forbidden = |error: &ScrapeError| {
        matches!(
            error,
            ScrapeError::HttpStatus(403) | ScrapeError::MeshForbidden
        )
    };
    if all(forbidden) {
        Some(only_status("get pods/proxy"))
    } else if has_token && all(|error| *error == ScrapeError::HttpStatus(401)) {
        Some(format!(
            "{ONLY_STATUS}: the pods want the token that spec.balance.metrics.https names, and the API server, through which they are asked \
             from here, passes none on"
        ))
    } else if asked.source == BalanceSource::Prometheus && all(|_| true) {
        Some(format!(
            "{ONLY_STATUS}: its figures are from Prometheus (spec.balance.source), and the pods' own metrics cannot be read from here"
        ))
    } else {
        None
    }
}

/// That the user lacks this right.
pub fn only_status(right: &str) -> String {
    format!("{ONLY_STATUS}: you may not {right} in this namespace")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::api::GrpcBackend;
    use crate::balance::exposition::{Wanted, read as read_at_once};

    fn answers(errors: &[Option<u16>]) -> Vec<Answer> {
        let answer = |status: &Option<u16>| Answer {
            uid: String::new(),
            at: Timestamp::UNIX_EPOCH,
            page: match status {
                Some(status) => Err(ScrapeError::HttpStatus(*status)),
                None => read_at_once(b"", &Wanted::default()).map_err(ScrapeError::from),
            },
        };
        errors.iter().map(answer).collect()
    }

    #[test]
    fn what_the_api_server_forbids_of_a_mesh_s_pod_is_a_right_too() {
        let mut answers = answers(&[Some(403), Some(403)]);
        answers[0].page = Err(ScrapeError::MeshForbidden);
        let said = unread(&answers, &asked(&json!({})));
        assert!(said.unwrap().contains("you may not get pods/proxy"));
    }

    fn asked(balance: &serde_json::Value) -> Asked {
        let spec =
            json!({"selector": {"app": "cart"}, "ports": [{"port": 80}], "balance": balance});
        Asked::of(&GrpcBackend::new(
            "cart",
            serde_json::from_value(spec).unwrap(),
        ))
    }

    fn refused(code: u16, namespace: Option<&str>) -> String {
        let status = kube::core::Status {
            code,
            message: "the words of the API server".into(),
            ..kube::core::Status::default()
        };
        let error = kube::Error::Api(Box::new(status));
        unlisted(&error, "GrpcBackends", namespace).to_string()
    }

    #[test]
    fn what_may_not_be_listed_says_what_to_do() {
        for (code, namespace, words) in [
            (401, None, "log in again"),
            (
                403,
                Some("shop"),
                "you may not list GrpcBackends in namespace shop: choose a namespace with -n",
            ),
            (403, None, "GrpcBackends in all namespaces: "),
            (
                404,
                None,
                "this cluster knows no GrpcBackends: install Evenkeel",
            ),
            (500, None, "the words of the API server"),
        ] {
            let said = refused(code, namespace);
            assert!(said.contains(words), "{code}: {said}");
            assert!(!said.contains("ApiError"), "{said}");
        }
    }

    #[test]
    fn where_nobody_answers_only_the_cause_is_said() {
        let cause = std::io::Error::other("connection refused");
        let error = kube::Error::Service(Box::new(cause));
        let said = unlisted(&error, "GrpcBackends", None).to_string();
        assert_eq!(
            said,
            "GrpcBackends cannot be listed in all namespaces: connection refused"
        );
    }

    #[test]
    fn where_no_pod_can_be_read_from_here_it_is_said_why() {
        let ca = json!({"configMap": {"name": "ca", "key": "ca.crt"}});
        let https = json!({"metrics": {"https": {"ca": ca}}});
        let mut token = https.clone();
        token["metrics"]["https"]["bearerToken"] = json!({"name": "t", "key": "t"});
        let prometheus = json!({"source": "Prometheus"});
        for (balance, errors, words) in [
            (
                &https,
                [Some(403), Some(403)],
                Some("you may not get pods/proxy"),
            ),
            (&https, [Some(403), None], None),
            (&https, [Some(401), Some(401)], None),
            (&token, [Some(401), Some(401)], Some("passes none on")),
            (&token, [Some(401), None], None),
            (
                &token,
                [Some(403), Some(403)],
                Some("you may not get pods/proxy"),
            ),
            (
                &prometheus,
                [Some(404), Some(500)],
                Some("are from Prometheus"),
            ),
            (&prometheus, [Some(404), None], None),
        ] {
            let said = unread(&answers(&errors), &asked(balance));
            let fits = match (&said, words) {
                (Some(said), Some(words)) => said.contains(words),
                (said, words) => said.is_none() && words.is_none(),
            };
            assert!(fits, "{balance} {errors:?}: {said:?}");
        }
        assert_eq!(unread(&[], &asked(&prometheus)), None);
    }
}
