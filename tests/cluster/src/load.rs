//! A load client that runs as a pod, and what it has seen. The fields are those of its contract (workloads/README.md).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cluster::Cluster;
use crate::wait::until;

const STARTS_WITHIN: Duration = Duration::from_mins(3);
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);

/// A client that runs until its pod is deleted.
pub struct Load {
    name: String,
    address: SocketAddr,
}

/// What it has seen since the last reset.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Totals {
    /// When it said so.
    pub t: Timestamp,
    /// The sums.
    #[serde(flatten)]
    pub counts: Counts,
    /// When each pod first answered, since the start of the client.
    #[serde(default)]
    pub first_replies: BTreeMap<String, Timestamp>,
}

/// Sums.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Calls begun.
    pub started: u64,
    /// The same with each time that the library tried one again.
    pub attempts: u64,
    /// Calls that ended well.
    pub ok: u64,
    /// Replies by pod.
    pub replies: BTreeMap<String, u64>,
    /// Failed calls by code.
    pub errors: BTreeMap<String, u64>,
    /// Calls that were not made because too many were open.
    pub dropped: u64,
    /// Calls that were not made because the client was not run in time: the machine was too busy.
    pub late: u64,
    /// Calls that are under way now.
    pub in_flight: u64,
    /// Connections that the server asked to give up.
    pub goaways: u64,
    /// The same by reason.
    pub goaway_reasons: BTreeMap<String, u64>,
    /// Connections made.
    pub connections_opened: u64,
    /// How long calls took that ended well, where the client says it.
    pub latency_us: Option<Latency>,
}

/// In microseconds.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Latency {
    /// Half of the calls took no longer.
    pub p50: u64,
    /// Likewise 99 of 100.
    pub p99: u64,
}

impl Load {
    /// The port that its `--http` has to name.
    pub const PORT: u16 = 8090;

    /// Waits until its pod runs.
    pub async fn find(cluster: &Cluster, pods: &Api<Pod>, name: &str) -> Result<Self> {
        let ip = until(&format!("client {name} runs"), STARTS_WITHIN, async || {
            let status = pods.get(name).await?.status.unwrap_or_default();
            Ok(status
                .pod_ip
                .filter(|_| status.phase.as_deref() == Some("Running")))
        })
        .await?;
        let inside = SocketAddr::new(ip.parse()?, Self::PORT);
        Ok(Self {
            name: name.to_owned(),
            address: cluster.forward(inside).await?,
        })
    }

    /// Waits for its first reply.
    pub async fn serves(&self) -> Result<()> {
        let what = format!("the first reply to client {}", self.name);
        until(&what, STARTS_WITHIN, async || {
            let counts = self.totals().await?.counts;
            ensure!(counts.ok > 0, "calls failed: {:?}", counts.errors);
            Ok(Some(()))
        })
        .await
    }

    /// The pod's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it has seen.
    pub async fn totals(&self) -> Result<Totals> {
        let (status, body) = get(self.address, "/totals").await?;
        ensure!(
            status == 200,
            "/totals of client {} says {status}",
            self.name
        );
        serde_json::from_str(&body).with_context(|| format!("reading {body}"))
    }

    /// Begins its sums anew.
    pub async fn reset(&self) -> Result<()> {
        let (status, _) = request(self.address, "POST", "/reset", "").await?;
        ensure!(
            status == 200,
            "/reset of client {} says {status}",
            self.name
        );
        Ok(())
    }
}

impl Counts {
    /// Fails where a call failed.
    pub fn no_errors(&self) -> Result<()> {
        if self.errors.is_empty() && self.dropped == 0 {
            return Ok(());
        }
        bail!(
            "failed calls: {:?}, dropped {} (of {} good ones)",
            self.errors,
            self.dropped,
            self.ok
        )
    }
}

/// Since when a pod is Ready, if it is. Kubernetes keeps whole seconds.
pub fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions
        .iter()
        .find(|condition| condition.type_ == "Ready" && condition.status == "True")?;
    Some(ready.last_transition_time.as_ref()?.0)
}

/// GET over plain HTTP, with the status and the body.
pub async fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    request(address, "GET", path, "").await
}

/// The same, with what is accepted.
pub async fn get_accepting(address: SocketAddr, path: &str, accept: &str) -> Result<(u16, String)> {
    request(address, "GET", path, &format!("Accept: {accept}\r\n")).await
}

async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
) -> Result<(u16, String)> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let head =
            format!("{method} {path} HTTP/1.0\r\nHost: test\r\n{headers}Content-Length: 0\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = tokio::time::timeout(ANSWERS_WITHIN, exchange)
        .await
        .with_context(|| format!("{method} {path}"))??;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok((status, body.to_owned()))
}
