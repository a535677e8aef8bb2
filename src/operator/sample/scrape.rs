//! One request to one pod. No redirects, no proxy, no credentials, bounded in time and size.

use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::balance::exposition::{Reader, Wanted};
use crate::balance::{Page, ScrapeError};

/// For the connection, the request and the whole answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Asks and reads.
pub async fn scrape(address: SocketAddr, path: &str) -> Result<Page, ScrapeError> {
    tokio::time::timeout(TIMEOUT, ask(address, path))
        .await
        .unwrap_or(Err(ScrapeError::Timeout))
}

async fn ask(address: SocketAddr, path: &str) -> Result<Page, ScrapeError> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::ConnectionRefused => ScrapeError::Refused,
            _ => ScrapeError::Unreachable,
        })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|_| ScrapeError::Unreachable)?;
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .header(header::ACCEPT, "text/plain;version=0.0.4")
        .header(
            header::USER_AGENT,
            concat!("evenkeel/", env!("CARGO_PKG_VERSION")),
        )
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| ScrapeError::Malformed)?;
    let answer = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|_| ScrapeError::Unreachable)?;
        if response.status() != StatusCode::OK {
            return Err(ScrapeError::HttpStatus(response.status().as_u16()));
        }
        read(response.into_body()).await
    };
    // Driven here rather than by a task of its own: when the time is over nothing is left behind.
    tokio::select! {
        answer = answer => answer,
        Err(_) = connection => Err(ScrapeError::Unreachable),
    }
}

async fn read(mut body: hyper::body::Incoming) -> Result<Page, ScrapeError> {
    let mut reader = Reader::new(Wanted::default());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ScrapeError::Unreachable)?;
        if let Some(chunk) = frame.data_ref() {
            reader.feed(chunk).map_err(ScrapeError::from)?;
        }
    }
    reader.finish().map_err(ScrapeError::from)
}
