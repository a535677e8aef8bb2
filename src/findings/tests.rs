use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::*;
use crate::balance::{MetricsState, publish};
use crate::observed::cluster_dns::Setting;
use crate::observed::{ClusterDns, Optional};

pub(super) fn observed(spec: &Value, deployment: &Value) -> Observed {
    let mut whole = json!({"selector": {"app": "a"}, "ports": [{"port": 80}]});
    for (key, value) in spec.as_object().unwrap() {
        whole[key] = value.clone();
    }
    let backend = json!({"apiVersion": "evenkeel.dev/v1alpha1", "kind": "GrpcBackend", "metadata": {"name": "a"}, "spec": whole});
    Observed {
        backend: serde_json::from_value(backend).unwrap(),
        workloads: vec![
            serde_json::from_value::<Deployment>(deployment.clone())
                .unwrap()
                .into(),
        ],
        ..Observed::default()
    }
}

pub(super) fn deployment(replicas: i32, probe: bool) -> Value {
    let mut container = json!({"name": "server", "ports": [{"containerPort": 80}]});
    if probe {
        container["readinessProbe"] = json!({"grpc": {"port": 80}});
    }
    container["lifecycle"] = json!({"preStop": {"sleep": {"seconds": 35}}});
    json!({"metadata": {"name": "a"}, "spec": {"replicas": replicas, "minReadySeconds": 60, "selector": {}, "template": {
        "metadata": {"labels": {"app": "a"}}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 65}}}})
}

pub(super) fn age(text: &str) -> Value {
    json!({"connectionAge": {"maxAge": text, "knob": {"env": {"maxAge": "A"}}}})
}

pub(super) fn all(observed: &Observed) -> Vec<Finding> {
    ask(observed).told()
}

pub(super) fn ids(observed: &Observed) -> Vec<String> {
    all(observed)
        .into_iter()
        .map(|finding| finding.id)
        .collect()
}

#[test]
fn a_healthy_backend_has_none() {
    assert!(ids(&observed(&age("5m"), &deployment(3, true))).is_empty());
}

#[test]
fn pods() {
    assert_eq!(ids(&observed(&age("5m"), &deployment(1, true))), ["GB033"]);
    assert_eq!(ids(&observed(&age("5m"), &deployment(2, false))), ["GB010"]);
    let mut one = observed(&age("5m"), &deployment(1, true));
    one.pods = vec![pod("a-h-0")];
    let message = &all(&one)[0].message;
    assert!(
        message.contains("Deployment a has one pod (a-h-0)"),
        "{message}"
    );
}

/// A pod of the Deployment.
pub(super) fn pod(name: &str) -> Pod {
    serde_json::from_value(json!({"metadata": {
        "name": name, "labels": {"app": "a", "pod-template-hash": "h"},
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "a-h", "uid": "u", "controller": true}],
    }}))
    .unwrap()
}

#[test]
fn a_pod_is_named_with_what_it_belongs_to() {
    let mut world = observed(&age("5m"), &deployment(2, true));
    world.pods = vec![pod("a-h-0")];
    assert_eq!(age::owner(&world, "a-h-0"), " of Deployment a");
    assert_eq!(age::owner(&world, "gone"), "");
}

/// The Job is named, since its pods have another name each time; what has ended is no endpoint.
#[test]
fn pods_of_a_job_with_the_labels() {
    let mut world = observed(&age("5m"), &deployment(2, true));
    for (kind, phase, found) in [
        ("ReplicaSet", "Running", vec![]),
        ("Job", "Running", vec!["GB054"]),
        ("Job", "Pending", vec!["GB054"]),
        ("Job", "Succeeded", vec![]),
        ("Job", "Failed", vec![]),
    ] {
        let own = json!({"metadata": {"name": "migrate-x7k2p", "labels": {"app": "a"}, "ownerReferences": [
            {"apiVersion": "batch/v1", "kind": kind, "name": "migrate", "uid": "u", "controller": true}]}, "status": {"phase": phase}});
        world.pods = vec![pod("a-h-0"), serde_json::from_value(own).unwrap()];
        assert_eq!(ids(&world), found, "{kind} {phase}");
        let says = |own: &Finding| own.message.starts_with("the pods of Job migrate carry");
        assert!(all(&world).iter().all(says), "{:?}", all(&world));
    }
}

