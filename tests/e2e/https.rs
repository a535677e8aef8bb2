//! Metrics over TLS with a token: the operator reads what its user lets it read, and says what is missing.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::MetricsAvailable;
use evenkeel_cluster::{Identity, Served, until};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::bed::Bed;
use crate::manifests;
use crate::pods::target;
use crate::tests;
use crate::top::top;
use crate::world::{OPERATORS, World};

tests![shared metrics_over_tls_with_a_token(240)];

/// Two scrapes fail, and what was missing is looked for again a quarter of a minute later.
const SAID: Duration = Duration::from_secs(90);
const NAME: &str = "echo.demo.svc";
const TOKEN: &str = "s3cret-of-this-test";

fn secret(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data})
}

fn config_map(name: &str, authority: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"ca.crt": authority}})
}

fn authority(name: &str) -> Value {
    json!({"configMap": {"name": name, "key": "ca.crt"}})
}

fn token(name: &str, key: &str) -> Value {
    json!({"name": name, "key": key})
}

/// A backend of the same pods, without Services, that asks in its own way.
fn backend(name: &str, port: u16, https: &Value) -> Value {
    let mut backend = manifests::backend("echo");
    backend["metadata"]["name"] = json!(name);
    backend["spec"]["services"] =
        json!({"clusterIP": {"policy": "None"}, "headless": {"policy": "None"}});
    backend["spec"]["balance"]["metrics"] = json!({"port": port, "https": https});
    backend
}

/// The name, the port, how it asks, and the reason and the words that come of it.
fn cases() -> Vec<(&'static str, u16, Value, &'static str, &'static str)> {
    let good = || json!({"ca": authority("ca"), "serverName": NAME, "bearerToken": token("metrics", "token")});
    let with = |field: &str, value: Value| {
        let mut https = good();
        https[field] = value;
        if let Some(fields) = https.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        https
    };
    vec![
        ("good", 9092, good(), "Scraped", "1 pod scraped"),
        (
            "ca-in-a-secret",
            9092,
            with("ca", json!({"secret": token("metrics", "ca.crt")})),
            "Scraped",
            "1 pod scraped",
        ),
        (
            "other-ca",
            9092,
            with("ca", authority("other-ca")),
            "Refused",
            "does not come from the authority",
        ),
        (
            "no-ca",
            9092,
            with("ca", authority("no-ca")),
            "NoCredentials",
            "holds no certificate",
        ),
        (
            "other-name",
            9092,
            with("serverName", json!("other.demo.svc")),
            "Refused",
            "is for another name",
        ),
        (
            "no-name",
            9092,
            with("serverName", Value::Null),
            "Refused",
            "is for another name",
        ),
        (
            "other-token",
            9092,
            with("bearerToken", token("metrics", "other")),
            "Refused",
            "HTTP status 401",
        ),
        (
            "no-token",
            9092,
            with("bearerToken", Value::Null),
            "Refused",
            "HTTP status 401",
        ),
        (
            "no-key",
            9092,
            with("bearerToken", token("metrics", "absent")),
            "NoCredentials",
            "Secret metrics has no key absent",
        ),
        (
            "no-secret",
            9092,
            with("bearerToken", token("absent", "token")),
            "NoCredentials",
            "there is no Secret absent",
        ),
        (
            "no-right",
            9092,
            with("bearerToken", token("hidden", "token")),
            "Forbidden",
            "may not read Secret hidden",
        ),
        ("no-tls", 9090, good(), "Refused", "does not speak TLS"),
    ]
}

fn right(account: &str, name: &str, secrets: &[&str]) -> [Value; 2] {
    let rules = json!([
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": secrets, "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["ca", "other-ca", "no-ca"], "verbs": ["get"]},
    ]);
    [
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name}, "rules": rules}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": OPERATORS}]}),
    ]
}

