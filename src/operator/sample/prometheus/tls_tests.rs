//! Prometheus over TLS, and above all what is not sent where it goes wrong.

use std::path::PathBuf;

use evenkeel_cluster::Served;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::tests::endpoint;
use super::*;
use crate::operator::sample::tls_server::acceptor;

const NAME: &str = "localhost";
const EMPTY: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;

/// The operator's files.
struct Mounted {
    _directory: tempfile::TempDir,
    ca: PathBuf,
    token: PathBuf,
}

impl Mounted {
    fn with(authority: &str, token: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Self {
            ca: directory.path().join("ca.crt"),
            token: directory.path().join("token"),
            _directory: directory,
        };
        std::fs::write(&mounted.ca, authority).unwrap();
        std::fs::write(&mounted.token, token).unwrap();
        mounted
    }

    fn settings(&self, url: String) -> Settings {
        Settings {
            url,
            token_file: Some(self.token.clone()),
            ca_file: Some(self.ca.clone()),
            matchers: Vec::new(),
        }
    }
}

/// A query to a server on this machine, and all that the server could read of it. None: it speaks no TLS.
async fn asked(
    acceptor: Option<&TlsAcceptor>,
    mounted: &Mounted,
    status: &str,
) -> (Result<usize, MetricsState>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let prometheus = mounted.settings(format!("https://{NAME}:{port}"));
    let prometheus = Prometheus::new(&prometheus).unwrap();
    let length = EMPTY.len();
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{EMPTY}");
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut read = Vec::new();
        let Some(acceptor) = acceptor else {
            let _ = stream.read_buf(&mut read).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            return String::from_utf8_lossy(&read).to_lowercase();
        };
        if let Ok(mut stream) = acceptor.accept(stream).await {
            while !String::from_utf8_lossy(&read).contains("%5D") {
                if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
        String::from_utf8_lossy(&read).to_lowercase()
    };
    // Young enough that Prometheus need not know it yet.
    let endpoints = [endpoint(Timestamp::now())];
    let question = Asked::of(&crate::api::GrpcBackend::default());
    let interval = Duration::from_secs(15);
    let said = prometheus.answers("shop", &endpoints, &question, interval);
    let both = async { tokio::join!(said, serve) };
    let both = tokio::time::timeout(Duration::from_secs(30), Box::pin(both));
    let (said, read) = both.await.unwrap();
    (super::tests::whole(said).map(|answers| answers.len()), read)
}

#[tokio::test]
async fn the_token_goes_to_whom_the_authority_vouches_for() {
    let served = Served::with(&[NAME]).unwrap();
    let mounted = Mounted::with(&served.authority, "s3cret\n");
    let acceptor = acceptor(&served);
    let (said, read) = asked(Some(&acceptor), &mounted, "200 OK").await;
    assert_eq!(said, Ok(0));
    assert!(read.contains("authorization: bearer s3cret\r\n"), "{read}");

    // Kubernetes replaces the file, and nobody starts the operator anew.
    std::fs::write(&mounted.token, "n3xt").unwrap();
    let (said, read) = asked(Some(&acceptor), &mounted, "200 OK").await;
    assert_eq!(said, Ok(0));
    assert!(read.contains("authorization: bearer n3xt\r\n"), "{read}");
}

#[tokio::test]
async fn nothing_is_sent_to_anybody_else() {
    let served = Served::with(&[NAME]).unwrap();
    let stranger = Served::with(&["elsewhere"]).unwrap();
    for (authority, acceptor) in [
        (&stranger.authority, Some(acceptor(&served))),
        (&stranger.authority, Some(acceptor(&stranger))),
        (&served.authority, None),
    ] {
        let mounted = Mounted::with(authority, "s3cret");
        let (said, read) = asked(acceptor.as_ref(), &mounted, "200 OK").await;
        let obstacle = said.unwrap_err();
        assert_eq!(obstacle.reason, MetricsReason::ScrapeFailed);
        let words = "a certificate that its authority does not vouch for, or speaks no TLS";
        assert!(obstacle.message.contains(words), "{}", obstacle.message);
        assert!(!read.contains("s3cret"), "{read}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_its_files_is_said() {
    let served = Served::with(&[NAME]).unwrap();
    let acceptor = acceptor(&served);
    let no_authority = Mounted::with("nothing of the kind", "s3cret");
    let no_token = Mounted::with(&served.authority, "two words");
    let refused = Mounted::with(&served.authority, "s3cret");
    for (mounted, reason, words) in [
        (
            no_authority,
            MetricsReason::ScrapeFailed,
            "a file of its authority that cannot be read",
        ),
        (
            no_token,
            MetricsReason::Refused,
            "a file with its token that cannot be read",
        ),
        (
            refused,
            MetricsReason::Refused,
            "does not take the operator's token",
        ),
    ] {
        let (said, read) = asked(Some(&acceptor), &mounted, "401 Unauthorized").await;
        let obstacle = said.unwrap_err();
        assert_eq!(obstacle.reason, reason, "{words}");
        assert!(obstacle.message.contains(words), "{}", obstacle.message);
        assert!(!obstacle.message.contains("s3cret"));
        assert!(!read.contains("two words"), "{read}");
    }
}
