use serde_json::{Value, json};

use super::ask;
use super::tests::{age, all, deployment, ids, observed};
use crate::balance::{Turnover, publish};
use crate::presets;

#[test]
fn the_age() {
    assert_eq!(ids(&observed(&json!({}), &deployment(3, true))), ["GB021"]);
    for (text, found) in [
        ("29999ms", vec!["GB022"]),
        ("30s", vec![]),
        ("15m", vec![]),
        ("901s", vec!["GB029"]),
    ] {
        assert_eq!(
            ids(&observed(&age(text), &deployment(3, true))),
            found,
            "{text}"
        );
    }
}

/// An age that a server has by itself counts, until something in its containers speaks of another.
#[test]
fn an_age_that_a_server_has_by_itself() {
    for (image, args, found) in [
        ("quay.io/authzed/spicedb:v1", json!(["serve"]), vec![]),
        (
            "quay.io/authzed/spicedb:v1",
            json!(["--grpc-max-conn-age=0"]),
            vec!["GB021"],
        ),
        ("docker.io/temporalio/server:1", json!([]), vec![]),
        (
            "quay.io/thanos/thanos:v0.30.1",
            json!(["query"]),
            vec!["GB029"],
        ),
        (
            "quay.io/thanos/thanos:v0.30.1",
            json!(["--grpc-server-max-connection-age=5m"]),
            vec![],
        ),
        ("docker.io/grafana/loki:3.1.0", json!([]), vec!["GB021"]),
    ] {
        let mut own = deployment(3, true);
        let container = &mut own["spec"]["template"]["spec"]["containers"][0];
        container["image"] = image.into();
        container["args"] = args.clone();
        assert_eq!(ids(&observed(&json!({}), &own)), found, "{image} {args}");
        // What the resource sets is what counts.
        assert!(
            !ids(&observed(&age("5m"), &own)).contains(&"GB029".into()),
            "{image} {args}"
        );
    }
}

/// What the owner sets himself counts, whether or not a GrpcBackend is written; none at all is for ever.
#[test]
fn an_age_that_the_containers_speak_of() {
    for (args, env, found) in [
        (json!(["--max-connection-age=5m"]), json!([]), vec![]),
        (json!(["--max-connection-age", "5m"]), json!([]), vec![]),
        (json!(["--max-connection-age=0s"]), json!([]), vec!["GB021"]),
        (
            json!(["--max-connection-age", "0"]),
            json!([]),
            vec!["GB021"],
        ),
        (
            json!([]),
            json!([{"name": "GRPC_MAX_CONNECTION_AGE", "value": "300"}]),
            vec![],
        ),
        (
            json!([]),
            json!([{"name": "GRPC_MAX_CONNECTION_AGE", "value": "0"}]),
            vec!["GB021"],
        ),
        (
            json!([]),
            json!([{"name": "JAVA_OPTS", "value": "-Dserver.maxConnectionAge=5m"}]),
            vec![],
        ),
        // Of something else.
        (
            json!([]),
            json!([{"name": "DB_MAX_CONNECTION_AGE", "value": "300"}]),
            vec!["GB021"],
        ),
        (
            json!([]),
            json!([{"name": "CONN_MAX_AGE", "value": "300"}]),
            vec!["GB021"],
        ),
        (
            json!([]),
            json!([{"name": "SERVER_COOKIE_MAX_AGE", "value": "300"}]),
            vec!["GB021"],
        ),
    ] {
        let mut own = deployment(3, true);
        let container = &mut own["spec"]["template"]["spec"]["containers"][0];
        container["args"] = args.clone();
        container["env"] = env.clone();
        assert_eq!(ids(&observed(&json!({}), &own)), found, "{args} {env}");
    }
    let mut world = observed(&json!({}), &deployment(3, true));
    world.age_configs = ["a".to_owned()].into();
    assert_eq!(ids(&world), ["GB021"], "nothing reads it");
    let volumes = json!([{"name": "config", "configMap": {"name": "a"}}]);
    let pods = world.workloads[0].template.spec.as_mut().unwrap();
    pods.volumes = serde_json::from_value(volumes).unwrap();
    assert!(ids(&world).is_empty());
}

