//! Records as they stand in clusters: what one version wrote every later one can take out again. A line here is never changed, only added.

use super::*;

/// A record, the container as it was left by its writer, and what the owner gets back.
fn written() -> [(&'static str, Value, Value); 8] {
    let env = |entries: Value| json!({"env": entries});
    let ours = |name: &str, value: &str| json!({"name": name, "value": value});
    [
        // As version 0.1.0 wrote them.
        (
            r#"{"container":"srv","knob":"env","age":"5m","list":"env","before":"absent","entries":[{"name":"AGE","value":"5m"},{"name":"GRACE","value":"30s"}],"generation":1,"revision":1}"#,
            env(json!([ours("AGE", "5m"), ours("GRACE", "30s")])),
            json!({}),
        ),
        (
            r#"{"container":"srv","knob":"env","age":"5m","list":"env","before":"present","entries":[{"name":"AGE","value":"5m"}],"generation":2,"revision":3,"underWay":{"since":"2026-01-01T00:00:00Z","template":"0"}}"#,
            env(json!([ours("THEIRS", "1"), ours("AGE", "5m")])),
            env(json!([ours("THEIRS", "1")])),
        ),
        (
            r#"{"container":"srv","knob":"flags","age":"5m","list":"args","before":"present","entries":[["--max-age=5m"],["--grace","30s"]],"generation":1,"revision":1}"#,
            json!({"args": ["x", "--max-age=5m", "--grace", "30s"]}),
            json!({"args": ["x"]}),
        ),
        (
            r#"{"container":"srv","knob":"switch","age":"5m","list":"command","before":"present","entries":[["-age"]],"generation":1,"revision":1}"#,
            json!({"command": ["/srv", "-age"]}),
            json!({"command": ["/srv"]}),
        ),
        (
            r#"{"container":"srv","knob":"listFlag","age":"1m","list":"args","before":"present","entries":[{"flag":"--opts","key":"age_ms","value":"60000"}],"generation":1,"revision":1}"#,
            json!({"args": ["--opts=a=1,age_ms=60000"]}),
            json!({"args": ["--opts=a=1"]}),
        ),
        (
            r#"{"container":"srv","knob":"listFlag","age":"1m","list":"args","before":"emptyFlag","entries":[{"flag":"--opts","key":"age_ms","value":"60000","separate":true}],"generation":1,"revision":1}"#,
            json!({"args": ["--opts", "age_ms=60000"]}),
            json!({"args": ["--opts", ""]}),
        ),
        (
            r#"{"container":"srv","knob":"env","age":"5m","list":"env","before":"absent","entries":[],"generation":1,"revision":1,"failed":1}"#,
            json!({}),
            json!({}),
        ),
        // Since then.
        (
            r#"{"container":"srv","knob":"env","age":"5m","list":"env","before":"absent","entries":[{"name":"AGE","value":"5m"}],"generation":1,"revision":1,"underWay":{"since":"2026-01-01T00:00:00Z","template":"0","idle":true}}"#,
            env(json!([ours("AGE", "5m")])),
            json!({}),
        ),
    ]
}

fn with_record(record: &str, container: &Value) -> World {
    let mut world = World::with(env_age(), container);
    world.deployments[0]["metadata"]["annotations"]["connection-age.evenkeel.dev/echo"] =
        record.into();
    world
}

#[test]
fn what_any_version_wrote_is_taken_out() {
    for (record, left, owners) in written() {
        let mut world = with_record(record, &left);
        assert!(world.plan().holds, "{record}");
        world.delete().settle();
        let expected = &deployment("a", &owners)["spec"];
        assert_eq!(&world.deployments[0]["spec"], expected, "{record}");
        assert_eq!(world.record(), None, "{record}");
        assert!(!world.plan().holds, "{record}");
    }
}

#[test]
fn what_was_to_be_left_stays() {
    let (record, left, _) = &written()[0];
    let leave = record.replace("}]", "}],\"leave\":true");
    let mut world = with_record(&leave, left);
    // Only the record knows it by then.
    assert_eq!(world.age(None).settle(), [Change::Forget]);
    assert_eq!(world.deployments[0]["spec"], deployment("a", left)["spec"]);
}
