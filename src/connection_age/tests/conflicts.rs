//! The owner always wins; of two backends the older does.

use super::*;

#[test]
fn what_the_owner_has_set_is_not_touched() {
    let env = |value: Value| json!({"env": [value]});
    for (age, container, state, reason, word) in [
        (
            env_age(),
            env(json!({"name": "AGE", "value": "5m"})),
            State::False,
            "FieldConflict",
            "AGE=5m",
        ),
        (
            env_age(),
            env(json!({"name": "GRACE", "value": "5m"})),
            State::False,
            "FieldConflict",
            "GRACE=5m",
        ),
        (
            env_age(),
            env(
                json!({"name": "AGE", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}),
            ),
            State::False,
            "FieldConflict",
            "valueFrom",
        ),
        (
            env_age(),
            json!({"envFrom": [{"configMapRef": {"name": "c"}}]}),
            State::Unknown,
            "EnvFromUnverified",
            "envFrom",
        ),
        (
            flag_age(),
            json!({"args": ["--max-age=2m"]}),
            State::False,
            "FieldConflict",
            "--max-age=2m",
        ),
        (
            flag_age(),
            json!({"args": ["-max-age=2m"]}),
            State::False,
            "FieldConflict",
            "-max-age=2m",
        ),
        (
            flag_age(),
            json!({"args": ["--max_age", "2m"]}),
            State::False,
            "FieldConflict",
            "--max_age 2m",
        ),
        (
            flag_age(),
            json!({"args": ["--max-age 2m"]}),
            State::False,
            "FieldConflict",
            "--max-age 2m",
        ),
        (
            flag_age(),
            json!({"command": ["s", "--max-age"], "args": ["2m"]}),
            State::False,
            "FieldConflict",
            "2m",
        ),
        (
            flag_age(),
            json!({"args": ["--max-age"]}),
            State::False,
            "FieldConflict",
            "--max-age",
        ),
        (
            switch_age(),
            json!({"args": ["--age=false"]}),
            State::False,
            "FieldConflict",
            "--age=false",
        ),
    ] {
        let plan = World::with(age, &container).plan();
        assert!(plan.steps.is_empty(), "{container}");
        says(
            &plan,
            state,
            reason,
            &[word, "container srv of Deployment a"],
        );
    }
}

/// A status is read by more people than a pod's template.
#[test]
fn what_stands_beside_a_flag_is_not_told() {
    let list = json!({"maxAge": "1m", "knob": {"listFlag": {"flag": "--max-age", "maxAge": "ms", "format": "Seconds"}}});
    for age in [flag_age(), list] {
        for flag in ["--max-age", "--max-age x=1"] {
            let secret = json!({"args": [flag, "--api-token=s3cret", "s3cret"]});
            let plan = World::with(age.clone(), &secret).plan();
            says(&plan, State::False, "FieldConflict", &[flag]);
            let row = plan.servers[0].message.as_ref().unwrap();
            for told in [row, &plan.statement.message] {
                assert!(!told.contains("s3cret"), "{told}");
            }
        }
    }
}

#[test]
fn a_flag_in_its_opposite_or_given_twice_is_the_owners() {
    for (age, container, word) in [
        (switch_age(), json!({"args": ["--no-age"]}), "--no-age"),
        (switch_age(), json!({"args": ["-noage"]}), "-noage"),
        (
            flag_age(),
            json!({"args": ["--max-age=1m", "x", "--max_age=2m"]}),
            "--max-age=1m, twice",
        ),
        (
            flag_age(),
            json!({"command": ["s", "--max-age=1m"], "args": ["--max-age=1m"]}),
            "twice",
        ),
        (
            flag_age(),
            json!({"args": ["--max-age=$(AGE)"]}),
            "--max-age=$(AGE)",
        ),
        (
            flag_age(),
            json!({"args": ["$(MORE)"], "env": [{"name": "MORE", "value": "--max-age=3m"}]}),
            "--max-age=3m",
        ),
        (
            flag_age(),
            json!({"args": ["--$(FLAG)", "9m"], "env": [{"name": "FLAG", "value": "max-age"}]}),
            "--max-age 9m",
        ),
    ] {
        let plan = World::with(age, &container).plan();
        assert!(plan.steps.is_empty(), "{container}");
        says(&plan, State::False, "FieldConflict", &[word]);
    }
}

#[test]
fn a_variable_given_twice_is_not_ours_to_judge() {
    let age = json!({"name": "AGE", "value": "1m"});
    let plan = World::with(env_age(), &json!({"env": [age, age]})).plan();
    assert!(plan.steps.is_empty());
    says(&plan, State::False, "FieldConflict", &["AGE, twice"]);
}

