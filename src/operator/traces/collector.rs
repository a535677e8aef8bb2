//! The way to the collector: in batches, each with a deadline, and never twice.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use http::{Request, Response, Uri, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Pass, otlp};
use crate::operator::{Peer, exchange};

/// For one request; what is not taken then is lost.
const TIMEOUT: Duration = Duration::from_secs(5);
/// At the end of the process.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long the first of a batch waits for others.
const GATHERED: Duration = Duration::from_secs(2);
/// Spans in one request.
const BATCH: usize = 200;

/// Sends what is in the queue.
#[derive(Debug)]
pub struct Exporter {
    peer: Peer,
    path: String,
    queue: Receiver<Pass>,
}

impl Exporter {
    /// Refuses an endpoint that cannot be meant so; the error names the flag.
    pub(super) fn new(endpoint: &str, queue: Receiver<Pass>) -> anyhow::Result<Self> {
        let uri: Uri = endpoint.parse().with_context(|| {
            format!("--otlp-endpoint: {endpoint} is no URL; write http://host:4318")
        })?;
        if uri.scheme_str() != Some("http") {
            bail!(
                "--otlp-endpoint must begin with http://: name a collector in the cluster, which can send them on over TLS"
            );
        }
        let peer = Peer::of(&uri, 4318).context("--otlp-endpoint")?;
        Ok(Self {
            peer,
            path: format!("{}/v1/traces", uri.path().trim_end_matches('/')),
            queue,
        })
    }

    /// Sends until `stop`, and then what is left.
    pub async fn run(mut self, instance: Option<String>, stop: CancellationToken) {
        let mut taken = true;
        while let Some(batch) = self.batch(&stop).await {
            let limit = if stop.is_cancelled() {
                FAREWELL
            } else {
                TIMEOUT
            };
            let sent = timeout(limit, self.send(&batch, instance.as_deref())).await;
            let sent = sent.unwrap_or_else(|_| bail!("no answer in {} s", limit.as_secs()));
            match &sent {
                Err(error) if taken => {
                    tracing::warn!(error = %format!("{error:#}"), "traces are lost: the collector of --otlp-endpoint does not take them");
                }
                Ok(()) if !taken => {
                    tracing::info!("the collector of --otlp-endpoint takes traces again");
                }
                _ => {}
            }
            taken = sent.is_ok();
        }
    }

    /// The next spans; none at the end of all.
    async fn batch(&mut self, stop: &CancellationToken) -> Option<Vec<Pass>> {
        let mut batch = Vec::new();
        if stop
            .run_until_cancelled(self.gather(&mut batch))
            .await
            .is_none()
        {
            while batch.len() < BATCH
                && let Ok(pass) = self.queue.try_recv()
            {
                batch.push(pass);
            }
        }
        (!batch.is_empty()).then_some(batch)
    }

    async fn gather(&mut self, batch: &mut Vec<Pass>) {
        let Some(first) = self.queue.recv().await else {
            return;
        };
        batch.push(first);
        let more = async {
            while batch.len() < BATCH
                && let Some(pass) = self.queue.recv().await
            {
                batch.push(pass);
            }
        };
        let _ = timeout(GATHERED, more).await;
    }

    async fn send(&self, batch: &[Pass], instance: Option<&str>) -> anyhow::Result<()> {
        let stream = self.peer.connect().await;
        let stream =
            stream.with_context(|| format!("{} cannot be reached", self.peer.authority))?;
        let body = otlp::body(batch, instance).to_string();
        let request = Request::post(&self.path)
            .header(header::HOST, &self.peer.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "close")
            .body(Full::<Bytes>::from(body))?;
        exchange(stream, request, taken, anyhow::Error::from).await
    }
}

async fn taken(response: Response<Incoming>) -> anyhow::Result<()> {
    let status = response.status();
    ensure!(status.is_success(), "it answers with HTTP status {status}");
    Ok(())
}
