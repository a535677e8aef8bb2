//! A gRPC client as a pod, and what it has seen. The fields are those of its contract (tests/cluster/workloads/README.md).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel_cluster::{Cluster, until};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Where the client's totals are.
pub const PORT: u16 = 8090;
const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// A client that runs.
pub struct Load {
    /// The pod's name.
    pub name: String,
    address: SocketAddr,
}

/// What it has seen since it started.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Replies by pod.
    pub replies: BTreeMap<String, u64>,
    /// Failed calls by code.
    pub errors: BTreeMap<String, u64>,
    /// When each pod first answered.
    pub first_replies: BTreeMap<String, Timestamp>,
}

impl Load {
    /// Waits until the pod runs and had a reply.
    pub async fn find(cluster: &Cluster, name: &str) -> Result<Self> {
        let pods: Api<Pod> = Api::default_namespaced(cluster.client().await?);
        let ip = until(&format!("client {name} runs"), STARTS_WITHIN, async || {
            let status = pods.get(name).await?.status.unwrap_or_default();
            Ok(status
                .pod_ip
                .filter(|_| status.phase.as_deref() == Some("Running")))
        })
        .await?;
        let address = cluster.forward(SocketAddr::new(ip.parse()?, PORT)).await?;
        let load = Self {
            name: name.to_owned(),
            address,
        };
        until(
            &format!("client {name} gets replies"),
            STARTS_WITHIN,
            async || {
                let totals = load.totals().await?;
                ensure!(
                    !totals.replies.is_empty(),
                    "calls failed: {:?}",
                    totals.errors
                );
                Ok(Some(()))
            },
        )
        .await?;
        Ok(load)
    }

    /// What it has seen.
    pub async fn totals(&self) -> Result<Totals> {
        let exchange = async {
            let mut stream = TcpStream::connect(self.address).await?;
            stream
                .write_all(b"GET /totals HTTP/1.0\r\nHost: client\r\n\r\n")
                .await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            anyhow::Ok(answer)
        };
        let answer = tokio::time::timeout(Duration::from_secs(5), exchange).await??;
        let (_, body) = answer
            .split_once("\r\n\r\n")
            .context("the client gave no answer")?;
        serde_json::from_str(body).context("the client's totals")
    }
}
