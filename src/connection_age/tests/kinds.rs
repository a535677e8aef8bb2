//! StatefulSets and DaemonSets: the same promises, and what they do otherwise.

use super::*;

pub(super) fn server(kind: &str, container: &Value) -> Value {
    let mut object = deployment("a", container);
    object["kind"] = kind.into();
    object["metadata"]["annotations"] = Value::Null;
    object["status"] = match kind {
        "DaemonSet" => json!({
            "observedGeneration": 1, "desiredNumberScheduled": 2, "currentNumberScheduled": 2,
            "updatedNumberScheduled": 2, "numberAvailable": 2, "numberReady": 2, "numberMisscheduled": 0,
        }),
        _ => object["status"].clone(),
    };
    if kind == "DaemonSet" {
        object["spec"].as_object_mut().unwrap().remove("replicas");
    } else {
        object["spec"]["serviceName"] = "a".into();
    }
    object
}

pub(super) fn world(kind: &str, container: &Value) -> World {
    World::new(Some(env_age()), vec![server(kind, container)])
}

/// The pod that the rollout replaced first does not become ready.
pub(super) fn fail(world: &mut World, since: Timestamp) {
    world.pods[1] = pod(&world.deployments[0], 1);
    let generation = world.deployments[0]["metadata"]["generation"].clone();
    let status = &mut world.deployments[0]["status"];
    status["observedGeneration"] = generation;
    status["updatedReplicas"] = 1.into();
    status["updatedNumberScheduled"] = 1.into();
    status["availableReplicas"] = 1.into();
    status["numberAvailable"] = 1.into();
    world.pods[1]["status"]["conditions"] = json!([
        {"type": "Ready", "status": "False", "lastTransitionTime": since.to_string()}
    ]);
}

pub(super) const OTHERS: [&str; 2] = ["StatefulSet", "DaemonSet"];

#[test]
fn each_gets_the_age_and_loses_it() {
    for kind in OTHERS {
        for (age, container) in [
            (env_age(), json!({})),
            (flag_age(), json!({"args": ["x"]})),
            (switch_age(), json!({"command": ["s"]})),
        ] {
            let mut world = World::new(Some(age), vec![server(kind, &container)]);
            let before = world.deployments[0]["spec"].clone();
            assert_eq!(world.settle(), [Change::Inject]);
            let title = format!("{kind} a");
            says(&world.plan(), State::True, "Applied", &[&title]);
            assert_eq!(world.plan().servers[0].kind, kind);
            assert_eq!(world.plan().servers[0].replicas, 2);
            assert_eq!(world.plan().running_max_age.as_deref(), Some("1m"));
            assert_eq!(world.settle(), [Change::Update], "the rollout has ended");
            assert_eq!(world.record().unwrap()["underWay"], Value::Null);
            assert!(world.plan().steps.is_empty());
            assert_eq!(world.delete().settle(), [Change::TakeBack]);
            assert_eq!(world.deployments[0]["spec"], before);
            assert!(world.record().is_none() && !world.plan().holds);
        }
    }
}

#[test]
fn a_busy_one_is_left_alone() {
    for (kind, field, value) in [
        ("StatefulSet", "updatedReplicas", 1),
        ("StatefulSet", "replicas", 3),
        ("StatefulSet", "availableReplicas", 1),
        ("StatefulSet", "observedGeneration", 0),
        ("DaemonSet", "updatedNumberScheduled", 1),
        ("DaemonSet", "desiredNumberScheduled", 3),
        ("DaemonSet", "numberAvailable", 1),
        ("DaemonSet", "observedGeneration", 0),
    ] {
        let mut world = world(kind, &json!({}));
        world.deployments[0]["status"][field] = value.into();
        let plan = world.plan();
        assert!(
            plan.steps.is_empty() && plan.blocked_by_rollout,
            "{kind} {field}"
        );
        let title = format!("{kind} a");
        says(&plan, State::False, "WaitingForRollout", &[&title]);
    }
}

#[test]
fn pods_of_a_namesake_do_not_count() {
    let mut world = World::new(
        Some(env_age()),
        vec![
            deployment("a", &json!({})),
            server("StatefulSet", &json!({})),
        ],
    );
    assert_eq!(world.settle(), [Change::Inject]);
    let plan = world.plan();
    assert_eq!(plan.running_max_age.as_deref(), Some("mixed"));
    let running: Vec<_> = plan
        .servers
        .iter()
        .map(|server| (server.kind.as_str(), server.running.as_deref()))
        .collect();
    assert_eq!(running, [("Deployment", Some("1m")), ("StatefulSet", None)]);
}

