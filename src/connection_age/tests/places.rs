//! For how long a rollout has its place among those under way.

use super::kinds::{OTHERS, fail, world as of_kind};
use super::*;
use crate::api::Reason;
use crate::connection_age::needs_place;

/// Whether it still has it in a minute, if it began now.
fn has(world: &World, minute: i64) -> bool {
    needs_place(
        &world.observed(),
        "uid-a",
        now(),
        FREE.deadline,
        after(minute),
    )
}

#[test]
fn until_the_rollout_has_ended() {
    let mut world = World::with(env_age(), &json!({}));
    world.apply_at(now());
    assert!(has(&world, 1), "the controller has not seen it");
    world.roll();
    assert!(!has(&world, 1));
    world.deployments[0]["status"]["updatedReplicas"] = 1.into();
    assert!(has(&world, 1));
    world.deployments.clear();
    assert!(!has(&world, 1), "gone");
}

#[test]
fn what_got_none_is_not_said_to_roll_out() {
    let world = World::with(env_age(), &json!({}));
    let mut plan = world.plan();
    says(&plan, State::False, "RollingOut", &[]);
    let step = plan.steps[0].clone();
    plan.not_taken(&step, Reason::WaitingForRollout, "it is looked at again");
    says(
        &plan,
        State::False,
        "WaitingForRollout",
        &["looked at again"],
    );
    assert_eq!(plan.servers[0].state.as_deref(), Some("WaitingForRollout"));
}

#[test]
fn not_where_it_has_failed_or_rests() {
    let mut world = World::with(env_age(), &json!({}));
    world.settle();
    world.deployments[0]["status"]["updatedReplicas"] = 1.into();
    let mut paused = world.clone();
    paused.deployments[0]["spec"]["paused"] = true.into();
    assert!(!has(&paused, 1));
    world.deployments[0]["status"]["conditions"] = json!([
        {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    ]);
    assert!(!has(&world, 1));
}

#[test]
fn not_for_ever_where_nothing_comes_of_it() {
    for kind in OTHERS {
        let mut world = of_kind(kind, &json!({}));
        world.apply_at(now());
        fail(&mut world, after(1));
        assert!(has(&world, 9), "{kind}");
        assert!(!has(&world, 10), "{kind}");
        world.deployments[0]["spec"]["minReadySeconds"] = 120.into();
        assert!(has(&world, 11) && !has(&world, 12), "{kind}");
    }
}

#[test]
fn each_pod_that_comes_or_goes_gives_it_time() {
    for kind in OTHERS {
        let mut world = of_kind(kind, &json!({}));
        world.apply_at(now());
        fail(&mut world, after(1));
        world.pods[1]["metadata"]["creationTimestamp"] = after(2).to_string().into();
        assert!(has(&world, 11) && !has(&world, 12), "{kind}");
        world.pods[0]["metadata"]["deletionTimestamp"] = after(3).to_string().into();
        assert!(has(&world, 12) && !has(&world, 13), "{kind}");
        world.pods[1]["status"]["conditions"] = json!([
            {"type": "Ready", "status": "True", "lastTransitionTime": after(5).to_string()}
        ]);
        assert!(has(&world, 14) && !has(&world, 15), "{kind}");
    }
}

#[test]
fn workloads_for_which_there_is_no_room_are_counted() {
    let mut world = World::with(env_age(), &json!({}));
    world.settle();
    let mut observed = world.observed();
    observed.workloads_left_out = 3;
    let plan = crate::connection_age::plan(&observed, FREE, now());
    let words = ["3 more workloads", "spec.connectionAge.workloads"];
    says(&plan, State::False, "UnsupportedWorkload", &words);
    let age = observed.backend.spec.connection_age.as_mut().unwrap();
    age.workloads = vec!["a".into()];
    let plan = crate::connection_age::plan(&observed, FREE, now());
    says(&plan, State::True, "Applied", &[]);
}