/// Each is judged by itself: connections to the pods of one that has none last for ever, wherever the other has its own from.
#[test]
fn one_of_two_workloads_has_an_age() {
    const SPICEDB: &str = "quay.io/authzed/spicedb:v1";
    const OTHER: &str = "registry.example.com/rng:1";
    let of = |name: &str, (image, change): (&str, &Value)| {
        let mut own = deployment(3, true);
        own["metadata"]["name"] = name.into();
        let pods = &mut own["spec"]["template"]["spec"];
        pods["containers"][0]["image"] = image.into();
        for (field, value) in change.as_object().unwrap() {
            let place = if field == "volumes" {
                &mut *pods
            } else {
                &mut pods["containers"][0]
            };
            place[field] = value.clone();
        }
        own
    };
    let (nothing, flag) = (json!({}), json!({"args": ["--grpc-max-conn-age=30s"]}));
    let (for_ever, file) = (
        json!({"args": ["--grpc-max-conn-age=0"]}),
        json!({"volumes": [{"name": "config", "configMap": {"name": "config"}}]}),
    );
    for (one, other, found) in [
        ((OTHER, &flag), (OTHER, &nothing), vec!["GB021"]),
        ((OTHER, &file), (OTHER, &nothing), vec!["GB021"]),
        ((OTHER, &file), (OTHER, &flag), vec![]),
        ((SPICEDB, &nothing), (SPICEDB, &flag), vec![]),
        ((SPICEDB, &nothing), (OTHER, &file), vec![]),
        ((SPICEDB, &nothing), (OTHER, &nothing), vec!["GB021"]),
        ((SPICEDB, &nothing), (SPICEDB, &for_ever), vec!["GB021"]),
        (
            ("quay.io/thanos/thanos:v0.30.1", &nothing),
            (OTHER, &flag),
            vec!["GB029"],
        ),
    ] {
        for guessed in [false, true] {
            let mut world = observed(&json!({}), &of("a", one));
            let others = observed(&json!({}), &of("b", other)).workloads;
            world.workloads.extend(others);
            world.age_configs = ["config".to_owned()].into();
            world.guessed = guessed;
            let mut ids = ids(&world);
            ids.retain(|id| id != "GB001");
            assert_eq!(ids, found, "{one:?} {other:?}");
            let told = ask(&world).found;
            let places = told.iter().flat_map(|(_, seen)| seen);
            let mut names = places.filter_map(|seen| seen.place.name.as_deref());
            let lacks = if found == ["GB021"] { "b" } else { "a" };
            assert!(names.all(|name| name == lacks), "{one:?} {other:?}");
        }
    }
}

#[test]
fn a_grace_that_cuts_requests_off() {
    for (grace, found) in [("4999ms", vec!["GB024"]), ("5s", vec![])] {
        let mut spec = age("5m");
        spec["connectionAge"]["grace"] = grace.into();
        assert_eq!(
            ids(&observed(&spec, &deployment(2, true))),
            found,
            "{grace}"
        );
    }
}

#[test]
fn streams_want_a_grace() {
    let mut world = observed(&age("5m"), &deployment(2, true));
    for (streams, found) in [(false, vec![]), (true, vec!["GB025"])] {
        let report = crate::balance::Report {
            streams,
            ..crate::balance::Report::default()
        };
        let published = crate::balance::publish(None, &report, jiff::Timestamp::UNIX_EPOCH);
        world.published = Some(published);
        assert_eq!(ids(&world), found);
    }
    let spec = &mut world.backend.spec.connection_age;
    spec.as_mut().unwrap().grace = Some(crate::api::GoDuration::new("30s"));
    assert!(ids(&world).is_empty());
}

