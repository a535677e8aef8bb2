//! What counts as an attempt to set again what somebody took out: the status says it before, whatever comes of it.

use super::reverts::{apply_arguments, row, settled};
use super::*;
use crate::api::Reason;

#[test]
fn the_status_counts_before_the_step_is_taken() {
    let (mut world, _) = settled(flag_age(), &json!({"args": ["x"]}));
    apply_arguments(&mut world);
    for _killed_after_the_status in 1..=5 {
        let plan = world.tell_at(now());
        assert!(plan.status_first);
        assert_eq!(row(&world).reverts.len(), 1, "it is the same attempt");
    }
    world.settle();
    assert_eq!(row(&world).reverts.len(), 1);
}

#[test]
fn an_attempt_that_was_surely_not_made_does_not_count() {
    let (mut world, _) = settled(flag_age(), &json!({"args": ["x"]}));
    apply_arguments(&mut world);
    let mut plan = world.plan();
    assert_eq!(plan.servers[0].reverts.len(), 1);
    let step = plan.steps[0].clone();
    plan.not_taken(&step, Reason::WaitingForRollout, "it is looked at again");
    assert!(plan.servers[0].reverts.is_empty());
}

#[test]
fn an_api_server_that_is_busy_uses_up_no_attempt() {
    let (mut world, _) = settled(flag_age(), &json!({"args": ["x"]}));
    for attempt in 1..=3 {
        apply_arguments(&mut world);
        for minute in 0..5 {
            let plan = world.tell_at(after(minute));
            assert!(plan.status_first && plan.steps.len() == 1, "{plan:?}");
            assert_eq!(row(&world).reverts.len(), attempt, "one for all of them");
            assert_eq!(row(&world).reverts.last().unwrap().0, after(minute));
        }
        assert_eq!(world.settle_at(after(5)), [Change::Inject]);
        assert_eq!(row(&world).reverts.len(), attempt);
        assert_eq!(row(&world).attempted_generation, None, "it has arrived");
    }
    apply_arguments(&mut world);
    let plan = world.plan_at(after(6));
    says(&plan, State::False, "Reverted", &[]);
    assert!(plan.steps.is_empty());
}

/// The answer was lost, or the operator ended before it; by its next look the owner has taken it out again.
#[test]
fn an_attempt_that_arrived_counts_whatever_was_answered() {
    let (mut world, _) = settled(flag_age(), &json!({"args": ["x"]}));
    for attempt in 1..=3 {
        apply_arguments(&mut world);
        let told = world.tell_at(now()).servers;
        assert_eq!(told[0].reverts.len(), attempt);
        let step = world.plan().steps.remove(0);
        json_patch::patch(&mut world.deployments[0], &step.patch.0).unwrap();
        bump(&mut world.deployments[0]);
    }
    apply_arguments(&mut world);
    says(&world.plan(), State::False, "Reverted", &[]);
}

/// The patch is taken, but what admission stores has the record and not the age: the generation stays.
fn admitted_without_the_age(world: &mut World, at: Timestamp) -> Vec<Change> {
    let mut plan = world.tell_at(at);
    for step in &plan.steps.clone() {
        let own = &mut world.deployments[0];
        let spec = own["spec"].clone();
        json_patch::patch(own, &step.patch.0).unwrap();
        own["spec"] = spec;
        plan.arrived(step);
    }
    world.backend.status.as_mut().unwrap().servers = plan.servers;
    plan.steps.iter().map(|step| step.change).collect()
}

#[test]
fn a_webhook_that_takes_it_out_is_answered_three_times() {
    for (kind, age, container) in [
        ("Deployment", env_age(), json!({})),
        ("Deployment", flag_age(), json!({"args": ["x"]})),
        ("Deployment", switch_age(), json!({"command": ["s"]})),
        ("StatefulSet", env_age(), json!({})),
        ("DaemonSet", flag_age(), json!({"args": ["x"]})),
    ] {
        let name = format!("{kind} {age}");
        let mut own = kinds::server(kind, &container);
        if kind == "Deployment" {
            own = deployment("a", &container);
        }
        let mut world = World::new(Some(age), vec![own]);
        for attempts in 0..=3 {
            let done = admitted_without_the_age(&mut world, after(attempts));
            assert_eq!(done, [Change::Inject], "{name}");
            let row = row(&world);
            assert_eq!(row.reverts.len(), usize::try_from(attempts).unwrap());
            assert_eq!(row.attempted_generation, None, "{name}");
        }
        let plan = world.tell_at(after(4));
        assert!(plan.steps.is_empty(), "{name}: {:?}", plan.steps);
        says(&plan, State::False, "Reverted", &["again and again"]);
        assert_eq!(plan.look_again, None, "{name}");
        let done = admitted_without_the_age(&mut world, after(61));
        assert_eq!(done, [], "{name}");
    }
}

#[test]
fn a_second_try_that_arrives_ends_the_attempt() {
    let (mut world, _) = settled(flag_age(), &json!({"args": ["x"]}));
    apply_arguments(&mut world);
    world.tell_at(now());
    assert_eq!(
        admitted_without_the_age(&mut world, after(1)),
        [Change::Inject]
    );
    assert_eq!(row(&world).reverts.len(), 1, "one for both");
    assert_eq!(row(&world).attempted_generation, None);
}

#[test]
fn a_second_try_that_is_refused_leaves_the_first_counted() {
    let (mut world, _) = settled(flag_age(), &json!({"args": ["x"]}));
    apply_arguments(&mut world);
    world.tell_at(now());
    let mut plan = world.plan();
    let step = plan.steps[0].clone();
    plan.not_taken(&step, Reason::WaitingForRollout, "it is looked at again");
    assert_eq!(plan.servers[0].reverts.len(), 1, "the first may arrive yet");
    assert!(plan.servers[0].attempted_generation.is_some());
}

#[test]
fn the_first_time_counts_nothing_and_a_refused_write_is_no_revert() {
    let mut world = World::with(env_age(), &json!({}));
    bump(&mut world.deployments[0]);
    bump(&mut world.deployments[0]);
    world.roll();
    let plan = world.tell_at(now());
    assert!(!plan.status_first);
    assert_eq!(plan.servers[0].state.as_deref(), Some("RollingOut"));
    assert_eq!(world.settle(), [Change::Inject], "at once");
    assert!(row(&world).reverts.is_empty());
}

#[test]
fn what_waits_for_a_rollout_is_not_counted() {
    let (mut world, _) = settled(flag_age(), &json!({"args": ["x"]}));
    apply_arguments(&mut world);
    world.deployments[0]["status"]["updatedReplicas"] = 1.into();
    let plan = world.tell_at(now());
    assert!(plan.steps.is_empty() && !plan.status_first);
    assert!(row(&world).reverts.is_empty());
    assert_eq!(row(&world).gone_since.as_ref().unwrap().0, now());
}
