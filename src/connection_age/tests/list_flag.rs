//! A flag whose value is a list: what others have in it stays, and what was there comes back to the letter.

use super::*;

fn list_age() -> Value {
    json!({"maxAge": "1m", "grace": "30s", "knob": {"listFlag": {
        "flag": "--opts", "maxAge": "age_ms", "grace": "grace_ms", "format": "Milliseconds"
    }}})
}

fn separate() -> Value {
    let mut age = list_age();
    age["knob"]["listFlag"]["style"] = "Separate".into();
    age
}

#[test]
fn it_is_merged_into_what_is_there_and_taken_out_again() {
    for (age, before, field, after) in [
        (
            list_age(),
            json!({"args": ["x"]}),
            "args",
            json!(["x", "--opts=age_ms=60000,grace_ms=30000"]),
        ),
        (
            separate(),
            json!({"command": ["/srv"]}),
            "command",
            json!(["/srv", "--opts", "age_ms=60000,grace_ms=30000"]),
        ),
        (
            list_age(),
            json!({"args": ["--opts=b=2,a=1", "x"]}),
            "args",
            json!(["--opts=b=2,a=1,age_ms=60000,grace_ms=30000", "x"]),
        ),
        (
            list_age(),
            json!({"args": ["-opts", "a=1", "x"]}),
            "args",
            json!(["-opts", "a=1,age_ms=60000,grace_ms=30000", "x"]),
        ),
        (
            separate(),
            json!({"args": ["--opts="]}),
            "args",
            json!(["--opts=age_ms=60000,grace_ms=30000"]),
        ),
        (
            list_age(),
            json!({"args": ["--opts", ""]}),
            "args",
            json!(["--opts", "age_ms=60000,grace_ms=30000"]),
        ),
        (
            list_age(),
            json!({"args": ["--opts=a=1,"]}),
            "args",
            json!(["--opts=a=1,,age_ms=60000,grace_ms=30000"]),
        ),
        (
            list_age(),
            json!({"args": ["--opts=a"]}),
            "args",
            json!(["--opts=a,age_ms=60000,grace_ms=30000"]),
        ),
        (
            list_age(),
            json!({"command": ["/srv", "--opts=a=1"], "args": ["x"]}),
            "command",
            json!(["/srv", "--opts=a=1,age_ms=60000,grace_ms=30000"]),
        ),
        (
            list_age(),
            json!({"args": ["--opts=grace_ms=30000"]}),
            "args",
            json!(["--opts=grace_ms=30000,age_ms=60000"]),
        ),
    ] {
        let mut world = World::with(age, &before);
        let original = world.deployments[0]["spec"].clone();
        assert_eq!(world.settle(), [Change::Inject], "{before}");
        assert_eq!(world.container(0)[field], after);
        says(&world.plan(), State::True, "Applied", &["1m"]);
        assert_eq!(world.plan().running_max_age.as_deref(), Some("1m"));
        assert!(world.plan().steps.is_empty());
        world.delete().settle();
        assert_eq!(world.deployments[0]["spec"], original);
        assert!(world.record().is_none() && !world.plan().holds);
    }
}

#[test]
fn what_the_owner_has_in_the_list_is_not_touched() {
    for (container, word) in [
        (json!({"args": ["--opts=age_ms=5"]}), "age_ms=5 in --opts"),
        (json!({"args": ["--opts", "a=1, age_ms=5"]}), "age_ms=5"),
        (json!({"args": ["--opts=grace_ms=5"]}), "grace_ms=5"),
        (json!({"args": ["--opts=age_ms"]}), "age_ms= in --opts"),
        (json!({"args": ["--opts=age_ms=60000,age_ms=5"]}), "twice"),
        (
            json!({"args": ["--opts=a=1", "--opts=b=1"]}),
            "--opts, twice",
        ),
        (
            json!({"command": ["s", "--opts=a=1"], "args": ["-opts=b=1"]}),
            "--opts, twice",
        ),
        (json!({"args": ["--opts=$(OPTS)"]}), "--opts=$(OPTS)"),
        (json!({"args": ["--opts='a=1'"]}), "--opts='a=1'"),
        (json!({"args": ["--opts a=1"]}), "--opts a=1"),
        (json!({"args": ["--opts"]}), "--opts"),
        (json!({"args": ["--opts", "-x"]}), "--opts already"),
        (
            json!({"args": ["--opts", "$(O)", "x"]}),
            "--opts $(O) already",
        ),
        (
            json!({"command": ["s", "--opts"], "args": ["a=1"]}),
            "--opts",
        ),
        (
            json!({"args": ["$(O)"], "env": [{"name": "O", "value": "--opts=a=1"}]}),
            "--opts=a=1",
        ),
    ] {
        let plan = World::with(list_age(), &container).plan();
        assert!(plan.steps.is_empty(), "{container}");
        says(
            &plan,
            State::False,
            "FieldConflict",
            &[word, "container srv of Deployment a"],
        );
    }
}

