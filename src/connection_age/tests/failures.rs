//! A rollout that gets no further: whose it is, and what becomes of the age.

use super::kinds::{OTHERS, fail, server, world};
use super::*;
use crate::connection_age::started_by;

#[test]
fn a_rollout_that_fails_is_taken_back_once() {
    for kind in OTHERS {
        let mut world = world(kind, &json!({}));
        let before = world.deployments[0]["spec"].clone();
        world.apply_at(now());
        fail(&mut world, after(1));
        for minute in [9, 10] {
            let plan = world.plan_at(after(minute));
            assert!(plan.steps.is_empty(), "{kind}: it had {minute} minutes");
            assert_eq!(plan.statement.reason.as_str(), "RollingOut");
            let left = std::time::Duration::from_mins(11 - minute.unsigned_abs());
            assert_eq!(plan.look_again, Some(left));
        }
        let title = format!("{kind} a");
        let plan = world.plan_at(after(11));
        says(&plan, State::False, "RolloutFailed", &[&title]);
        let stuck = kind == "StatefulSet";
        let hint = "kubectl delete pod -n ns a-1";
        assert_eq!(plan.statement.message.contains(hint), stuck);
        assert_eq!(plan.steps[0].note.contains(hint), stuck);
        assert_eq!(world.apply_at(after(11)), [Change::TakeBack]);
        assert_eq!(world.deployments[0]["spec"], before);
        let plan = world.plan_at(after(12));
        assert!(plan.steps.is_empty() && plan.holds);
        says(&plan, State::False, "RolloutFailed", &[]);
        assert_eq!(plan.statement.message.contains(hint), stuck);
        world.roll();
        world.deployments[0]["status"] = server(kind, &json!({}))["status"].clone();
        world.roll();
        says(&world.plan(), State::False, "RolloutFailed", &[]);
        assert_eq!(
            world.age(Some(env_age())).settle(),
            [Change::Inject],
            "a new generation may try"
        );
    }
}

#[test]
fn a_pod_that_fails_later_is_not_ours() {
    for kind in OTHERS {
        let mut world = world(kind, &json!({}));
        world.settle();
        world.settle();
        fail(&mut world, after(60));
        let plan = world.plan_at(after(120));
        assert!(plan.steps.is_empty(), "{:?}", plan.steps);
        assert_eq!(plan.statement.reason.as_str(), "Applied");
    }
}

#[test]
fn the_owners_failed_rollout_is_not_ours() {
    for kind in OTHERS {
        let mut world = world(kind, &json!({}));
        world.apply_at(now());
        world.owner(|c| c["image"] = "broken".into());
        fail(&mut world, after(1));
        let plan = world.plan_at(after(60));
        let pods_stay = |step: &Step| !step.starts_rollout;
        assert!(plan.steps.iter().all(pods_stay), "{:?}", plan.steps);
        assert_eq!(plan.look_again, None, "nothing is waited for");
    }
}

#[test]
fn where_a_pod_serves_with_the_age_it_is_not_the_age_that_fails() {
    for kind in OTHERS {
        let mut world = world(kind, &json!({}));
        world.apply_at(now());
        fail(&mut world, after(1));
        let serving = pod(&world.deployments[0], 7);
        world.pods.push(serving);
        let plan = world.plan_at(after(60));
        assert!(plan.steps.is_empty(), "{:?}", plan.steps);
        assert_eq!(plan.statement.reason.as_str(), "RollingOut");
    }
}

#[test]
fn a_failure_stays_ours_though_it_is_scaled_meanwhile() {
    let mut world = world("StatefulSet", &json!({}));
    world.apply_at(now());
    world.deployments[0]["spec"]["replicas"] = 3.into();
    world.deployments[0]["metadata"]["generation"] = 9.into();
    fail(&mut world, after(1));
    assert_eq!(world.apply_at(after(11)), [Change::TakeBack]);
}

#[test]
fn a_slow_rollout_is_no_failed_one() {
    for kind in OTHERS {
        let mut world = world(kind, &json!({}));
        world.apply_at(now());
        fail(&mut world, after(55));
        let plan = world.plan_at(after(60));
        assert!(plan.steps.is_empty());
        assert_eq!(plan.statement.reason.as_str(), "RollingOut");
    }
}

/// Whoever may annotate a workload, or write a status, may write any time there: no pass may end the operator for it.
#[test]
fn times_at_the_end_of_all_time_are_borne() {
    let last = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::MAX);
    for kind in OTHERS {
        let mut world = world(kind, &json!({}));
        world.apply_at(now());
        fail(&mut world, after(1));
        let mut record = world.record().unwrap();
        record["underWay"]["since"] = last.0.to_string().into();
        let key = crate::names::record_annotation("echo");
        world.deployments[0]["metadata"]["annotations"][&key] = record.to_string().into();
        assert!(world.plan_at(after(11)).steps.is_empty(), "{kind}");
        world.pods[1]["status"]["conditions"][0]["lastTransitionTime"] = last.0.to_string().into();
        assert!(world.plan_at(after(11)).steps.is_empty(), "{kind}");
        world.tell_at(after(11));
        let row = &mut world.backend.status.as_mut().unwrap().servers[0];
        row.gone_since = Some(last.clone());
        row.reverts = vec![last.clone(); 4];
        world.container(0)["env"] = Value::Null;
        assert!(world.plan_at(after(12)).steps.is_empty(), "{kind}");
        world.backend.metadata.deletion_timestamp = Some(last.clone());
        assert!(world.plan_at(after(12)).holds, "{kind}");
    }
}

