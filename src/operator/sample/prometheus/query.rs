//! The query, from a closed template. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use crate::balance::families::{self, MeterId};

/// Raw samples of all known families of these pods, and of `up`, which tells an idle pod from one that is not scraped. Nothing in it
/// is a text of the user's: the namespace and the pods are objects that the API server has let be.
pub fn query(namespace: &str, pods: &[&str], family: Option<MeterId>, range: Duration) -> String {
    let slots = families::names().slots().iter();
    let wanted = slots
        .filter(|slot| {
            slot.kind.is_of_connections()
                || family.is_none_or(|family| family.index() == slot.owner)
        })
        .map(|slot| slot.name);
    let mut query = String::from("{__name__=~");
    any_of(&mut query, std::iter::once("up").chain(wanted));
    query.push_str(",namespace=");
    text(&mut query, namespace);
    query.push_str(",pod=~");
    any_of(&mut query, pods.iter().copied());
    // Writing to a String cannot fail.
    let _ = write!(query, "}}[{}s]", range.as_secs().max(1));
    query
}

/// A regular expression that fits exactly these words. Prometheus anchors it at both ends.
fn any_of<'a>(query: &mut String, words: impl Iterator<Item = &'a str>) {
    let mut expression = String::new();
    for word in words {
        if !expression.is_empty() {
            expression.push('|');
        }
        for letter in word.chars() {
            if !letter.is_ascii_alphanumeric() && !matches!(letter, '_' | '-') {
                expression.push('\\');
            }
            expression.push(letter);
        }
    }
    text(query, &expression);
}

/// A string of PromQL.
fn text(query: &mut String, text: &str) {
    query.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => query.extend(['\\', letter]),
            '\n' => query.push_str("\\n"),
            _ => query.push(letter),
        }
    }
    query.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_is_the_template_with_names_in_it() {
        let family = MeterId::named("GrpcMiddleware");
        let said = query("shop", &["a-1", "b.c"], family, Duration::from_mins(1));
        assert!(
            said.starts_with("{__name__=~\"up|grpc_server_started_total"),
            "{said}"
        );
        assert!(
            said.ends_with(",namespace=\"shop\",pod=~\"a-1|b\\\\.c\"}[60s]"),
            "{said}"
        );
        assert!(!said.contains("istio_requests_total"), "{said}");
        let all = query("shop", &["a"], None, Duration::from_mins(1));
        assert!(all.contains("|istio_requests_total|"), "{all}");
        assert!(all.contains("grpc\\\\.server\\\\.call"), "{all}");
    }

    #[test]
    fn no_name_ends_the_string_or_the_expression() {
        let said = query(
            "a\"b\\\n",
            &["\"}", "a|b", ".*", "\\"],
            None,
            Duration::ZERO,
        );
        let (_, tail) = said.split_once(",namespace=").unwrap();
        assert_eq!(
            tail,
            "\"a\\\"b\\\\\\n\",pod=~\"\\\\\\\"\\\\}|a\\\\|b|\\\\.\\\\*|\\\\\\\\\"}[1s]"
        );
    }
}