#[test]
fn a_name_means_each_kind_that_has_it() {
    let mut age = env_age();
    age["workloads"] = json!(["a"]);
    let mut world = World::new(
        Some(age),
        vec![
            deployment("a", &json!({})),
            deployment("b", &json!({})),
            server("StatefulSet", &json!({})),
        ],
    );
    world.settle();
    world.settle();
    world.settle();
    let states: Vec<_> = world
        .plan()
        .servers
        .into_iter()
        .map(|server| (server.kind, server.name, server.state.unwrap()))
        .collect();
    let row = |kind: &str, name: &str, state: &str| (kind.into(), name.into(), state.into());
    assert_eq!(
        states,
        [
            row("Deployment", "a", "Applied"),
            row("StatefulSet", "a", "Applied"),
            row("Deployment", "b", "NotRequested"),
        ]
    );
}

#[test]
fn pods_that_only_a_deletion_replaces() {
    for kind in OTHERS {
        let mut world = world(kind, &json!({}));
        world.deployments[0]["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
        world.deployments[0]["status"]["updatedReplicas"] = 0.into();
        world.deployments[0]["status"]["updatedNumberScheduled"] = 0.into();
        let old = world.pods.clone();
        assert_eq!(world.settle(), [Change::Inject]);
        let new = std::mem::replace(&mut world.pods, old);
        let plan = world.plan();
        says(
            &plan,
            State::False,
            "Paused",
            &[
                "0 of 2 ready pods",
                "OnDelete",
                "kubectl delete pod -n ns a-0 a-1",
            ],
        );
        assert!(plan.steps.is_empty() && !plan.blocked_by_rollout);
        world.pods[0] = new[0].clone();
        says(
            &world.plan(),
            State::False,
            "Paused",
            &["1 of 2 ready pods", "kubectl delete pod -n ns a-1"],
        );
        world.pods = new;
        assert_eq!(world.reason(), "Applied");
        let note = world.delete().plan().steps[0].note.clone();
        assert!(note.contains("kubectl delete pod -n ns a-0 a-1"), "{note}");
    }
}

#[test]
fn pods_that_a_partition_keeps() {
    let mut world = world("StatefulSet", &json!({}));
    world.deployments[0]["spec"]["updateStrategy"] =
        json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 1}});
    let old = world.pods[0].clone();
    assert_eq!(world.settle(), [Change::Inject]);
    world.pods[0] = old;
    world.deployments[0]["status"]["updatedReplicas"] = 0.into();
    assert_eq!(world.reason(), "RollingOut");
    world.deployments[0]["status"]["updatedReplicas"] = 1.into();
    says(
        &world.plan(),
        State::False,
        "Paused",
        &[
            "1 of 2 ready pods",
            "keeps 1",
            "rollingUpdate.partition to 0",
        ],
    );
    assert_eq!(world.plan().running_max_age.as_deref(), Some("mixed"));
}

#[test]
fn what_is_kept_keeps_no_rollout_under_way() {
    for strategy in [
        json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}),
        json!({"type": "OnDelete"}),
    ] {
        let mut world = world("StatefulSet", &json!({}));
        world.deployments[0]["spec"]["updateStrategy"] = strategy.clone();
        let old = world.pods.clone();
        world.apply_at(now());
        world.roll();
        let new = std::mem::replace(&mut world.pods, old);
        world.deployments[0]["status"]["updatedReplicas"] = 0.into();
        assert_eq!(world.apply_at(now()), [], "{strategy}: none has it yet");
        world.pods[1] = new[1].clone();
        world.deployments[0]["status"]["updatedReplicas"] = 1.into();
        assert_eq!(world.reason(), "Paused");
        assert_eq!(world.apply_at(now()), [Change::Update], "{strategy}");
        assert_eq!(world.record().unwrap()["underWay"], Value::Null);
        fail(&mut world, after(60));
        let plan = world.plan_at(after(120));
        assert!(plan.steps.is_empty(), "{strategy}: {:?}", plan.steps);
    }
}

