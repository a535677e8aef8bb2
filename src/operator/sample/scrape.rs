//! One request to one pod. No redirects, no proxy, no credentials but the user's own over TLS, bounded in time and size.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{self as http_body, Bytes};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, CertificateError};

use super::credentials::Secured;
use super::targets::{Failure, Page, meaning};
use crate::balance::exposition::{self, Body, Encoding, Format, Wanted};
use crate::balance::{ScrapeError, families::Condition};
use crate::names;
use crate::operator::exchange;

/// For the connection, the request and the whole answer.
pub const TIMEOUT: Duration = Duration::from_secs(2);
/// OpenMetrics first: only there can be told whether the page is whole.
pub const ACCEPT: &str = "application/openmetrics-text;version=1.0.0;escaping=underscores;q=0.6,\
                      application/openmetrics-text;version=0.0.1;q=0.5,\
                      text/plain;version=0.0.4;q=0.3,*/*;q=0.1";

/// Asks and reads.
pub async fn scrape(
    page: &Page,
    labels: Arc<[Condition]>,
    secured: Option<&Secured>,
) -> Result<exposition::Page, ScrapeError> {
    tokio::time::timeout(TIMEOUT, ask(page, labels, secured))
        .await
        .unwrap_or(Err(ScrapeError::Timeout))
}

async fn ask(
    page: &Page,
    labels: Arc<[Condition]>,
    secured: Option<&Secured>,
) -> Result<exposition::Page, ScrapeError> {
    let stream = TcpStream::connect(page.address)
        .await
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::ConnectionRefused => ScrapeError::Refused,
            _ => ScrapeError::Unreachable,
        })?;
    let Some(secured) = secured else {
        return page_of(stream, page, labels, None).await;
    };
    let own = || ServerName::IpAddress(page.address.ip().into());
    let name = secured.name.clone().unwrap_or_else(own);
    let stream = TlsConnector::from(secured.tls.clone())
        .connect(name, stream)
        .await
        .map_err(|error| no_trust(&error, page.is_meshed))?;
    page_of(stream, page, labels, secured.token.clone()).await
}

async fn page_of<S>(
    stream: S,
    page: &Page,
    labels: Arc<[Condition]>,
    token: Option<HeaderValue>,
) -> Result<exposition::Page, ScrapeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let failed = |error: hyper::Error| meaning(failure(&error), page.is_meshed);
    let request = request(page, token).map_err(|_| ScrapeError::Malformed)?;
    let read = |response| read(response, labels, page.is_meshed);
    exchange(stream, request, read, failed).await
}

fn request(page: &Page, token: Option<HeaderValue>) -> http::Result<Request<Empty<Bytes>>> {
    let mut request = Request::get(&*page.path)
        .header(header::HOST, page.address.to_string())
        .header(header::ACCEPT, ACCEPT)
        .header(header::ACCEPT_ENCODING, "gzip")
        .header(header::USER_AGENT, names::USER_AGENT)
        .header(header::CONNECTION, "close");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, token);
    }
    request.body(Empty::new())
}

/// Reads a pod's answer, however it came.
pub async fn read<B>(
    response: Response<B>,
    labels: Arc<[Condition]>,
    is_meshed: bool,
) -> Result<exposition::Page, ScrapeError>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let (head, mut body) = response.into_parts();
    match head.status {
        StatusCode::OK => {}
        status if status.is_redirection() => return Err(ScrapeError::Redirected(status.as_u16())),
        StatusCode::BAD_REQUEST if says_https(&mut body).await => {
            return Err(meaning(Failure::AsksForTls, is_meshed));
        }
        status => return Err(ScrapeError::HttpStatus(status.as_u16())),
    }
    let (format, encoding) = form(&head.headers)?;
    let mut page = Body::new(
        encoding,
        Wanted {
            format,
            labels,
            ..Wanted::default()
        },
    );
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ScrapeError::Unreachable)?;
        if let Some(chunk) = frame.data_ref() {
            page.feed(chunk).map_err(ScrapeError::from)?;
        }
    }
    page.finish().map_err(ScrapeError::from)
}

