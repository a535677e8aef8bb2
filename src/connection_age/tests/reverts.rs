//! What somebody takes out is set again, but not at once after an undo and not for ever. The count is in the status.

use std::time::Duration;

use super::*;

/// As the Deployment's template and annotations were: `kubectl rollout undo` and `kubectl replace` bring back both.
fn replace(world: &mut World, former: &Value) {
    let revision =
        world.deployments[0]["metadata"]["annotations"]["deployment.kubernetes.io/revision"]
            .clone();
    let own = &mut world.deployments[0];
    own["spec"]["template"] = former["spec"]["template"].clone();
    own["metadata"]["annotations"] = former["metadata"]["annotations"].clone();
    own["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = revision;
    bump(own);
    world.roll();
}

/// The very moment after: the controller has not written the revision yet, or there is none.
fn before_the_controller(world: &mut World, revision: Option<&str>) {
    let annotations = &mut world.deployments[0]["metadata"]["annotations"];
    let key = "deployment.kubernetes.io/revision";
    match revision {
        Some(revision) => annotations[key] = revision.into(),
        None => drop(annotations.as_object_mut().unwrap().remove(key)),
    }
}

/// What a pipeline's `kubectl apply` does to a list, which is one value to it.
pub(super) fn apply_arguments(world: &mut World) {
    write_arguments(world, "kubectl-client-side-apply");
}

fn write_arguments(world: &mut World, manager: &str) {
    world.owner(|c| c["args"] = json!(["x"]));
    world.deployments[0]["metadata"]["managedFields"] = json!([{
        "manager": manager, "operation": "Update",
        "fieldsV1": {"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"srv\"}": {"f:args": {}}}}}}}
    }]);
}

pub(super) fn row(world: &World) -> &crate::api::Server {
    &world.backend.status.as_ref().unwrap().servers[0]
}

fn without_env(container: &mut Value) {
    container.as_object_mut().unwrap().remove("env");
}

/// In place on a Deployment; with what it was before.
pub(super) fn settled(age: Value, container: &Value) -> (World, Value) {
    let mut world = World::with(age, container);
    let former = world.deployments[0].clone();
    world.settle();
    assert_eq!(row(&world).set_by, Some(crate::api::SetBy::Evenkeel));
    (world, former)
}

#[test]
fn after_an_undo_it_waits_ten_minutes() {
    let (mut world, _) = settled(env_age(), &json!({}));
    world.owner(without_env);
    assert_eq!(world.settle(), [], "it is only told");
    assert_eq!(row(&world).gone_since.as_ref().unwrap().0, now());
    let plan = world.plan_at(after(9));
    assert!(plan.steps.is_empty());
    assert_eq!(plan.look_again, Some(Duration::from_mins(1)));
    says(&plan, State::False, "WaitingForRollout", &["10 minutes"]);
    assert_eq!(world.settle_at(after(10)), [Change::Inject]);
    assert_eq!(row(&world).reverts.len(), 1);
    assert!(row(&world).gone_since.is_none());
    says(&world.plan_at(after(10)), State::True, "Applied", &[]);
}

#[test]
fn after_one_that_took_the_record_along_it_waits_too() {
    let (mut world, former) = settled(flag_age(), &json!({"args": ["x"]}));
    replace(&mut world, &former);
    assert!(world.record().is_none());
    let seen = world.deployments[0].clone();
    for revision in [Some("2"), None] {
        before_the_controller(&mut world, revision);
        assert_eq!(world.settle(), []);
    }
    world.deployments[0] = seen;
    assert_eq!(world.settle(), []);
    assert!(world.plan_at(after(9)).steps.is_empty());
    assert_eq!(world.settle_at(after(10)), [Change::Inject]);
    assert_eq!(row(&world).reverts.len(), 1);
    world.delete().settle();
    assert_eq!(world.deployments[0]["spec"], former["spec"]);
}

#[test]
fn an_undo_of_a_change_of_ours_is_one_too() {
    let (mut world, _) = settled(env_age(), &json!({}));
    let former = world.deployments[0].clone();
    let mut longer = env_age();
    longer["maxAge"] = "5m".into();
    assert_eq!(world.age(Some(longer)).settle(), [Change::Update]);
    assert!(row(&world).reverts.is_empty(), "a new spec is no revert");
    replace(&mut world, &former);
    assert_eq!(world.settle(), []);
    assert!(world.plan_at(after(9)).steps.is_empty());
    assert_eq!(world.settle_at(after(10)), [Change::Inject]);
    assert_eq!(world.container(0)["env"][0]["value"], "5m");
}

