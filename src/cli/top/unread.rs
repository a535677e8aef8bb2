//! Why pods' own pages cannot be read from a user's place, in words. Pure.

use crate::api::BalanceSource;
use crate::balance::ScrapeError;
use crate::operator::{Answer, Asked};

/// How such a sentence begins.
const ONLY_STATUS: &str = "of single pods only those that the status names are shown";

/// Why no pod could be read, where it is the way that is missing; the operator has another.
pub fn unread(answers: &[Answer], asked: &Asked) -> Option<String> {
    let all = |is: fn(&ScrapeError) -> bool| {
        let fits = |answer: &Answer| answer.page.as_ref().is_err_and(is);
        !answers.is_empty() && answers.iter().all(fits)
    };
    let https = asked.https.as_ref();
    let has_token = https.is_some_and(|https| https.bearer_token.is_some());
    if all(|error| *error == ScrapeError::HttpStatus(403)) {
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

    fn asked(balance: &serde_json::Value) -> Asked {
        let spec =
            json!({"selector": {"app": "cart"}, "ports": [{"port": 80}], "balance": balance});
        Asked::of(&GrpcBackend::new(
            "cart",
            serde_json::from_value(spec).unwrap(),
        ))
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