/// Between the runs of a CronJob the pods of the last ones are left: what was said stands, rather than come and go with each run.
#[test]
fn pods_of_a_job_that_comes_again() {
    let mut world = observed(&age("5m"), &deployment(2, true));
    let job = |name: &str, phase: &str| -> Pod {
        let own = json!({"metadata": {"name": name, "labels": {"app": "a"}, "ownerReferences": [
            {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": "u", "controller": true}]}, "status": {"phase": phase}});
        serde_json::from_value(own).unwrap()
    };
    for (pods, found) in [
        (vec![job("m-1", "Succeeded")], vec![]),
        (
            vec![job("m-1", "Succeeded"), job("m-2", "Running")],
            vec!["GB054"],
        ),
        (
            vec![job("m-1", "Succeeded"), job("m-2", "Succeeded")],
            vec!["GB054"],
        ),
        (vec![job("m-2", "Failed")], vec!["GB054"]),
        (vec![], vec![]),
        (vec![job("m-2", "Failed")], vec![]),
    ] {
        world.pods = pods.clone();
        let told = all(&world);
        assert_eq!(ids(&world), found, "{pods:?}");
        let says = |own: &Finding| own.message.starts_with("the pods of Job m-2 carry");
        assert!(told.iter().all(says), "{told:?}");
        world.backend.status.get_or_insert_default().findings = told;
    }
}

#[test]
fn more_connections_than_a_client_needs() {
    let mut world = observed(&age("5m"), &deployment(2, true));
    for (pods, open, found, word) in [
        (40, Some(2000), vec!["GB043"], "subsetSize 10 "),
        // After a restart of the operator what was said stands until it has been counted anew.
        (40, None, vec!["GB043"], "subsetSize 10 "),
        (6, Some(1000), vec!["GB043"], "subsetSize 3 "),
        (5, Some(1000), vec!["GB043"], "Put a proxy between"),
        (40, Some(0), vec![], ""),
        (40, None, vec![], ""),
    ] {
        let ready = |name: usize| {
            let mut pod = pod(&format!("a-h-{name}"));
            let ready = json!({"conditions": [{"type": "Ready", "status": "True"}]});
            pod.status = serde_json::from_value(ready).unwrap();
            pod
        };
        world.pods = (0..pods).map(ready).collect();
        let report = crate::balance::Report {
            crowd: open,
            ..crate::balance::Report::default()
        };
        let published = crate::balance::publish(None, &report, jiff::Timestamp::UNIX_EPOCH);
        world.published = Some(published);
        let findings = all(&world);
        assert_eq!(ids(&world), found, "{open:?}");
        let says = |finding: &crate::api::Finding| finding.message.contains(word);
        assert!(findings.iter().all(says), "{findings:?}");
        world.backend.status.get_or_insert_default().findings = findings;
    }
}

/// A server that does not count its connections is not one that has few, and nothing is said to be well.
#[test]
fn what_is_not_counted_is_not_checked() {
    const COUNTED: [&str; 3] = ["GB023", "GB034", "GB043"];
    use Turnover::{AtAge, Measuring, Unknown};
    let mut world = observed(&age("5m"), &deployment(2, true));
    world.autoscalers = Optional::Known(Vec::new());
    world.cluster_dns = Optional::Known(ClusterDns::default());
    let unchecked =
        |world: &Observed| -> Vec<_> { ask(world).unchecked.iter().map(|rule| rule.id).collect() };
    let asked = Some(0);
    for (turnover, crowd, lacking) in [
        // Before the first look nothing is known, and after it what the pages say.
        (vec![], None, false),
        (vec![Unknown, Measuring], asked, true),
        // A restart of the operator changes nothing.
        (vec![Measuring], None, true),
        (vec![Unknown], asked, true),
        // Another release counts them: without an age, no end of one can be compared.
        (vec![Measuring], asked, false),
        (vec![AtAge, Unknown], asked, false),
        (vec![], None, false),
    ] {
        let report = crate::balance::Report {
            crowd,
            turnover: turnover
                .iter()
                .enumerate()
                .map(|(pod, seen)| (pod.to_string(), *seen))
                .collect(),
            ..crate::balance::Report::default()
        };
        let published = crate::balance::publish(None, &report, jiff::Timestamp::UNIX_EPOCH);
        world.published = Some(published);
        let expected: &[&str] = if lacking { &COUNTED } else { &[] };
        assert_eq!(unchecked(&world), expected, "{turnover:?} {crowd:?}");
        world
            .backend
            .status
            .get_or_insert_default()
            .unchecked_findings = ask(&world).unchecked_ids();
    }
    world.published = None;
    world.backend.spec.balance = Some(serde_json::from_value(json!({"mode": "Disabled"})).unwrap());
    assert_eq!(unchecked(&world), ["GB023", "GB025", "GB034", "GB043"]);
}

/// Where no pod was ever read nothing is known, and what was said of those before stands, as long as there is something to read.
#[test]
fn what_was_never_read_is_not_checked() {
    use MetricsReason::{NoKnownMetric, NoMetricsPort, Refused, ScrapeFailed, WarmingUp};
    let all = &["GB023", "GB025", "GB034", "GB043"][..];
    let (none, asked) = (&all[..0], Some(0));
    let mut world = observed(&age("5m"), &deployment(2, true));
    world.autoscalers = Optional::Known(Vec::new());
    world.cluster_dns = Optional::Known(ClusterDns::default());
    let mut ready = pod("a-h-0");
    let conditions = json!({"conditions": [{"type": "Ready", "status": "True"}]});
    ready.status = serde_json::from_value(conditions).unwrap();
    world.pods = vec![ready];
    for (reason, crowd, lacking, found) in [
        (WarmingUp, None, none, None),
        (NoMetricsPort, None, all, None),
        // After a restart.
        (WarmingUp, None, all, None),
        (Refused, None, all, None),
        // They were read before, and may be again.
        (ScrapeFailed, asked, none, None),
        (NoKnownMetric, asked, none, None),
        (NoKnownMetric, None, none, None),
        (WarmingUp, Some(1000), none, Some("GB043")),
        (ScrapeFailed, None, &all[..3], Some("GB043")),
        (NoMetricsPort, None, all, None),
    ] {
        let report = crate::balance::Report {
            crowd,
            metrics: MetricsState::new(reason, String::new()),
            ..crate::balance::Report::default()
        };
        world.published = Some(publish(None, &report, jiff::Timestamp::UNIX_EPOCH));
        let answers = ask(&world);
        let ids: Vec<&str> = answers.found.iter().map(|(rule, _)| rule.id).collect();
        let unchecked = answers.unchecked_ids();
        assert_eq!(unchecked, lacking, "{reason:?} {crowd:?}");
        assert_eq!(ids, Vec::from_iter(found), "{reason:?} {crowd:?}");
        let status = world.backend.status.get_or_insert_default();
        status.unchecked_findings = unchecked;
        status.findings = answers.told();
    }
}

#[test]
fn the_hook_before_the_end() {
    let exec = |words: Value| json!({"preStop": {"exec": {"command": words}}});
    for (lifecycle, period, found) in [
        (json!({}), 30, vec!["GB030"]),
        // Without a hook all of the time is for the requests, and that may be too little too.
        (json!({}), 5, vec!["GB030"]),
        (json!({}), 4, vec!["GB031", "GB030"]),
        (json!({}), 0, vec!["GB031", "GB030"]),
        (exec(json!(["/drain"])), 4, vec![]),
        (
            json!({"preStop": {"sleep": {"seconds": 34}}}),
            65,
            vec!["GB030"],
        ),
        (json!({"preStop": {"sleep": {"seconds": 35}}}), 40, vec![]),
        (
            json!({"preStop": {"sleep": {"seconds": 35}}}),
            39,
            vec!["GB031"],
        ),
        (exec(json!(["sleep", "10"])), 30, vec!["GB030"]),
        (
            exec(json!(["/bin/sh", "-c", "sleep 10s"])),
            12,
            vec!["GB031", "GB030"],
        ),
        (
            exec(json!(["sh", "-c", "sleep 40 && /drain"])),
            44,
            vec!["GB031"],
        ),
        (exec(json!(["sh", "-c", "sleep 40; /drain"])), 45, vec![]),
        (exec(json!(["sh", "-c", "sleep 5 && /drain"])), 30, vec![]),
        (exec(json!(["sh", "-c", "sleep $WAIT"])), 30, vec![]),
        (exec(json!(["/drain"])), 30, vec![]),
        (json!({"preStop": {"httpGet": {"port": 80}}}), 30, vec![]),
    ] {
        let mut deployment = deployment(2, true);
        let pod = &mut deployment["spec"]["template"]["spec"];
        pod["terminationGracePeriodSeconds"] = period.into();
        pod["containers"][0]["lifecycle"] = lifecycle.clone();
        assert_eq!(
            ids(&observed(&age("5m"), &deployment)),
            found,
            "{lifecycle}"
        );
    }
}

#[test]
fn a_rollout_that_outruns_the_clients() {
    // A quarter of the pods and a quarter more: two batches whatever the number.
    for (replicas, seconds, surge, found) in [
        (2, 30, json!(null), vec![]),
        (2, 29, json!(null), vec!["GB032"]),
        (10, 29, json!(null), vec!["GB032"]),
        (10, 30, json!(null), vec![]),
        (10, 6, json!({"maxSurge": 1, "maxUnavailable": 0}), vec![]),
        (
            10,
            5,
            json!({"maxSurge": "10%", "maxUnavailable": 0}),
            vec!["GB032"],
        ),
        (1, 0, json!(null), vec!["GB033"]),
        (3, 60, json!({"maxUnavailable": "99%"}), vec![]),
        (3, 60, json!({"maxUnavailable": "100%"}), vec!["GB032"]),
        (3, 60, json!({"maxUnavailable": 2}), vec![]),
        (3, 60, json!({"maxUnavailable": 3}), vec!["GB032"]),
    ] {
        let mut deployment = deployment(replicas, true);
        deployment["spec"]["minReadySeconds"] = seconds.into();
        deployment["spec"]["strategy"] = json!({"rollingUpdate": surge});
        assert_eq!(
            ids(&observed(&age("5m"), &deployment)),
            found,
            "{replicas} {seconds} {surge}"
        );
    }
}

#[test]
fn a_mesh_and_an_age() {
    for (place, proxy, found) in [
        ("containers", "istio-proxy", vec!["GB028"]),
        ("initContainers", "linkerd-proxy", vec!["GB028"]),
        ("containers", "cache", vec![]),
    ] {
        let mut spec = json!({"containers": []});
        spec[place] = json!([{"name": proxy}]);
        let mut world = observed(&age("5m"), &deployment(2, true));
        let mut meshed = pod("a-h-0");
        meshed.spec = serde_json::from_value(spec).unwrap();
        let mut strange = meshed.clone();
        strange.metadata.owner_references = None;
        world.pods = vec![strange];
        assert!(ids(&world).is_empty(), "it is nobody's of these");
        world.pods = vec![meshed];
        assert_eq!(ids(&world), found, "{place} {proxy}");
        // As it is written into the template, where no pod is seen.
        let mut template = deployment(2, true);
        let own = &mut template["spec"]["template"]["spec"][place];
        let mut all = own.as_array().cloned().unwrap_or_default();
        all.push(json!({"name": proxy}));
        *own = all.into();
        assert_eq!(
            ids(&observed(&age("5m"), &template)),
            found,
            "{place} {proxy}"
        );
        world.backend.spec.connection_age = None;
        let expected: &[&str] = if found.is_empty() { &["GB021"] } else { &[] };
        assert_eq!(ids(&world), expected, "a mesh alone is no fault");
    }
}

#[test]
fn a_service_that_publishes_what_is_not_ready() {
    let mut world = observed(&age("5m"), &deployment(2, true));
    let spec = json!({"selector": {"app": "a"}, "ports": [{"name": "grpc", "port": 80}], "publishNotReadyAddresses": true});
    let service = json!({"metadata": {"name": "s"}, "spec": spec});
    world.headless = Some(serde_json::from_value(service).unwrap());
    assert_eq!(ids(&world), ["GB005"]);
}

#[test]
fn worst_first_and_without_what_is_ignored() {
    let mut world = observed(&json!({}), &deployment(1, false));
    assert_eq!(ids(&world), ["GB010", "GB021", "GB033"]);
    world.backend.spec.ignore_findings = vec![crate::api::IgnoredFinding {
        id: "GB021".into(),
        reason: "known".into(),
    }];
    assert_eq!(ids(&world), ["GB010", "GB033"]);
    assert_eq!(ask(&world).ignored, 1);
    // What is not found is not counted either.
    world.backend.spec.ignore_findings[0].id = "GB029".into();
    assert_eq!((ids(&world).len(), ask(&world).ignored), (3, 0));
}

/// An API server that is busy for a moment takes nothing back and says nothing new.
#[test]
fn what_was_said_stands_while_what_it_needs_cannot_be_read() {
    let mut world = observed(&json!({}), &deployment(1, true));
    world.autoscalers = Optional::Missed;
    world.cluster_dns = Optional::Missed;
    assert_eq!(ids(&world), ["GB021"]);
    assert!(ask(&world).unchecked.is_empty());
    let said =
        |id: &str| json!({"id": id, "severity": "Info", "message": format!("{id} was said")});
    let status = json!({"findings": [said("GB021"), said("GB033"), said("GB048"), said("GB071")]});
    world.backend.status = Some(serde_json::from_value(status).unwrap());
    assert_eq!(ids(&world), ["GB021", "GB048", "GB071", "GB033"]);
    assert_eq!(ask(&world).told()[1].message, "GB048 was said");
}

/// By the TTL that promises count with, and only where names are looked up.
#[test]
fn dns_answers_that_are_older_than_promised() {
    for (seconds, twin, found) in [
        (5, true, false),
        (30, true, false),
        (31, true, true),
        (3630, true, true),
        (31, false, false),
    ] {
        let services = if twin {
            json!({})
        } else {
            json!({"services": {"headless": {"policy": "None"}}})
        };
        let mut world = observed(&services, &deployment(2, true));
        world.cluster_dns = Optional::Known(ClusterDns {
            seconds,
            settings: vec![(Setting::Ttl(seconds), "coredns".into())],
        });
        let said = all(&world).into_iter().find(|own| own.id == "GB048");
        assert_eq!(said.is_some(), found, "{seconds} {twin}");
        if let Some(said) = said {
            let late = format!("up to {} s later", seconds - 30);
            assert!(said.message.contains(&late), "{}", said.message);
        }
    }
}

#[test]
fn one_pod_may_be_what_an_autoscaler_sets() {
    let mut world = observed(&age("5m"), &deployment(1, true));
    world.autoscalers = Optional::Unknown;
    assert!(
        all(&world)[0]
            .message
            .ends_with(", unless an autoscaler sets them")
    );
    world.autoscalers = Optional::Known(Vec::new());
    assert!(
        all(&world)[0]
            .message
            .ends_with("Set its replicas to 2 or more")
    );
}

/// Where autoscalers may not be read, load that goes to and fro takes nothing back and says nothing new.
#[test]
fn what_an_autoscaler_has_set_is_not_one_pod_for_good() {
    let set_by = |manager: &str, subresource: Option<&str>, field: &str| {
        let mut deployment = deployment(1, true);
        let fields = json!({"f:spec": {field: {}}});
        deployment["metadata"]["managedFields"] = json!([{"manager": manager, "operation": "Update", "apiVersion": "apps/v1",
            "subresource": subresource, "fieldsType": "FieldsV1", "fieldsV1": fields}]);
        let mut world = observed(&age("5m"), &deployment);
        world.autoscalers = Optional::Unknown;
        world
    };
    for (manager, subresource, field, found) in [
        (
            "kube-controller-manager",
            Some("scale"),
            "f:replicas",
            vec![],
        ),
        ("kubectl", Some("scale"), "f:replicas", vec!["GB033"]),
        (
            "kube-controller-manager",
            Some("status"),
            "f:replicas",
            vec!["GB033"],
        ),
        (
            "kube-controller-manager",
            Some("scale"),
            "f:paused",
            vec!["GB033"],
        ),
        ("helm", None, "f:replicas", vec!["GB033"]),
    ] {
        let mut world = set_by(manager, subresource, field);
        assert_eq!(ids(&world), found, "{manager} {subresource:?} {field}");
        // Who may read them need not guess: the one that set it is gone.
        world.autoscalers = Optional::Known(Vec::new());
        assert_eq!(ids(&world), ["GB033"], "{manager} {subresource:?} {field}");
    }
}

#[test]
fn ids_are_given_once() {
    let mut ids: Vec<_> = CATALOGUE.iter().map(|rule| rule.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), CATALOGUE.len());
}
