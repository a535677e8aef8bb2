//! Whatever the container: once in, nothing more is written; once out, the template is what it was.

use proptest::prelude::*;

use super::*;
use crate::api::{DurationFormat, GoDuration};

fn words() -> impl Strategy<Value = Option<Vec<String>>> {
    let word = prop_oneof![
        "[a-z]{1,4}",
        "--[a-z]{1,4}=[a-z0-9]{0,4}",
        "-{1,3}[a-z_-]{0,6}",
        // Whatever a person may write: nothing, quotes, spaces, other scripts, variables of the kubelet.
        "\\PC{0,8}",
        "--?max[-_]age[= ]?\\PC{0,4}",
        "(--opts=)?\\$\\$?\\((AGE|X)\\)[\"', ]?",
        Just("--max-age=1m".to_owned()),
        Just("-age".to_owned()),
        Just("--opts".to_owned()),
        "--?opts[= ]([a-z]{0,2}=?[0-9]{0,2},?){0,3}",
        Just("--opts=k=60,a=1".to_owned())
    ];
    // Empty and absent are one to the API server, which stores the second.
    let list = proptest::collection::vec(word, 0..5);
    list.prop_map(|list| (!list.is_empty()).then_some(list))
}

fn variables() -> impl Strategy<Value = Option<Vec<Value>>> {
    let variable = (
        prop_oneof![
            "[A-Z]{1,6}",
            Just("AGE".to_owned()),
            Just("GRACE".to_owned())
        ],
        prop_oneof![
            "[a-z0-9]{1,3}",
            Just("1m".to_owned()),
            Just("30s".to_owned())
        ],
    )
        .prop_map(|(name, value)| json!({"name": name, "value": value}));
    let odd = (prop_oneof![Just("AGE"), Just("X")], "\\PC{0,4}")
        .prop_map(|(name, value)| json!({"name": name, "value": value}));
    let from = prop_oneof![Just("AGE"), Just("GRACE"), Just("POD")].prop_map(
        |name| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
    );
    let bare = Just(json!({"name": "BARE"}));
    let variable = prop_oneof![6 => variable, 1 => odd, 1 => from, 1 => bare];
    let list = proptest::collection::vec(variable, 0..5);
    list.prop_map(|list| (!list.is_empty()).then_some(list))
}

/// Another container of the pod, and what may set variables of the server unseen.
fn beside() -> impl Strategy<Value = (Option<Value>, Value)> {
    let other = (words(), variables()).prop_map(|(args, env)| {
        let mut other = container(None, args.as_ref(), env.as_ref());
        other["name"] = "other".into();
        other
    });
    let from = prop_oneof![
        8 => Just(Value::Null),
        1 => Just(json!([{"configMapRef": {"name": "c"}}])),
        1 => Just(json!([{"prefix": "OTHER_", "configMapRef": {"name": "c"}}])),
    ];
    (proptest::option::of(other), from)
}

fn knobs() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(env_age()),
        Just(json!({"maxAge": "1m", "knob": {"env": {"maxAge": "AGE", "grace": "GRACE"}}})),
        Just(flag_age()),
        Just(switch_age()),
        list_knobs(),
        Just(
            json!({"maxAge": "1m", "grace": "5s", "knob": {"flags": {"maxAge": "-a", "grace": "-g", "style": "Separate"}}})
        ),
    ]
}

fn list_knobs() -> impl Strategy<Value = Value> {
    (
        proptest::option::of(Just("5s")),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(grace, separate, milliseconds)| {
            json!({"maxAge": "1m", "grace": grace, "knob": {"listFlag": {
                "flag": "--opts", "maxAge": "k", "grace": "g",
                "style": if separate { "Separate" } else { "Equals" },
                "format": if milliseconds { "Milliseconds" } else { "Seconds" }
            }}})
        })
}

