//! A Deployment, whose record does not learn that its rollout has ended: its pods tell whether the age keeps them from serving.

use super::kinds::{OTHERS, fail, server};
use super::*;

/// What a pod was since when, in minutes after the age was injected.
struct Past {
    created: i64,
    unready: Option<i64>,
}

/// It is down: no pod serves.
fn down(pasts: &[Past]) -> World {
    let mut world = World::with(env_age(), &json!({}));
    world.apply_at(now());
    let pods = pasts.iter().zip(0..);
    world.pods = pods
        .map(|(past, replica)| {
            let mut own = pod(&world.deployments[0], replica);
            own["metadata"]["creationTimestamp"] = after(past.created).to_string().into();
            own["status"]["conditions"] = past.unready.map_or(Value::Null, |at| {
                json!([{"type": "Ready", "status": "False", "lastTransitionTime": after(at).to_string()}])
            });
            own
        })
        .collect();
    let generation = world.deployments[0]["metadata"]["generation"].clone();
    world.deployments[0]["status"] = json!({
        "observedGeneration": generation, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 0
    });
    world
}

/// Its controller may never say that the time is over: it does not where a ReplicaSet of the template was there before.
#[test]
fn a_deployment_is_given_up_after_the_longer_deadline() {
    for (own, given_up) in [(i32::MAX, 10), (60, 10), (600, 10), (1200, 20)] {
        let mut world = World::with(env_age(), &json!({}));
        world.deployments[0]["spec"]["progressDeadlineSeconds"] = own.into();
        world.deployments[0]["spec"]["replicas"] = 2.into();
        world.roll();
        world.apply_at(now());
        fail(&mut world, now());
        world.pods[1]["metadata"]["creationTimestamp"] = now().to_string().into();
        let failed = (0..30).find(|at| {
            let plan = world.plan_at(after(*at));
            plan.statement.reason.as_str() == "RolloutFailed" && plan.steps.len() == 1
        });
        assert_eq!(failed, Some(given_up), "{own}");
    }
}

/// Nor does it where all pods are replaced at once. One that served, or that came later, tells that it is not the age.
#[test]
fn a_deployment_that_is_down_is_given_up_if_it_never_was_up() {
    let past = |created, unready| Past { created, unready };
    for (pasts, given_up) in [
        (vec![past(0, Some(0))], Some(10)),
        (vec![past(9, Some(9))], Some(19)),
        (vec![past(0, Some(0)), past(1, None)], Some(10)),
        (vec![past(0, Some(1))], None),
        (vec![past(11, Some(11))], None),
        // Never scheduled since, beside one that served for long.
        (vec![past(0, None), past(0, Some(300))], None),
    ] {
        let world = down(&pasts);
        let failed = (0..400).find(|at| !world.plan_at(after(*at)).steps.is_empty());
        assert_eq!(failed, given_up, "{:?}", world.pods);
    }
}

/// What the kubelet rejected or evicted stays for days.
#[test]
fn pods_that_have_ended_tell_nothing() {
    let mut world = down(&[Past {
        created: 0,
        unready: None,
    }]);
    world.pods[0]["status"]["phase"] = "Failed".into();
    assert!((0..400).all(|at| world.plan_at(after(at)).steps.is_empty()));
}

#[test]
fn a_paused_deployment_is_left_to_its_owner() {
    let mut world = down(&[Past {
        created: 0,
        unready: Some(0),
    }]);
    world.deployments[0]["spec"]["paused"] = true.into();
    assert!((0..60).all(|at| world.plan_at(after(at)).steps.is_empty()));
}

/// Without a readiness probe a pod is Ready for as long as its server takes to fail, again and again.
#[test]
fn a_server_that_crashes_soon_after_each_start_is_given_up() {
    let ran = |from: Timestamp, seconds| {
        let to = from + SignedDuration::from_secs(seconds);
        json!({"terminated": {"exitCode": 1, "startedAt": from.to_string(), "finishedAt": to.to_string()}})
    };
    for (seconds, crashed, given_up) in [(4, 9, true), (90, 9, false), (4, 60 * 24, false)] {
        let mut world = down(&[Past {
            created: 0,
            unready: None,
        }]);
        let start = after(crashed) + SignedDuration::from_secs(30);
        world.pods[0]["status"] = json!({
            "startTime": now().to_string(),
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": start.to_string()}],
            "containerStatuses": [{
                "name": "srv", "image": "i", "imageID": "", "ready": true, "restartCount": 7,
                "lastState": ran(after(crashed), seconds), "state": {"running": {"startedAt": start.to_string()}},
            }],
        });
        let plan = world.plan_at(start + SignedDuration::from_secs(40));
        assert_eq!(
            plan.steps.len(),
            usize::from(given_up),
            "{seconds} s, {crashed} min"
        );
        let later = world.plan_at(start + SignedDuration::from_mins(2));
        assert!(later.steps.is_empty(), "it runs");
    }
}

/// The first pods come when somebody wants them, at any time.
#[test]
fn what_was_set_where_nothing_ran_is_tried_when_it_runs() {
    for kind in ["Deployment", OTHERS[0]] {
        let mut idle = server(kind, &json!({}));
        idle["spec"]["replicas"] = 0.into();
        idle["status"] = json!({"observedGeneration": 1, "replicas": 0});
        let mut world = World::new(Some(env_age()), vec![idle]);
        world.pods.clear();
        assert_eq!(world.apply_at(now()), [Change::Inject]);
        let generation = world.deployments[0]["metadata"]["generation"].clone();
        world.deployments[0]["status"]["observedGeneration"] = generation;
        assert_eq!(world.apply_at(after(1)), [], "nothing has been tried");
        world.deployments[0]["spec"]["replicas"] = 2.into();
        bump(&mut world.deployments[0]);
        world.pods = vec![pod(&world.deployments[0], 0), pod(&world.deployments[0], 1)];
        fail(&mut world, after(600));
        world.pods.remove(0);
        let status = &mut world.deployments[0]["status"];
        status["availableReplicas"] = 0.into();
        status["replicas"] = 1.into();
        assert_eq!(world.apply_at(after(609)), [], "{kind}");
        assert_eq!(world.apply_at(after(610)), [Change::TakeBack], "{kind}");
    }
}
