//! What goes in, where, and by which knob.

use super::*;
use crate::connection_age::timing as promises;

#[test]
fn the_patch_is_guarded_and_recorded() {
    let mut world = World::with(env_age(), &json!({"env": [{"name": "X", "value": "y"}]}));
    let plan = world.plan();
    let patch = serde_json::to_value(&plan.steps[0].patch).unwrap();
    let text = patch.to_string();
    for guard in [
        r#"{"op":"test","path":"/metadata/uid","value":"uid-a"}"#,
        r#"{"op":"test","path":"/metadata/resourceVersion","value":"1"}"#,
        r#"{"op":"test","path":"/spec/template/spec/containers/0/name","value":"srv"}"#,
        r#"{"op":"add","path":"/spec/template/spec/containers/0/env/-","value":{"name":"AGE","value":"1m"}}"#,
    ] {
        assert!(text.contains(guard), "{guard}\n{text}");
    }
    assert!(plan.holds && plan.steps[0].starts_rollout);
    assert_eq!(plan.steps[0].change, Change::Inject);
    says(
        &plan,
        State::False,
        "RollingOut",
        &["AGE=1m GRACE=30s", "Deployment a"],
    );
    assert_eq!(world.settle(), [Change::Inject]);
    assert_eq!(world.record().unwrap()["before"], "present");
    assert!(world.plan().steps.is_empty());
    says(&world.plan(), State::True, "Applied", &["1m"]);
    assert_eq!(world.plan().running_max_age.as_deref(), Some("1m"));
}