/// Neither for any number.
#[test]
fn a_revision_at_the_end_of_all_numbers_is_borne() {
    let mut world = World::with(env_age(), &json!({}));
    world.apply_at(now());
    let mut record = world.record().unwrap();
    record["revision"] = i64::MAX.into();
    let own = &mut world.deployments[0];
    own["metadata"]["annotations"][crate::names::record_annotation("echo")] =
        record.to_string().into();
    own["status"]["updatedReplicas"] = 1.into();
    own["status"]["conditions"] = json!([
        {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    ]);
    assert_eq!(world.changes(), []);
    assert_eq!(started_by(&workload(&world.deployments[0])), ["echo"]);
}

/// The user sees that it was wrong: nothing serves with it, so that nobody has to wait until it has failed.
#[test]
fn a_rollout_of_ours_that_serves_nobody_does_not_keep_back_its_correction() {
    let mut advise = env_age();
    advise["mode"] = "Advise".into();
    let by_flag = json!({"maxAge": "2m", "knob": {"env": {"maxAge": "AGE", "format": "Seconds"}}});
    for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
        for (next, change) in [
            (None, Change::TakeBack),
            (Some(advise.clone()), Change::TakeBack),
            (Some(by_flag.clone()), Change::Update),
        ] {
            let object = match kind {
                "Deployment" => deployment("a", &json!({})),
                _ => server(kind, &json!({})),
            };
            let mut world = World::new(Some(env_age()), vec![object]);
            world.apply_at(now());
            fail(&mut world, now());
            world.pods[1]["metadata"]["creationTimestamp"] = now().to_string().into();
            assert!(world.tell_at(after(2)).steps.is_empty());
            world.age(next);
            let corrected = |world: &World| -> Vec<Change> {
                let steps = world.plan_at(after(2)).steps;
                steps.iter().map(|step| step.change).collect()
            };
            assert_eq!(corrected(&world), [change], "{kind}");
            // It has its place among the rollouts already.
            let full = plan(&world.observed(), FULL, after(2)).steps;
            let changes: Vec<Change> = full.iter().map(|step| step.change).collect();
            assert_eq!(changes, [change], "{kind}, with a full budget");
            // One that serves with it: the rollout goes on, and is not disturbed.
            let mut serves = world.clone();
            let more = pod(&serves.deployments[0], 7);
            serves.pods.push(more);
            assert_eq!(corrected(&serves), [], "{kind}");
            // Somebody else's template came after ours.
            world.container(0)["image"] = "theirs".into();
            let withheld = corrected(&world);
            assert!(!withheld.contains(&change), "{kind}: {withheld:?}");
        }
    }
}

/// What somebody may do about an age that does harm, and what comes of it.
fn ways_out() -> [(Option<Value>, Change); 3] {
    let mut advise = env_age();
    advise["mode"] = "Advise".into();
    let corrected = json!({"maxAge": "2m", "knob": {"env": {"maxAge": "AGE"}}});
    [
        (None, Change::TakeBack),
        (Some(advise), Change::TakeBack),
        (Some(corrected), Change::Update),
    ]
}

fn one(kind: &str) -> World {
    let object = match kind {
        "Deployment" => deployment("a", &json!({})),
        _ => server(kind, &json!({})),
    };
    World::new(Some(env_age()), vec![object])
}

fn changes_at(world: &World, at: Timestamp) -> Vec<Change> {
    let steps = world.plan_at(at).steps;
    steps.iter().map(|step| step.change).collect()
}

/// As `kubectl rollout restart` does it, or a new image: its pods get no further.
fn deploy_on_top(world: &mut World, at: Timestamp) {
    world.deployments[0]["spec"]["template"]["metadata"]["annotations"] = json!({"again": "1"});
    bump(&mut world.deployments[0]);
    fail(world, at);
    world.pods[1]["metadata"]["creationTimestamp"] = at.to_string().into();
}

/// Its pods crash for the age, and the last rollout is not ours: it would never end.
#[test]
fn an_age_that_halts_the_owners_rollout_has_a_way_out() {
    for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
        for (next, change) in ways_out() {
            let mut world = one(kind);
            assert_eq!(world.apply_at(now()), [Change::Inject]);
            deploy_on_top(&mut world, now());
            assert_eq!(changes_at(&world, after(60)), [], "{kind}: nobody asks");
            let removed = next.is_none();
            world.age(next);
            let plan = world.plan_at(after(9));
            assert!(plan.steps.is_empty(), "{kind}: the owner's goes on");
            if removed {
                let words = ["is rolling out", "taken back when", "600 s"];
                says(&plan, State::False, "WaitingForRollout", &words);
            }
            assert_eq!(changes_at(&world, after(10)), [change], "{kind}");
            assert_eq!(world.apply_at(after(10)), [change], "{kind}");
            assert_eq!(world.record().is_none(), change == Change::TakeBack);
        }
    }
}