/// What the head says of the body.
fn form(headers: &HeaderMap) -> Result<(Format, Encoding), ScrapeError> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let format = match text(header::CONTENT_TYPE) {
        Some(kind) if kind.starts_with("application/openmetrics-text") => Format::OpenMetrics,
        _ => Format::Text,
    };
    let encoding = match text(header::CONTENT_ENCODING).map(str::trim) {
        None | Some("" | "identity") => Encoding::Identity,
        Some(name) if name.eq_ignore_ascii_case("gzip") => Encoding::Gzip,
        Some(_) => return Err(ScrapeError::Malformed),
    };
    Ok((format, encoding))
}

/// How Go's and others' servers answer a request that is not encrypted: in plain text, with a status that says nothing.
async fn says_https<B>(body: &mut B) -> bool
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let first = body.frame().await.and_then(Result::ok);
    first
        .and_then(|frame| frame.into_data().ok())
        .is_some_and(|said| said.windows(5).any(|word| word == b"HTTPS"))
}

fn failure(error: &hyper::Error) -> Failure {
    let io = std::error::Error::source(error).and_then(|source| source.downcast_ref());
    let by_tls = io.is_some_and(|io| of_tls(io).is_some());
    let by_peer = io.is_some_and(|io: &std::io::Error| has_ended(io));
    if error.is_parse() {
        Failure::NotHttp
    } else if by_tls {
        Failure::Tls
    } else if error.is_incomplete_message() || error.is_closed() || by_peer {
        Failure::Ended
    } else {
        Failure::Other
    }
}

fn has_ended(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::ConnectionReset
            | std::io::ErrorKind::BrokenPipe
            | std::io::ErrorKind::ConnectionAborted
            | std::io::ErrorKind::UnexpectedEof
    )
}

fn of_tls(error: &std::io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// Why no request was made: the handshake failed.
fn no_trust(error: &std::io::Error, is_meshed: bool) -> ScrapeError {
    use CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet,
        NotValidYetContext,
    };
    match of_tls(error) {
        Some(rustls::Error::InvalidCertificate(wrong)) => match wrong {
            NotValidForName | NotValidForNameContext { .. } => ScrapeError::OtherServerName,
            Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. } => {
                ScrapeError::Expired
            }
            _ => ScrapeError::Untrusted,
        },
        Some(rustls::Error::InvalidMessage(_)) => ScrapeError::NoTls,
        Some(_) => ScrapeError::TlsFailed,
        None if has_ended(error) => meaning(Failure::Ended, is_meshed),
        None => meaning(Failure::Other, is_meshed),
    }
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
        let (said, asked) = tokio::join!(scrape(&page, Arc::default(), None), serve);
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
            Err(ScrapeError::Malformed)
        );
        let whole = [TEXT, b"# EOF\n"].concat();
        assert_eq!(said(http("200 OK", open, &whole)).await, Ok(5.0));
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(TEXT).unwrap();
        let packed = packed.finish().unwrap();
        let gzip = "content-encoding: gzip\r\n";
        assert_eq!(said(http("200 OK", gzip, &packed)).await, Ok(5.0));
        assert_eq!(
            said(http("200 OK", gzip, TEXT)).await,
            Err(ScrapeError::Malformed)
        );
        let other = "content-encoding: br\r\n";
        assert_eq!(
            said(http("200 OK", other, TEXT)).await,
            Err(ScrapeError::Malformed)
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
            (Vec::new(), ScrapeError::Unreachable),
        ] {
            assert_eq!(said(answer.clone()).await, Err(expected), "{answer:?}");
        }
    }

    #[tokio::test]
    async fn a_mesh_that_says_nothing_is_named() {
        assert_eq!(
            answered(Vec::new(), true).await.0,
            Err(ScrapeError::MeshTls)
        );
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
            scrape(&page, Arc::default(), None).await,
            Err(ScrapeError::Refused)
        );
    }
}

#[cfg(test)]
#[path = "scrape_tls_tests.rs"]
mod tls_tests;
