use k8s_openapi::api::apps::v1::{DaemonSet, StatefulSet};
use serde_json::{Value, json};

use super::tests::{age, deployment, observed};
use super::*;
use crate::api::EndpointWatch;
use crate::observed::{Amount, Autoscaler, Optional, Update};

/// What GB032 says, and what it has to be copied.
fn told(observed: &Observed) -> Option<(String, String)> {
    let found = ask(observed).found;
    let (_, seen) = found.into_iter().find(|(rule, _)| rule.id == "GB032")?;
    let seen = seen.into_iter().next()?;
    Some((seen.message, seen.remedy))
}

fn with(replicas: i32, seconds: i32, strategy: &Value) -> Observed {
    let mut deployment = deployment(replicas, true);
    deployment["spec"]["minReadySeconds"] = seconds.into();
    deployment["spec"]["strategy"] = strategy.clone();
    observed(&age("5m"), &deployment)
}

#[test]
fn clients_that_watch_keep_up_with_any_rollout() {
    let watched = |strategy: &Value, age: bool| {
        let mut world = with(3, 0, strategy);
        world.backend.spec.endpoint_watch = Some(EndpointWatch::default());
        if !age {
            world.backend.spec.connection_age = None;
        }
        told(&world).is_some()
    };
    let rolling = json!({});
    assert!(!watched(&rolling, false));
    assert!(watched(&rolling, true), "the age is for others");
    assert!(
        watched(&json!({"type": "Recreate"}), false),
        "nobody answers"
    );
}

#[test]
fn a_rollout_that_stops_all_pods_has_its_own_words() {
    let recreate = json!({"type": "Recreate"});
    let (message, remedy) = told(&with(3, 60, &recreate)).unwrap();
    assert!(
        message.contains("stops all 3 pods before it starts another (strategy Recreate)"),
        "{message}"
    );
    assert!(
        remedy.contains("strategy: {type: RollingUpdate"),
        "{remedy}"
    );
    assert_eq!(
        told(&with(1, 0, &recreate)),
        None,
        "one pod is another finding"
    );
    let all = json!({"rollingUpdate": {"maxUnavailable": "100%"}});
    let (message, remedy) = told(&with(3, 60, &all)).unwrap();
    assert!(message.contains("may stop all 3 pods at once"), "{message}");
    assert!(
        remedy.ends_with("spec:\n  strategy: {rollingUpdate: {maxUnavailable: 1}}"),
        "{remedy}"
    );
    assert_eq!(told(&with(3, 20, &json!(null))), None);
    let (message, remedy) = told(&with(2, 20, &json!(null))).unwrap();
    assert!(message.ends_with("Set minReadySeconds to 30"), "{message}");
    assert!(remedy.ends_with("minReadySeconds: 30"), "{remedy}");
}

/// Nobody wrote the replicas, since an autoscaler sets them: it never sets fewer than its own bound.
#[test]
fn as_many_pods_count_as_an_autoscaler_sets_at_least() {
    let mut world = with(1, 0, &json!(null));
    assert_eq!(told(&world), None);
    for (min, found) in [
        (1, None),
        (2, Some(" all 2 pods ")),
        (10, Some(" all 10 pods ")),
    ] {
        world.autoscalers = Optional::Known(vec![Autoscaler {
            kind: "HorizontalPodAutoscaler",
            name: "a".into(),
            target_kind: "Deployment".into(),
            target_name: "a".into(),
            min,
            max: 20,
        }]);
        // Whatever it has set just now.
        for replicas in [1, 2, 15] {
            world.workloads[0].replicas = replicas;
            let told = told(&world).map(|(message, _)| message);
            assert_eq!(told.is_some(), found.is_some(), "{min}: {told:?}");
            assert!(
                found.is_none_or(|words| told.unwrap().contains(words)),
                "{min}"
            );
        }
    }
    // Two batches of ten by quarters, as for any other number: 30 s each are enough.
    world.workloads[0].min_ready_seconds = 30;
    assert_eq!(told(&world), None);
}

