//! When: never into a rollout, one at a time, and not for ever against somebody's will.

use std::time::Duration;

use super::*;
use crate::api::Server;
use crate::connection_age::{rollout, schedule, started_by};

#[test]
fn a_busy_deployment_is_left_alone() {
    for (path, value, reason) in [
        ("/spec/paused", json!(true), "Paused"),
        ("/metadata/generation", json!(2), "WaitingForRollout"),
        ("/status/updatedReplicas", json!(1), "WaitingForRollout"),
        ("/status/replicas", json!(3), "WaitingForRollout"),
        ("/status/availableReplicas", json!(1), "WaitingForRollout"),
    ] {
        let mut world = World::with(env_age(), &json!({}));
        if path == "/spec/paused" {
            world.deployments[0]["spec"]["paused"] = value;
        } else {
            *world.deployments[0].pointer_mut(path).unwrap() = value;
        }
        let plan = world.plan();
        assert!(
            plan.steps.is_empty() && plan.blocked_by_rollout && plan.holds,
            "{path}"
        );
        says(&plan, State::False, reason, &["Deployment a"]);
        assert_eq!(plan.servers[0].state.as_deref(), Some(reason));
    }
}

#[test]
fn the_budget_is_kept() {
    let world = World::with(env_age(), &json!({}));
    let plan = plan(&world.observed(), FULL, now());
    assert!(plan.steps.is_empty() && plan.blocked_by_rollout);
    says(&plan, State::False, "WaitingForRollout", &["Deployment a"]);
}

#[test]
fn one_workload_at_a_time() {
    let mut world = World::new(
        Some(env_age()),
        vec![deployment("a", &json!({})), deployment("b", &json!({}))],
    );
    assert_eq!(world.apply_at(now()), [Change::Inject]);
    let plan = world.plan();
    assert!(
        plan.steps.is_empty() && plan.blocked_by_rollout,
        "a is still rolling"
    );
    says(
        &plan,
        State::False,
        "WaitingForRollout",
        &["Deployment b", "Deployment a"],
    );
    world.roll();
    assert_eq!(world.plan().running_max_age.as_deref(), Some("mixed"));
    assert_eq!(world.plan().longest_max_age, Some(Duration::from_mins(1)));
    assert_eq!(world.settle(), [Change::Inject]);
    says(
        &world.plan(),
        State::True,
        "Applied",
        &["Deployment a", "Deployment b"],
    );
}

#[test]
fn the_next_workload_waits_until_clients_know_the_pods_of_the_last() {
    let mut world = World::new(
        Some(env_age()),
        vec![deployment("a", &json!({})), deployment("b", &json!({}))],
    );
    assert_eq!(world.settle(), [Change::Inject]);
    let ready = |world: &mut World, at: &str| {
        for pod in &mut world.pods {
            if pod["metadata"]["name"].as_str().unwrap().starts_with("a-") {
                pod["status"]["conditions"][0]["lastTransitionTime"] = at.into();
            }
        }
    };
    ready(&mut world, "2026-01-01T11:59:30Z");
    let plan = world.plan();
    assert!(plan.steps.is_empty() && plan.blocked_by_rollout);
    assert_eq!(plan.look_again, Some(std::time::Duration::from_secs(30)));
    says(
        &plan,
        State::False,
        "WaitingForRollout",
        &["Deployment b", "new pods of Deployment a", "60 s"],
    );
    for at in ["2026-01-01T11:59:00Z", "2026-01-02T00:00:00Z"] {
        ready(&mut world, at);
        assert_eq!(world.plan().steps.len(), 1, "{at}");
    }
    for pod in &mut world.pods {
        pod["status"]["conditions"][0]["lastTransitionTime"] = "2026-01-01T11:59:59Z".into();
    }
    assert!(world.delete().plan().steps.is_empty(), "deletion waits too");
}