/// It is the owner's own change that halts the rollout: theirs comes first, but for who wants the age out.
#[test]
fn where_a_pod_serves_with_the_age_a_halted_rollout_is_the_owners() {
    for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
        for (next, change) in ways_out() {
            let mut world = one(kind);
            world.settle();
            world.settle();
            deploy_on_top(&mut world, after(60));
            world.age(next);
            let expected: &[Change] = match change {
                Change::TakeBack => &[Change::TakeBack],
                _ => &[],
            };
            assert_eq!(changes_at(&world, after(120)), expected, "{kind}");
        }
    }
}

/// The rollout has long ended, and the server dies at each age.
#[test]
fn an_age_that_keeps_pods_down_has_a_way_out() {
    for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
        for (next, change) in ways_out() {
            let mut world = one(kind);
            world.settle();
            world.settle();
            for pod in &mut world.pods {
                pod["status"]["conditions"] = json!([
                    {"type": "Ready", "status": "False", "lastTransitionTime": after(60).to_string()}
                ]);
            }
            let status = &mut world.deployments[0]["status"];
            status["availableReplicas"] = 0.into();
            status["numberAvailable"] = 0.into();
            assert_eq!(changes_at(&world, after(61)), [], "{kind}: nobody asks");
            world.age(next);
            assert_eq!(changes_at(&world, after(61)), [change], "{kind}");
            let full = plan(&world.observed(), FULL, after(61)).steps;
            assert!(full.is_empty(), "{kind}: it waits for its place");
            // What was taken out by somebody else does no harm there, and does not go in beside it.
            if change == Change::Update {
                world.container(0)["env"] = Value::Null;
                assert_eq!(changes_at(&world, after(61)), [], "{kind}");
            }
        }
    }
}

/// A node may be dead: whoever takes away another pod before that one is back may leave too few.
#[test]
fn another_age_waits_for_missing_pods_while_others_serve() {
    for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
        for (next, change) in ways_out() {
            let mut world = one(kind);
            world.settle();
            world.settle();
            world.pods[0]["status"]["conditions"] = json!([
                {"type": "Ready", "status": "False", "lastTransitionTime": after(60).to_string()}
            ]);
            let status = &mut world.deployments[0]["status"];
            status["availableReplicas"] = 1.into();
            status["numberAvailable"] = 1.into();
            world.age(next);
            let plan = world.plan_at(after(61));
            // A Deployment's controller takes no more away than its strategy allows.
            if change == Change::Update && kind != "Deployment" {
                assert!(plan.steps.is_empty(), "{kind}: {:?}", plan.steps);
                says(&plan, State::False, "WaitingForRollout", &["not all pods"]);
            } else {
                let changes: Vec<Change> = plan.steps.iter().map(|step| step.change).collect();
                assert_eq!(changes, [change], "{kind}");
            }
        }
    }
}

/// What halts it may have come with that: a write of ours on top would have `kubectl rollout undo` lead back to it.
#[test]
fn what_gives_way_to_the_owners_own_waits_for_their_halted_rollout() {
    let variable: fn(&mut Value) = |own| {
        own["env"] = json!([{"name": "SPICEDB_GRPC_MAX_CONN_AGE", "value": "7m"}]);
    };
    // Given twice it may be what halts it.
    let flag: fn(&mut Value) = |own| {
        let args = own["args"].as_array_mut().unwrap();
        args.push("--grpc-max-conn-age=7m".into());
    };
    for (what, theirs, serves, waits) in [
        ("a variable", variable, true, true),
        ("a variable, and nothing serves", variable, false, false),
        ("the flag", flag, true, false),
    ] {
        let age = json!({"maxAge": "5m", "knob": {"preset": "SpiceDB"}});
        let mut world = World::with(age, &json!({"args": ["serve"]}));
        assert_eq!(world.settle(), [Change::Inject]);
        theirs(world.container(0));
        deploy_on_top(&mut world, after(60));
        if !serves {
            world.pods.remove(0);
        }
        assert_eq!(changes_at(&world, after(69)), [], "{what}: it goes on");
        let plan = world.plan_at(after(120));
        says(&plan, State::False, "FieldConflict", &[]);
        assert_eq!(plan.steps.is_empty(), waits, "{what}: {:?}", plan.steps);
        assert_eq!(plan.blocked_by_rollout, waits, "{what}");
        world.age(None);
        let asked = changes_at(&world, after(120));
        assert_eq!(asked, [Change::TakeBack], "{what}: and it is asked for");
    }
}
