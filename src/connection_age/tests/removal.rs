//! How it comes out again.

use std::time::Duration;

use super::*;

fn applied(age: Value, container: &Value) -> (World, Value) {
    let mut world = World::with(age, container);
    let before = world.deployments[0]["spec"].clone();
    world.settle();
    assert_eq!(world.reason(), "Applied");
    (world, before)
}

type Trigger = Box<dyn Fn(&mut World)>;

#[test]
fn every_trigger_takes_it_back() {
    let mut advise = env_age();
    advise["mode"] = "Advise".into();
    let mut elsewhere = env_age();
    elsewhere["workloads"] = json!(["b"]);
    let triggers: [(&str, Trigger); 6] = [
        (
            "deleted",
            Box::new(|world| {
                world.delete();
            }),
        ),
        (
            "removed",
            Box::new(|world| {
                world.age(None);
            }),
        ),
        (
            "advise",
            Box::new(move |world| {
                world.age(Some(advise.clone()));
            }),
        ),
        (
            "workloads",
            Box::new(move |world| {
                world.age(Some(elsewhere.clone()));
            }),
        ),
        (
            "labels",
            Box::new(|world| {
                world
                    .backend
                    .spec
                    .selector
                    .insert("tier".into(), "x".into());
            }),
        ),
        (
            "port",
            Box::new(|world| {
                world.backend.spec.ports[0].port = 9;
            }),
        ),
    ];
    for (name, trigger) in triggers {
        let (mut world, before) = applied(env_age(), &json!({}));
        trigger(&mut world);
        assert_eq!(world.settle(), [Change::TakeBack], "{name}");
        assert_eq!(world.deployments[0]["spec"], before, "{name}");
        assert!(
            world.record().is_none() && world.plan().steps.is_empty(),
            "{name}"
        );
    }
}

#[test]
fn a_changed_spec_swaps_in_one_rollout() {
    let variable = json!({"maxAge": "1m", "knob": {"env": {"maxAge": "OTHER"}}});
    let mut longer = env_age();
    longer["maxAge"] = "2m".into();
    for (age, env, args) in [
        (
            variable,
            json!([{"name": "OTHER", "value": "1m"}]),
            json!(["x"]),
        ),
        (
            longer,
            json!([{"name": "AGE", "value": "2m"}, {"name": "GRACE", "value": "30s"}]),
            json!(["x"]),
        ),
        (flag_age(), Value::Null, json!(["x", "--max-age=1m"])),
    ] {
        let (mut world, before) = applied(env_age(), &json!({"args": ["x"]}));
        assert_eq!(world.age(Some(age)).settle(), [Change::Update]);
        assert_eq!(
            (
                &world.container(0)["env"].clone(),
                &world.container(0)["args"]
            ),
            (&env, &args)
        );
        assert_eq!(world.reason(), "Applied");
        world.delete().settle();
        assert_eq!(world.deployments[0]["spec"], before);
    }
}

#[test]
fn the_same_time_in_other_words_restarts_nothing() {
    let (mut world, _) = applied(env_age(), &json!({}));
    let mut age = env_age();
    age["maxAge"] = "60s".into();
    assert!(world.age(Some(age)).plan().steps.is_empty());
    assert_eq!(world.reason(), "Applied");
}

#[test]
fn a_renamed_container_gets_it_anew() {
    let (mut world, _) = applied(env_age(), &json!({}));
    world.owner(|c| {
        c["name"] = "renamed".into();
        c.as_object_mut().unwrap().remove("env");
    });
    assert_eq!(world.settle(), [Change::Update]);
    assert_eq!(world.reason(), "Applied");
    world.delete().settle();
    assert_eq!(world.container(0)["env"], Value::Null);
}