#[test]
fn applied_means_that_the_ready_pods_run_with_it() {
    let mut world = World::with(env_age(), &json!({}));
    let old = world.pods.clone();
    world.settle();
    world.pods[0] = old[0].clone();
    let plan = world.plan();
    says(&plan, State::False, "RollingOut", &["1 of 2 ready pods"]);
    assert_eq!(plan.running_max_age.as_deref(), Some("mixed"));
    assert!(crate::connection_age::timing::running_age(plan.running_max_age.as_deref()).is_none());
    world.pods.clear();
    assert_eq!(world.reason(), "RollingOut");
    world.deployments[0]["spec"]["replicas"] = 0.into();
    assert_eq!(world.reason(), "Applied");
}

#[test]
fn suspended_writes_nothing() {
    let mut world = World::with(env_age(), &json!({}));
    world.backend.spec.suspend = true;
    let plan = world.plan();
    assert!(plan.steps.is_empty() && !plan.holds);
    says(&plan, State::False, "NotApplied", &["spec.suspend"]);
    world.backend.spec.suspend = false;
    world.settle();
    world.backend.spec.suspend = true;
    assert!(world.plan().holds);
    assert_eq!(
        world.delete().settle(),
        [Change::TakeBack],
        "deletion still finishes"
    );
}

fn fail(world: &mut World) {
    world.deployments[0]["status"]["observedGeneration"] =
        world.deployments[0]["metadata"]["generation"].clone();
    world.deployments[0]["status"]["availableReplicas"] = 1.into();
    world.deployments[0]["status"]["updatedReplicas"] = 1.into();
    world.deployments[0]["status"]["conditions"] =
        json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]);
}

