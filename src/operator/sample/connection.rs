//! A connection to a pod: one request at a time, and it is kept only while nothing speaks against it.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use futures::FutureExt as _;
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, CertificateError};
use tokio_util::io::{poll_write_buf, read_buf};

use super::credentials::Secured;
use super::http1::{End, Head};
use super::reading::Reading;
use super::scrape::TIMEOUT;
use super::targets::{Failure, Page, meaning};
use crate::balance::exposition;
use crate::balance::{ScrapeError, families::Condition};

/// Bytes that are read at once.
const PIECE: usize = 16 << 10;
/// Pages up to this size cost less as they are than to unpack, and are not worth a server's time to pack; packed it is mostly a tenth.
const SMALL: usize = 32 << 10;
/// Heads of one answer: all but the last say that it is still made.
const HEADS: usize = 8;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// To one pod.
pub struct Connection {
    stream: Box<dyn Stream>,
    address: SocketAddr,
    secured: Option<Arc<Secured>>,
    /// The last page was small.
    is_small: bool,
}

/// Why there is no answer.
#[derive(Debug, PartialEq)]
pub struct Broken {
    /// What it means.
    pub error: ScrapeError,
    /// Whether the connection ended before anything of the answer came.
    pub before_all: bool,
}

impl From<ScrapeError> for Broken {
    fn from(error: ScrapeError) -> Self {
        Self {
            error,
            before_all: false,
        }
    }
}

impl Connection {
    /// To the pod's page, over TLS where there is what it takes. The caller has the deadline.
    pub async fn new(page: &Page, secured: Option<&Arc<Secured>>) -> Result<Self, ScrapeError> {
        let connected = TcpStream::connect(page.address).await;
        let stream = connected.map_err(|error| match error.kind() {
            ErrorKind::ConnectionRefused => ScrapeError::Refused,
            _ => ScrapeError::Unreachable,
        })?;
        let stream: Box<dyn Stream> = match secured {
            None => Box::new(stream),
            Some(secured) => {
                let own = || ServerName::IpAddress(page.address.ip().into());
                let name = secured.name.clone().unwrap_or_else(own);
                let connector = TlsConnector::from(secured.tls.clone());
                let stream = connector.connect(name, stream).await;
                Box::new(stream.map_err(|error| no_trust(&error, page.is_meshed))?)
            }
        };
        Ok(Self {
            stream,
            address: page.address,
            secured: secured.cloned(),
            is_small: false,
        })
    }

    /// How the next page had best be encoded.
    pub fn encoding(&self) -> &'static str {
        if self.is_small { "identity" } else { "gzip" }
    }

    /// Whether it leads to this page, was made with these credentials, and has said nothing since: neither its end nor anything that
    /// nobody asked for.
    pub fn is_good_for(&mut self, page: &Page, secured: Option<&Arc<Secured>>) -> bool {
        let is_same = match (&self.secured, secured) {
            (None, None) => true,
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            _ => false,
        };
        is_same
            && self.address == page.address
            && read_buf(&mut self.stream, &mut Vec::with_capacity(1))
                .now_or_never()
                .is_none()
    }

    /// Has the page asked for and read; gives too whether the next one can be asked for over this connection. Whoever gives up waiting
    /// must give it up as well.
    pub async fn ask(
        &mut self,
        request: &[u8],
        page: &Page,
        labels: Arc<[Condition]>,
    ) -> Result<(exposition::Page, bool), Broken> {
        let meant = |failure| meaning(failure, page.is_meshed);
        let mut buffer = Vec::with_capacity(PIECE);
        let mut head = self
            .head(request, &mut buffer)
            .await
            .map_err(|failure| Broken {
                error: meant(failure),
                before_all: failure == Failure::Ended && buffer.is_empty(),
            })?;
        let status = StatusCode::from_u16(head.status).map_err(|_| meant(Failure::NotHttp))?;
        let (kind, encoding) = (&head.content_type, &head.content_encoding);
        let mut reading = Reading::begin(status, kind, encoding, labels, page.is_meshed)?;
        let small = if encoding.is_empty() {
            SMALL
        } else {
            SMALL / 10
        };
        let mut came = 0;
        let is_all = loop {
            let mut rest = buffer.as_slice();
            loop {
                let next = head.end.next(&mut rest);
                let next = next.map_err(|_| reading.broken(ScrapeError::Malformed))?;
                let Some(data) = next else { break };
                reading.feed(data)?;
                came += data.len();
            }
            if head.end.is_reached() {
                break rest.is_empty();
            }
            buffer.clear();
            let more = read_buf(&mut self.stream, &mut buffer);
            let more = match &reading {
                Reading::Page(_) => more.await,
                // Its reason comes with its head, and its end may never.
                Reading::Refusal { .. } => timeout(TIMEOUT / 2, more).await.unwrap_or(Ok(0)),
            };
            match more {
                Ok(0) if head.end == End::Closing => break true,
                Ok(1..) => {}
                Ok(0) | Err(_) => return Err(reading.broken(ScrapeError::Unreachable).into()),
            }
        };
        self.is_small = came <= small;
        Ok((reading.finish()?, head.goes_on && is_all))
    }

    /// Sends the request; leaves what came behind the head in the buffer, or all that came where there is none.
    async fn head(&mut self, request: &[u8], buffer: &mut Vec<u8>) -> Result<Head, Failure> {
        let failed = |error: std::io::Error| failure(&error);
        self.send(request).await.map_err(failed)?;
        let (mut heads, mut begin) = (0, 0);
        while heads < HEADS {
            if let Some((head, length)) = Head::read(&buffer[begin..])? {
                begin += length;
                if !head.is_interim() {
                    buffer.drain(..begin);
                    return Ok(head);
                }
                heads += 1;
            } else if read_buf(&mut self.stream, buffer).await.map_err(failed)? == 0 {
                return Err(Failure::Ended);
            }
        }
        Err(Failure::NotHttp)
    }

    async fn send(&mut self, mut request: &[u8]) -> std::io::Result<()> {
        while !request.is_empty() {
            let stream = &mut self.stream;
            let sent =
                poll_fn(|context| poll_write_buf(Pin::new(&mut *stream), context, &mut request));
            if sent.await? == 0 {
                return Err(ErrorKind::BrokenPipe.into());
            }
        }
        poll_fn(|context| Pin::new(&mut self.stream).poll_flush(context)).await
    }
}

fn failure(error: &std::io::Error) -> Failure {
    if of_tls(error).is_some() {
        Failure::Tls
    } else if has_ended(error) {
        Failure::Ended
    } else {
        Failure::Other
    }
}

fn has_ended(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset
            | ErrorKind::BrokenPipe
            | ErrorKind::ConnectionAborted
            | ErrorKind::UnexpectedEof
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
#[path = "connection_tests.rs"]
mod tests;
