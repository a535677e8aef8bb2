//! Starts everything, and ends it in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::http::header::{HeaderValue, USER_AGENT};
use anyhow::Context as _;
use futures::future::join_all;
use kube::api::ListParams;
use kube::{Api, Client, Config};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::client::{CONNECT_TIMEOUT, client};
use super::context::{Settings, Shared};
use super::controller;
use super::http::{self, Readiness};
use super::leader::{self, FINISH, Leadership, LeaseSettings};
use super::sample::PrometheusServer;
use super::telemetry::Metrics;
use super::traces::Exporter;
use crate::api::GrpcBackend;
use crate::names;

/// How the process runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the installer sets.
    pub settings: Settings,
    /// Where metrics are served.
    pub metrics_address: SocketAddr,
    /// Where health is served.
    pub health_address: SocketAddr,
    /// Absent: this is the only process.
    pub lease: Option<LeaseSettings>,
}

/// Until the definition of the resource is there.
const RETRY: Duration = Duration::from_secs(2);

/// Runs until a signal, or until the Lease is lost.
pub async fn run(options: Options, traces: Option<Exporter>) -> anyhow::Result<()> {
    let prometheus = options.settings.prometheus.as_ref();
    let prometheus = prometheus.map(PrometheusServer::new).transpose()?;
    let prometheus = prometheus.map(Arc::new);
    let stop = CancellationToken::new();
    let metrics = Metrics::new();
    let readiness = Readiness::default();
    let mut config = kube::Config::infer()
        .await
        .context("no way to the API server: run inside a cluster, or set KUBECONFIG")?;
    // Who reads the audit log sees which program and version it was.
    let agent = HeaderValue::from_static(names::USER_AGENT);
    config.headers.push((USER_AGENT, agent));
    let health = http::health(options.health_address, readiness.clone(), stop.clone());
    let page = http::metrics(options.metrics_address, metrics.clone(), stop.clone());
    // Passes that run when the end is asked for finish, and are spans as well.
    let worked = CancellationToken::new();
    let traces = send(traces, worked.clone());
    let work = work(
        (&config, prometheus),
        &options,
        metrics.clone(),
        readiness,
        stop.clone(),
    );
    let work = async {
        let result = work.await;
        worked.cancel();
        result
    };
    let end = stop.clone();
    let signals = async move {
        tokio::select! {
            result = terminated() => result?,
            () = end.cancelled() => {}
        }
        end.cancel();
        anyhow::Ok(())
    };
    let guard = stop.drop_guard();
    futures::try_join!(health, page, work, signals, traces)?;
    drop(guard);
    Ok(())
}

async fn send(traces: Option<Exporter>, stop: CancellationToken) -> anyhow::Result<()> {
    if let Some(exporter) = traces {
        exporter.run(std::env::var("POD_NAME").ok(), stop).await;
    }
    Ok(())
}

async fn terminated() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!(
        "ending: running passes have {} s to finish",
        FINISH.as_secs()
    );
    Ok(())
}

async fn work(
    (config, prometheus): (&Config, Option<Arc<PrometheusServer>>),
    options: &Options,
    metrics: Metrics,
    readiness: Readiness,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let unguarded = client(config, None)?;
    if !served(&unguarded, &options.settings, &stop).await {
        return Ok(());
    }
    readiness.set(true);
    let leadership = match &options.lease {
        None => None,
        Some(lease) => match leader::acquire(unguarded, lease.clone(), &stop).await {
            Some(leadership) => Some(leadership),
            None => return Ok(()),
        },
    };
    metrics.leads(true);
    let client = client(config, leadership.as_ref().map(Leadership::term))?;
    let shared = Arc::new(Shared::new(
        client,
        options.settings.clone(),
        prometheus,
        metrics,
    ));
    let controllers = controllers(shared, &options.settings.watch_namespaces, &stop);
    let controllers = finish(controllers, &stop);
    match leadership {
        None => controllers.await,
        Some(mut leadership) => {
            tokio::select! {
                () = controllers => leadership.release().await,
                // No tidy end: another process may be writing soon.
                () = leadership.lost() => anyhow::bail!("the Lease is lost; another process takes over"),
            }
        }
    }
    stop.cancel();
    Ok(())
}

/// Until all passes have ended, for [`FINISH`] after the end was asked for: the next leader does not wait for a slow one, and begins it
/// anew, as after a crash.
async fn finish(passes: impl Future<Output = ()>, stop: &CancellationToken) {
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(FINISH).await;
    };
    tokio::select! {
        () = passes => {}
        () = late => tracing::warn!("some passes took longer and are cut off: whoever leads next begins them anew"),
    }
}

async fn controllers(shared: Arc<Shared>, namespaces: &[String], stop: &CancellationToken) {
    if namespaces.is_empty() {
        return controller::run(shared, None, stop.clone()).await;
    }
    join_all(
        namespaces
            .iter()
            .map(|namespace| controller::run(shared.clone(), Some(namespace), stop.clone())),
    )
    .await;
}

/// Waits until the API server knows the resource and lets us list it; false at the end of the process.
async fn served(client: &Client, settings: &Settings, stop: &CancellationToken) -> bool {
    let places: Vec<Api<GrpcBackend>> = match settings.watch_namespaces.as_slice() {
        [] => vec![Api::all(client.clone())],
        // Any of them will do: one that is gone, with the rights there, holds up no other.
        some => some
            .iter()
            .map(|name| Api::namespaced(client.clone(), name))
            .collect(),
    };
    let mut places = places.iter().cycle();
    let mut ticks = tokio::time::interval(RETRY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return false,
            _ = ticks.tick() => {}
        }
        let Some(api) = places.next() else {
            return false;
        };
        match tokio::time::timeout(
            CONNECT_TIMEOUT,
            api.list_metadata(&ListParams::default().limit(1)),
        )
        .await
        {
            Ok(Ok(_)) => return true,
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot list GrpcBackends: is the CustomResourceDefinition grpcbackends.evenkeel.dev installed, and may the operator list them?");
            }
            Err(_) => tracing::warn!("the API server does not answer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_long_pass_does_not_hold_up_the_end() {
        let stop = CancellationToken::new();
        let begun = Instant::now();
        finish(tokio::time::sleep(3 * FINISH), &stop).await;
        assert_eq!(begun.elapsed(), 3 * FINISH, "nobody asked for an end");
        stop.cancel();
        let begun = Instant::now();
        finish(std::future::pending(), &stop).await;
        assert_eq!(begun.elapsed(), FINISH);
    }
}
