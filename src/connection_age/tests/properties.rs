//! Whatever the container: once in, nothing more is written; once out, the template is what it was.

use proptest::prelude::*;

use super::*;

fn words() -> impl Strategy<Value = Option<Vec<String>>> {
    let word = prop_oneof![
        "[a-z]{1,4}",
        "--[a-z]{1,4}=[a-z0-9]{0,4}",
        "-{1,3}[a-z_-]{0,6}",
        Just("--max-age=1m".to_owned()),
        Just("-age".to_owned())
    ];
    proptest::option::of(proptest::collection::vec(word, 1..5))
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
    proptest::option::of(proptest::collection::vec(variable, 1..5))
}

fn knobs() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(env_age()),
        Just(flag_age()),
        Just(switch_age()),
        Just(
            json!({"maxAge": "1m", "grace": "5s", "knob": {"flags": {"maxAge": "-a", "grace": "-g", "style": "Separate"}}})
        ),
    ]
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
    fn in_and_out_leaves_no_trace(command in words(), args in words(), env in variables(), age in knobs(), next in knobs()) {
        let mut world = World::with(age, &container(command.as_ref(), args.as_ref(), env.as_ref()));
        let spec = world.deployments[0]["spec"].clone();
        world.settle();
        prop_assert!(world.plan().steps.is_empty(), "settled");
        world.age(Some(next)).settle();
        prop_assert!(world.plan().steps.is_empty(), "settled after a change");
        world.delete().settle();
        prop_assert_eq!(&world.deployments[0]["spec"], &spec);
        prop_assert!(world.record().is_none() && !world.plan().holds);
    }

    #[test]
    fn a_stale_patch_changes_nothing(age in knobs(), env in variables()) {
        let world = World::with(age, &container(Some(&vec!["s".into()]), None, env.as_ref()));
        for step in world.plan().steps {
            let mut other = world.deployments[0].clone();
            other["metadata"]["uid"] = "another".into();
            prop_assert!(json_patch::patch(&mut other, &step.patch.0).is_err());
        }
    }

    #[test]
    fn an_edited_record_never_breaks_a_plan(text in ".{0,200}") {
        let mut world = World::with(env_age(), &json!({}));
        world.deployments[0]["metadata"]["annotations"]["connection-age.evenkeel.dev/echo"] = text.into();
        prop_assert!(world.plan().holds);
    }
}
