//! What is kept, and above all what is not.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::balance::MeterId;
use crate::operator::sample::idle::Idle;
use crate::operator::sample::scrape::scrape;

/// A server on this machine: of each connection the answers, one for each request, and what it says before any.
struct Server {
    listener: TcpListener,
    connections: Vec<(&'static str, Vec<String>)>,
}

impl Server {
    async fn new(connections: Vec<(&'static str, Vec<String>)>) -> (Self, Page) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let page = Page {
            address: listener.local_addr().unwrap(),
            path: "/metrics".into(),
            is_meshed: false,
        };
        (
            Self {
                listener,
                connections,
            },
            page,
        )
    }

    /// Each is closed after its last answer, with the words that are left for that.
    async fn serve(self) {
        for (last_words, answers) in self.connections {
            let (mut stream, _) = self.listener.accept().await.unwrap();
            for answer in answers {
                let mut asked = [0; 4096];
                let length = stream.read(&mut asked).await.unwrap();
                assert!(
                    asked[..length].ends_with(b"\r\n\r\n"),
                    "one request at a time"
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            stream.write_all(last_words.as_bytes()).await.unwrap();
        }
    }
}

fn counted(number: u32) -> String {
    let body = format!("grpc_server_started_total {number}\n");
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn started(page: &Page, kept: &mut Option<Connection>) -> Result<f64, ScrapeError> {
    let said = scrape(page, Arc::default(), None, kept).await?;
    Ok(said.counters(MeterId::default()).started.unwrap_or(-1.0))
}

/// What is kept after one answer, once the server has said all that it says.
async fn after(answer: String, last_words: &'static str) -> (Option<Connection>, Page) {
    let (server, page) = Server::new(vec![(last_words, vec![answer])]).await;
    let mut kept = None;
    let (said, ()) = tokio::join!(started(&page, &mut kept), server.serve());
    assert_eq!(said, Ok(1.0));
    (kept, page)
}

#[tokio::test]
async fn one_connection_carries_one_request_after_the_other() {
    let interim = format!("HTTP/1.1 103 Early Hints\r\n\r\n{}", counted(2));
    let body = "grpc_server_started_total 3\n";
    let chunked = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    let (server, page) =
        Server::new(vec![("", vec![counted(1), interim, chunked, counted(4)])]).await;
    let ask = async {
        let mut kept = None;
        for number in [1.0, 2.0, 3.0, 4.0] {
            assert_eq!(started(&page, &mut kept).await, Ok(number));
            assert!(kept.is_some());
        }
    };
    tokio::join!(ask, server.serve());
}

/// Closed while nobody looked, or just as the request came.
#[tokio::test]
async fn a_connection_that_the_server_has_closed_is_replaced_by_a_new_one() {
    let (server, page) = Server::new(vec![("", vec![counted(1)]), ("", vec![counted(2)])]).await;
    let ask = async {
        let mut kept = None;
        assert_eq!(started(&page, &mut kept).await, Ok(1.0));
        assert_eq!(started(&page, &mut kept).await, Ok(2.0));
    };
    tokio::join!(ask, server.serve());

    // The second request is read, and answered by the end alone.
    let answers = vec![counted(1), String::new()];
    let (server, page) = Server::new(vec![("", answers), ("", vec![counted(2)])]).await;
    let ask = async {
        let mut kept = None;
        assert_eq!(started(&page, &mut kept).await, Ok(1.0));
        assert_eq!(started(&page, &mut kept).await, Ok(2.0));
    };
    tokio::join!(ask, server.serve());
}

#[tokio::test]
async fn a_new_connection_is_not_tried_twice() {
    let (server, page) = Server::new(vec![("", vec![String::new()])]).await;
    let mut kept = None;
    let (said, ()) = tokio::join!(started(&page, &mut kept), server.serve());
    assert_eq!(said, Err(ScrapeError::Unreachable));
    assert!(kept.is_none());
}

/// What came behind an answer would be read as the answer to the next request.
#[tokio::test]
async fn a_connection_with_surplus_is_closed() {
    let (kept, _) = after(counted(1) + &counted(2), "").await;
    assert!(kept.is_none(), "at once");
    // Late: it stands there when the next request is due.
    let (kept, page) = after(counted(1), "HTTP/1.1 200 OK\r\n").await;
    if let Some(mut kept) = kept {
        assert!(!quiet(&mut kept, &page).await, "it has spoken");
    }
}

/// Waits until what has been sent is here.
async fn quiet(connection: &mut Connection, page: &Page) -> bool {
    let spoke = async {
        while connection.is_good_for(page, None) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), spoke)
        .await
        .is_err()
}

#[tokio::test]
async fn nothing_is_kept_of_an_answer_that_ends_the_connection_or_went_wrong() {
    let body = "grpc_server_started_total 1\n";
    for answer in [
        format!("HTTP/1.1 200 OK\r\n\r\n{body}"),
        format!(
            "HTTP/1.0 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ),
        format!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ),
    ] {
        assert!(after(answer.clone(), "").await.0.is_none(), "{answer}");
    }
    for (answer, error) in [
        (
            "HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n",
            ScrapeError::HttpStatus(500),
        ),
        (
            "HTTP/1.1 302 x\r\nlocation: /\r\ncontent-length: 0\r\n\r\n",
            ScrapeError::Redirected(302),
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort",
            ScrapeError::Unreachable,
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx",
            ScrapeError::Malformed,
        ),
        ("HTTP/1.1 100 x\r\n\r\n", ScrapeError::Unreachable),
    ] {
        let (server, page) = Server::new(vec![("", vec![answer.to_owned()])]).await;
        let mut kept = None;
        let (said, ()) = tokio::join!(started(&page, &mut kept), server.serve());
        assert_eq!(said, Err(error), "{answer}");
        assert!(kept.is_none(), "{answer}");
    }
}

#[tokio::test]
async fn another_address_and_other_credentials_get_connections_of_their_own() {
    let (server, page) = Server::new(vec![("", vec![counted(1), String::new()])]).await;
    let ask = async {
        let mut kept = None;
        started(&page, &mut kept).await.unwrap();
        let mut kept = kept.unwrap();
        assert!(kept.is_good_for(&page, None));
        for address in ["127.0.0.2:80", "127.0.0.1:1"] {
            let other = Page {
                address: address.parse().unwrap(),
                ..page.clone()
            };
            assert!(!kept.is_good_for(&other, None));
        }
        let other = evenkeel_cluster::Served::with(&["a"]).unwrap();
        let secured = Arc::new(Secured {
            tls: Arc::new(
                crate::operator::sample::credentials::tls(other.authority.as_bytes()).unwrap(),
            ),
            name: None,
            token: None,
        });
        assert!(!kept.is_good_for(&page, Some(&secured)));
        // So that the server ends.
        kept.stream.write_all(b"\r\n\r\n").await.unwrap();
    };
    tokio::join!(ask, server.serve());
}

#[tokio::test]
async fn a_kept_connection_is_one_pod_s_and_goes_with_it() {
    const SHORT: Duration = Duration::from_secs(5);
    let idle = Idle::new(Arc::new(tokio::sync::Semaphore::new(2)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let page = Page {
        address: listener.local_addr().unwrap(),
        path: "/metrics".into(),
        is_meshed: false,
    };
    let pair = async || {
        let (connection, accepted) = tokio::join!(Connection::new(&page, None), listener.accept());
        (connection.unwrap(), accepted.unwrap().0)
    };
    let (connection, mut server) = pair().await;
    idle.keep("a", connection, SHORT);
    assert!(idle.take("b").is_none());
    idle.only(|uid| uid == "a");
    let connection = idle.take("a").unwrap();
    assert!(idle.take("a").is_none(), "it is in use");
    // The pod ends: the server sees the end at once.
    idle.keep("a", connection, SHORT);
    idle.only(|_| false);
    assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
    // Neither beyond the room, which others share, nor for long.
    let mut servers = Vec::new();
    for uid in ["a", "b", "c"] {
        let (connection, server) = pair().await;
        idle.keep(uid, connection, SHORT);
        servers.push(server);
    }
    assert!(idle.take("c").is_none());
    let (connection, server) = pair().await;
    servers.push(server);
    assert!(idle.take("a").is_some());
    idle.keep("a", connection, Duration::from_secs(61));
    assert!(idle.take("a").is_none());
}

/// The status tells enough, and a body that does not come to its end is no time-out.
#[tokio::test]
async fn a_refusal_needs_no_end() {
    let refused = Err(ScrapeError::HttpStatus(400));
    for head in [
        "content-length: 100\r\n\r\nno",
        "transfer-encoding: chunked\r\n\r\n2\r\nno\r\n",
        "transfer-encoding: chunked\r\n\r\nno\r\n",
    ] {
        let answer = format!("HTTP/1.1 400 Bad Request\r\n{head}");
        let (server, page) = Server::new(vec![("", vec![answer.clone()])]).await;
        let mut kept = None;
        let (said, ()) = tokio::join!(started(&page, &mut kept), server.serve());
        assert_eq!(said, refused, "closed: {answer}");
        assert!(kept.is_none());

        let (server, page) = Server::new(vec![("", vec![answer.clone(), String::new()])]).await;
        let said = tokio::select! {
            said = started(&page, &mut kept) => said,
            () = server.serve() => unreachable!("it waits for another request"),
        };
        assert_eq!(said, refused, "open: {answer}");
    }
}
