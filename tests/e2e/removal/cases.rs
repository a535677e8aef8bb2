//! What ends the wish for an age, by name.

use serde_json::{Value, json};

use super::parts::{
    apart, args, command, env, flags, leave, list, merged, separate, server_with, spec, switch,
    theirs, with,
};
use crate::manifests;

/// One workload, one backend, and the end of its wish.
pub struct Case {
    /// Of both.
    pub name: &'static str,
    pub server: Value,
    pub spec: Value,
    pub trigger: Trigger,
    pub after: After,
    /// Of ConnectionAgeApplied then; none where the backend is gone.
    pub reason: Option<&'static str>,
}

pub enum Trigger {
    Deletion,
    /// A merge patch of the backend's spec.
    Spec(Value),
    /// The owner's JSON patch of the workload's template.
    Template(Value),
}

pub enum After {
    /// As before there was a backend.
    Restored,
    /// As it was with the age.
    Left,
    /// As before there was a backend, and by another knob or in another container: a JSON patch of the template.
    With(Value),
}

impl Case {
    /// The workload's kind.
    pub fn kind(&self) -> &str {
        self.server["kind"].as_str().unwrap_or_default()
    }

    /// `Kind/name`.
    pub fn object(&self) -> String {
        format!("{}/{}", self.kind(), self.name)
    }
}