/// What the server counts says that its connections outlive the age; who restarts counts anew, and nothing is taken back by that.
#[test]
fn connections_that_outlive_the_age() {
    use Turnover::{AtAge, Later, Measuring, Sooner, Unknown};
    let mut world = observed(&age("5m"), &deployment(2, true));
    for (turnover, found) in [
        (AtAge, vec![]),
        (Sooner, vec![]),
        (Unknown, vec![]),
        (Measuring, vec![]),
        (Later, vec!["GB034"]),
        (Measuring, vec!["GB034"]),
        (AtAge, vec![]),
        (Measuring, vec![]),
    ] {
        let report = crate::balance::Report {
            turnover: [("a-1".to_owned(), turnover)].into(),
            ..crate::balance::Report::default()
        };
        world.published = Some(publish(None, &report, jiff::Timestamp::UNIX_EPOCH));
        let mut findings = all(&world);
        findings.retain(|own| own.id == "GB034");
        let ids: Vec<&str> = findings.iter().map(|own| own.id.as_str()).collect();
        assert_eq!(ids, found, "{turnover:?}");
        let says =
            |own: &crate::api::Finding| own.message.starts_with("connections of pod a-1 outlive");
        assert!(findings.iter().all(says), "{findings:?}");
        let status = world.backend.status.get_or_insert_default();
        status.findings = findings;
        if turnover != Measuring {
            let observed = if turnover == Later { "Later" } else { "AtAge" };
            let server = json!([{"kind": "Deployment", "name": "a", "state": "Applied", "observed": observed}]);
            status.servers = serde_json::from_value(server).unwrap();
        }
    }
    // Another knob is to be found by the owner: as fields of this one it would be refused beside a preset or flags.
    let report = crate::balance::Report {
        turnover: [("a-1".to_owned(), Later)].into(),
        ..crate::balance::Report::default()
    };
    world.published = Some(publish(None, &report, jiff::Timestamp::UNIX_EPOCH));
    let found = ask(&world).found;
    let (_, seen) = found.iter().find(|(rule, _)| rule.id == "GB034").unwrap();
    assert!(
        seen[0].remedy.lines().all(|line| line.starts_with('#')),
        "{}",
        seen[0].remedy
    );
    world.backend.spec.connection_age = None;
    assert!(!ids(&world).contains(&"GB034".to_owned()));
}

#[test]
fn more_connections_than_the_age_suits() {
    let mut world = observed(&age("30s"), &deployment(2, true));
    for (often, found, word) in [
        (Some(100), vec!["GB023"], "Set it to 120s or more"),
        // After a restart of the operator what was said stands until it has been counted anew.
        (None, vec!["GB023"], "Set it to 120s or more"),
        (Some(800), vec!["GB023"], "CPU. Have the clients"),
        (Some(0), vec![], ""),
        (None, vec![], ""),
    ] {
        let report = crate::balance::Report {
            reconnects: often,
            ..crate::balance::Report::default()
        };
        let published = crate::balance::publish(None, &report, jiff::Timestamp::UNIX_EPOCH);
        world.published = Some(published);
        let findings = all(&world);
        assert_eq!(ids(&world), found, "{often:?}");
        assert!(
            findings
                .iter()
                .all(|finding| finding.message.contains(word)),
            "{findings:?}"
        );
        world.backend.status.get_or_insert_default().findings = findings;
    }
    world.backend.spec.connection_age = None;
    world.backend.metadata.generation = Some(2);
    assert_eq!(ids(&world), ["GB021"]);
    // Between the pods of a rollout nobody sees a mesh, or that there is none.
    world.pods.clear();
    world
        .backend
        .status
        .get_or_insert_default()
        .observed_generation = Some(2);
    assert!(ids(&world).is_empty());
    world.backend.status.get_or_insert_default().findings = vec![crate::api::Finding {
        id: "GB021".into(),
        severity: "Warning".into(),
        message: "was said".into(),
    }];
    assert_eq!(ids(&world), ["GB021"]);
}

/// Of whatever preset's note speaks of lost calls, and of no other.
#[test]
fn a_server_that_is_known_to_lose_calls() {
    let spec =
        |preset: &str| json!({"connectionAge": {"maxAge": "5m", "knob": {"preset": preset}}});
    let mut told = Vec::new();
    for server in presets::all() {
        let world = observed(&spec(&server.name), &deployment(2, true));
        let findings = all(&world);
        if ids(&world).iter().any(|id| id == "GB035") {
            let note = server.note.as_ref().unwrap();
            for word in [note.as_str(), "spec.ignoreFindings"] {
                assert!(findings[0].message.contains(word), "{word}: {findings:?}");
            }
            told.push(server.name.as_str());
        } else {
            let tonic = server
                .note
                .as_ref()
                .is_some_and(|note| note.contains("tonic"));
            assert!(!tonic, "{} is not told", server.name);
        }
    }
    assert_eq!(told, ["MidenNodeRpc", "Quickwit", "Vector"]);
    let mut world = observed(&spec("MidenNodeRpc"), &deployment(2, true));
    world.backend.spec.ignore_findings = serde_json::from_value(
        json!([{"id": "GB035", "reason": "runs a release on tonic 0.14.9"}]),
    )
    .unwrap();
    assert!(ids(&world).is_empty());
}
