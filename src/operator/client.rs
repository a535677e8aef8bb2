//! The way to the API server: connections that end when the other side falls silent, and writes only under the Lease.

use std::time::Duration;

use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::{Client, Config};
use tower::{BoxError, ServiceBuilder, ServiceExt};

use super::leader::{Guard, Term, UNACKNOWLEDGED};

/// For a connection with its handshake; requests have limits of their own.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A watch has nothing to send: only by asking can it be told from one whose other side is gone.
const SILENT: Duration = Duration::from_secs(30);

/// Connections kept for the next request. Eight passes ask for ten things each, and what none of them needs any more is memory.
const IDLE: usize = 16;

/// A client whose writes end with the term; without one there is only this process.
pub fn client(config: &Config, term: Option<Term>) -> anyhow::Result<Client> {
    anyhow::ensure!(
        config.proxy_url.is_none(),
        "the API server cannot be reached by way of a proxy: take the variable HTTPS_PROXY or proxy-url away"
    );
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    connector.set_keepalive(Some(SILENT));
    connector.set_keepalive_interval(Some(UNACKNOWLEDGED));
    let connector = config.rustls_https_connector_with_connector(connector)?;
    // The handshake too: a balancer may take connections for an API server that is gone.
    let connector = ServiceExt::<http::Uri>::map_future(connector, |connecting| {
        Box::pin(async {
            match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
                Ok(connected) => connected,
                Err(late) => Err(late.into()),
            }
        })
    });
    let connections: legacy::Client<_, Body> = legacy::Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(IDLE)
        .build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .layer(config.extra_headers_layer()?)
        .option_layer(config.auth_layer()?)
        .map_err(BoxError::from)
        .service(connections);
    Ok(
        ClientBuilder::new(service, config.default_namespace.clone())
            .with_layer(&Guard::new(term))
            .build(),
    )
}
