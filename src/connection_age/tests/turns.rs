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