#[test]
fn annotations_that_were_absent_are_made_under_guard() {
    let mut world = World::with(flag_age(), &json!({"args": ["x"]}));
    world.deployments[0]["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("annotations");
    let patch = serde_json::to_string(&world.plan().steps[0].patch).unwrap();
    assert!(patch.contains("/metadata/resourceVersion"));
    assert_eq!(world.settle(), [Change::Inject]);
    assert!(world.record().is_some());
}

#[test]
fn a_list_is_tested_as_a_whole() {
    let world = World::with(flag_age(), &json!({"args": ["x", "y"]}));
    let patch = serde_json::to_string(&world.plan().steps[0].patch).unwrap();
    assert!(patch.contains(
        r#"{"op":"test","path":"/spec/template/spec/containers/0/args","value":["x","y"]}"#
    ));
}

/// The second would go into the rollout of the first, and neither could tell any more whether that fails by its own age.
#[test]
fn of_two_backends_that_look_at_once_one_looks_again() {
    let (older, younger) = two(env_age(), flag_age(), &json!({"args": ["x"]}));
    for (mut first, mut second) in [(older.clone(), younger.clone()), (younger, older)] {
        let late = second.plan();
        assert_eq!(
            (late.steps.len(), first.settle()),
            (1, vec![Change::Inject])
        );
        let patch = &late.steps[0].patch.0;
        assert!(json_patch::patch(&mut first.deployments[0].clone(), patch).is_err());
        second.deployments = first.deployments;
        second.roll();
        assert_eq!(second.settle(), [Change::Inject]);
    }
}

#[test]
fn each_knob_writes_where_it_can() {
    let separate = json!({"maxAge": "1m", "grace": "5s", "knob": {"flags": {"maxAge": "-a", "grace": "-g", "style": "Separate", "format": "Seconds"}}});
    for (age, before, field, after) in [
        (
            env_age(),
            json!({}),
            "env",
            json!([{"name": "AGE", "value": "1m"}, {"name": "GRACE", "value": "30s"}]),
        ),
        (
            flag_age(),
            json!({"command": ["/srv"], "args": ["x"]}),
            "args",
            json!(["x", "--max-age=1m"]),
        ),
        (
            flag_age(),
            json!({"command": ["/srv"]}),
            "command",
            json!(["/srv", "--max-age=1m"]),
        ),
        (
            separate,
            json!({"args": ["x"]}),
            "args",
            json!(["x", "-a", "60", "-g", "5"]),
        ),
        (
            switch_age(),
            json!({"args": ["x"]}),
            "args",
            json!(["x", "-age"]),
        ),
        (
            switch_age(),
            json!({"command": ["/srv"]}),
            "command",
            json!(["/srv", "-age"]),
        ),
    ] {
        let mut world = World::with(age, &before);
        let original = world.deployments[0]["spec"].clone();
        world.settle();
        assert_eq!(world.container(0)[field], after);
        assert_eq!(world.reason(), "Applied");
        assert_eq!(world.plan().running_max_age.as_deref(), Some("1m"));
        world.delete().settle();
        assert_eq!(world.deployments[0]["spec"], original);
        assert!(world.record().is_none() && !world.plan().holds);
    }
}

#[test]
fn what_cannot_be_extended_is_left_alone() {
    let seconds =
        json!({"maxAge": "1500ms", "knob": {"env": {"maxAge": "AGE", "format": "Seconds"}}});
    let no_grace = json!({"maxAge": "1m", "grace": "5s", "knob": {"env": {"maxAge": "AGE"}}});
    let container =
        json!({"maxAge": "1m", "container": "other", "knob": {"env": {"maxAge": "AGE"}}});
    for (age, before, reason, word) in [
        (flag_age(), json!({}), "NothingToExtend", "into command"),
        (switch_age(), json!({}), "NothingToExtend", "args"),
        (
            flag_age(),
            json!({"command": ["/bin/sh", "-c", "exec srv"]}),
            "UnsupportedWorkload",
            "shell",
        ),
        (
            flag_age(),
            json!({"command": ["bash"], "args": ["-ec", "srv"]}),
            "UnsupportedWorkload",
            "shell",
        ),
        (
            flag_age(),
            json!({"command": ["busybox", "sh", "-c", "srv"]}),
            "UnsupportedWorkload",
            "shell",
        ),
        (
            flag_age(),
            json!({"command": ["tini", "--", "dash", "-e", "-c", "srv"]}),
            "UnsupportedWorkload",
            "shell",
        ),
        (
            flag_age(),
            json!({"command": ["bash", "-o", "pipefail", "-c", "exec srv"]}),
            "UnsupportedWorkload",
            "shell",
        ),
        (
            flag_age(),
            json!({"command": ["bash", "--noprofile", "-euo", "pipefail", "-c"], "args": ["exec srv"]}),
            "UnsupportedWorkload",
            "shell",
        ),
        (
            seconds,
            json!({}),
            "InvalidSpec",
            "spec.connectionAge.maxAge",
        ),
        (
            no_grace,
            json!({}),
            "GraceUnsupported",
            "spec.connectionAge.grace",
        ),
        (
            container,
            json!({}),
            "NoServer",
            "no container other: it has srv",
        ),
        (env_age(), json!({"ports": []}), "NoServer", "8081"),
    ] {
        let plan = World::with(age, &before).plan();
        assert!(plan.steps.is_empty());
        says(&plan, State::False, reason, &["", word]);
    }
}

#[test]
fn a_config_file_flag_is_no_shell() {
    let world = World::with(flag_age(), &json!({"command": ["/srv", "-c", "conf.yaml"]}));
    assert_eq!(world.changes(), [Change::Inject]);
}

#[test]
fn several_containers_need_a_name() {
    let mut world = World::with(env_age(), &json!({}));
    let second = json!({"name": "side", "image": "i", "ports": [{"containerPort": 8081}]});
    world.deployments[0]["spec"]["template"]["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .push(second);
    says(
        &world.plan(),
        State::False,
        "AmbiguousContainer",
        &["srv, side", "Deployment a", "spec.connectionAge.container"],
    );
    let mut named = env_age();
    named["container"] = "side".into();
    world.age(Some(named)).settle();
    let side = &world.deployments[0]["spec"]["template"]["spec"]["containers"][1];
    assert_eq!(side["env"][0]["name"], "AGE");
    assert_eq!(world.reason(), "Applied");
}

#[test]
fn others_with_the_labels_are_reported_only() {
    let other = deployment("b", &json!({"ports": [{"containerPort": 9}]}));
    let mut world = World::new(
        Some(env_age()),
        vec![deployment("a", &json!({})), other.clone()],
    );
    world.settle();
    let plan = world.plan();
    says(&plan, State::True, "Applied", &[]);
    assert_eq!(plan.servers[1].state.as_deref(), Some("NoServer"));
    assert_eq!(world.deployments[1]["spec"], other["spec"]);
    let mut named = env_age();
    named["workloads"] = json!(["b"]);
    says(
        &world.age(Some(named)).plan(),
        State::False,
        "NoServer",
        &["Deployment b"],
    );
}

#[test]
fn workloads_that_are_named_must_be_there() {
    let mut age = env_age();
    age["workloads"] = json!(["gone"]);
    let plan = World::with(age, &json!({})).plan();
    assert!(plan.steps.is_empty());
    says(
        &plan,
        State::False,
        "NoServer",
        &["names gone", "spec.selector"],
    );
}

#[test]
fn recreate_only_by_name() {
    let mut age = env_age();
    let mut world = World::with(age.clone(), &json!({}));
    world.deployments[0]["spec"]["strategy"] = json!({"type": "Recreate"});
    says(
        &world.plan(),
        State::False,
        "UnsupportedWorkload",
        &["Deployment a", "spec.connectionAge.workloads"],
    );
    age["workloads"] = json!(["a"]);
    assert_eq!(world.age(Some(age)).changes(), [Change::Inject]);
}

#[test]
fn advise_says_the_exact_patch() {
    let mut age = env_age();
    age["mode"] = "Advise".into();
    let mut world = World::with(age, &json!({"env": [{"name": "X", "value": "y"}]}));
    let plan = world.plan();
    assert!(plan.steps.is_empty() && !plan.holds);
    says(
        &plan,
        State::False,
        "NotApplied",
        &["kubectl patch deployment a -n ns --type=json -p '[{"],
    );
    let message = plan.servers[0].message.clone().unwrap();
    let patch = message.split('\'').nth(1).unwrap();
    let patch: json_patch::Patch = serde_json::from_str(patch).unwrap();
    json_patch::patch(&mut world.deployments[0], &patch.0).unwrap();
    world.roll();
    says(&world.plan(), State::True, "Applied", &[]);
}

#[test]
fn absent_is_not_requested() {
    let plan = World::new(None, vec![deployment("a", &json!({}))]).plan();
    assert!(plan.steps.is_empty() && !plan.holds);
    says(&plan, State::True, "NotRequested", &[]);
}

#[test]
fn a_promise_needs_an_age_that_runs() {
    let mut world = World::with(env_age(), &json!({}));
    let promise = |plan: &Plan| {
        promises::running_age(plan.running_max_age.as_deref()).and_then(promises::promise)
    };
    assert_eq!(promise(&world.plan()), None);
    world.settle();
    assert_eq!(
        promise(&world.plan()),
        Some(std::time::Duration::from_secs(66 + 60))
    );
}

/// A variable goes before envFrom: with another value it does so still.
#[test]
fn env_from_that_came_later_does_not_keep_a_change_from_going_in() {
    let mut world = World::with(env_age(), &json!({}));
    world.settle();
    world.owner(|c| c["envFrom"] = json!([{"configMapRef": {"name": "c"}}]));
    assert_eq!(world.settle(), []);
    let mut longer = env_age();
    longer["maxAge"] = "5m".into();
    assert_eq!(world.age(Some(longer)).settle(), [Change::Update]);
    assert_eq!(world.container(0)["env"][0]["value"], "5m");
    assert_eq!(world.reason(), "Applied");
}