#[test]
fn applied_means_that_the_rollout_has_ended() {
    for kind in OTHERS {
        let mut world = world(kind, &json!({}));
        world.settle();
        world.deployments[0]["status"]["availableReplicas"] = 1.into();
        world.deployments[0]["status"]["numberAvailable"] = 1.into();
        world.pods.pop();
        says(&world.plan(), State::False, "RollingOut", &["1 ready pods"]);
        assert!(world.plan().steps.is_empty());
        world.deployments[0]["status"] = server(kind, &json!({}))["status"].clone();
        world.roll();
        assert_eq!(world.settle(), [Change::Update]);
        assert_eq!(world.reason(), "Applied");
    }
}

#[test]
fn an_undo_is_waited_out() {
    for kind in OTHERS {
        let mut world = world(kind, &json!({}));
        world.settle();
        world.settle();
        world.owner(|c| {
            c.as_object_mut().unwrap().remove("env");
        });
        assert!(world.settle().is_empty(), "only the status notes it");
        assert!(world.plan_at(after(9)).steps.is_empty());
        assert_eq!(world.settle_at(after(10)), [Change::Inject]);
    }
}

#[test]
fn pods_of_a_kind_that_is_not_patched() {
    let mut world = World::new(Some(env_age()), vec![]);
    let owner = |kind: &str| json!([{"apiVersion": "v1", "kind": kind, "name": "x", "uid": "u", "controller": true}]);
    for (owners, reason, word) in [
        (Value::Null, "UnsupportedWorkload", "no workload"),
        (owner("ReplicaSet"), "UnsupportedWorkload", "ReplicaSet x"),
        (
            owner("Job"),
            "NoServer",
            "no Deployment, StatefulSet or DaemonSet",
        ),
    ] {
        world.pods = vec![
            json!({"metadata": {"name": "p", "labels": {"app": "echo"}, "ownerReferences": owners}}),
        ];
        says(&world.plan(), State::False, reason, &[word]);
    }
}

/// A DaemonSet of three nodes of which one is dead, and a strategy that replaces so many at once.
pub(super) fn with_a_dead_node(at_once: &Value) -> World {
    let mut world = world("DaemonSet", &json!({}));
    let own = &mut world.deployments[0];
    own["spec"]["updateStrategy"] = json!({"rollingUpdate": {"maxUnavailable": at_once}});
    for field in ["desired", "current", "updated"] {
        own["status"][format!("{field}NumberScheduled")] = 3.into();
    }
    let mut dead = pod(own, 2);
    dead["spec"]["nodeName"] = "worker-3".into();
    dead["status"]["conditions"] = json!([
        {"type": "Ready", "status": "False", "lastTransitionTime": after(-600).to_string()}
    ]);
    world.pods.push(dead);
    world
}

#[test]
fn a_dead_node_that_no_rollout_gets_past_is_waited_for() {
    let mut world = with_a_dead_node(&json!(1));
    // Nobody can bring back what was evicted.
    let mut evicted = world.pods[2].clone();
    evicted["metadata"]["name"] = "a-evicted".into();
    evicted["status"]["phase"] = "Failed".into();
    world.pods.push(evicted);
    let plan = world.plan();
    assert!(!plan.statement.message.contains("a-evicted"));
    assert!(plan.steps.is_empty());
    let words = [
        "a-2 on node worker-3",
        "replaces 1 at once",
        "maxUnavailable",
    ];
    says(&plan, State::False, "WaitingForRollout", &words);
}

#[test]
fn a_dead_node_that_the_strategy_allows_for_keeps_the_age_from_no_other() {
    for at_once in [json!(2), json!("50%")] {
        let mut world = with_a_dead_node(&at_once);
        let dead = world.pods[2].clone();
        assert_eq!(world.apply_at(now()), [Change::Inject]);
        world.roll();
        // The controller has told its pod to go, and nobody there obeys.
        world.pods.push(dead);
        world.pods[2]["metadata"]["deletionTimestamp"] = after(1).to_string().into();
        world.deployments[0]["status"]["updatedNumberScheduled"] = 2.into();
        assert!(world.apply_at(after(10)).is_empty(), "it may come yet");
        assert_eq!(
            world.plan_at(after(10)).statement.reason.as_str(),
            "RollingOut"
        );
        assert_eq!(world.apply_at(after(11)), [Change::Update]);
        says(
            &world.plan_at(after(12)),
            State::True,
            "Applied",
            &["2 ready pods"],
        );
        let mut longer = env_age();
        longer["maxAge"] = "5m".into();
        world.age(Some(longer));
        assert_eq!(
            world.plan_at(after(20)).steps.len(),
            1,
            "and the next change"
        );
    }
}
