//! `source: Prometheus`, with a real one that reads the same pods.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::{Balanced, MetricsAvailable};
use evenkeel_cluster::{Process, Signal, prometheus};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::bed::{Bed, SOON};
use crate::manifests;
use crate::pods::{ip, target};
use crate::tests;
use crate::world::World;

tests![shared balance_by_prometheus(300)];

/// Prometheus reads the pods, and a window fills.
const JUDGED: Duration = Duration::from_secs(150);

/// Two jobs read each pod, as where a ServiceMonitor and a PodMonitor have been made for it. Debian's Prometheus is built without
/// discovery in Kubernetes, so that the pods are named, with the labels that it would give them. Another cluster has pods of the same names,
/// and what they say would be taken first.
fn config(namespace: &str, pods: &[Pod]) -> Result<Value> {
    let read = |cluster: &str, pod: &Pod, named: &Pod| {
        let labels =
            json!({"namespace": namespace, "pod": named.metadata.name, "cluster": cluster});
        Ok(json!({"targets": [format!("{}:9090", ip(pod)?)], "labels": labels}))
    };
    let own = pods.iter().map(|pod| read("own", pod, pod));
    let own: Vec<Value> = own.collect::<Result<_>>()?;
    let others = pods.iter().zip(pods.iter().cycle().skip(1));
    let others = others.map(|(pod, named)| read("other", pod, named));
    let others: Vec<Value> = others.collect::<Result<_>>()?;
    let job = |name: &str, targets: &[Value]| json!({"job_name": name, "static_configs": targets});
    Ok(json!({
        "global": {"scrape_interval": "5s", "scrape_timeout": "4s"},
        "scrape_configs": [job("abroad", &others), job("pods", &own), job("again", &own)],
    }))
}

/// A Prometheus server in the cluster's network, which ends with this.
pub struct Server {
    process: Process,
    directory: PathBuf,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.signal(Signal::Kill);
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Server {
    /// Starts it in a directory with these files, `prometheus.yml` among them.
    pub async fn start(bed: &Bed, port: u16, files: &[(&str, &Value)]) -> Result<Self> {
        let cluster = &bed.world.cluster;
        let directory = std::env::temp_dir().join(format!("{}-prometheus", bed.name()));
        std::fs::create_dir_all(&directory)?;
        for (name, content) in files {
            std::fs::write(directory.join(name), content.to_string())?;
        }
        let at = |name: &str| directory.join(name).display().to_string();
        let mut command = Command::new(prometheus()?);
        command
            .arg(format!("--config.file={}", at("prometheus.yml")))
            .arg(format!("--storage.tsdb.path={}", at("data")))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .env("HOME", &directory);
        let process = cluster.spawn_in_net("prometheus", &command)?;
        let address = cluster.forward(([127, 0, 0, 1], port).into()).await?;
        Ok(Self {
            process,
            directory,
            address,
        })
    }

    /// Replaces a file that it watches, at once.
    pub fn write(&self, name: &str, content: &Value) -> Result<()> {
        let unfinished = self.directory.join(format!("{name}.unfinished"));
        std::fs::write(&unfinished, content.to_string())?;
        Ok(std::fs::rename(unfinished, self.directory.join(name))?)
    }

    /// What its API answers; an error is what it complains of.
    pub async fn ask(&self, path: &str, query: &[(&str, &str)]) -> Result<Value> {
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(query)
            .finish();
        let path = format!("/api/v1/{path}?{query}");
        let (status, body) = crate::client::get(self.address, &path).await?;
        let mut answer: Value =
            serde_json::from_str(&body).with_context(|| format!("{path}: {status} {body}"))?;
        ensure!(answer["status"] == "success", "{path}: {body}");
        Ok(answer["data"].take())
    }
}

fn backend() -> Value {
    let mut backend = manifests::backend("echo");
    backend["spec"]["balance"]["source"] = json!("Prometheus");
    backend
}

async fn balance_by_prometheus(world: Arc<World>) -> Result<()> {
    let mut bed = Bed::new(&world, "prometheus").await?;
    bed.echo(3).await?;
    bed.apply(&backend()).await?;
    bed.reason("echo", MetricsAvailable, "ScrapeFailed", SOON)
        .await?;
    let message = bed.message("echo", MetricsAvailable).await?;
    ensure!(message.contains("the operator knows of none"), "{message}");

    // Who installs the operator says where one is.
    let operator = bed.operator.take().context("no operator runs")?;
    operator.process.signal(Signal::Term)?;
    operator.process.wait(SOON).await?;
    let port = world.port();
    let config = config(bed.name(), &bed.pods("app=echo").await?)?;
    let server = Server::start(&bed, port, &[("prometheus.yml", &config)]).await?;
    let url = format!("--prometheus-url=http://127.0.0.1:{port}");
    bed.start_operator(&[&url, "--prometheus-matchers=cluster=own"])
        .await?;
    let even = format!("dns:///echo-headless.{}.svc.cluster.local:8080", bed.name());
    bed.client("even", &even, &["--rate=60"]).await?;
    bed.reason("echo", MetricsAvailable, "Scraped", JUDGED)
        .await?;
    // A verdict may come while the window of the third is not full yet.
    evenkeel_cluster::until(
        "the three pods are judged as balanced",
        JUDGED,
        async || {
            let judged = bed.reason("echo", Balanced, "Balanced", JUDGED).await?;
            let figures = judged.status.and_then(|status| status.balance);
            let figures = figures.context("no figures")?;
            ensure!(figures.pods == 3, "{figures:?}");
            ensure!(
                figures.metric.as_deref() == Some("grpc_server_started_total"),
                "{figures:?}"
            );
            Ok(Some(()))
        },
    )
    .await?;

    // A pod that is read twice counts once.
    let rate = async || {
        let figures = bed
            .backend("echo")
            .await?
            .status
            .and_then(|status| status.balance);
        let rate = figures.and_then(|figures| figures.requests_per_second);
        anyhow::Ok(
            rate.and_then(|rate| rate.parse::<f64>().ok())
                .unwrap_or(0.0),
        )
    };
    evenkeel_cluster::until("60 requests a second are seen", JUDGED, async || {
        let rate = rate().await?;
        ensure!((48.0..=72.0).contains(&rate), "{rate} are seen");
        Ok(Some(()))
    })
    .await?;

    let pod = bed.pods("app=echo").await?.remove(0);
    bed.client("pinned", &target(&pod)?, &["--rate=150"])
        .await?;
    let hot = bed.reason("echo", Balanced, "HotPod", JUDGED).await?;
    let hottest = hot
        .status
        .and_then(|status| status.balance)
        .map(|figures| figures.hottest);
    let hottest = hottest.unwrap_or_default();
    ensure!(
        hottest.len() == 1 && Some(&hottest[0].pod) == pod.metadata.name.as_ref(),
        "{hottest:?}"
    );

    drop(server);
    bed.reason("echo", MetricsAvailable, "ScrapeFailed", JUDGED)
        .await?;
    let message = bed.message("echo", MetricsAvailable).await?;
    ensure!(
        message.contains("Prometheus server that the operator asks could not be reached"),
        "{message}"
    );
    Ok(())
}
