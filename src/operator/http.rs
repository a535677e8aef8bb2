//! The operator's own two ports: health, and metrics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::telemetry::Metrics;

/// Whether the process can do its work: it leads, or it waits for the leader to go.
#[derive(Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// The API server answered and the resource's definition is there.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// `/healthz`: the process answers. `/readyz`: it can do its work.
pub async fn health(
    address: SocketAddr,
    readiness: Readiness,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let routes = Router::new().route("/healthz", get(|| async { "ok\n" })).route(
        "/readyz",
        get(move || async move {
            if readiness.get() {
                (StatusCode::OK, "ok\n")
            } else {
                (StatusCode::SERVICE_UNAVAILABLE, "waiting for the API server and the CustomResourceDefinition grpcbackends.evenkeel.dev\n")
            }
        }),
    );
    serve(address, routes, stop).await
}

/// `/metrics`.
pub async fn metrics(
    address: SocketAddr,
    metrics: Metrics,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let page = get(move || async move {
        (
            [(
                header::CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )],
            metrics.page(),
        )
            .into_response()
    });
    serve(address, Router::new().route("/metrics", page), stop).await
}

async fn serve(address: SocketAddr, routes: Router, stop: CancellationToken) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        anyhow::anyhow!("cannot listen on {address}: {error}; choose another address")
    })?;
    axum::serve(listener, routes)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await?;
    Ok(())
}