#[test]
fn the_same_value_by_the_owner_is_applied() {
    let grace = json!({"name": "GRACE", "value": "30s"});
    for (age, container) in [
        (
            env_age(),
            json!({"env": [{"name": "AGE", "value": "60s"}, grace]}),
        ),
        (flag_age(), json!({"args": ["-max-age", "1m0s"]})),
        (
            flag_age(),
            json!({"args": ["--max-age=$(T)"], "env": [{"name": "T", "value": "1m"}]}),
        ),
        (switch_age(), json!({"args": ["-age", "x"]})),
        (switch_age(), json!({"args": ["--age=true"]})),
    ] {
        let mut world = World::with(age, &container);
        let before = world.deployments[0].clone();
        says(&world.plan(), State::True, "Applied", &[]);
        world.delete().settle();
        assert_eq!(world.deployments[0], before, "nothing of theirs is taken");
    }
}

#[test]
fn a_value_beside_the_owners_is_added_and_taken_alone() {
    let mut world = World::with(env_age(), &json!({"env": [{"name": "AGE", "value": "1m"}]}));
    let before = world.deployments[0]["spec"].clone();
    assert_eq!(world.settle(), [Change::Inject]);
    assert_eq!(
        world.record().unwrap()["entries"],
        json!([{"name": "GRACE", "value": "30s"}])
    );
    world.delete().settle();
    assert_eq!(world.deployments[0]["spec"], before);
}

#[test]
fn an_override_after_us_wins_and_stays() {
    let mut world = World::with(env_age(), &json!({}));
    world.settle();
    world.owner(|c| c["env"][0]["value"] = "9m".into());
    assert!(world.plan().steps.is_empty());
    says(&world.plan(), State::False, "FieldConflict", &["AGE=9m"]);
    assert_eq!(world.plan().running_max_age.as_deref(), Some("9m"));
    world.delete().settle();
    assert_eq!(
        world.container(0)["env"],
        json!([{"name": "AGE", "value": "9m"}])
    );
    assert!(world.record().is_none());
}

#[test]
fn zero_is_for_ever_and_promises_nothing() {
    for zero in ["0", "0s", "0m0s"] {
        let world = World::with(env_age(), &json!({"env": [{"name": "AGE", "value": zero}]}));
        let plan = world.plan();
        says(&plan, State::False, "FieldConflict", &["AGE"]);
        assert_eq!(plan.running_max_age, None, "{zero}");
    }
}

#[test]
fn a_flag_that_the_owner_adds_is_not_given_twice() {
    let mut world = World::with(flag_age(), &json!({"command": ["s"], "args": ["x"]}));
    world.settle();
    world.owner(|c| c["command"] = json!(["s", "--max-age=3m"]));
    assert_eq!(world.settle(), [Change::TakeBack]);
    assert_eq!(world.container(0)["args"], json!(["x"]));
    assert_eq!(world.reason(), "FieldConflict");
}

#[test]
fn of_two_backends_the_older_wins() {
    let (older, younger) = two(env_age(), env_age(), &json!({}));
    assert_eq!(older.changes(), [Change::Inject]);
    assert!(younger.plan().steps.is_empty());
    says(
        &younger.plan(),
        State::False,
        "ClaimedByOther",
        &["AGE", "Deployment a", "GrpcBackend echo"],
    );
}

#[test]
fn the_younger_gives_up_what_the_older_asks_for_later() {
    let (mut older, mut younger) = two(env_age(), env_age(), &json!({}));
    younger.siblings.clear();
    assert_eq!(younger.settle(), [Change::Inject]);
    older.deployments = younger.deployments.clone();
    assert!(older.plan().steps.is_empty());
    says(
        &older.plan(),
        State::False,
        "ClaimedByOther",
        &["GrpcBackend late"],
    );
    younger.siblings = vec![older.backend.clone()];
    assert_eq!(younger.settle(), [Change::TakeBack]);
    older.deployments = younger.deployments.clone();
    older.roll();
    assert_eq!(older.settle(), [Change::Inject]);
    younger.deployments = older.deployments.clone();
    assert!(younger.plan().steps.is_empty());
}

