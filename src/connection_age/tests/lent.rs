//! A list that an applier sent: it is theirs to take away, though we have changed it.

use super::*;

const ARGS: &str = "/fieldsV1/f:spec/f:template/f:spec/f:containers/k:{\"name\":\"srv\"}/f:args";
const MARK: &str = "/fieldsV1/f:lent.evenkeel.dev~1args.srv";

/// What an apply by `manager` owns of the container.
fn applied_by(manager: &str, operation: &str) -> Value {
    let container = json!({".": {}, "f:name": {}, "f:image": {}, "f:args": {}});
    json!({
        "manager": manager, "operation": operation, "apiVersion": "apps/v1",
        "fieldsV1": {"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"srv\"}": container}}}}}
    })
}

fn entry<'a>(world: &'a World, manager: &str) -> &'a Value {
    let entries = &world.deployments[0]["metadata"]["managedFields"];
    let mut entries = entries.as_array().unwrap().iter();
    entries.find(|entry| entry["manager"] == manager).unwrap()
}

/// Sends the plan's only step as the API server takes it: with the value the list is ours alone. The release is still to come.
fn write(world: &mut World) -> Change {
    let plan = world.tell_at(now());
    let step = &plan.steps[0];
    let target = &mut world.deployments[0];
    let before = world_args(target);
    json_patch::patch(target, &step.patch.0).unwrap();
    if before != world_args(target) {
        bump(target);
        let entries = target["metadata"]["managedFields"].as_array_mut().unwrap();
        for entry in entries.iter_mut() {
            let (container, _) = ARGS.rsplit_once('/').unwrap();
            let own = entry.pointer_mut(container).unwrap();
            own.as_object_mut().unwrap().remove("f:args");
        }
        entries.insert(0, applied_by(names::WORKLOAD_MANAGER, "Update"));
    }
    world.roll();
    step.change
}

fn world_args(deployment: &Value) -> Value {
    deployment["spec"]["template"]["spec"]["containers"][0]["args"].clone()
}

/// As the operator does at once, or the pass after it has ended before that.
fn release_at_last(world: &mut World) {
    let patch = released(world).unwrap();
    json_patch::patch(&mut world.deployments[0], &patch.0).unwrap();
    assert_eq!(released(world), None);
}

fn released(world: &World) -> Option<json_patch::Patch> {
    let seen = workload(&world.deployments[0]);
    release(&seen.metadata, seen.containers())
}

fn sent_by(managers: Value) -> World {
    let mut world = World::with(flag_age(), &json!({"args": ["x"]}));
    world.deployments[0]["metadata"]["managedFields"] = managers;
    world
}

#[test]
fn an_applier_gets_its_list_back_and_no_more() {
    let pipeline = applied_by("pipeline", "Apply");
    let mut world = sent_by(json!([pipeline, applied_by("edit", "Update")]));
    assert_eq!(write(&mut world), Change::Inject);
    assert_eq!(entry(&world, "pipeline").pointer(ARGS), None);
    release_at_last(&mut world);
    assert!(entry(&world, "pipeline").pointer(ARGS).is_some());
    assert!(entry(&world, "pipeline").pointer(MARK).is_some());
    // Only an apply takes away what it does not send.
    assert_eq!(entry(&world, "edit").pointer(ARGS), None);
    assert!(world.tell_at(now()).steps.is_empty(), "it is in, and ours");
    world.delete();
    assert_eq!(write(&mut world), Change::TakeBack);
    assert_eq!(world_args(&world.deployments[0]), json!(["x"]));
    release_at_last(&mut world);
    assert_eq!(entry(&world, "pipeline"), &pipeline, "no trace");
}

/// Its apply replaces all that it owns, our mark too: what it sends is its own, though the value is the same.
#[test]
fn what_is_sent_with_ours_in_it_is_theirs() {
    let mut world = sent_by(json!([applied_by("pipeline", "Apply")]));
    write(&mut world);
    release_at_last(&mut world);
    world.deployments[0]["metadata"]["managedFields"] = json!([applied_by("pipeline", "Apply")]);
    assert_eq!(world.delete().changes(), [Change::Forget]);
}

/// With the list as it was, each would be in the way of the other.
#[test]
fn what_two_have_is_given_back_to_neither() {
    let two = json!([applied_by("one", "Apply"), applied_by("two", "Apply")]);
    let mut world = sent_by(two);
    assert_eq!(write(&mut world), Change::Inject);
    release_at_last(&mut world);
    for manager in ["one", "two"] {
        assert_eq!(entry(&world, manager).pointer(ARGS), None);
        assert_eq!(entry(&world, manager).pointer(MARK), None);
    }
}

