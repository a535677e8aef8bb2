//! What the operator's process holds while nothing changes.

use std::time::Duration;

use anyhow::{Result, ensure};
use evenkeel_cluster::{Cluster, grpc_backends, images, until};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::report::Figure;
use crate::usage::{Held, operator_pid};

/// Each with a Deployment of its own.
pub const BACKENDS: usize = 20;
/// Pods of each.
pub const REPLICAS: usize = 2;
const READY_WITHIN: Duration = Duration::from_mins(15);
/// The measurement itself: two windows of the default length.
pub const REST: Duration = Duration::from_mins(2);

/// Twenty backends with an age, all settled, no traffic but health checks.
pub async fn measure(cluster: &Cluster) -> Result<Figure> {
    let pid = operator_pid(cluster).await?;
    let idle = Held::by(pid)?;
    let objects: Vec<Value> = (0..BACKENDS)
        .flat_map(|number| backend(&format!("rest-{number}")))
        .collect();
    settle(cluster, &objects, BACKENDS).await?;
    let settled = Held::by(pid)?;
    eprintln!("  at rest for {} s", REST.as_secs());
    sleep(REST).await;
    let rested = Held::by(pid)?;
    let megabytes = settled.all.max(rested.all);
    #[expect(clippy::cast_precision_loss, reason = "some tens")]
    let each = (megabytes - idle.all) * 1000.0 / BACKENDS as f64;
    Ok(Figure {
        name: "operator memory, 20 backends",
        measured: format!("{megabytes:.1} MB"),
        target: "≤ 25 MB",
        met: megabytes <= 25.0,
        how: format!(
            "resident set (VmRSS) of the operator's process in its pod, with {BACKENDS} backends of {REPLICAS} pods each: {:.1} MB once all are ready with their age, {:.1} MB {} s later, of these {:.1} MB the program's own code and tables; {:.1} MB before there was any, so that each backend adds {each:.0} kB",
            settled.all,
            rested.all,
            REST.as_secs(),
            rested.mapped,
            idle.all,
        ),
    })
}

/// Applies them, and waits until so many backends are ready with their age.
pub async fn settle(cluster: &Cluster, objects: &[Value], count: usize) -> Result<()> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    cluster.apply(&list.to_string()).await?;
    let api = grpc_backends(cluster.client().await?, "default");
    let mut most = 0;
    let what = "every backend is ready with its age";
    until(what, READY_WITHIN, async || {
        let all = api.list(&kube::api::ListParams::default()).await?;
        let settled = all.iter().filter(|backend| {
            says(&backend.data, "Ready", "AllReady")
                && says(&backend.data, "ConnectionAgeApplied", "Applied")
        });
        let ready = settled.count();
        if ready > most {
            most = ready;
            eprintln!("  {ready} of {count} are ready with their age");
        }
        ensure!(ready == count, "{ready} of {count} are");
        Ok(Some(()))
    })
    .await
}

/// Whether a condition has this reason.
pub fn says(backend: &Value, kind: &str, reason: &str) -> bool {
    let conditions = backend["status"]["conditions"].as_array();
    conditions.is_some_and(|all| {
        all.iter()
            .any(|one| one["type"] == kind && one["reason"] == reason)
    })
}

/// A Deployment, and its backend with an age.
pub fn backend(name: &str) -> [Value; 2] {
    let env =
        json!([{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]);
    let container = json!({
        "name": "server", "image": images::SERVER, "imagePullPolicy": "Never", "env": env,
        "ports": [{"name": "grpc", "containerPort": 8080}, {"name": "metrics", "containerPort": 9090}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": 9090}},
    });
    let labels = json!({"app": name});
    [
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {
                "replicas": REPLICAS, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        }),
        json!({
            "apiVersion": "evenkeel.dev/v1alpha1", "kind": "GrpcBackend", "metadata": {"name": name},
            "spec": {
                "selector": labels, "ports": [{"port": 8080}],
                "connectionAge": {"maxAge": "5m", "grace": "30s", "knob": {"env": {"maxAge": "MAX_CONNECTION_AGE", "grace": "MAX_CONNECTION_AGE_GRACE"}}},
            },
        }),
    ]
}
