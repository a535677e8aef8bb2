//! Whatever takes the age back from several workloads does so one after the other, as it was set.

use std::time::Duration;

use super::*;

/// Two Deployments with the age, long ago.
fn two() -> World {
    let mut world = World::new(
        Some(env_age()),
        vec![deployment("a", &json!({})), deployment("b", &json!({}))],
    );
    world.settle();
    world.settle();
    world
}

/// What is on both.
fn records(world: &World) -> Vec<bool> {
    let record = |own: &Value| {
        let annotations = &own["metadata"]["annotations"];
        !annotations["connection-age.evenkeel.dev/echo"].is_null()
    };
    world.deployments.iter().map(record).collect()
}

/// The pods of `a` are ready since then.
fn ready_at(world: &mut World, at: Timestamp) {
    for pod in world.pods.iter_mut().take(2) {
        pod["status"]["conditions"][0]["lastTransitionTime"] = at.to_string().into();
    }
}

type Trigger = (&'static str, fn(&mut World));

const TRIGGERS: [Trigger; 5] = [
    ("deleted", |world| {
        world.delete();
    }),
    ("connectionAge removed", |world| {
        world.age(None);
    }),
    ("Advise", |world| {
        let mut age = env_age();
        age["mode"] = "Advise".into();
        world.age(Some(age));
    }),
    ("another knob", |world| {
        let mut age = env_age();
        age["knob"]["env"]["maxAge"] = "OTHER".into();
        world.age(Some(age));
    }),
    ("other workloads", |world| {
        let mut age = env_age();
        age["workloads"] = json!(["c"]);
        world.age(Some(age));
    }),
];

#[test]
fn one_goes_after_the_other() {
    for (name, pull) in TRIGGERS {
        let mut world = two();
        pull(&mut world);
        assert_eq!(world.apply_at(now()).len(), 1, "{name}");
        let plan = world.plan_at(after(1));
        assert!(plan.steps.is_empty(), "{name}: {:?}", plan.steps);
        assert!(plan.holds && plan.blocked_by_rollout, "{name}");
        // Something else is worse, or Advise has its own words.
        let told = !["Advise", "other workloads"].contains(&name);
        if told {
            let words = ["Deployment b waits for the rollout of Deployment a"];
            says(&plan, State::False, "WaitingForRollout", &words);
        }
        world.roll();
        ready_at(&mut world, after(2));
        let plan = world.plan_at(after(2));
        assert!(plan.steps.is_empty(), "{name}: {:?}", plan.steps);
        assert_eq!(plan.look_again, Some(Duration::from_mins(1)), "{name}");
        if told {
            let words = ["Deployment b waits until clients", "pods of Deployment a"];
            says(&plan, State::False, "WaitingForRollout", &words);
        }
        assert_eq!(world.apply_at(after(3)).len(), 1, "{name}");
        world.roll();
        assert!(world.plan_at(after(9)).steps.is_empty(), "{name}");
    }
}

#[test]
fn that_the_other_is_scaled_meanwhile_is_no_rollout() {
    let mut world = two();
    world.age(None);
    world.settle();
    world.deployments[0]["spec"]["replicas"] = 5.into();
    assert_eq!(world.settle(), [Change::TakeBack]);
}

#[test]
fn a_deletion_takes_turns_for_five_minutes() {
    let mut world = two();
    world.delete();
    assert_eq!(world.apply_at(now()), [Change::TakeBack]);
    assert_eq!(records(&world), [false, true]);
    let plan = world.plan_at(after(4));
    assert!(plan.steps.is_empty() && plan.holds);
    assert_eq!(plan.look_again, Some(Duration::from_mins(1)));
    assert_eq!(world.apply_at(after(5)), [Change::TakeBack], "it is stuck");
    world.roll();
    let plan = world.plan_at(after(5));
    assert!(plan.steps.is_empty() && !plan.holds);
}

#[test]
fn a_deletion_of_long_ago_takes_all_back_at_once() {
    let mut world = two();
    world.delete();
    let steps = world.plan_at(after(5)).steps;
    assert_eq!(steps.len(), 2);
    assert!(steps.iter().all(|step| step.urgent));
}

/// DaemonSet `a` has just got the age, or lost it, and its controller has done nothing about it yet but see it.
fn only_seen(world: &mut World) {
    let own = &mut world.deployments[0];
    own["status"]["observedGeneration"] = own["metadata"]["generation"].clone();
    own["status"]["updatedNumberScheduled"] = 0.into();
}

/// A DaemonSet and a Deployment, whose pods are old.
fn beside_a_daemon_set() -> World {
    let mut world = kinds::world("DaemonSet", &json!({}));
    world.deployments.push(deployment("b", &json!({})));
    world.roll();
    for pod in &mut world.pods {
        pod["metadata"]["creationTimestamp"] = after(-600).to_string().into();
    }
    world
}

#[test]
fn a_dead_node_keeps_the_age_from_no_other_workload() {
    let mut world = kinds::with_a_dead_node(&json!(2));
    let dead = world.pods[2].clone();
    world.deployments.push(deployment("b", &json!({})));
    assert_eq!(world.apply_at(now()), [Change::Inject]);
    world.roll();
    // The controller has told its pod to go, and nobody there obeys.
    world.pods.push(dead.clone());
    world.pods[4]["metadata"]["deletionTimestamp"] = after(1).to_string().into();
    world.deployments[0]["status"]["updatedNumberScheduled"] = 2.into();
    assert!(world.plan_at(after(10)).steps.is_empty(), "it may come yet");
    let done = world.apply_at(after(11));
    assert_eq!(done, [Change::Update, Change::Inject], "b gets it too");
    world.deployments[1]["status"]["observedGeneration"] = 2.into();
    let dead = world.pods[4].clone();
    world.roll();
    world.pods.push(dead);
    // Nor from being taken back: that of the DaemonSet itself begins.
    world.age(None);
    assert_eq!(world.apply_at(after(30)), [Change::TakeBack]);
    only_seen(&mut world);
    assert_eq!(world.apply_at(after(41)), [Change::TakeBack]);
    assert_eq!(records(&world), [false, false]);
}

#[test]
fn a_rollout_that_has_just_begun_over_old_pods_is_waited_for() {
    let mut world = beside_a_daemon_set();
    assert_eq!(world.apply_at(now()), [Change::Inject]);
    only_seen(&mut world);
    assert!(world.plan_at(after(1)).steps.is_empty());
    world.roll();
    world.deployments[0]["status"]["updatedNumberScheduled"] = 2.into();
    world.settle_at(after(2));
    world.settle_at(after(3));
    assert_eq!(records(&world), [true, true]);
    for pod in &mut world.pods {
        pod["metadata"]["creationTimestamp"] = after(3).to_string().into();
    }
    world.age(None);
    assert_eq!(world.apply_at(after(60)), [Change::TakeBack]);
    only_seen(&mut world);
    world.deployments[0]["metadata"]["managedFields"] = json!([{
        "manager": "kube-controller-manager", "operation": "Update", "subresource": "status",
        "time": after(60).to_string(),
    }]);
    assert!(world.plan_at(after(61)).steps.is_empty());
    assert_eq!(world.plan_at(after(70)).steps.len(), 1);
}

#[test]
fn before_the_age_is_known_to_be_harmless_no_other_gets_it() {
    let mut world = beside_a_daemon_set();
    assert_eq!(world.apply_at(now()), [Change::Inject]);
    only_seen(&mut world);
    world.deployments[0]["status"]["updatedNumberScheduled"] = 1.into();
    let mut broken = pod(&world.deployments[0], 0);
    broken["metadata"]["creationTimestamp"] = now().to_string().into();
    broken["status"]["conditions"] = json!([
        {"type": "Ready", "status": "False", "lastTransitionTime": after(1).to_string()}
    ]);
    world.pods[0] = broken;
    assert!(world.plan_at(after(10)).steps.is_empty());
    assert_eq!(world.apply_at(after(11)), [Change::TakeBack]);
    assert_eq!(records(&world), [true, false], "that it failed");
}

type Halt = (&'static str, i64, fn(&mut Value));

/// What stops a neighbour half way; from when on.
const HALTS: [Halt; 3] = [
    ("paused", 1, |own| own["spec"]["paused"] = true.into()),
    ("failed", 1, |own| {
        own["status"]["conditions"] = json!([
            {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
        ]);
    }),
    ("stuck", 10, |_| {}),
];

#[test]
fn a_neighbour_that_goes_no_further_keeps_nothing_from_being_taken_back() {
    for involved in [false, true] {
        for (name, from, halt) in HALTS {
            let mut world = two();
            if !involved {
                let mut age = env_age();
                age["workloads"] = json!(["b"]);
                world.age(Some(age));
                world.settle();
                world.settle();
                assert_eq!(records(&world), [false, true]);
            }
            // A rollout of the owner's, half way.
            let own = &mut world.deployments[0];
            own["status"]["updatedReplicas"] = 1.into();
            own["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "7".into();
            world.pods[0]["metadata"]["creationTimestamp"] = now().to_string().into();
            world.age(None);
            let plan = world.plan_at(after(1));
            assert!(plan.steps.is_empty(), "{name} {involved}: it goes on");
            halt(&mut world.deployments[0]);
            let plan = world.plan_at(after(from));
            // Its own age comes out as well, and first.
            let first = if involved && name != "paused" {
                "a"
            } else {
                "b"
            };
            assert!(
                plan.steps.iter().any(|step| step.name == first),
                "{name} {involved}: {:?}",
                plan.servers
            );
        }
    }
}

#[test]
fn beside_a_neighbour_that_goes_no_further_the_age_does_not_go_in() {
    for (name, from, halt) in HALTS {
        let mut world = World::new(
            Some(env_age()),
            vec![deployment("a", &json!({})), deployment("b", &json!({}))],
        );
        assert_eq!(world.apply_at(now()), [Change::Inject]);
        let own = &mut world.deployments[0];
        own["status"]["observedGeneration"] = 2.into();
        own["status"]["updatedReplicas"] = 1.into();
        // The owner's own change came on top: it is not the age that failed.
        own["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "7".into();
        halt(own);
        world.pods[0]["metadata"]["creationTimestamp"] = now().to_string().into();
        let plan = world.plan_at(after(from));
        assert!(plan.steps.is_empty(), "{name}: {:?}", plan.steps);
    }
}
