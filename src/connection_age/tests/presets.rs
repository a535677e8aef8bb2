//! A knob by the name of a server.

use super::*;
use crate::presets::{self, Takes};

fn preset(name: &str, grace: Option<&str>) -> Value {
    json!({"maxAge": "5m", "grace": grace, "knob": {"preset": name}})
}

#[test]
fn a_preset_is_its_knob() {
    for server in presets::all() {
        let Some(Takes::Knob(knob)) = server.takes() else {
            continue;
        };
        let container = json!({"args": ["serve"]});
        let mut by_name = World::with(preset(&server.name, None), &container);
        let mut written_out = World::with(json!({"maxAge": "5m", "knob": knob}), &container);
        let before = by_name.deployments[0]["spec"].clone();
        assert_eq!(by_name.settle(), [Change::Inject], "{}", server.name);
        written_out.settle();
        assert_eq!(by_name.deployments[0], written_out.deployments[0]);
        by_name.age(Some(json!({"maxAge": "5m", "knob": knob})));
        assert!(
            by_name.plan().steps.is_empty(),
            "writing it out changes nothing"
        );
        by_name.delete().settle();
        assert_eq!(by_name.deployments[0]["spec"], before);
    }
}

#[test]
fn each_form_is_the_servers_own() {
    for (name, grace, field, expected) in [
        (
            "Thanos",
            None,
            "args",
            json!(["s", "--grpc-server-max-connection-age=5m"]),
        ),
        (
            "Triton",
            None,
            "args",
            json!(["s", "--grpc-max-connection-age=300000"]),
        ),
        (
            "TensorFlowServing",
            Some("10s"),
            "args",
            json!([
                "s",
                "--grpc_channel_arguments=grpc.max_connection_age_ms=300000,grpc.max_connection_age_grace_ms=10000"
            ]),
        ),
        (
            "OpenVINOModelServer",
            None,
            "args",
            json!([
                "s",
                "--grpc_channel_arguments",
                "grpc.max_connection_age_ms=300000"
            ]),
        ),
        (
            "SpringBootGrpc",
            Some("10s"),
            "env",
            json!([
                {"name": "SPRING_GRPC_SERVER_KEEPALIVE_CONNECTION_MAXAGE", "value": "300"},
                {"name": "SPRING_GRPC_SERVER_KEEPALIVE_CONNECTION_GRACEPERIOD", "value": "10"}
            ]),
        ),
        (
            "EnvoyRatelimit",
            None,
            "env",
            json!([{"name": "GRPC_MAX_CONNECTION_AGE", "value": "5m"}]),
        ),
    ] {
        let mut world = World::with(preset(name, grace), &json!({"args": ["s"]}));
        world.settle();
        assert_eq!(world.container(0)[field], expected, "{name}");
    }
}

#[test]
fn a_server_without_a_knob_is_told_so_with_what_to_do() {
    for (name, grace, words) in [
        (
            "Etcd",
            None,
            ["etcd", "no flag or variable", "addresses of all members"],
        ),
        ("Kestrel", None, ["ASP.NET", "no option", "RequestClose"]),
        (
            "OtelCollector",
            None,
            [
                "only from a file",
                "receivers: {otlp",
                "max_connection_age: 5m}",
            ],
        ),
        (
            "OtelCollector",
            Some("30s"),
            [
                "only from a file",
                "max_connection_age: 5m",
                "max_connection_age_grace: 30s",
            ],
        ),
        (
            "Vector",
            None,
            ["source in the configuration", "age_secs: 300", "GOAWAY"],
        ),
        (
            "Temporal",
            None,
            [
                "dynamic configuration",
                "frontend.keepAliveMaxConnectionAge",
                "5m",
            ],
        ),
    ] {
        let plan = World::with(preset(name, grace), &json!({"args": ["s"]})).plan();
        assert!(plan.steps.is_empty());
        says(
            &plan,
            State::False,
            "NoKnob",
            &[name, words[0], words[1], words[2]],
        );
    }
}

#[test]
fn a_grace_that_the_server_does_not_know_is_refused_with_its_note() {
    let plan = World::with(preset("Gubernator", Some("30s")), &json!({})).plan();
    says(
        &plan,
        State::False,
        "GraceUnsupported",
        &[
            "preset Gubernator",
            "remove spec.connectionAge.grace",
            "age and grace alike",
        ],
    );
}

#[test]
fn what_does_not_fit_the_servers_unit_is_refused() {
    let age = json!({"maxAge": "1500ms", "knob": {"preset": "Gubernator"}});
    says(
        &World::with(age, &json!({})).plan(),
        State::False,
        "InvalidSpec",
        &["spec.connectionAge.maxAge", "whole seconds"],
    );
}

#[test]
fn a_preset_of_a_later_version_stops_nothing_and_takes_nothing_back() {
    let mut world = World::with(preset("Thanos", None), &json!({"args": ["s"]}));
    world.settle();
    let plan = world.age(Some(preset("FromTheFuture", None))).plan();
    assert!(plan.steps.is_empty());
    says(
        &plan,
        State::False,
        "NoKnob",
        &["FromTheFuture", "update the operator"],
    );
    world.delete().settle();
    assert_eq!(world.container(0)["args"], json!(["s"]));
}

