//! One request to one pod. No redirects, no proxy, no credentials but the user's own over TLS, bounded in time and size.

use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderValue, Response, header};
use http_body_util::BodyExt as _;
use hyper::body::{self as http_body, Bytes};

use super::connection::{Broken, Connection};
use super::credentials::Secured;
use super::reading::Reading;
use super::targets::Page;
use crate::balance::exposition;
use crate::balance::{ScrapeError, families::Condition};
use crate::names;

/// For the connection, the request and the whole answer.
pub const TIMEOUT: Duration = Duration::from_secs(2);
/// OpenMetrics first: only there can be told whether the page is whole.
pub const ACCEPT: &str = "application/openmetrics-text;version=1.0.0;escaping=underscores;q=0.6,\
                      application/openmetrics-text;version=0.0.1;q=0.5,\
                      text/plain;version=0.0.4;q=0.3,*/*;q=0.1";

/// Asks and reads, over the connection that was `kept` where that is still good; what can be kept of it is there afterwards.
pub async fn scrape(
    page: &Page,
    labels: Arc<[Condition]>,
    secured: Option<&Arc<Secured>>,
    kept: &mut Option<Connection>,
) -> Result<exposition::Page, ScrapeError> {
    tokio::time::timeout(TIMEOUT, ask(page, labels, secured, kept))
        .await
        .unwrap_or(Err(ScrapeError::Timeout))
}

async fn ask(
    page: &Page,
    labels: Arc<[Condition]>,
    secured: Option<&Arc<Secured>>,
    kept: &mut Option<Connection>,
) -> Result<exposition::Page, ScrapeError> {
    let token = secured.and_then(|secured| secured.token.as_ref());
    if let Some(mut connection) = kept.take()
        && connection.is_good_for(page, secured)
    {
        let request = request(page, connection.encoding(), token)?;
        match connection.ask(&request, page, labels.clone()).await {
            Ok((said, goes_on)) => {
                *kept = goes_on.then_some(connection);
                return Ok(said);
            }
            // The server had just given it up. A new one tells what is the matter.
            Err(Broken {
                before_all: true, ..
            }) => {}
            Err(broken) => return Err(broken.error),
        }
    }
    let mut connection = Connection::new(page, secured).await?;
    let request = request(page, connection.encoding(), token)?;
    let answer = connection.ask(&request, page, labels).await;
    let (said, goes_on) = answer.map_err(|broken| broken.error)?;
    *kept = goes_on.then_some(connection);
    Ok(said)
}

fn request(
    page: &Page,
    encoding: &str,
    token: Option<&HeaderValue>,
) -> Result<Vec<u8>, ScrapeError> {
    let path = PathAndQuery::try_from(&*page.path).map_err(|_| ScrapeError::Malformed)?;
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nhost: {}\r\naccept: {ACCEPT}\r\naccept-encoding: {encoding}\r\nuser-agent: {}\r\n",
        page.address,
        names::USER_AGENT
    )
    .into_bytes();
    if let Some(token) = token {
        let line = [b"authorization: ", token.as_bytes(), b"\r\n"];
        request.extend(line.concat());
    }
    request.extend(b"\r\n");
    Ok(request)
}