#[test]
fn a_changed_container_moves_it() {
    let mut world = World::with(env_age(), &json!({}));
    let side = json!({"name": "side", "image": "i"});
    world.deployments[0]["spec"]["template"]["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .push(side);
    let before = world.deployments[0]["spec"].clone();
    world.settle();
    let mut age = env_age();
    age["container"] = "side".into();
    assert_eq!(world.age(Some(age)).settle(), [Change::Update]);
    assert_eq!(world.container(0)["env"], Value::Null);
    world.delete().settle();
    assert_eq!(world.deployments[0]["spec"], before);
}

#[test]
fn leave_only_forgets() {
    for trigger in [false, true] {
        let mut age = env_age();
        age["onRemove"] = "Leave".into();
        let (mut world, _) = applied(age, &json!({}));
        let with = world.deployments[0]["spec"].clone();
        if trigger {
            world.age(None);
        } else {
            world.delete();
        }
        assert_eq!(world.settle(), [Change::Forget]);
        assert_eq!(world.deployments[0]["spec"], with);
        assert!(world.record().is_none() && !world.plan().holds);
    }
}

#[test]
fn a_later_leave_is_recorded_without_a_rollout() {
    let (mut world, _) = applied(env_age(), &json!({}));
    let mut age = env_age();
    age["onRemove"] = "Leave".into();
    world.age(Some(age));
    assert!(!world.plan().steps[0].starts_rollout);
    assert_eq!(world.settle(), [Change::Update]);
    assert!(world.plan().steps.is_empty());
    assert_eq!(world.age(None).settle(), [Change::Forget]);
}

#[test]
fn what_somebody_has_claimed_since_is_only_forgotten() {
    let owned = |field: Value| json!([{"manager": "argocd", "operation": "Apply", "fieldsV1": {"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"srv\"}": field}}}}}}]);
    let manifest = |container: Value| {
        json!({"spec": {"template": {"spec": {"containers": [container]}}}}).to_string()
    };
    let variables = json!({"f:env": {"k:{\"name\":\"AGE\"}": {}, "k:{\"name\":\"GRACE\"}": {}}});
    let env = json!([{"name": "AGE", "value": "1m"}, {"name": "GRACE", "value": "30s"}]);
    for (age, container, managed, last) in [
        (env_age(), json!({}), Some(owned(variables)), None),
        (
            env_age(),
            json!({}),
            None,
            Some(manifest(json!({"name": "srv", "env": env}))),
        ),
        (env_age(), json!({}), None, Some("{broken".to_owned())),
        (
            flag_age(),
            json!({"args": ["x"]}),
            Some(owned(json!({"f:args": {}}))),
            None,
        ),
        (
            flag_age(),
            json!({"args": ["x"]}),
            None,
            Some(manifest(json!({"name": "srv", "args": ["-max-age=1m"]}))),
        ),
    ] {
        let (mut world, _) = applied(age, &container);
        let with = world.deployments[0]["spec"].clone();
        if let Some(managed) = managed {
            world.deployments[0]["metadata"]["managedFields"] = managed;
        }
        if let Some(last) = last {
            world.deployments[0]["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] =
                last.into();
        }
        assert!(world.plan().steps.is_empty());
        assert_eq!(world.delete().settle(), [Change::Forget]);
        assert_eq!(world.deployments[0]["spec"], with);
        assert!(world.record().is_none());
    }
}

/// Who edits another argument by hand owns the whole list from then on, and has said nothing of ours. Whoever sends the list as a program
/// may mean ours too.
#[test]
fn another_argument_edited_by_hand_claims_nothing() {
    let mut longer = flag_age();
    longer["maxAge"] = "5m".into();
    for (manager, operation, by_hand) in [
        ("kubectl-edit", "Update", true),
        ("kubectl-patch", "Update", true),
        ("kubectl-replace", "Update", true),
        ("kubectl", "Apply", false),
        ("helm", "Update", false),
        ("dashboard", "Update", false),
    ] {
        let (mut world, _) = applied(flag_age(), &json!({"args": ["x"]}));
        world.owner(|own| own["args"] = json!(["y", "--max-age=1m"]));
        world.deployments[0]["metadata"]["managedFields"] = json!([{
            "manager": manager, "operation": operation,
            "fieldsV1": {"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"srv\"}": {"f:args": {}}}}}}}
        }]);
        assert_eq!(world.settle(), [], "{manager}");
        let mut changed = world.clone();
        changed.age(Some(longer.clone()));
        if by_hand {
            assert_eq!(changed.settle(), [Change::Update], "{manager}");
            let args = json!(["y", "--max-age=5m"]);
            assert_eq!(changed.container(0)["args"], args, "{manager}");
            assert_eq!(world.delete().settle(), [Change::TakeBack], "{manager}");
            assert_eq!(world.container(0)["args"], json!(["y"]), "{manager}");
        } else {
            assert_eq!(changed.changes(), [Change::Forget], "{manager}");
            let words = ["has --max-age=1m already", "remove it there"];
            says(&changed.plan(), State::False, "FieldConflict", &words);
            assert_eq!(world.delete().settle(), [Change::Forget], "{manager}");
            let args = json!(["y", "--max-age=1m"]);
            assert_eq!(world.container(0)["args"], args, "{manager}");
        }
    }
}