/// Every way to write a flag and its value that some parser reads, and whether that value is the one that is wanted.
fn spellings() -> impl Strategy<Value = (Vec<String>, Option<bool>)> {
    let name = prop_oneof![Just("max-age"), Just("max_age")];
    let dashes = prop_oneof![Just("-"), Just("--")];
    let value = prop_oneof![Just("1m"), Just("60s"), Just("9m"), Just("")];
    (dashes, name, value, 0..4).prop_map(|(dashes, name, value, form)| {
        let same = ["1m", "60s"].contains(&value);
        match form {
            0 => (vec![format!("{dashes}{name}={value}")], Some(same)),
            1 => (vec![format!("{dashes}{name} {value}")], Some(same)),
            2 => {
                let words = vec![format!("{dashes}{name}"), value.to_owned()];
                (words, Some(same))
            }
            // Its value is the next word, if there is one.
            _ => (vec![format!("{dashes}{name}")], None),
        }
    })
}

fn container(
    command: Option<&Vec<String>>,
    args: Option<&Vec<String>>,
    env: Option<&Vec<Value>>,
) -> Value {
    let mut container = json!({});
    for (field, value) in [
        ("command", json!(command)),
        ("args", json!(args)),
        ("env", json!(env)),
    ] {
        if !value.is_null() {
            container[field] = value;
        }
    }
    container
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn in_and_out_leaves_no_trace(command in words(), args in words(), env in variables(), (other, env_from) in beside(), age in knobs(), next in knobs(), busy in any::<bool>()) {
        let mut server = container(command.as_ref(), args.as_ref(), env.as_ref());
        if !env_from.is_null() {
            server["envFrom"] = env_from;
        }
        let mut world = World::with(age, &server);
        let pod = &mut world.deployments[0]["spec"]["template"]["spec"];
        pod["containers"].as_array_mut().unwrap().extend(other);
        world.roll();
        let spec = world.deployments[0]["spec"].clone();
        world.settle();
        prop_assert!(world.plan().steps.is_empty(), "settled");
        world.age(Some(next));
        if busy {
            world.deployments[0]["status"]["updatedReplicas"] = 1.into();
            for minute in [0, 1] {
                world.tell_at(after(minute));
            }
            world.deployments[0]["status"]["updatedReplicas"] = 2.into();
        }
        world.settle();
        prop_assert!(world.plan().steps.is_empty(), "settled after a change");
        let rows = &world.backend.status.as_ref().unwrap().servers;
        prop_assert!(rows.iter().all(|row| row.reverts.is_empty() && row.gone_since.is_none()), "nobody took anything out: {rows:?}");
        world.delete().settle();
        prop_assert_eq!(&world.deployments[0]["spec"], &spec);
        prop_assert!(world.record().is_none() && !world.plan().holds);
    }

    #[test]
    fn a_flag_is_recognised_in_every_spelling_and_wherever_it_stands(
        before in proptest::collection::vec("[a-z]{1,3}", 0..3), given in spellings(), after in words(), in_command in any::<bool>()
    ) {
        let (given, same) = given;
        let after = after.unwrap_or_default();
        let once = !after.iter().any(|word| word.replace('_', "-").contains("max-age"));
        let own: Vec<String> = before.into_iter().chain(given).chain(after).collect();
        let with = vec!["s".to_owned()];
        let (command, args) = if in_command { (own.clone(), with) } else { (with, own.clone()) };
        let mut world = World::with(flag_age(), &container(Some(&command), Some(&args), None));
        let spec = world.deployments[0]["spec"].clone();
        prop_assert!(world.plan().steps.is_empty(), "never given twice");
        let plan = world.plan();
        let expected: &[&str] = match same {
            Some(true) if once => &["Applied"],
            Some(false) => &["FieldConflict"],
            _ => &["FieldConflict", "Applied"],
        };
        prop_assert!(expected.contains(&world.reason()), "{} for {own:?}", world.reason());
        prop_assert_eq!(plan.servers[0].set_by, Some(crate::api::SetBy::Owner));
        world.delete().settle();
        prop_assert_eq!(&world.deployments[0]["spec"], &spec);
    }

    #[test]
    fn a_list_keeps_what_others_have_in_it(
        own in proptest::collection::vec("[a-f]{1,2}(=[0-9]{0,2})?", 0..4), added in proptest::collection::vec("[a-f]{1,2}=[0-9]", 0..3), next in any::<bool>(), age in list_knobs()
    ) {
        let flag = |list: &str| if next { vec!["--opts".to_owned(), list.to_owned()] } else { vec![format!("--opts={list}")] };
        let mut world = World::with(age, &json!({"args": flag(&own.join(","))}));
        prop_assert_eq!(world.settle(), [Change::Inject]);
        let word = usize::from(next);
        let live = world.container(0)["args"][word].as_str().unwrap().to_owned();
        prop_assert!(live.contains(&own.join(",")), "{live}");
        let extended: Vec<&str> = std::iter::once(live.as_str()).chain(added.iter().map(String::as_str)).collect();
        world.owner(|c| c["args"][word] = extended.join(",").into());
        world.delete().settle();
        let left: Vec<String> = own.into_iter().chain(added).collect();
        prop_assert_eq!(&world.container(0)["args"], &json!(flag(&left.join(","))));
    }

    #[test]
    fn what_is_written_is_read_as_the_same_time(hours in 0..24_u32, minutes in 0..60_u32, seconds in 1..60_u32, millis in prop_oneof![Just(0), 1..1000_u32]) {
        let units = [(hours, "h"), (minutes, "m"), (seconds, "s"), (millis, "ms")];
        let groups: Vec<String> = units.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect();
        let text = groups.concat();
        let age = GoDuration::new(text);
        let length = age.get().unwrap();
        for (format, unit) in [(DurationFormat::GoDuration, ""), (DurationFormat::Seconds, "s"), (DurationFormat::Milliseconds, "ms")] {
            match age.format(format) {
                Ok(written) => {
                    let read: u128 = written.parse().unwrap_or(0);
                    let again = match unit {
                        "s" => read * 1000,
                        "ms" => read,
                        _ => GoDuration::new(written).get().unwrap().as_millis(),
                    };
                    prop_assert_eq!(again, length.as_millis());
                }
                Err(_) => prop_assert!(format == DurationFormat::Seconds && millis > 0),
            }
        }
    }

    #[test]
    fn a_stale_patch_changes_nothing(age in knobs(), next in knobs(), args in words(), env in variables()) {
        let mut world = World::with(age, &container(Some(&vec!["s".into()]), args.as_ref(), env.as_ref()));
        for stage in 0..3 {
            match stage {
                0 => {}
                1 => drop(world.age(Some(next.clone()))),
                _ => drop(world.delete()),
            }
            for step in world.plan().steps {
                let text = serde_json::to_string(&step.patch).unwrap();
                let mut changes = vec![("/metadata/uid", json!("another"))];
                if step.starts_rollout {
                    // With it goes whatever else somebody writes: another list, a manifest, a claim in managedFields.
                    changes.push(("/metadata/resourceVersion", json!("later")));
                    changes.push(("/spec/template/spec/containers/0/name", json!("other")));
                }
                if text.contains("/command") {
                    changes.push(("/spec/template/spec/containers/0/command/0", json!("changed")));
                }
                if text.contains("/args") {
                    changes.push(("/spec/template/spec/containers/0/args/0", json!("changed")));
                }
                if world.record().is_some() {
                    changes.push(("/metadata/annotations/connection-age.evenkeel.dev~1echo", json!("edited")));
                }
                for (at, value) in changes {
                    let mut other = world.deployments[0].clone();
                    *other.pointer_mut(at).unwrap() = value;
                    prop_assert!(json_patch::patch(&mut other, &step.patch.0).is_err(), "{at} may change beneath {text}");
                }
            }
            world.settle();
        }
    }

    #[test]
    fn an_edited_record_never_breaks_a_plan(text in ".{0,200}") {
        let mut world = World::with(env_age(), &json!({}));
        world.deployments[0]["metadata"]["annotations"]["connection-age.evenkeel.dev/echo"] = text.into();
        prop_assert!(world.plan().holds);
    }
}