fn server() -> Value {
    let mut server = manifests::server("echo", 1);
    server["spec"]["template"]["spec"]["volumes"] =
        json!([{"name": "metrics", "secret": {"secretName": "metrics"}}]);
    let container = manifests::container(&mut server);
    container["args"] = json!(["--secure-metrics=/metrics"]);
    container["volumeMounts"] =
        json!([{"name": "metrics", "mountPath": "/metrics", "readOnly": true}]);
    if let Some(ports) = container["ports"].as_array_mut() {
        ports.push(json!({"name": "secure", "containerPort": 9092}));
    }
    server
}

async fn metrics_over_tls_with_a_token(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "https").await?;
    let begun = Timestamp::now();
    let (served, other) = (Served::with(&[NAME])?, Served::with(&[NAME])?);
    let data = json!({"tls.crt": served.certificate, "tls.key": served.key, "ca.crt": served.authority, "token": TOKEN, "other": "x"});
    let mut items = vec![
        secret("metrics", &data),
        secret("hidden", &json!({"token": TOKEN})),
        config_map("ca", &served.authority),
        config_map("other-ca", &other.authority),
        config_map("no-ca", "nothing of the kind"),
        server(),
    ];
    items.extend(right(bed.name(), "metrics", &["metrics", "absent"]));
    items.extend(
        cases()
            .iter()
            .map(|(name, port, https, ..)| backend(name, *port, https)),
    );
    bed.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}))
        .await?;
    bed.rolled_out("echo").await?;
    let target = target(&bed.pods("app=echo").await?[0])?;
    bed.client("one", &target, &["--rate=5"]).await?;
    for (name, _, _, reason, words) in cases() {
        bed.reason(name, MetricsAvailable, reason, SAID)
            .await
            .with_context(|| format!("the backend {name}"))?;
        let message = bed.message(name, MetricsAvailable).await?;
        ensure!(message.contains(words), "{name}: {message}");
        ensure!(!message.contains(TOKEN), "{name}: {message}");
    }
    // The message names whom to give the right to; that is all it takes.
    let message = bed.message("no-right", MetricsAvailable).await?;
    let account = format!("system:serviceaccount:{OPERATORS}:{}", bed.name());
    ensure!(message.contains(&account), "{message}");
    for object in right(bed.name(), "more", &["hidden"]) {
        bed.apply(&object).await?;
    }
    bed.reason("no-right", MetricsAvailable, "Scraped", SAID)
        .await?;
    let seen = top(&bed, &Identity::Admin, &["good"]).await?;
    ensure!(seen.contains("passes none on"), "{seen}");
    another_fault_is_said_soon(&bed).await?;
    only_by_name(&bed, begun)
}

/// Who mends one thing is told of the next, though it has the same reason.
async fn another_fault_is_said_soon(bed: &Bed) -> Result<()> {
    let https = json!({"ca": authority("ca"), "serverName": "other.demo.svc"});
    bed.change(
        "other-ca",
        &json!({"balance": {"metrics": {"https": https}}}),
    )
    .await?;
    until("the other name is said", SAID, async || {
        let message = bed.message("other-ca", MetricsAvailable).await?;
        ensure!(message.contains("is for another name"), "{message}");
        Ok(Some(()))
    })
    .await
}

/// Nothing is listed or watched, and nothing read that no spec names.
fn only_by_name(bed: &Bed, since: Timestamp) -> Result<()> {
    let user = &bed.operator.as_ref().context("no operator runs")?.user;
    let requests = bed.world.cluster.audit().requests_by(user, since)?;
    let secrets: Vec<_> = requests
        .iter()
        .filter(|request| request.resource == "secrets")
        .collect();
    ensure!(!secrets.is_empty(), "no Secret was read");
    for request in secrets {
        let is_named = ["metrics", "absent", "hidden"].contains(&request.name.as_str());
        ensure!(request.verb == "get" && is_named, "{request:?}");
    }
    Ok(())
}
