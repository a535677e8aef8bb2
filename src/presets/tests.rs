#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::api::conditions::{MAX_MESSAGE, State};

/// Read into the types and written again nothing is lost, so no field is misspelt, in the knobs either.
#[test]
fn the_registry_is_read_whole() {
    let raw: Vec<Value> = serde_yaml_ng::from_str(SERVERS).unwrap();
    let read: Vec<Server> = serde_yaml_ng::from_str(SERVERS).unwrap();
    assert_eq!(read, all());
    for (raw, read) in raw.iter().zip(&read) {
        assert_eq!(raw, &serde_json::to_value(read).unwrap(), "{}", read.name);
    }
}

#[test]
fn each_entry_is_well_formed() {
    assert!(all().len() >= 60, "only {} entries", all().len());
    for server in all() {
        let name = &server.name;
        let camel = name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.chars().all(|c| c.is_ascii_alphanumeric())
            && name.len() <= 40;
        assert!(camel, "{name} is no CamelCase name of at most 40 letters");
        let takes = server.takes();
        assert!(
            takes.is_some(),
            "{name} takes exactly one of knob, config and none"
        );
        if let Some(Takes::Knob(knob)) = takes {
            let kinds = serde_json::to_value(knob).unwrap();
            assert_eq!(
                kinds.as_object().unwrap().len(),
                1,
                "{name}: one kind of knob"
            );
            assert!(knob.preset.is_none(), "{name} stands for itself");
            assert!(server.default.is_some(), "{name} says its default");
        }
        if let Some(Takes::Config(config)) = takes {
            assert!(config.line.contains("{maxAge}"), "{name}");
            let both = config.line_with_grace.as_ref();
            assert!(both.is_none_or(|line| line.contains("{maxAge}") && line.contains("{grace}")));
        }
    }
}

/// Findings go by it.
#[test]
fn an_image_says_what_age_its_server_has_by_itself() {
    let of = |image: &str| {
        let ages = of_image(image)
            .filter_map(|server| Some((server.name.as_str(), server.default_age()?.as_secs())));
        ages.collect::<Vec<_>>()
    };
    for (image, expected) in [
        ("quay.io/authzed/spicedb:v1.30.0", Some(("SpiceDB", 30))),
        ("ghcr.io/cerbos/cerbos:0.38.1", Some(("Cerbos", 600))),
        ("quay.io/thanos/thanos@sha256:0123", Some(("Thanos", 3_600))),
        ("localhost:5000/thanos", Some(("Thanos", 3_600))),
        ("temporalio/server:1.24.2", Some(("Temporal", 300))),
        ("docker.io/temporalio/server", Some(("Temporal", 300))),
        ("ghcr.io/spiffe/spire-server:1.9.0", Some(("Spire", 180))),
        (
            "envoyproxy/ratelimit:master",
            Some(("EnvoyRatelimit", 86_400)),
        ),
        ("registry.example.com/server:1", None),
        ("registry.example.com/nottemporalio/server", None),
        ("registry.example.com/thanos/bucket", None),
        ("grafana/loki:3.1.0", None),
        ("istio/istiod", None),
        ("", None),
    ] {
        assert_eq!(of(image), Vec::from_iter(expected), "{image}");
    }
}

#[test]
fn the_names_are_in_order_and_each_is_there_once() {
    let names: Vec<&str> = names().collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(names, sorted);
    let mut folded: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
    folded.sort_unstable();
    folded.dedup();
    assert_eq!(folded.len(), names.len(), "two names differ by case only");
}

/// Resources are stored with these names in them: what a name stands for must be the same after an update of the operator.
#[test]
fn no_meaning_ever_changes() {
    let now: BTreeMap<&str, String> = all()
        .iter()
        .map(|server| (server.name.as_str(), server.meaning()))
        .collect();
    let promised: Vec<&str> = include_str!("meanings.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    for line in &promised {
        let name = line.split(' ').next().unwrap();
        assert_eq!(
            now.get(name).map(String::as_str),
            Some(*line),
            "{name} was promised to mean this: give the new meaning a new name, and leave the old entry as it is"
        );
    }
    assert_eq!(
        promised.len(),
        now.len(),
        "run `make crds`, which adds what a new entry means to src/presets/meanings.txt"
    );
}

/// What the schema asks of a knob that is written out, it asks of one that stands in the registry.
#[test]
fn each_knob_would_be_accepted_written_out() {
    for server in all() {
        let Some(Takes::Knob(knob)) = server.takes() else {
            continue;
        };
        let letters = |text: &str, more: &str| {
            text.chars()
                .all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        let flag = |text: &String| {
            let bare = text
                .strip_prefix("--")
                .or_else(|| text.strip_prefix('-'))
                .unwrap();
            bare.starts_with(|c: char| c.is_ascii_alphabetic())
                && letters(bare, "._-")
                && bare.len() <= 101
        };
        let fine = if let Some(env) = &knob.env {
            let variable = |text: &String| {
                letters(text, "_") && !text.starts_with(|c: char| c.is_ascii_digit())
            };
            variable(&env.max_age) && env.grace.as_ref().is_none_or(variable)
        } else if let Some(flags) = &knob.flags {
            flag(&flags.max_age) && flags.grace.as_ref().is_none_or(flag)
        } else if let Some(list) = &knob.list_flag {
            let key = |text: &String| letters(text, "._-");
            flag(&list.flag) && key(&list.max_age) && list.grace.as_ref().is_none_or(key)
        } else {
            false
        };
        assert!(fine, "{}", server.name);
    }
}

/// What a user is told of a server that has no knob is told in full.
#[test]
fn no_message_is_cut() {
    for server in all() {
        for grace in [Value::Null, json!("90s")] {
            let age: crate::api::ConnectionAge = serde_json::from_value(
                json!({"maxAge": "1h30m", "grace": grace, "knob": {"preset": server.name}}),
            )
            .unwrap();
            let Err(told) = crate::connection_age::asked(&age) else {
                continue;
            };
            assert_eq!(told.state, State::False);
            assert!(
                told.message.len() < MAX_MESSAGE - 64,
                "{}: {}",
                server.name,
                told.message
            );
            assert!(told.message.contains(&server.name), "{}", told.message);
            assert!(
                !told.message.contains(['{', '}'])
                    || server.config.is_some()
                    || server.none.is_some()
            );
            assert!(!told.message.contains("{maxAge}") && !told.message.contains("{grace}"));
        }
    }
}
