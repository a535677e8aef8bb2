//! What `observed` says, from what is known of the pods' connections.

use super::*;
use crate::api::{ObservedAge, Server};
use crate::balance::{Report, Turnover, publish};

const WORDS: [(ObservedAge, &str); 5] = [
    (ObservedAge::Later, "Later"),
    (ObservedAge::Unclear, "Unclear"),
    (ObservedAge::AtAge, "AtAge"),
    (ObservedAge::Measuring, "Measuring"),
    (ObservedAge::NotMeasurable, "NotMeasurable"),
];

/// The rows of a Deployment with two pods, of whose connections this is known.
fn rows(world: &World, known: Option<&[(&str, Turnover)]>, before: &[Server]) -> Vec<Server> {
    let published = known.map(|known| {
        let mut published = publish(None, &Report::default(), now());
        let known = known.iter().map(|(pod, seen)| ((*pod).to_owned(), *seen));
        published.turnover = known.collect();
        published
    });
    let observed = Observed {
        published,
        ..world.observed()
    };
    confirmed(&observed, world.plan().servers, before)
}

fn in_place() -> World {
    let mut world = World::with(env_age(), &json!({}));
    world.settle();
    world
}

#[test]
fn the_worst_pod_speaks_and_who_knows_nothing_leaves_the_word_to_others() {
    let world = in_place();
    for (one, other, said) in [
        (Turnover::Unknown, Turnover::Unknown, "NotMeasurable"),
        (Turnover::Unknown, Turnover::Measuring, "Measuring"),
        (Turnover::Unknown, Turnover::AtAge, "AtAge"),
        (Turnover::Unknown, Turnover::Later, "Later"),
        (Turnover::Measuring, Turnover::Measuring, "Measuring"),
        (Turnover::Measuring, Turnover::AtAge, "AtAge"),
        (Turnover::AtAge, Turnover::AtAge, "AtAge"),
        (Turnover::AtAge, Turnover::Sooner, "Unclear"),
        (Turnover::Sooner, Turnover::Sooner, "Unclear"),
        (Turnover::Sooner, Turnover::Later, "Later"),
        (Turnover::Later, Turnover::Measuring, "Later"),
    ] {
        for (first, second) in [(one, other), (other, one)] {
            let known = [("a-h-0", first), ("a-h-1", second)];
            let rows = rows(&world, Some(&known), &[]);
            let seen = serde_json::to_value(rows[0].observed).unwrap();
            assert_eq!(seen, said, "{first:?} and {second:?}");
        }
    }
}

#[test]
fn pods_of_others_and_pods_that_were_not_asked_say_nothing() {
    let world = in_place();
    let observed = |known: &[(&str, Turnover)]| rows(&world, Some(known), &[])[0].observed;
    assert_eq!(observed(&[]), Some(ObservedAge::Measuring));
    assert_eq!(
        observed(&[("b-h-0", Turnover::Later), ("a-h-0", Turnover::Unknown)]),
        Some(ObservedAge::Measuring)
    );
    let mut empty = world.clone();
    empty.pods.clear();
    assert_eq!(rows(&empty, Some(&[]), &[])[0].observed, None);
}

/// A restart of the operator, or a page that cannot be read for a while, is no news of the connections.
#[test]
fn what_was_seen_stands_until_something_else_is() {
    let world = in_place();
    let known = |seen| [("a-h-0", seen), ("a-h-1", seen)];
    for (before, _) in WORDS {
        let mut told = world.plan().servers;
        told[0].observed = Some(before);
        let after = |known: Option<&[(&str, Turnover)]>| rows(&world, known, &told)[0].observed;
        assert_eq!(after(None), Some(before));
        assert_eq!(after(Some(&known(Turnover::Measuring))), Some(before));
        for (seen, word) in [
            (Turnover::AtAge, ObservedAge::AtAge),
            (Turnover::Later, ObservedAge::Later),
            (Turnover::Unknown, ObservedAge::NotMeasurable),
        ] {
            assert_eq!(after(Some(&known(seen))), Some(word));
        }
        // Of another age it says nothing.
        told[0].running = Some("5m".into());
        assert_eq!(rows(&world, None, &told)[0].observed, None);
    }
}

/// Nobody reads the pods' metrics then, and no waiting changes that.
#[test]
fn where_nothing_is_read_it_says_so() {
    let mut world = in_place();
    world.backend.spec.balance = serde_json::from_value(json!({"mode": "Disabled"})).unwrap();
    let mut told = world.plan().servers;
    for before in [None, Some(ObservedAge::Measuring), Some(ObservedAge::AtAge)] {
        told[0].observed = before;
        let seen = rows(&world, None, &told)[0].observed;
        assert_eq!(seen, Some(ObservedAge::NotMeasurable), "{before:?}");
    }
    world.container(0)["env"] = Value::Null;
    world.roll();
    assert_eq!(rows(&world, None, &[])[0].observed, None, "nothing runs");
}

#[test]
fn each_word_is_explained_where_a_user_looks() {
    let crd = serde_json::to_value(crate::api::crd()).unwrap();
    let status = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties";
    let observed = format!("{status}/servers/items/properties/observed");
    let observed = crd.pointer(&observed).unwrap();
    let explained = observed["description"].as_str().unwrap();
    let accepted = observed["enum"].as_array().unwrap();
    for (word, text) in WORDS {
        assert_eq!(serde_json::to_value(word).unwrap(), text);
        assert!(explained.contains(&format!("`{text}` (")), "{text}");
        assert!(accepted.contains(&json!(text)), "{text}");
    }
}