#[test]
fn the_same_by_the_owner_is_applied() {
    let same = json!({"args": ["--opts=age_ms=60000,a=1,grace_ms=30000"]});
    let mut world = World::with(list_age(), &same);
    let before = world.deployments[0].clone();
    says(&world.plan(), State::True, "Applied", &[]);
    world.delete().settle();
    assert_eq!(world.deployments[0], before);
}

#[test]
fn a_list_that_the_owner_extended_meanwhile_loses_only_ours() {
    for (before, changed, left) in [
        (
            json!({"args": ["--opts=a=1"]}),
            json!(["--opts=a=1,age_ms=60000,grace_ms=30000,b=2"]),
            json!(["--opts=a=1,b=2"]),
        ),
        (
            json!({"args": ["x"]}),
            json!(["y", "--opts=b=2,age_ms=60000,grace_ms=30000"]),
            json!(["y", "--opts=b=2"]),
        ),
        (
            json!({"args": ["x"]}),
            json!(["x", "--opts=age_ms=60000,grace_ms=7"]),
            json!(["x", "--opts=grace_ms=7"]),
        ),
        (
            json!({"args": ["x"]}),
            json!(["x", "--opts=age_ms=60001,grace_ms=30000"]),
            json!(["x", "--opts=age_ms=60001"]),
        ),
    ] {
        let mut world = World::with(list_age(), &before);
        world.settle();
        world.owner(|c| c["args"] = changed);
        world.delete().settle();
        assert_eq!(world.container(0)["args"], left);
        assert!(world.record().is_none());
    }
}

#[test]
fn a_flag_that_the_owner_gives_beside_ours_is_not_given_twice() {
    let mut world = World::with(list_age(), &json!({"command": ["s"], "args": ["x"]}));
    world.settle();
    world.owner(|c| c["command"] = json!(["s", "--opts=b=2"]));
    world.settle();
    assert_eq!(world.container(0)["args"], json!(["x"]));
    world.settle();
    assert_eq!(
        world.container(0)["command"],
        json!(["s", "--opts=b=2,age_ms=60000,grace_ms=30000"])
    );
    assert!(world.plan().steps.is_empty());
    world.delete().settle();
    assert_eq!(world.container(0)["command"], json!(["s", "--opts=b=2"]));
}

#[test]
fn a_change_of_age_or_style_is_written_once() {
    let mut world = World::with(list_age(), &json!({"args": ["--opts=a=1"]}));
    world.settle();
    assert!(
        world
            .age(Some(separate()))
            .plan()
            .steps
            .iter()
            .all(|step| !step.starts_rollout)
    );
    let mut longer = list_age();
    longer["maxAge"] = "2m".into();
    world.age(Some(longer));
    assert_eq!(world.settle(), [Change::Update]);
    assert_eq!(
        world.container(0)["args"],
        json!(["--opts=a=1,age_ms=120000,grace_ms=30000"])
    );
    assert!(world.plan().steps.is_empty());
}

#[test]
fn two_backends_share_a_list_and_leave_in_any_order() {
    let only = |key: &str| json!({"maxAge": "1m", "knob": {"listFlag": {"flag": "--opts", "maxAge": key, "format": "Seconds"}}});
    leave_in_any_order(
        &two(only("age"), only("other"), &json!({"args": ["x"]})),
        &json!(["x", "--opts=age=60,other=60"]),
    );
}

#[test]
fn a_shell_gets_no_list_either() {
    let shell = json!({"command": ["sh", "-c", "exec srv"]});
    says(
        &World::with(list_age(), &shell).plan(),
        State::False,
        "UnsupportedWorkload",
        &["shell"],
    );
    says(
        &World::with(list_age(), &json!({})).plan(),
        State::False,
        "NothingToExtend",
        &["into command"],
    );
}