#[test]
fn a_change_that_waits_for_a_rollout_is_no_revert() {
    let (mut world, _) = settled(env_age(), &json!({}));
    let mut longer = env_age();
    longer["maxAge"] = "5m".into();
    world.age(Some(longer));
    world.deployments[0]["status"]["updatedReplicas"] = 1.into();
    assert!(world.tell_at(now()).steps.is_empty());
    world.deployments[0]["status"]["updatedReplicas"] = 2.into();
    assert_eq!(world.settle(), [Change::Update]);
    assert!(row(&world).reverts.is_empty());
}

/// What is asked for besides was never in: nobody took it out, however long it waits.
#[test]
fn a_grace_that_is_asked_for_later_is_no_revert() {
    let by_flags = json!({"maxAge": "1m", "grace": "30s", "knob": {"flags": {"maxAge": "--max-age", "grace": "--grace"}}});
    for (more, container) in [(env_age(), json!({})), (by_flags, json!({"args": ["x"]}))] {
        let mut less = more.clone();
        less.as_object_mut().unwrap().remove("grace");
        let (mut world, _) = settled(less, &container);
        world.age(Some(more));
        world.deployments[0]["status"]["updatedReplicas"] = 1.into();
        for minute in [0, 1] {
            assert!(world.tell_at(after(minute)).steps.is_empty());
        }
        assert!(row(&world).gone_since.is_none(), "{:?}", row(&world));
        world.deployments[0]["status"]["updatedReplicas"] = 2.into();
        assert_eq!(world.settle_at(after(2)), [Change::Update]);
        assert!(row(&world).reverts.is_empty(), "{:?}", row(&world));
        assert_eq!(world.reason(), "Applied");
    }
}

/// Ours was the grace alone. The age goes in at once, and no other is said to run meanwhile.
#[test]
fn an_age_that_its_owner_takes_out_is_no_revert() {
    let theirs = json!({"env": [{"name": "AGE", "value": "1m"}]});
    let (mut world, _) = settled(env_age(), &theirs);
    world.owner(|c| {
        let env = c["env"].as_array_mut().unwrap();
        env.retain(|variable| variable["name"] != "AGE");
    });
    world.deployments[0]["status"]["updatedReplicas"] = 1.into();
    let plan = world.tell_at(now());
    assert!(plan.steps.is_empty());
    assert_eq!(plan.running_max_age, None);
    world.deployments[0]["status"]["updatedReplicas"] = 2.into();
    assert_eq!(world.settle_at(after(1)), [Change::Update]);
    assert!(row(&world).reverts.is_empty(), "{:?}", row(&world));
}

#[test]
fn a_redo_ends_the_wait() {
    let (mut world, _) = settled(flag_age(), &json!({"args": ["x"]}));
    world.owner(|c| c["args"] = json!(["x"]));
    world.settle_at(after(1));
    assert!(row(&world).gone_since.is_some());
    let args = json!(["x", "--max-age=1m"]);
    world.owner(|c| c["args"] = args.clone());
    assert_eq!(world.settle_at(after(2)), [Change::Forget]);
    assert!(row(&world).gone_since.is_none());
    assert_eq!(world.reason(), "Applied");
    assert_eq!(row(&world).set_by, Some(crate::api::SetBy::Owner));
    assert_eq!(world.delete().settle(), []);
    assert_eq!(world.container(0)["args"], args, "it is theirs");
}

/// Neither is what we have put in again ourselves, whatever of it the status tells already.
#[test]
fn our_own_attempt_is_no_redo() {
    for told in [true, false] {
        let (mut world, former) = settled(flag_age(), &json!({"args": ["x"]}));
        world.owner(|c| c["args"] = json!(["x"]));
        assert_eq!(world.settle_at(after(1)), []);
        let before = world.backend.status.clone();
        assert_eq!(world.apply_at(after(11)), [Change::Inject]);
        if !told {
            // Of the attempt the answer was lost, and of the status the write.
            world.backend.status = before;
        }
        world.roll();
        assert_eq!(world.settle_at(after(12)), []);
        assert!(row(&world).gone_since.is_none());
        world.delete().settle();
        assert_eq!(world.deployments[0]["spec"], former["spec"]);
    }
}