/// As after a forced apply under another name: the former applier would be in the way of the new one for ever.
#[test]
fn a_list_that_changed_hands_is_given_back_to_the_last_alone() {
    let mut world = sent_by(json!([applied_by("pipeline", "Apply")]));
    write(&mut world);
    release_at_last(&mut world);
    world.owner(|own| own["args"] = json!(["x"]));
    let entries = world.deployments[0]["metadata"]["managedFields"].as_array_mut();
    let entries = entries.unwrap();
    let (container, _) = ARGS.rsplit_once('/').unwrap();
    let former = entries[0].pointer_mut(container).unwrap();
    former.as_object_mut().unwrap().remove("f:args").unwrap();
    entries.push(applied_by("newcomer", "Apply"));
    assert_eq!(write(&mut world), Change::Inject);
    release_at_last(&mut world);
    for (manager, has) in [("pipeline", false), ("newcomer", true)] {
        assert_eq!(entry(&world, manager).pointer(ARGS).is_some(), has);
        assert_eq!(entry(&world, manager).pointer(MARK).is_some(), has);
    }
}

/// What somebody else has taken since is not the applier's any more.
#[test]
fn nothing_is_taken_from_others_to_give_it_back() {
    let mut world = sent_by(json!([applied_by("pipeline", "Apply")]));
    write(&mut world);
    let entries = world.deployments[0]["metadata"]["managedFields"].as_array_mut();
    entries.unwrap().push(applied_by("edit", "Update"));
    release_at_last(&mut world);
    assert_eq!(entry(&world, "pipeline").pointer(ARGS), None);
}

/// Where the whole list was taken away, or the container is not the applier's any more, it would own what it has never sent.
#[test]
fn what_is_gone_is_given_back_to_nobody() {
    let container = "/fieldsV1/f:spec/f:template/f:spec/f:containers/k:{\"name\":\"srv\"}";
    for gone in ["the list", "the container"] {
        let mut world = sent_by(json!([applied_by("pipeline", "Apply")]));
        write(&mut world);
        release_at_last(&mut world);
        let (parent, field) = match gone {
            "the list" => (container, "f:args"),
            _ => container.rsplit_once('/').unwrap(),
        };
        let entries = world.deployments[0]["metadata"]["managedFields"].as_array_mut();
        let owned = entries.unwrap()[0].pointer_mut(parent).unwrap();
        owned.as_object_mut().unwrap().remove(field).unwrap();
        if gone == "the list" {
            world.owner(|own| drop(own.as_object_mut().unwrap().remove("args")));
        }
        assert!(entry(&world, "pipeline").pointer(MARK).is_some());
        assert_eq!(released(&world), None, "{gone}");
    }
}

/// A mark that outlived what it was for would have a later write take the list for the applier's no longer.
#[test]
fn the_mark_goes_with_the_flag_though_a_variable_follows() {
    let pipeline = applied_by("pipeline", "Apply");
    let mut world = sent_by(json!([pipeline]));
    write(&mut world);
    release_at_last(&mut world);
    world.age(Some(env_age()));
    assert_eq!(write(&mut world), Change::Update);
    release_at_last(&mut world);
    assert_eq!(entry(&world, "pipeline"), &pipeline);
}

/// Two backends: the mark stays for as long as either has a flag there.
#[test]
fn the_mark_stays_for_the_other_backend() {
    let other = json!({"maxAge": "1m", "knob": {"flags": {"maxAge": "--other"}}});
    let (mut older, mut younger) = two(flag_age(), other, &json!({"args": ["x"]}));
    older.deployments[0]["metadata"]["managedFields"] = json!([applied_by("pipeline", "Apply")]);
    write(&mut older);
    release_at_last(&mut older);
    younger.deployments = older.deployments.clone();
    younger.roll();
    write(&mut younger);
    release_at_last(&mut younger);
    older.deployments = younger.deployments.clone();
    older.roll();
    older.delete();
    assert_eq!(write(&mut older), Change::TakeBack);
    release_at_last(&mut older);
    younger.deployments = older.deployments;
    younger.roll();
    assert!(younger.tell_at(now()).steps.is_empty());
    younger.delete();
    assert_eq!(write(&mut younger), Change::TakeBack);
    release_at_last(&mut younger);
    assert_eq!(
        younger.deployments[0]["metadata"]["managedFields"],
        json!([applied_by("pipeline", "Apply")])
    );
}