#[test]
fn no_knob_at_all_is_told_with_all_kinds() {
    let plan = World::with(json!({"maxAge": "1m", "knob": {}}), &json!({})).plan();
    says(
        &plan,
        State::False,
        "NoKnob",
        &["preset, env, flags, listFlag and switch"],
    );
}

/// A server may take the age by another name too: whoever gives it there has set it, and one of the two would be overridden unseen.
#[test]
fn another_way_in_is_the_owners() {
    let variable = |name: &str| json!({"args": ["serve"], "env": [{"name": name, "value": "7m"}]});
    let flag = |word: &str| json!({"args": ["serve", word]});
    let java = |name: &str| {
        let options =
            r#"-Xmx1g "-Dspring.grpc.server.keepalive.connection.max-age=7m" -Dtoken=s3cret"#;
        json!({"args": ["serve"], "env": [{"name": name, "value": options}]})
    };
    for (name, container, told) in [
        (
            "SpiceDB",
            variable("SPICEDB_GRPC_MAX_CONN_AGE"),
            "SPICEDB_GRPC_MAX_CONN_AGE",
        ),
        (
            "JaegerCollector",
            variable("COLLECTOR_GRPC_SERVER_MAX_CONNECTION_AGE"),
            "COLLECTOR_GRPC_SERVER_MAX_CONNECTION_AGE",
        ),
        (
            "JaegerCollectorOtlp",
            variable("COLLECTOR_OTLP_GRPC_MAX_CONNECTION_AGE"),
            "COLLECTOR_OTLP_GRPC_MAX_CONNECTION_AGE",
        ),
        (
            "MidenNodeRpc",
            flag("--rpc.grpc.max-connection-age=7m"),
            "--rpc.grpc.max-connection-age",
        ),
        (
            "SpringBootGrpc",
            flag("-Dspring.grpc.server.keepalive.connection.max-age=7m"),
            "-Dspring.grpc.server.keepalive.connection.max-age",
        ),
        (
            "SpringBootGrpc",
            java("JAVA_TOOL_OPTIONS"),
            "-Dspring.grpc.server.keepalive.connection.max-age=7m in JAVA_TOOL_OPTIONS, by",
        ),
        (
            "SpringBootGrpc",
            java("JDK_JAVA_OPTIONS"),
            "-Dspring.grpc.server.keepalive.connection.max-age=7m in JDK_JAVA_OPTIONS, by",
        ),
        (
            "SpringGrpc",
            flag("--spring.grpc.server.keep-alive.max-age=7m"),
            "--spring.grpc.server.keep-alive.max-age",
        ),
    ] {
        let mut world = World::with(preset(name, None), &container);
        assert_eq!(world.settle(), [], "{name}");
        says(&world.plan(), State::False, "FieldConflict", &[told]);
        assert_eq!(
            world.plan().servers[0].set_by,
            Some(crate::api::SetBy::Owner)
        );
        assert_eq!(world.plan().running_max_age.as_deref(), Some("unknown"));
        // It comes when ours is in: ours goes, theirs stays.
        let mut world = World::with(preset(name, None), &json!({"args": ["serve"]}));
        world.settle();
        world.owner(|own| {
            for (field, with) in container.as_object().unwrap() {
                let more = with.as_array().unwrap().last().unwrap().clone();
                match own[field].as_array_mut() {
                    Some(list) if more != "serve" => list.push(more),
                    Some(_) => {}
                    None => own[field] = json!([more]),
                }
            }
        });
        assert_eq!(world.settle(), [Change::TakeBack], "{name}");
        assert_eq!(world.reason(), "FieldConflict", "{name}");
        assert_eq!(world.container(0)["args"], container["args"], "{name}");
    }
    // The other way to a grace is no conflict where none is asked for.
    let grace = variable("COLLECTOR_GRPC_SERVER_MAX_CONNECTION_AGE_GRACE");
    let mut world = World::with(preset("JaegerCollector", None), &grace);
    assert_eq!(world.settle(), [Change::Inject]);
    let world = World::with(preset("JaegerCollector", Some("5s")), &grace);
    let told = "as by flag collector.grpc-server.max-connection-age-grace:";
    says(&world.plan(), State::False, "FieldConflict", &[told]);
}