/// All of them for Deployments, and a part for the other kinds.
pub fn cases(kind: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = [
        deleted(),
        no_longer_asked(),
        asked_otherwise(),
        no_longer_matching(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let mut keep = |names: &[&str]| {
        cases.retain(|case| names.contains(&case.name));
        assert_eq!(cases.len(), names.len(), "one of {names:?} is no case");
    };
    match kind {
        "StatefulSet" => keep(&OF_STATEFUL_SETS),
        "DaemonSet" => keep(&OF_DAEMON_SETS),
        _ => {}
    }
    for case in &mut cases {
        manifests::make_kind(&mut case.server, kind);
    }
    cases
}

/// Every trigger, and every knob; what a knob does to a container is the same in all kinds.
const OF_STATEFUL_SETS: [&str; 12] = [
    "deleted-env",
    "deleted-list-merged",
    "removed-switch",
    "removed-leave",
    "advised-args",
    "container",
    "knob-env-to-flags",
    "age-changed",
    "selector-env",
    "workloads-command",
    "labels-args",
    "port-env",
];
const OF_DAEMON_SETS: [&str; 12] = [
    "deleted-args",
    "deleted-leave-env",
    "removed-env",
    "advised-list",
    "container",
    "knob-flags-to-env",
    "knob-env-to-preset",
    "grace-dropped",
    "selector-list",
    "workloads-env",
    "labels-leave",
    "port-command",
];

fn deleted() -> Vec<Case> {
    let gone = |name, server, knob, after| Case {
        name,
        server: server_with(name, server),
        spec: spec(name, knob),
        trigger: Trigger::Deletion,
        after,
        reason: None,
    };
    vec![
        gone("deleted-env", json!({}), env(), After::Restored),
        gone(
            "deleted-env-among-theirs",
            json!({"env": theirs()}),
            env(),
            After::Restored,
        ),
        gone("deleted-args", args(), flags(), After::Restored),
        gone("deleted-command", command(), separate(), After::Restored),
        gone("deleted-switch", args(), switch(), After::Restored),
        gone(
            "deleted-switch-command",
            command(),
            switch(),
            After::Restored,
        ),
        gone("deleted-list", args(), list(), After::Restored),
        gone("deleted-list-merged", merged(), list(), After::Restored),
        gone("deleted-list-apart", apart(), list(), After::Restored),
        gone("deleted-leave-list", merged(), leave(list()), After::Left),
        gone("deleted-leave-env", json!({}), leave(env()), After::Left),
        gone("deleted-leave-args", args(), leave(flags()), After::Left),
    ]
}

fn no_longer_asked() -> Vec<Case> {
    let case = |name, server, knob, change: &Value, after, reason| Case {
        name,
        server: server_with(name, server),
        spec: spec(name, knob),
        trigger: Trigger::Spec(json!({"connectionAge": change})),
        after,
        reason: Some(reason),
    };
    let removed =
        |name, server, knob, after| case(name, server, knob, &Value::Null, after, "NotRequested");
    let advise = json!({"mode": "Advise"});
    vec![
        removed("removed-env", json!({}), env(), After::Restored),
        removed("removed-args", args(), separate(), After::Restored),
        removed("removed-switch", command(), switch(), After::Restored),
        removed("removed-list", apart(), list(), After::Restored),
        removed("removed-leave", command(), leave(flags()), After::Left),
        case(
            "advised-env",
            json!({}),
            env(),
            &advise,
            After::Restored,
            "NotApplied",
        ),
        case(
            "advised-args",
            args(),
            flags(),
            &advise,
            After::Restored,
            "NotApplied",
        ),
        case(
            "advised-list",
            merged(),
            list(),
            &advise,
            After::Restored,
            "NotApplied",
        ),
        case(
            "advised-leave",
            args(),
            leave(switch()),
            &advise,
            After::Left,
            "Applied",
        ),
    ]
}

fn asked_otherwise() -> Vec<Case> {
    let case = |name, server, knob, change: Value, after| Case {
        name,
        server: server_with(name, server),
        spec: spec(name, knob),
        trigger: Trigger::Spec(json!({"connectionAge": change})),
        after: After::With(after),
        reason: Some("Applied"),
    };
    let variable = |name: &str, value: &str| json!({"name": name, "value": value});
    let first = "/spec/containers/0";
    let mut two = server_with("container", json!({"args": ["--drain=0s"]}));
    let mut second = manifests::container(&mut two).clone();
    second["name"] = json!("second");
    if let Some(all) = two["spec"]["template"]["spec"]["containers"].as_array_mut() {
        all.push(second);
    }
    let mut container = case(
        "container",
        json!({}),
        with(env(), "container", "server"),
        json!({"container": "second"}),
        json!([{"op": "add", "path": "/spec/containers/1/env", "value": [
            variable("MAX_CONNECTION_AGE", "30s"), variable("MAX_CONNECTION_AGE_GRACE", "10s")]}]),
    );
    container.server = two;
    vec![
        container,
        case(
            "knob-env-to-flags",
            args(),
            env(),
            json!({"grace": null, "knob": {"env": null, "flags": {"maxAge": "--max-connection-age"}}}),
            json!([{"op": "add", "path": format!("{first}/args/-"), "value": "--max-connection-age=30s"}]),
        ),
        case(
            "knob-flags-to-env",
            command(),
            separate(),
            json!({"knob": {"flags": null, "env": {"maxAge": "MAX_CONNECTION_AGE"}}}),
            json!([{"op": "add", "path": format!("{first}/env"), "value": [variable("MAX_CONNECTION_AGE", "30s")]}]),
        ),
        case(
            "knob-flags-to-switch",
            args(),
            flags(),
            json!({"knob": {"flags": null, "switch": {"flag": "--short-connection-age", "implies": "30s"}}}),
            json!([{"op": "add", "path": format!("{first}/args/-"), "value": "--short-connection-age"}]),
        ),
        case(
            "knob-env-to-preset",
            args(),
            env(),
            json!({"grace": null, "knob": {"env": null, "preset": "Thanos"}}),
            json!([{"op": "add", "path": format!("{first}/args/-"), "value": "--grpc-server-max-connection-age=30s"}]),
        ),
        case(
            "knob-list-to-flags",
            merged(),
            list(),
            json!({"knob": {"preset": null, "flags": {"maxAge": "--max-connection-age"}}}),
            json!([{"op": "add", "path": format!("{first}/args/-"), "value": "--max-connection-age=30s"}]),
        ),
        case(
            "knob-style",
            args(),
            flags(),
            json!({"knob": {"flags": {"style": "Separate"}}}),
            json!([{"op": "add", "path": format!("{first}/args/-"), "value": "--max-connection-age"},
                   {"op": "add", "path": format!("{first}/args/-"), "value": "30s"}]),
        ),
        case(
            "grace-dropped",
            json!({}),
            env(),
            json!({"grace": null, "knob": {"env": {"grace": null}}}),
            json!([{"op": "add", "path": format!("{first}/env"), "value": [variable("MAX_CONNECTION_AGE", "30s")]}]),
        ),
        case(
            "age-changed",
            json!({"env": theirs()}),
            env(),
            json!({"maxAge": "1m"}),
            json!([{"op": "add", "path": format!("{first}/env/-"), "value": variable("MAX_CONNECTION_AGE", "1m")},
                   {"op": "add", "path": format!("{first}/env/-"), "value": variable("MAX_CONNECTION_AGE_GRACE", "10s")}]),
        ),
    ]
}

fn no_longer_matching() -> Vec<Case> {
    let case = |name, server, age, trigger, after| Case {
        name,
        server: server_with(name, server),
        spec: spec(name, age),
        trigger,
        after,
        reason: Some("NoServer"),
    };
    let others = || Trigger::Spec(json!({"selector": {"app": "others"}}));
    let unnamed = || Trigger::Spec(json!({"connectionAge": {"workloads": ["others"]}}));
    let relabelled = || {
        Trigger::Template(
            json!([{"op": "replace", "path": "/metadata/labels/role", "value": "other"}]),
        )
    };
    let port = json!([{"op": "replace", "path": "/spec/containers/0/ports/0/containerPort", "value": 8081}]);
    let named = |age, name: &str| with(age, "workloads", json!([name]));
    let by_role = |mut case: Case| {
        case.server["spec"]["template"]["metadata"]["labels"]["role"] = json!("server");
        case.spec["selector"]["role"] = json!("server");
        case
    };
    vec![
        case("selector-env", json!({}), env(), others(), After::Restored),
        case("selector-args", args(), flags(), others(), After::Restored),
        case("selector-list", merged(), list(), others(), After::Restored),
        case(
            "selector-leave",
            args(),
            leave(flags()),
            others(),
            After::Left,
        ),
        case(
            "workloads-env",
            json!({}),
            named(env(), "workloads-env"),
            unnamed(),
            After::Restored,
        ),
        case(
            "workloads-command",
            command(),
            named(flags(), "workloads-command"),
            unnamed(),
            After::Restored,
        ),
        case(
            "workloads-leave",
            json!({}),
            named(leave(env()), "workloads-leave"),
            unnamed(),
            After::Left,
        ),
        by_role(case(
            "labels-env",
            json!({}),
            env(),
            relabelled(),
            After::Restored,
        )),
        by_role(case(
            "labels-args",
            args(),
            switch(),
            relabelled(),
            After::Restored,
        )),
        by_role(case(
            "labels-leave",
            json!({}),
            leave(env()),
            relabelled(),
            After::Left,
        )),
        case(
            "port-env",
            json!({}),
            env(),
            Trigger::Template(port.clone()),
            After::Restored,
        ),
        case(
            "port-command",
            command(),
            separate(),
            Trigger::Template(port),
            After::Restored,
        ),
    ]
}