#[test]
fn a_deployment_made_anew_gets_it_at_once() {
    let (mut world, former) = settled(env_age(), &json!({}));
    world.deployments[0] = former;
    world.roll();
    assert_eq!(world.settle(), [Change::Inject]);
    assert!(row(&world).reverts.is_empty());
}

#[test]
fn a_pipeline_that_reverts_is_answered_three_times() {
    for minutes in [1, 30, 60, 115] {
        let (mut world, _) = settled(flag_age(), &json!({"args": ["x"]}));
        for time in 1..=3 {
            apply_arguments(&mut world);
            let done = world.settle_at(after(time * minutes));
            assert_eq!(done, [Change::Inject], "every {minutes}");
        }
        apply_arguments(&mut world);
        let fourth = after(4 * minutes);
        let plan = world.plan_at(fourth);
        assert!(plan.steps.is_empty(), "every {minutes}");
        says(
            &plan,
            State::False,
            "Reverted",
            &["Deployment a", "args", "--max-age=1m"],
        );
        the_war_is_over(&mut world, fourth);
    }
}

/// No pause: it would go on for as long as the pipeline does. Who puts the lines into the manifest has it, and a changed spec is tried.
fn the_war_is_over(world: &mut World, since: Timestamp) {
    for hours in [0, 1, 2, 100] {
        let at = since + SignedDuration::from_hours(hours);
        let plan = world.tell_at(at);
        assert_eq!((plan.steps.len(), plan.look_again), (0, None), "{hours}");
        says(&plan, State::False, "Reverted", &[]);
    }
    let days_later = since + SignedDuration::from_hours(100);
    let mut other = world.clone();
    other.age(Some(flag_age()));
    assert_eq!(other.settle_at(days_later), [Change::Inject]);
    let mut had = world.clone();
    had.owner(|c| c["args"] = json!(["x", "--max-age=1m"]));
    assert_eq!(had.settle_at(days_later), [Change::Forget]);
    assert_eq!(had.reason(), "Applied");
}

#[test]
fn a_persons_hand_is_no_pipeline() {
    for (manager, at_once) in [
        ("kubectl-rollout", false),
        ("kubectl-edit", false),
        ("kubectl-patch", false),
        ("helm", true),
        ("argocd-controller", true),
    ] {
        let (mut world, _) = settled(flag_age(), &json!({"args": ["x"]}));
        write_arguments(&mut world, manager);
        assert_eq!(!world.settle().is_empty(), at_once, "{manager}");
    }
}

#[test]
fn a_loop_that_also_wipes_the_record_is_answered_three_times() {
    let (mut world, former) = settled(env_age(), &json!({}));
    let mut attempts = Vec::new();
    for third_of_a_minute in 0..180 {
        let at = now() + SignedDuration::from_secs(20 * third_of_a_minute);
        replace(&mut world, &former);
        if !world.settle_at(at).is_empty() {
            attempts.push(third_of_a_minute / 3);
        }
    }
    assert_eq!(attempts, [10, 20, 30]);
    replace(&mut world, &former);
    let plan = world.plan_at(after(60));
    says(
        &plan,
        State::False,
        "Reverted",
        &["Deployment a", "in container srv under env", "AGE", "GRACE"],
    );
    assert_eq!(world.settle_at(after(200)), []);
    assert!(crate::connection_age::remembers(row(&world)));
    world.age(Some(env_age()));
    assert_eq!(world.settle_at(after(200)), [Change::Inject]);
    world.delete().settle_at(after(200));
    assert_eq!(world.deployments[0]["spec"], former["spec"]);
}

/// A three-way merge of a manifest that has no variables any more takes away the whole list, ours with it, and leaves the record: as
/// with arguments that is nobody's answer to the age.
#[test]
fn a_manifest_that_drops_all_its_variables_is_no_undo() {
    let (mut world, _) = settled(env_age(), &json!({"env": [{"name": "X", "value": "y"}]}));
    world.owner(without_env);
    let before = world.deployments[0]["spec"].clone();
    assert_eq!(world.settle(), [Change::Inject]);
    assert_eq!(row(&world).reverts.len(), 1, "but it counts");
    world.delete().settle();
    assert_eq!(world.deployments[0]["spec"], before);
}