/// A preset knows of further names by which its server takes the same: which of the two backends has the preset makes no difference.
#[test]
fn of_two_names_for_the_same_the_older_wins_too() {
    let preset = json!({"maxAge": "1m", "knob": {"preset": "SpiceDB"}});
    let name = "SPICEDB_GRPC_MAX_CONN_AGE";
    let variable = json!({"maxAge": "2m", "knob": {"env": {"maxAge": name}}});
    for (first, second) in [(&preset, &variable), (&variable, &preset)] {
        let container = json!({"args": ["serve"]});
        let (mut older, mut younger) = two(first.clone(), second.clone(), &container);
        let claimed = |own: &World, other: &str| {
            let words = [other, name, "the same by", "flag grpc-max-conn-age"];
            says(&own.plan(), State::False, "ClaimedByOther", &words);
        };
        // The younger was there first, and makes room.
        let alone = std::mem::take(&mut younger.siblings);
        assert_eq!(younger.settle(), [Change::Inject]);
        younger.siblings = alone;
        older.deployments = younger.deployments.clone();
        older.roll();
        assert_eq!(older.changes(), []);
        claimed(&older, "GrpcBackend late, which has set");
        assert_eq!(younger.settle(), [Change::TakeBack]);
        older.deployments = younger.deployments.clone();
        older.roll();
        assert_eq!(older.settle(), [Change::Inject]);
        // Now it is in by the older, and nobody takes it out again.
        younger.deployments = older.deployments.clone();
        younger.roll();
        assert_eq!((older.changes(), younger.changes()), (vec![], vec![]));
        assert_eq!(older.reason(), "Applied");
        claimed(&younger, "GrpcBackend echo, which is older and asks for");
        // Suspended it asks for nothing, and what it has set is its own still.
        younger.siblings[0].spec.suspend = true;
        assert_eq!(younger.changes(), []);
        claimed(&younger, "GrpcBackend echo, which has set");
    }
}

#[test]
fn a_sibling_that_only_advises_or_is_suspended_claims_nothing() {
    let (_, mut younger) = two(env_age(), env_age(), &json!({}));
    younger.siblings[0].spec.suspend = true;
    assert_eq!(younger.changes(), [Change::Inject]);
    younger.siblings[0].spec.suspend = false;
    younger.siblings[0]
        .spec
        .connection_age
        .as_mut()
        .unwrap()
        .mode = Some(crate::api::AgeMode::Advise);
    assert_eq!(younger.changes(), [Change::Inject]);
}

#[test]
fn different_knobs_live_side_by_side_and_leave_in_any_order() {
    let other = json!({"maxAge": "2m", "knob": {"flags": {"maxAge": "--other-age"}}});
    leave_in_any_order(
        &two(flag_age(), other, &json!({"args": ["x"]})),
        &json!(["x", "--max-age=1m", "--other-age=2m"]),
    );
}

/// Only an envFrom whose names can be this one may set it.
#[test]
fn an_env_from_with_another_prefix_hides_nothing() {
    for (prefix, reason) in [
        (json!("AG"), "EnvFromUnverified"),
        (json!(""), "EnvFromUnverified"),
        (json!("OTHER_"), "RollingOut"),
    ] {
        let from = json!({"envFrom": [{"prefix": prefix, "configMapRef": {"name": "c"}}]});
        assert_eq!(World::with(env_age(), &from).reason(), reason, "{prefix}");
    }
}

#[test]
fn the_same_time_is_the_same_also_with_a_fraction() {
    for (age, theirs) in [("90s", "1.5m"), ("30m", "0.5h"), ("1500ms", "1.5s")] {
        let age = json!({"maxAge": age, "knob": {"env": {"maxAge": "AGE"}}});
        let env = json!({"env": [{"name": "AGE", "value": theirs}]});
        let world = World::with(age, &env);
        assert_eq!(world.reason(), "Applied", "{theirs}");
    }
    for not in ["1..5m", ".m", "1.5", "-1.5m", "1e2m", "infs", "NaNs"] {
        let env = json!({"env": [{"name": "AGE", "value": not}]});
        let age = json!({"maxAge": "90s", "knob": {"env": {"maxAge": "AGE"}}});
        assert_eq!(World::with(age, &env).reason(), "FieldConflict", "{not}");
    }
}

/// A sidecar of Kubernetes 1.28 and later.
#[test]
fn a_server_among_the_init_containers_is_named() {
    let mut world = World::with(env_age(), &json!({"ports": []}));
    world.deployments[0]["spec"]["template"]["spec"]["initContainers"] = json!([
        {"name": "proxy", "image": "i", "restartPolicy": "Always", "ports": [{"containerPort": 8081}]}
    ]);
    says(
        &world.plan(),
        State::False,
        "NoServer",
        &["initContainers", "proxy"],
    );
}

/// To most parsers they are one flag, which would be given twice, and taken out and put in again for ever.
#[test]
fn one_flag_in_two_spellings_is_refused() {
    for grace in ["--conn-age", "-conn-age", "--conn_age", "-conn_age"] {
        let age = json!({"maxAge": "1m", "grace": "5s", "knob": {"flags": {"maxAge": "--conn-age", "grace": grace}}});
        let mut world = World::with(age, &json!({"args": ["x"]}));
        assert_eq!(world.settle(), [], "{grace}");
        says(
            &world.plan(),
            State::False,
            "InvalidSpec",
            &["spec.connectionAge.knob.flags", grace, "one flag"],
        );
    }
}
