//! What the operator holds of objects that no backend selects.

use std::time::Duration;

use anyhow::{Result, ensure};
use evenkeel_cluster::{Cluster, until};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::hollow;
use crate::memory::REST;
use crate::pages;
use crate::report::Figure;
use crate::scale::LIMIT;
use crate::usage::{Held, operator_pid};

/// Of each kind.
const OBJECTS: usize = 2000;
const AT_ONCE: usize = 16;
const READY_WITHIN: Duration = Duration::from_mins(10);
/// Of each container, as real ones have them.
const VARIABLES: usize = 20;
/// Characters of the annotation that `kubectl apply` leaves.
const APPLIED: usize = 3000;

/// Makes Deployments without pods, and pods of nobody. The operator that comes later finds them all at once, as after each of its starts.
pub async fn make(cluster: &Cluster) -> Result<()> {
    let client = cluster.client().await?;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let deployments: Api<Deployment> = Api::default_namespaced(client);
    let parameters = PostParams::default();
    stream::iter(0..OBJECTS)
        .map(async |number| {
            let deployment = serde_json::from_value(deployment(number))?;
            deployments.create(&parameters, &deployment).await?;
            let pod = serde_json::from_value(pod(number))?;
            pods.create(&parameters, &pod).await?;
            anyhow::Ok(())
        })
        .buffer_unordered(AT_ONCE)
        .try_for_each(async |()| Ok(()))
        .await?;
    let running = ListParams::default().fields("status.phase=Running");
    until("every pod runs", READY_WITHIN, async || {
        let count = pods.list_metadata(&running).await?.items.len();
        ensure!(count == OBJECTS, "{count} of {OBJECTS} run");
        Ok(Some(()))
    })
    .await
}

/// What the operator holds, some time after its start.
pub async fn measure(cluster: &Cluster) -> Result<Figure> {
    let pid = operator_pid(cluster).await?;
    eprintln!("  at rest for {} s", REST.as_secs());
    sleep(REST).await;
    let held = Held::by(pid)?;
    Ok(Figure {
        name: "operator memory, 2000 foreign pods and Deployments",
        measured: format!("{:.0} MB", held.all),
        target: "≤ 134 MB, the chart's limit",
        met: held.all <= LIMIT,
        how: format!(
            "resident set of the operator's process in its pod, {} s after its start, without a backend, where the namespaces that it watches have {OBJECTS} Deployments and {OBJECTS} ready pods, each of some 5 kB: {:.1} MB, of these {:.1} MB the program's own code and tables",
            REST.as_secs(),
            held.all,
            held.mapped
        ),
    })
}

fn template(number: usize) -> Value {
    let variable = |index| json!({"name": format!("SETTING_{index}"), "value": format!("value-{index}-of-{number}")});
    let variables: Vec<Value> = (0..VARIABLES).map(variable).collect();
    let probe = json!({"httpGet": {"path": "/readyz", "port": 9090}});
    let container = json!({
        "name": "server", "image": "registry.example.com/team/server:1.2.3", "args": ["--listen=:8080", "--verbose"],
        "env": variables, "ports": [{"name": "grpc", "containerPort": 8080}],
        "readinessProbe": probe, "livenessProbe": probe,
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
    });
    let labels = json!({"app.kubernetes.io/name": "server", "app.kubernetes.io/instance": format!("foreign-{number}")});
    let mut template = json!({"metadata": {"labels": labels}, "spec": {"containers": [container]}});
    hollow::place(&mut template, pages::PAGES[0].0);
    template
}

fn applied() -> Value {
    json!({"kubectl.kubernetes.io/last-applied-configuration": "x".repeat(APPLIED)})
}

fn deployment(number: usize) -> Value {
    let template = template(number);
    let labels = &template["metadata"]["labels"];
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": format!("foreign-{number}"), "labels": labels, "annotations": applied()},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template},
    })
}

/// Of no workload, which would take as long again to make them. Labels of its own, else the Deployment's ReplicaSet would adopt it.
fn pod(number: usize) -> Value {
    let mut pod = template(number);
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!(format!("foreign-{number}"));
    pod["metadata"]["labels"]["app.kubernetes.io/name"] = json!("pod");
    if let Some(annotations) = applied().as_object() {
        for (name, value) in annotations {
            pod["metadata"]["annotations"][name] = value.clone();
        }
    }
    pod
}