#[test]
fn a_changed_spec_starts_anew() {
    let (mut world, _) = settled(flag_age(), &json!({"args": ["x"]}));
    for minute in [1, 2, 3] {
        apply_arguments(&mut world);
        world.settle_at(after(minute));
    }
    apply_arguments(&mut world);
    world.tell_at(after(4));
    world.age(Some(flag_age()));
    assert_eq!(world.settle_at(after(5)), [Change::Inject]);
}

#[test]
fn who_takes_back_an_override_gets_ours_at_once() {
    let (mut world, _) = settled(env_age(), &json!({}));
    world.owner(|c| c["env"][0]["value"] = "9m".into());
    world.settle();
    assert_eq!(row(&world).set_by, Some(crate::api::SetBy::Owner));
    world.owner(|c| {
        c["env"].as_array_mut().unwrap().remove(0);
    });
    let theirs = world.pods.pop().unwrap();
    world.deployments[0]["status"]["updatedReplicas"] = 1.into();
    assert!(world.tell_at(now()).steps.is_empty(), "while it rolls out");
    world.deployments[0]["status"]["updatedReplicas"] = 2.into();
    world.pods.push(theirs);
    assert_eq!(world.settle(), [Change::Inject]);
    assert_eq!(world.reason(), "Applied");
    assert_eq!(row(&world).reverts.len(), 1, "but it counts");
}

#[test]
fn a_renamed_container_is_no_revert() {
    let (mut world, _) = settled(env_age(), &json!({}));
    world.owner(|c| {
        c["name"] = "program".into();
        without_env(c);
    });
    assert_eq!(world.settle(), [Change::Update]);
    assert!(row(&world).reverts.is_empty());
}

#[test]
fn what_we_took_back_ourselves_is_no_revert() {
    let (mut world, _) = settled(env_age(), &json!({}));
    let older = backend("older", "2025-01-01T00:00:00Z", Some(env_age()));
    world.siblings = vec![older];
    assert_eq!(world.apply_at(now()), [Change::TakeBack]);
    world.roll();
    world.siblings.clear();
    assert_eq!(world.settle(), [Change::Inject]);
    assert!(row(&world).reverts.is_empty());
}

#[test]
fn in_peace_the_status_stays_as_it_is() {
    let (mut world, former) = settled(flag_age(), &json!({"args": ["x"]}));
    let peace = |world: &mut World, at| {
        let before = world.backend.status.clone();
        assert!(world.tell_at(at).steps.is_empty());
        assert_eq!(world.backend.status, before);
    };
    peace(&mut world, after(1));
    replace(&mut world, &former);
    world.settle_at(after(2));
    peace(&mut world, after(3));
    peace(&mut world, after(11));
    world.settle_at(after(12));
    peace(&mut world, after(13));
    peace(&mut world, after(371));
    world.tell_at(after(372));
    assert!(row(&world).reverts.is_empty(), "six hours later");
}

#[test]
fn of_too_many_rows_those_that_remember_stay() {
    let names: Vec<String> = (0..40).map(|number| format!("w{number:02}")).collect();
    let all = names
        .iter()
        .map(|name| deployment(name, &json!({})))
        .collect();
    let mut world = World::new(Some(env_age()), all);
    let mut age = env_age();
    age["workloads"] = json!(["w38", "w39"]);
    world.age(Some(age));
    for _ in 0..2 {
        world.settle();
    }
    let first = |world: &World, count: usize| -> Vec<String> {
        let servers = &world.backend.status.as_ref().unwrap().servers;
        assert_eq!(servers.len(), 32);
        servers
            .iter()
            .take(count)
            .map(|row| row.name.clone())
            .collect()
    };
    assert_eq!(first(&world, 3), ["w38", "w39", "w00"], "what has a record");
    without_env(world.container(39));
    bump(&mut world.deployments[39]);
    world.roll();
    world.settle();
    assert!(row(&world).gone_since.is_some());
    assert_eq!(first(&world, 3), ["w39", "w38", "w00"]);
}
