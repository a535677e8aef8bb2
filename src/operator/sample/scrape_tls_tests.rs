//! Over TLS, and above all what is not sent where it goes wrong.

use std::time::Duration;

use evenkeel_cluster::Served;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::time_provider::TimeProvider;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::*;
use crate::operator::sample::credentials::{bearer, tls};
use crate::operator::sample::tls_server::{acceptor, asking};

const NAME: &str = "metrics.demo.svc";

fn secured(authority: &str, name: Option<&'static str>) -> Arc<Secured> {
    Arc::new(Secured {
        tls: Arc::new(tls(authority.as_bytes()).unwrap()),
        name: name.map(|name| name.try_into().unwrap()),
        token: Some(bearer(b"s3cret").unwrap()),
    })
}

/// One scrape of a server on this machine, and all that the server could read of it.
async fn asked(
    acceptor: Option<TlsAcceptor>,
    with: &Arc<Secured>,
    status: &str,
) -> (Result<f64, ScrapeError>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let page = Page {
        address: listener.local_addr().unwrap(),
        path: "/metrics".into(),
        is_meshed: false,
    };
    let body = "grpc_server_started_total 5\n";
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\nlocation: /elsewhere\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut read = vec![0; 4096];
        let length = match acceptor {
            None => {
                let length = stream.read(&mut read).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
                length
            }
            Some(acceptor) => match acceptor.accept(stream).into_fallible().await {
                // Until the other side has read why.
                Err((_, mut stream)) => {
                    while stream.read(&mut read).await.is_ok_and(|length| length > 0) {}
                    0
                }
                Ok(mut stream) => {
                    let length = stream.read(&mut read).await.unwrap_or(0);
                    let _ = stream.write_all(answer.as_bytes()).await;
                    let _ = stream.shutdown().await;
                    length
                }
            },
        };
        read.truncate(length);
        String::from_utf8_lossy(&read).to_lowercase()
    };
    let mut kept = None;
    let scrape = scrape(&page, Arc::default(), Some(with), &mut kept);
    let both = async { tokio::join!(scrape, serve) };
    let (said, read) = tokio::time::timeout(Duration::from_secs(20), both)
        .await
        .unwrap();
    let started = said.map(|page| {
        page.counters(crate::balance::MeterId::default())
            .started
            .unwrap_or(-1.0)
    });
    (started, read)
}

#[tokio::test]
async fn the_token_goes_to_whom_the_authority_vouches_for() {
    let served = Served::with(&[NAME]).unwrap();
    let with = secured(&served.authority, Some(NAME));
    let (said, read) = asked(Some(acceptor(&served)), &with, "200 OK").await;
    assert_eq!(said, Ok(5.0));
    assert!(read.contains("authorization: bearer s3cret\r\n"), "{read}");
}

#[tokio::test]
async fn nothing_is_sent_to_anybody_else() {
    let served = Served::with(&[NAME]).unwrap();
    let other = Served::with(&[NAME]).unwrap();
    let right = secured(&served.authority, Some(NAME));
    for (acceptor, with, error) in [
        (
            Some(acceptor(&served)),
            &secured(&other.authority, Some(NAME)),
            ScrapeError::Untrusted,
        ),
        (
            Some(acceptor(&served)),
            &secured(&served.authority, Some("other.demo.svc")),
            ScrapeError::OtherServerName,
        ),
        (
            Some(acceptor(&served)),
            &secured(&served.authority, None),
            ScrapeError::OtherServerName,
        ),
        (None, &right, ScrapeError::NoTls),
    ] {
        let (said, read) = asked(acceptor, with, "400 Bad Request").await;
        assert_eq!(said, Err(error));
        assert!(!read.contains("s3cret"), "{error:?}: {read}");
    }
}

/// The time by somebody's clock.
#[derive(Debug)]
struct At(u64);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0)))
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_at_this_time_is_named() {
    const YEAR: u64 = 31_557_600;
    let served = Served::with(&[NAME]).unwrap();
    // It is valid from 1975 to 4096.
    for (seconds, error) in [
        (YEAR, Some(ScrapeError::Expired)),
        (56 * YEAR, None),
        (3000 * YEAR, Some(ScrapeError::Expired)),
    ] {
        let mut tls = tls(served.authority.as_bytes()).unwrap();
        tls.time_provider = Arc::new(At(seconds));
        let with = Arc::new(Secured {
            tls: Arc::new(tls),
            name: Some(NAME.try_into().unwrap()),
            token: Some(bearer(b"s3cret").unwrap()),
        });
        let (said, read) = asked(Some(acceptor(&served)), &with, "200 OK").await;
        assert_eq!(said.err(), error);
        assert_eq!(read.contains("s3cret"), error.is_none(), "{read}");
    }
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_of_ours_is_named() {
    let served = Served::with(&[NAME]).unwrap();
    let with = secured(&served.authority, Some(NAME));
    for version in [&TLS12, &TLS13] {
        let (said, _) = asked(Some(asking(&served, version)), &with, "200 OK").await;
        assert_eq!(said, Err(ScrapeError::TlsFailed), "{version:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_the_token() {
    let served = Served::with(&[NAME]).unwrap();
    let with = secured(&served.authority, Some(NAME));
    let (said, _) = asked(Some(acceptor(&served)), &with, "307 Temporary Redirect").await;
    assert_eq!(said, Err(ScrapeError::Redirected(307)));
    let (said, _) = asked(Some(acceptor(&served)), &with, "401 Unauthorized").await;
    assert_eq!(said, Err(ScrapeError::HttpStatus(401)));
}