/// Reads a pod's answer that came through somebody else's client.
pub async fn read<B>(
    response: Response<B>,
    labels: Arc<[Condition]>,
    is_meshed: bool,
) -> Result<exposition::Page, ScrapeError>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let (head, mut body) = response.into_parts();
    let said = |name| {
        head.headers
            .get(name)
            .map_or(&[][..], HeaderValue::as_bytes)
    };
    let (kind, encoding) = (said(header::CONTENT_TYPE), said(header::CONTENT_ENCODING));
    let mut reading = Reading::begin(head.status, kind, encoding, labels, is_meshed)?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| reading.broken(ScrapeError::Unreachable))?;
        if let Some(chunk) = frame.data_ref() {
            reading.feed(chunk)?;
        }
    }
    reading.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::balance::MeterId;

    const TEXT: &[u8] = b"grpc_server_started_total 5\n";

    /// One answer of a server on this machine to one scrape, and what was asked.
    async fn answered(answer: Vec<u8>, is_meshed: bool) -> (Result<f64, ScrapeError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let page = Page {
            address: listener.local_addr().unwrap(),
            path: "/stats".into(),
            is_meshed,
        };
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 4096];
            let length = stream.read(&mut asked).await.unwrap();
            stream.write_all(&answer).await.unwrap();
            asked.truncate(length);
            String::from_utf8(asked).unwrap()
        };
        let mut kept = None;
        let (said, asked) = tokio::join!(scrape(&page, Arc::default(), None, &mut kept), serve);
        let started = said.map(|page| page.counters(MeterId::default()).started.unwrap_or(-1.0));
        (started, asked)
    }

    async fn said(answer: Vec<u8>) -> Result<f64, ScrapeError> {
        answered(answer, false).await.0
    }

    fn http(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n");
        [head.as_bytes(), body].concat()
    }

    #[tokio::test]
    async fn a_page_is_read_as_its_head_says() {
        let (plain, asked) = answered(http("200 OK", "", TEXT), false).await;
        assert_eq!(plain, Ok(5.0));
        let asked = asked.to_lowercase();
        for line in [
            "get /stats http/1.1",
            "accept: application/openmetrics-text;version=1.0.0;",
            "accept-encoding: gzip",
        ] {
            assert!(asked.contains(line), "{line}: {asked}");
        }
        let open = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
        assert_eq!(
            said(http("200 OK", open, TEXT)).await,
            Err(ScrapeError::CutOff)
        );
        let whole = [TEXT, b"# EOF\n"].concat();
        assert_eq!(said(http("200 OK", open, &whole)).await, Ok(5.0));
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(TEXT).unwrap();
        let packed = packed.finish().unwrap();
        let gzip = "content-encoding: gzip\r\n";
        assert_eq!(said(http("200 OK", gzip, &packed)).await, Ok(5.0));
        let old = "content-encoding: X-Gzip\r\n";
        assert_eq!(said(http("200 OK", old, &packed)).await, Ok(5.0));
        assert_eq!(
            said(http("200 OK", gzip, TEXT)).await,
            Err(ScrapeError::Encoding)
        );
        let other = "content-encoding: br\r\n";
        assert_eq!(
            said(http("200 OK", other, TEXT)).await,
            Err(ScrapeError::Encoding)
        );
    }

    #[tokio::test]
    async fn what_is_no_page_is_named() {
        let elsewhere = "location: http://169.254.169.254/\r\n";
        for (answer, expected) in [
            (
                http("302 Found", elsewhere, b""),
                ScrapeError::Redirected(302),
            ),
            (
                http("308 Permanent Redirect", elsewhere, b""),
                ScrapeError::Redirected(308),
            ),
            (
                http("404 Not Found", "", b"no"),
                ScrapeError::HttpStatus(404),
            ),
            (
                http("400 Bad Request", "", b"bad"),
                ScrapeError::HttpStatus(400),
            ),
            (
                http(
                    "400 Bad Request",
                    "",
                    b"Client sent an HTTP request to an HTTPS server.\n",
                ),
                ScrapeError::Tls,
            ),
            // A TLS alert: no such version.
            (vec![0x15, 3, 1, 0, 2, 2, 70], ScrapeError::Tls),
            // A server for gRPC begins with its SETTINGS, whoever asks.
            (
                vec![0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 5, 0, 0, 64, 0],
                ScrapeError::NotHttp,
            ),
            (
                http("200 OK", "transfer-encoding: gzip, chunked\r\n", b""),
                ScrapeError::NotHttp,
            ),
            (Vec::new(), ScrapeError::Unreachable),
        ] {
            assert_eq!(said(answer.clone()).await, Err(expected), "{answer:?}");
        }
    }

    #[tokio::test]
    async fn a_mesh_that_says_nothing_but_of_tls_is_named() {
        for (answer, expected) in [
            (Vec::new(), ScrapeError::MeshTls),
            (vec![0x15, 3, 1, 0, 2, 2, 70], ScrapeError::MeshTls),
            // Its proxy has let the request pass.
            (vec![0, 0, 0, 4, 0, 0, 0, 0, 0], ScrapeError::NotHttp),
        ] {
            assert_eq!(answered(answer, true).await.0, Err(expected));
        }
    }

    #[tokio::test]
    async fn a_mesh_that_forbids_is_named() {
        for (is_meshed, expected) in [
            (true, ScrapeError::MeshForbidden),
            (false, ScrapeError::HttpStatus(403)),
        ] {
            let answer = http("403 Forbidden", "", b"RBAC: access denied");
            assert_eq!(answered(answer, is_meshed).await.0, Err(expected));
        }
    }

    #[tokio::test]
    async fn nobody_there_is_a_refusal() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let page = Page {
            address: listener.local_addr().unwrap(),
            path: "/metrics".into(),
            is_meshed: false,
        };
        drop(listener);
        assert_eq!(
            scrape(&page, Arc::default(), None, &mut None).await,
            Err(ScrapeError::Refused)
        );
    }

    #[tokio::test]
    async fn a_pod_that_hangs_is_given_up_after_two_seconds() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let page = Page {
            address: listener.local_addr().unwrap(),
            path: "/metrics".into(),
            is_meshed: false,
        };
        let begun = std::time::Instant::now();
        let said = scrape(&page, Arc::default(), None, &mut None).await;
        let took = begun.elapsed();
        assert_eq!(said, Err(ScrapeError::Timeout));
        // The rest is for a busy machine.
        assert!((2..5).contains(&took.as_secs()), "{took:?}");
    }
}

#[cfg(test)]
#[path = "scrape_tls_tests.rs"]
mod tls_tests;