#[test]
fn a_record_that_somebody_edited_is_forgotten() {
    for text in ["", "{}", "null", "[1]", r#"{"container":"srv"}"#] {
        let (mut world, _) = applied(env_age(), &json!({}));
        let with = world.deployments[0]["spec"].clone();
        world.deployments[0]["metadata"]["annotations"]["connection-age.evenkeel.dev/echo"] =
            text.into();
        assert!(world.plan().holds);
        assert_eq!(world.delete().settle(), [Change::Forget]);
        assert_eq!(world.deployments[0]["spec"], with);
        assert!(!world.plan().holds);
    }
}

#[test]
fn deletion_waits_for_nothing() {
    let (mut world, before) = applied(env_age(), &json!({}));
    world.deployments[0]["spec"]["paused"] = true.into();
    world.deployments[0]["status"]["updatedReplicas"] = 0.into();
    let plan = plan(&world.delete().observed(), FULL, now());
    assert_eq!(plan.steps[0].change, Change::TakeBack);
    assert!(plan.holds && !plan.blocked_by_rollout);
    world.settle();
    assert_eq!(world.deployments[0]["spec"]["template"], before["template"]);
}

#[test]
fn a_namespace_that_goes_is_let_go() {
    let (mut world, _) = applied(env_age(), &json!({}));
    world.namespace_terminating = true;
    let plan = world.delete().plan();
    assert!(plan.steps.is_empty() && !plan.holds);
}

#[test]
fn a_deployment_that_goes_holds_nothing() {
    let (mut world, _) = applied(env_age(), &json!({}));
    world.deployments[0]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let plan = world.delete().plan();
    assert!(plan.steps.is_empty() && !plan.holds);
}

#[test]
fn a_write_that_was_not_released_is_released() {
    let (mut world, _) = applied(env_age(), &json!({}));
    let ours = json!({"manager": names::WORKLOAD_MANAGER, "operation": "Update"});
    let theirs = json!({"manager": "kubectl", "operation": "Update"});
    world.deployments[0]["metadata"]["managedFields"] = json!([ours, theirs, ours]);
    assert_eq!(world.settle(), [Change::Release]);
    assert_eq!(
        world.deployments[0]["metadata"]["managedFields"],
        json!([theirs])
    );
    assert!(world.plan().steps.is_empty());
}

/// The finalizer goes with the look after that, for which nothing calls: the workload is none of this backend's.
#[test]
fn fields_given_up_for_another_are_looked_at_again() {
    let (mut world, _) = applied(env_age(), &json!({}));
    let mut other = deployment("other", &json!({}));
    let labels = &mut other["spec"]["template"]["metadata"]["labels"];
    *labels = json!({"app": "other"});
    world.deployments.push(other);
    let mut advised = env_age();
    advised["mode"] = "Advise".into();
    assert_eq!(world.age(Some(advised)).settle(), [Change::TakeBack]);
    assert_eq!(world.plan().look_again, None);
    let ours = json!({"manager": names::WORKLOAD_MANAGER, "operation": "Update"});
    world.deployments[1]["metadata"]["managedFields"] = json!([ours]);
    let plan = world.plan();
    assert_eq!(plan.steps[0].change, Change::Release);
    assert!(plan.holds);
    assert_eq!(plan.look_again, Some(Duration::from_secs(1)));
    assert_eq!(world.settle(), [Change::Release]);
    assert!(!world.plan().holds);
    // Who writes nothing, or may always write, waits for nothing.
    world.deployments[1]["metadata"]["managedFields"] = json!([ours]);
    world.backend.spec.suspend = true;
    assert_eq!(world.plan().look_again, None);
}

/// What the owner claims after our look, and before our patch, is tested by its version alone: their value is the same as ours.
#[test]
fn what_is_claimed_between_look_and_patch_stays() {
    for (age, container) in [
        (env_age(), json!({"env": [{"name": "X", "value": "y"}]})),
        (flag_age(), json!({"args": ["x"]})),
        (flag_age(), json!({"command": ["x"]})),
    ] {
        let mut world = World::with(age, &container);
        world.settle();
        let plan = world.delete().plan();
        assert_eq!(plan.steps[0].change, Change::TakeBack);
        world.deployments[0]["metadata"]["resourceVersion"] = "claimed".into();
        let late = &plan.steps[0].patch.0;
        assert!(json_patch::patch(&mut world.deployments[0], late).is_err());
    }
}
