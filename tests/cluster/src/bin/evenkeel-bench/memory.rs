//! What the operator's process holds while nothing changes.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel_cluster::{Cluster, images, until};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::children::backends;
use crate::report::Figure;

/// Each with a Deployment of its own.
pub const BACKENDS: usize = 20;
const REPLICAS: usize = 2;
const READY_WITHIN: Duration = Duration::from_mins(5);
/// The measurement itself: two windows of the default length.
const REST: Duration = Duration::from_mins(2);

/// Twenty backends with an age, all settled, no traffic but health checks.
pub async fn measure(cluster: &Cluster) -> Result<Figure> {
    let pid = operator_pid(cluster).await?;
    let idle = Held::by(pid)?;
    let objects: Vec<Value> = (0..BACKENDS)
        .flat_map(|number| backend(&format!("rest-{number}")))
        .collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    cluster.apply(&list.to_string()).await?;
    let api = backends(cluster.client().await?);
    let mut most = 0;
    until(
        "every backend is ready with its age",
        READY_WITHIN,
        async || {
            let ready = api
                .list(&kube::api::ListParams::default())
                .await?
                .items
                .iter()
                .filter(|backend| settled(&backend.data))
                .count();
            if ready > most {
                most = ready;
                eprintln!("  {ready} of {BACKENDS} are ready with their age");
            }
            ensure!(ready == BACKENDS, "{ready} of {BACKENDS} are");
            Ok(Some(()))
        },
    )
    .await?;
    let settled = Held::by(pid)?;
    eprintln!("  at rest for {} s", REST.as_secs());
    sleep(REST).await;
    let rested = Held::by(pid)?;
    let megabytes = settled.all.max(rested.all);
    #[expect(clippy::cast_precision_loss, reason = "some tens")]
    let each = (megabytes - idle.all) * 1000.0 / BACKENDS as f64;
    Ok(Figure {
        name: "operator memory at rest",
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

fn settled(backend: &Value) -> bool {
    let conditions = backend["status"]["conditions"].as_array();
    conditions.is_some_and(|all| {
        let says = |kind: &str, reason: &str| {
            all.iter()
                .any(|one| one["type"] == kind && one["reason"] == reason)
        };
        says("Ready", "AllReady") && says("ConnectionAgeApplied", "Applied")
    })
}

fn backend(name: &str) -> [Value; 2] {
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

/// The host's pid of the one process in the operator's container: its cgroup has the container's id.
async fn operator_pid(cluster: &Cluster) -> Result<u32> {
    let container = cluster
        .kubectl(&[
            "--namespace=evenkeel-system",
            "get",
            "pods",
            "--output=jsonpath={.items[0].status.containerStatuses[0].containerID}",
        ])
        .await?;
    let id = container
        .rsplit('/')
        .next()
        .filter(|id| id.len() > 32)
        .context("the operator has no container")?;
    std::fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .find(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/cgroup"))
                .is_ok_and(|text| text.contains(id))
        })
        .context("the operator's process is not to be found")
}

/// What is resident, in MB.
struct Held {
    all: f64,
    /// Of the program's file, read again whenever it was given up.
    mapped: f64,
}

impl Held {
    fn by(pid: u32) -> Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
            .context("the operator's process is gone")?;
        let megabytes = |name: &str| -> Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let text = line.with_context(|| format!("no {name}"))?;
            let kibibytes: f64 = text.trim().trim_end_matches(" kB").parse()?;
            Ok(kibibytes * 1024.0 / 1e6)
        };
        let all = megabytes("VmRSS:")?;
        let mapped = all - megabytes("RssAnon:")?;
        Ok(Self { all, mapped })
    }
}
