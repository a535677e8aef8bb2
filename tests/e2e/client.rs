//! A load client as a pod, and what it has seen. The counts are those of the client's contract (tests/cluster/workloads/README.md).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use evenkeel_cluster::{images, until};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, PostParams};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::bed::Bed;

const HTTP_PORT: u16 = 8090;
const STARTS_WITHIN: Duration = Duration::from_secs(40);

/// A client that runs until it is stopped.
pub struct Client {
    name: String,
    address: SocketAddr,
    pods: kube::Api<Pod>,
}

/// What it has seen since the last reset.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Totals {
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
    /// Calls that ended well.
    pub ok: u64,
    /// Replies by pod.
    pub replies: BTreeMap<String, u64>,
    /// Failed calls by code.
    pub errors: BTreeMap<String, u64>,
    /// Calls that were not made because too many were open.
    pub dropped: u64,
    /// Connections that the server asked to give up.
    pub goaways: u64,
    /// The same by reason.
    pub goaway_reasons: BTreeMap<String, u64>,
    /// Connections made.
    pub connections_opened: u64,
}

impl Client {
    /// Starts it under a ServiceAccount and waits for its first reply.
    pub async fn start(
        bed: &Bed,
        name: &str,
        target: &str,
        account: &str,
        further: &[&str],
    ) -> Result<Self> {
        let client = Self::launch(bed, name, target, account, further).await?;
        until(
            &format!("the first reply to client {name}"),
            STARTS_WITHIN,
            async || {
                let totals = client.totals().await?;
                if totals.counts.ok == 0 {
                    bail!("it has seen {:?}", totals.counts.errors);
                }
                Ok(Some(()))
            },
        )
        .await?;
        client.reset().await?;
        Ok(client)
    }

    /// Starts it and waits only for its process.
    pub async fn launch(
        bed: &Bed,
        name: &str,
        target: &str,
        account: &str,
        further: &[&str],
    ) -> Result<Self> {
        let mut arguments = vec![format!("--target={target}"), format!("--http=:{HTTP_PORT}")];
        arguments.extend(further.iter().map(|argument| (*argument).to_owned()));
        let pods = bed.namespace.api::<Pod>();
        let pod = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"client": name}},
            "spec": {
                "serviceAccountName": account,
                "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "client", "image": images::CLIENT, "imagePullPolicy": "Never", "args": arguments}],
            },
        }))?;
        pods.create(&PostParams::default(), &pod).await?;
        let ip = until(&format!("client {name} runs"), STARTS_WITHIN, async || {
            let status = pods.get(name).await?.status.unwrap_or_default();
            Ok(status
                .pod_ip
                .filter(|_| status.phase.as_deref() == Some("Running")))
        })
        .await?;
        let address = bed
            .world
            .cluster
            .forward(SocketAddr::new(ip.parse()?, HTTP_PORT))
            .await?;
        Ok(Self {
            name: name.into(),
            address,
            pods,
        })
    }

    /// What it has seen.
    pub async fn totals(&self) -> Result<Totals> {
        let (status, body) = get(self.address, "/totals").await?;
        if status != 200 {
            bail!("/totals says {status}");
        }
        serde_json::from_str(&body).with_context(|| format!("reading {body}"))
    }

    /// Begins its sums anew.
    pub async fn reset(&self) -> Result<()> {
        request(self.address, "POST", "/reset").await.map(drop)
    }

    /// What it sees in the next `span`: the measurement is the time itself.
    pub async fn during(&self, span: Duration) -> Result<Counts> {
        self.reset().await?;
        tokio::time::sleep(span).await;
        Ok(self.totals().await?.counts)
    }

    /// Ends it.
    pub async fn stop(self) -> Result<()> {
        self.pods
            .delete(&self.name, &DeleteParams::default().grace_period(0))
            .await?;
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

/// GET, with the status and the body.
pub async fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    request(address, "GET", path).await
}

async fn request(address: SocketAddr, method: &str, path: &str) -> Result<(u16, String)> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let head = format!("{method} {path} HTTP/1.0\r\nHost: test\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = tokio::time::timeout(Duration::from_secs(5), exchange).await??;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok((status, body.to_owned()))
}
