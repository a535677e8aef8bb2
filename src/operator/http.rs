//! The operator's own two ports: health, and metrics. Whoever reaches them can open connections and say nothing, or take no answer:
//! each has its time, and there are only so many.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::telemetry::Metrics;

const PROBES: Limits = Limits {
    places: 64,
    head: Duration::from_secs(5),
    life: Duration::from_secs(30),
};
/// Each may hold a page of its own, which is a megabyte with some hundred backends.
const READERS: Limits = Limits {
    places: 8,
    ..PROBES
};
/// For answers under way at the end.
const DRAIN: Duration = Duration::from_secs(2);
/// What is read of a head, which is a few lines.
const BUFFER: usize = 16 << 10;
/// After a connection could not be taken, for want of memory or of file descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// What a port has for those who ask.
#[derive(Clone, Copy)]
struct Limits {
    /// Connections that are open at once. The oldest makes way for the next: waiting for a place would leave probes outside for as long
    /// as somebody likes.
    places: usize,
    /// For the head of a request.
    head: Duration,
    /// For a connection, which is for one request: as much as the slowest scrape.
    life: Duration,
}

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
    serve(address, routes, PROBES, stop).await
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
    let routes = Router::new().route("/metrics", page);
    serve(address, routes, READERS, stop).await
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

async fn serve(
    address: SocketAddr,
    routes: Router,
    limits: Limits,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let listener = listener(address).await.map_err(|error| {
        anyhow::anyhow!("cannot listen on {address}: {error}; choose another address")
    })?;
    answer(listener, routes, limits, stop).await;
    Ok(())
}

async fn answer(listener: TcpListener, routes: Router, limits: Limits, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    let mut open = VecDeque::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(BREATH).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        open.retain(|connection: &AbortHandle| !connection.is_finished());
        if open.len() >= limits.places
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        let connection = connection(stream, routes.clone(), limits.head);
        open.push_back(connections.spawn(tokio::time::timeout(limits.life, connection)));
        // What has come with it is answered before many more are taken, which might have it make way.
        tokio::task::yield_now().await;
    }
    drop(listener);
    // Those that are left then end with the set.
    let _ = tokio::time::timeout(DRAIN, async {
        while connections.join_next().await.is_some() {}
    })
    .await;
}

async fn connection(stream: TcpStream, routes: Router, head: Duration) {
    let routes = TowerToHyperService::new(routes);
    // Who goes away, or says what is no HTTP, is told nothing and is nobody's trouble.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(BUFFER)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), routes)
        .await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    use super::*;

    /// A port that answers, and who answers it.
    async fn port(limits: Limits, stop: &CancellationToken) -> (SocketAddr, JoinHandle<()>) {
        let listener = listener((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new().route("/healthz", get(|| async { "ok\n" }));
        (
            address,
            tokio::spawn(answer(listener, routes, limits, stop.clone())),
        )
    }

    /// A connection on which only this has been said.
    async fn said(address: SocketAddr, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// All that comes until the other side closes.
    async fn rest(mut stream: TcpStream) -> String {
        let mut text = String::new();
        // What was closed with something unread is reset.
        let _ = soon(stream.read_to_string(&mut text)).await;
        text
    }

    /// Long before what is endless.
    async fn soon<T>(task: impl Future<Output = T>) -> T {
        tokio::time::timeout(PROBES.life, task).await.unwrap()
    }

    /// Nothing ends by itself.
    const ENDLESS: Limits = Limits {
        head: Duration::from_hours(1),
        life: Duration::from_hours(1),
        ..PROBES
    };
    const HALF: &str = "GET /healthz HTTP/1.1\r\nhost:";

    #[tokio::test]
    async fn whoever_says_nothing_keeps_nobody_out() {
        let (address, _) = port(ENDLESS, &CancellationToken::new()).await;
        let mut silent = Vec::new();
        for _ in 0..4 * PROBES.places {
            silent.push(said(address, HALF).await);
        }
        let asked = said(address, "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let text = rest(asked).await;
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        assert!(text.ends_with("ok\n"), "{text}");
        // One connection, one request: nobody waits for another.
        assert!(text.contains("connection: close"), "{text}");
        // The oldest made way.
        assert_eq!(rest(silent.remove(0)).await, "");
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_request_has_its_time() {
        let (address, _) = port(PROBES, &CancellationToken::new()).await;
        let begun = Instant::now();
        rest(said(address, HALF).await).await;
        assert!((PROBES.head..PROBES.life).contains(&begun.elapsed()));
    }

    #[tokio::test]
    async fn half_a_request_does_not_hold_up_the_end() {
        let stop = CancellationToken::new();
        let (address, ended) = port(ENDLESS, &stop).await;
        let half = said(address, HALF).await;
        // By then the one before has been taken.
        rest(said(address, "no HTTP\r\n\r\n").await).await;
        stop.cancel();
        let begun = Instant::now();
        soon(ended).await.unwrap();
        assert!(begun.elapsed() >= DRAIN);
        assert_eq!(rest(half).await, "");
    }

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