/// Where autoscalers may not be read: it neither comes nor goes with the load, nor changes its words.
#[test]
fn what_is_said_of_a_rollout_does_not_follow_the_load() {
    let strategies = [
        (
            json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}),
            10,
        ),
        (json!({"type": "Recreate"}), 60),
        (json!({"rollingUpdate": {"maxUnavailable": 2}}), 60),
    ];
    for (strategy, seconds) in strategies {
        let mut world = with(1, seconds, &strategy);
        world.backend.metadata.generation = Some(2);
        let set = json!([{"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "apps/v1", "subresource": "scale",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]);
        world.workloads[0].metadata.managed_fields = serde_json::from_value(set).unwrap();
        let mut messages = Vec::new();
        let mut step = |world: &mut Observed, replicas: i32, said: bool| {
            world.workloads[0].replicas = replicas;
            let findings = ask(world).told();
            let mut own = findings.iter().filter(|own| own.id == "GB032");
            let message = own.next().map(|own| own.message.clone());
            assert_eq!(message.is_some(), said, "{strategy} {replicas}");
            messages.extend(message);
            world.backend.status = Some(crate::api::GrpcBackendStatus {
                observed_generation: Some(2),
                findings,
                ..Default::default()
            });
        };
        step(&mut world, 1, false);
        for replicas in [2, 3, 15, 1, 0, 2] {
            step(&mut world, replicas, true);
        }
        // A moment in which they cannot be read, for an operator that may.
        world.autoscalers = Optional::Missed;
        step(&mut world, 15, true);
        world.autoscalers = Optional::Unknown;
        // Mended, it goes at once.
        world.workloads[0].min_ready_seconds = 60;
        world.workloads[0].update = Update::Rolling;
        world.workloads[0].missing = Amount::Pods(0);
        step(&mut world, 2, false);
        messages.dedup();
        assert_eq!(messages.len(), 1, "{messages:?}");
    }
}

#[test]
fn other_kinds_are_named_as_what_they_are() {
    let template = deployment(3, true)["spec"]["template"].clone();
    let set = json!({"metadata": {"name": "db"}, "spec": {"replicas": 3, "selector": {}, "serviceName": "db", "template": template, "minReadySeconds": 19}});
    let mut world = with(3, 60, &json!(null));
    world.workloads = vec![serde_json::from_value::<StatefulSet>(set).unwrap().into()];
    let (message, remedy) = told(&world).unwrap();
    assert!(
        message.contains("StatefulSet db may replace all 3 pods within 57 s"),
        "{message}"
    );
    assert_eq!(
        remedy,
        "kind: StatefulSet\nmetadata: {name: db}\nspec:\n  minReadySeconds: 20"
    );
    let set = json!({"metadata": {"name": "db"}, "spec": {"selector": {}, "template": template, "minReadySeconds": 60,
        "updateStrategy": {"rollingUpdate": {"maxUnavailable": "100%"}}}, "status": {"desiredNumberScheduled": 3, "currentNumberScheduled": 3, "numberMisscheduled": 0, "numberReady": 3}});
    world.workloads = vec![serde_json::from_value::<DaemonSet>(set).unwrap().into()];
    let (_, remedy) = told(&world).unwrap();
    assert!(
        remedy.contains("kind: DaemonSet") && remedy.contains("updateStrategy:"),
        "{remedy}"
    );
}

/// One handler, whatever is there: the API server refuses two, and a patch that takes one away would take what it does.
#[test]
fn a_hook_that_is_there_is_kept() {
    let exec = |words: Value| json!({"preStop": {"exec": {"command": words}}});
    for (lifecycle, message, lines) in [
        (
            json!({}),
            "Set lifecycle: {preStop: {sleep: {seconds: 35}}} and",
            "lifecycle: {preStop: {sleep: {seconds: 35}}}",
        ),
        (
            json!({"preStop": {"sleep": {"seconds": 5}}}),
            "Set lifecycle: {preStop: {sleep: {seconds: 35}}} and",
            "lifecycle: {preStop: {sleep: {seconds: 35}}}",
        ),
        (
            exec(json!(["/bin/sleep", "5"])),
            "sleeps 5 s",
            "lifecycle: {preStop: {exec: {command: [/bin/sleep, \"35\"]}}}",
        ),
        (
            exec(json!(["/bin/sh", "-c", "sleep 5s"])),
            "sleeps 5 s",
            "lifecycle: {preStop: {exec: {command: [/bin/sh, -c, \"sleep 35\"]}}}",
        ),
        (
            exec(json!(["sh", "-c", "/drain && sleep 5"])),
            "Have the hook that is there sleep 35 s before what else it does and",
            "terminationGracePeriodSeconds: 65",
        ),
    ] {
        let mut deployment = deployment(3, true);
        deployment["spec"]["template"]["spec"]["containers"][0]["lifecycle"] = lifecycle.clone();
        let found = ask(&observed(&age("5m"), &deployment)).found;
        let (_, seen) = found
            .into_iter()
            .find(|(rule, _)| rule.id == "GB030")
            .unwrap();
        assert!(seen[0].message.contains(message), "{}", seen[0].message);
        assert!(seen[0].remedy.ends_with(lines), "{}", seen[0].remedy);
    }
}
