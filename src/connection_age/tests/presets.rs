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