/// They may stand elsewhere, and win over a variable.
#[test]
fn java_options_are_read_as_far_as_they_stand_there() {
    let age = "-Dspring.grpc.server.keepalive.connection.max-age=7m";
    let is = |name: &str, value: &str| json!({"name": name, "value": value});
    let elsewhere = |name: &str| json!({"name": name, "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}});
    for (env, state, reason, told) in [
        (
            json!([
                is("BASE", &format!("-Xmx1g {age}")),
                is("JAVA_TOOL_OPTIONS", "$(BASE)")
            ]),
            State::False,
            "FieldConflict",
            "has -Dspring.grpc.server.keepalive.connection.max-age=7m in JAVA_TOOL_OPTIONS",
        ),
        (
            json!([elsewhere("JAVA_TOOL_OPTIONS")]),
            State::Unknown,
            "EnvFromUnverified",
            "has JAVA_TOOL_OPTIONS by valueFrom, which may set -Dspring.grpc.server.keepalive.connection.max-age, by which its server takes the same as by env SPRING_GRPC_SERVER_KEEPALIVE_CONNECTION_MAXAGE, and is not read: put SPRING_GRPC_SERVER_KEEPALIVE_CONNECTION_MAXAGE=300 into its env, or remove",
        ),
        (
            json!([
                elsewhere("BASE"),
                is("JDK_JAVA_OPTIONS", "-Xmx1g $(BASE)-Dtoken=s3cret")
            ]),
            State::Unknown,
            "EnvFromUnverified",
            "has $(BASE) in JDK_JAVA_OPTIONS, which may set",
        ),
        // In the place of a value it is no option.
        (
            json!([elsewhere("POD"), {"name": "NONE"}, is("JAVA_TOOL_OPTIONS", "-Dpod=$(POD) $(NONE)")]),
            State::False,
            "RollingOut",
            "SPRING_GRPC_SERVER_KEEPALIVE_CONNECTION_MAXAGE=300",
        ),
    ] {
        let container = json!({"args": ["serve"], "env": env});
        let world = World::with(preset("SpringBootGrpc", None), &container);
        let plan = world.plan();
        says(&plan, state, reason, &[told]);
        assert!(!plan.statement.message.contains("s3cret"));
        // It comes when ours is in, which stays where nothing is seen of theirs.
        let mut world = World::with(preset("SpringBootGrpc", None), &json!({"args": ["serve"]}));
        world.settle();
        world.owner(|own| {
            let theirs = env.as_array().unwrap().clone();
            own["env"].as_array_mut().unwrap().extend(theirs);
        });
        let stays = if reason == "FieldConflict" {
            reason
        } else {
            "Applied"
        };
        assert_eq!(world.reason(), stays, "{env}");
    }
}

/// What an envFrom holds is not read.
#[test]
fn another_way_in_may_hide_in_env_from() {
    for (prefix, reason) in [
        (Value::Null, "EnvFromUnverified"),
        (json!("OTHER_"), "RollingOut"),
    ] {
        let from = json!([{"prefix": prefix, "secretRef": {"name": "s"}}]);
        let container = json!({"args": ["serve"], "envFrom": from});
        let mut world = World::with(preset("SpiceDB", None), &container);
        assert_eq!(world.reason(), reason, "{prefix}");
        if reason == "EnvFromUnverified" {
            let words = [
                "env SPICEDB_GRPC_MAX_CONN_AGE",
                "--grpc-max-conn-age=5m into its args",
            ];
            says(&world.plan(), State::Unknown, reason, &words);
            assert_eq!(world.settle(), []);
            world.owner(|own| own["args"] = json!(["serve", "--grpc-max-conn-age=5m"]));
            assert_eq!(world.reason(), "Applied");
        }
        // It comes when ours is in, which goes before it.
        let mut world = World::with(preset("SpiceDB", None), &json!({"args": ["serve"]}));
        world.settle();
        world.owner(|own| own["envFrom"] = from);
        assert_eq!(world.reason(), "Applied");
        world.age(Some(json!({"maxAge": "6m", "knob": {"preset": "SpiceDB"}})));
        assert_eq!(world.settle(), [Change::Update]);
        assert_eq!(world.delete().settle(), [Change::TakeBack]);
    }
}

/// The age is ours already and changes; of the grace it is not known whether it is somebody's.
#[test]
fn what_may_hide_of_the_grace_keeps_no_age_from_its_change() {
    let mut world = World::with(preset("JaegerCollector", None), &json!({"args": ["run"]}));
    world.settle();
    world.owner(|own| own["envFrom"] = json!([{"secretRef": {"name": "s"}}]));
    assert_eq!(world.reason(), "Applied");
    let words = [
        "env COLLECTOR_GRPC_SERVER_MAX_CONNECTION_AGE_GRACE, by",
        "as by flag collector.grpc-server.max-connection-age-grace,",
        "--collector.grpc-server.max-connection-age-grace=5s into its args",
    ];
    let unverified = "EnvFromUnverified";
    world.age(Some(preset("JaegerCollector", Some("5s"))));
    assert_eq!(world.settle(), [], "the age stays as it is");
    says(&world.plan(), State::Unknown, unverified, &words);
    let six = json!({"maxAge": "6m", "grace": "5s", "knob": {"preset": "JaegerCollector"}});
    world.age(Some(six));
    assert_eq!(world.settle(), [Change::Update]);
    let args = json!(["run", "--collector.grpc-server.max-connection-age=6m"]);
    assert_eq!(world.container(0)["args"], args);
    assert_eq!(world.settle(), []);
    says(&world.plan(), State::Unknown, unverified, &words);
    assert_eq!(world.delete().settle(), [Change::TakeBack]);
    assert_eq!(world.container(0)["args"], json!(["run"]));
}