fn recover(world: &mut World) {
    world.deployments[0]["status"] =
        json!({"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2});
    world.roll();
}

#[test]
fn a_rollout_that_fails_is_taken_back_once() {
    let mut world = World::with(env_age(), &json!({}));
    let before = world.deployments[0]["spec"].clone();
    world.apply_at(now());
    fail(&mut world);
    says(
        &world.plan(),
        State::False,
        "RolloutFailed",
        &["Deployment a"],
    );
    assert_eq!(world.apply_at(now()), [Change::TakeBack]);
    assert_eq!(world.deployments[0]["spec"], before);
    assert!(world.plan().steps.is_empty());
    recover(&mut world);
    let plan = world.plan();
    assert!(plan.steps.is_empty() && plan.holds);
    says(&plan, State::False, "RolloutFailed", &[]);
    assert_eq!(
        world.age(Some(env_age())).settle(),
        [Change::Inject],
        "a new generation may try"
    );
    world.age(None).settle();
    assert!(world.record().is_none());
}

#[test]
fn who_wipes_the_record_of_a_failure_gets_no_second_one() {
    let mut world = World::with(env_age(), &json!({}));
    let annotations = world.deployments[0]["metadata"]["annotations"].clone();
    world.apply_at(now());
    fail(&mut world);
    world.apply_at(now());
    recover(&mut world);
    world.tell_at(now());
    world.deployments[0]["metadata"]["annotations"] = annotations;
    bump(&mut world.deployments[0]);
    world.roll();
    assert_eq!(world.settle(), []);
    assert_eq!(world.reason(), "RolloutFailed");
    assert_eq!(world.age(Some(env_age())).settle(), [Change::Inject]);
}

#[test]
fn a_failed_record_goes_with_the_resource() {
    let mut world = World::with(env_age(), &json!({}));
    world.apply_at(now());
    fail(&mut world);
    world.apply_at(now());
    assert_eq!(world.delete().settle(), [Change::Forget]);
    assert!(!world.plan().holds);
}

#[test]
fn a_corrected_spec_replaces_a_failed_rollout_at_once() {
    let mut world = World::with(env_age(), &json!({}));
    world.apply_at(now());
    fail(&mut world);
    let other = json!({"maxAge": "1m", "knob": {"env": {"maxAge": "OTHER"}}});
    assert_eq!(world.age(Some(other)).apply_at(now()), [Change::Update]);
}

#[test]
fn the_owners_failed_rollout_is_not_ours() {
    let mut world = World::with(env_age(), &json!({}));
    world.settle();
    world.owner(|c| c["image"] = "broken".into());
    fail(&mut world);
    assert!(world.plan().steps.is_empty());
    assert_eq!(world.reason(), "Applied");
}

#[test]
fn rollouts_of_ours_are_known_by_what_is_on_the_workload() {
    let mut world = World::with(flag_age(), &json!({"args": ["x"]}));
    let by = |world: &World| started_by(&world.observed().workloads[0]);
    assert!(by(&world).is_empty());
    world.apply_at(now());
    assert_eq!(by(&world), ["echo"]);
    world.roll();
    assert!(by(&world).is_empty());
}

#[test]
fn the_longest_age_of_all_is_what_new_pods_are_given_time_by() {
    let row = |running: Option<&str>| Server {
        container: Some("server".into()),
        replicas: 2,
        running: running.map(Into::into),
        planned: Some("3m".into()),
        ..Server::default()
    };
    let minutes = |minutes| Some(Duration::from_mins(minutes));
    for (ages, expected) in [
        (&[Some("5m"), Some("10m")][..], minutes(10)),
        (&[Some("5m"), None], minutes(5)),
        (&[None, Some("5m"), Some("unknown")], minutes(5)),
        (&[Some("mixed"), Some("1m")], minutes(3)),
        (&[None, None], None),
        (&[], None),
    ] {
        let rows: Vec<_> = ages.iter().copied().map(row).collect();
        assert_eq!(schedule::longest(&rows), expected, "{ages:?}");
    }
    let scaled_to_zero = Server {
        replicas: 0,
        ..row(Some("20m"))
    };
    assert_eq!(
        schedule::longest(&[scaled_to_zero, row(Some("1m"))]),
        minutes(1)
    );
}

#[test]
fn a_rollout_that_has_halted_is_none_for_the_judge() {
    let deadline = FREE.deadline;
    let rolling = |kind: &str, change: &dyn Fn(&mut Value), at: Timestamp| {
        let mut server = deployment("a", &json!({}));
        server["kind"] = kind.into();
        let mut world = World::new(None, vec![server]);
        let status = &mut world.deployments[0]["status"];
        let updated = if kind == "DaemonSet" {
            "updatedNumberScheduled"
        } else {
            "updatedReplicas"
        };
        status[updated] = 1.into();
        for pod in &mut world.pods {
            pod["metadata"]["creationTimestamp"] = json!(now().to_string());
        }
        change(&mut world.deployments[0]);
        rollout::is_rolling_out(&world.observed(), deadline, at)
    };
    let halted = |condition: &'static str| {
        move |workload: &mut Value| {
            workload["status"]["conditions"] = json!([{"type": "Progressing", "status": condition, "reason": "ProgressDeadlineExceeded"}]);
        }
    };
    let later = now() + jiff::SignedDuration::try_from(deadline).unwrap();
    for (kind, case, change, at, expected) in [
        ("Deployment", "under way", &|_: &mut Value| {}, now(), true),
        (
            "Deployment",
            "paused",
            &|workload: &mut Value| workload["spec"]["paused"] = true.into(),
            now(),
            false,
        ),
        ("Deployment", "given up", &halted("False"), now(), false),
        ("Deployment", "goes on", &halted("True"), now(), true),
        (
            "Deployment",
            "given up, and changed since",
            &|workload: &mut Value| {
                halted("False")(workload);
                bump(workload);
            },
            now(),
            true,
        ),
        ("StatefulSet", "under way", &|_: &mut Value| {}, now(), true),
        ("StatefulSet", "stuck", &|_: &mut Value| {}, later, false),
    ]
        as [(&str, &str, &dyn Fn(&mut Value), Timestamp, bool); 7]
    {
        assert_eq!(rolling(kind, change, at), expected, "{kind} {case}");
    }
}
