//! The operator's own two ports: health, and metrics.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
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

/// Every address is that of IPv4 alone where the kernel knows no other.
async fn listener(address: SocketAddr) -> std::io::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    if bound.is_err() && address.ip() == IpAddr::from(Ipv6Addr::UNSPECIFIED) {
        let of_v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
        return TcpListener::bind(of_v4).await.or(bound);
    }
    bound
}

async fn serve(address: SocketAddr, routes: Router, stop: CancellationToken) -> anyhow::Result<()> {
    let listener = listener(address).await.map_err(|error| {
        anyhow::anyhow!("cannot listen on {address}: {error}; choose another address")
    })?;
    axum::serve(listener, routes)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    /// A cluster's pods may have addresses of either family, or of both.
    #[tokio::test]
    async fn every_address_is_that_of_v4_too() {
        let all = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        let bound = listener(all).await.unwrap();
        let port = bound.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .unwrap();
    }
}
