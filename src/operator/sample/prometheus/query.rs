//! The query, from a closed template. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::balance::families::{self, MeterId};

/// Labels that the installer may give.
const MATCHERS: usize = 8;
/// Bytes of such a label's name, and of its value.
const MATCHER_BYTES: usize = 128;
/// Labels that the template itself asks for.
const OF_THE_TEMPLATE: [&str; 3] = ["__name__", "namespace", "pod"];

/// Labels that every series must have besides: a server that reads several clusters has pods of one name and namespace from each.
#[derive(Debug, Default)]
pub struct Matchers(BTreeMap<String, String>);

impl Matchers {
    /// From `label=value` each.
    pub fn of(given: &[String]) -> anyhow::Result<Self> {
        ensure!(
            given.len() <= MATCHERS,
            "there may be at most {MATCHERS} labels"
        );
        let mut matchers = BTreeMap::new();
        for text in given {
            let parts = text.split_once('=').filter(|(_, value)| !value.is_empty());
            let (name, value) = parts.with_context(|| {
                format!(
                    "{text} is no label with its value: write label=value, such as cluster=prod"
                )
            })?;
            ensure!(
                is_label(name),
                "{name} is no name of a label: letters, digits and underscores, and no digit first"
            );
            ensure!(
                !OF_THE_TEMPLATE.contains(&name),
                "{name} is asked for already, as each GrpcBackend needs it"
            );
            ensure!(
                name.len().max(value.len()) <= MATCHER_BYTES,
                "{name}: a label and its value may have at most {MATCHER_BYTES} bytes each"
            );
            let before = matchers.insert(name.to_owned(), value.to_owned());
            ensure!(before.is_none(), "{name} is given twice");
        }
        Ok(Self(matchers))
    }
}

fn is_label(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Raw samples of all known families of these pods, and of `up`, which tells an idle pod from one that is not scraped. Nothing in it
/// is a text of the user's: the namespace and the pods are objects that the API server has let be, the matchers the installer's.
pub fn query(
    matchers: &Matchers,
    namespace: &str,
    pods: &[&str],
    family: Option<MeterId>,
    range: Duration,
) -> String {
    let slots = families::names().slots().iter();
    let wanted = slots
        .filter(|slot| {
            slot.kind.is_of_connections()
                || family.is_none_or(|family| family.index() == slot.owner)
        })
        .map(|slot| slot.name);
    let mut query = String::from("{__name__=~");
    any_of(&mut query, std::iter::once("up").chain(wanted));
    for (name, value) in &matchers.0 {
        query.extend([",", name, "="]);
        text(&mut query, value);
    }
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
        let of_any = Matchers::default();
        let minute = Duration::from_mins(1);
        let said = query(&of_any, "shop", &["a-1", "b.c"], family, minute);
        assert!(
            said.starts_with("{__name__=~\"up|grpc_server_started_total"),
            "{said}"
        );
        assert!(
            said.ends_with(",namespace=\"shop\",pod=~\"a-1|b\\\\.c\"}[60s]"),
            "{said}"
        );
        assert!(!said.contains("istio_requests_total"), "{said}");
        let all = query(&of_any, "shop", &["a"], None, minute);
        assert!(all.contains("|istio_requests_total|"), "{all}");
        assert!(all.contains("grpc\\\\.server\\\\.call"), "{all}");
    }

    #[test]
    fn no_name_ends_the_string_or_the_expression() {
        let said = query(
            &Matchers::default(),
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

    fn matchers(given: &[&str]) -> anyhow::Result<Matchers> {
        let given: Vec<String> = given.iter().map(|text| (*text).to_owned()).collect();
        Matchers::of(&given)
    }

    #[test]
    fn every_series_must_have_the_installer_s_labels() {
        let given = matchers(&["cluster=prod=1", "_a1=\"}\\|.*"]).unwrap();
        let said = query(&given, "shop", &["a"], None, Duration::from_mins(1));
        let (_, tail) = said.split_once("\",").unwrap();
        assert_eq!(
            tail,
            "_a1=\"\\\"}\\\\|.*\",cluster=\"prod=1\",namespace=\"shop\",pod=~\"a\"}[60s]"
        );
    }

    #[test]
    fn labels_that_cannot_be_meant_so_are_refused() {
        let long = format!("cluster={}", "x".repeat(MATCHER_BYTES + 1));
        let names: Vec<String> = (0..=MATCHERS).map(|name| format!("l{name}=x")).collect();
        let many: Vec<&str> = names.iter().map(String::as_str).collect();
        for (given, words) in [
            (&["cluster"][..], "write label=value"),
            (&["cluster="], "write label=value"),
            (&["=prod"], "no name of a label"),
            (&["1st=x"], "no name of a label"),
            (&["my-cluster=x"], "no name of a label"),
            (&["clüster=x"], "no name of a label"),
            (&["a\"}=x"], "no name of a label"),
            (&["namespace=shop"], "asked for already"),
            (&["pod=a"], "asked for already"),
            (&["__name__=up"], "asked for already"),
            (&["cluster=a", "cluster=b"], "given twice"),
            (&[long.as_str()], "at most 128 bytes"),
            (&many, "at most 8 labels"),
        ] {
            let said = matchers(given).unwrap_err().to_string();
            assert!(said.contains(words), "{given:?}: {said}");
        }
        assert!(matchers(&many[..MATCHERS]).is_ok());
    }
}
