use std::collections::VecDeque;
use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::json;
use tower::BoxError;

use super::super::decide::{TAKEOVER, UNACKNOWLEDGED};
use super::*;

/// One Lease as an API server keeps it, which takes a time for each answer and writes down what it is asked.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    lease: Option<Lease>,
    version: u32,
    asked: Vec<Method>,
    /// For the next answers; none: at once.
    delays: VecDeque<Duration>,
    /// How many of the next requests are refused at once.
    refusals: u32,
}

impl Server {
    fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| server.clone().ask(request));
        Client::new(service, "here")
    }

    async fn ask(self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let delay = {
            let mut state = self.0.lock();
            state.asked.push(request.method().clone());
            if state.refusals > 0 {
                state.refusals -= 1;
                return Err("connection refused".into());
            }
            state.delays.pop_front().unwrap_or_default()
        };
        tokio::time::sleep(delay).await;
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let mut state = self.0.lock();
        let known = state.lease.as_ref();
        let known = known.and_then(|lease| lease.metadata.resource_version.clone());
        let code = match parts.method {
            Method::GET | Method::PUT if known.is_none() => StatusCode::NOT_FOUND,
            Method::GET => StatusCode::OK,
            _ => {
                let lease: Lease = serde_json::from_slice(&body)?;
                if lease.metadata.resource_version == known {
                    state.put(lease);
                    StatusCode::OK
                } else {
                    StatusCode::CONFLICT
                }
            }
        };
        let answer = if code.is_success() {
            serde_json::to_vec(&state.lease)?
        } else {
            let reason = match code {
                StatusCode::NOT_FOUND => "NotFound",
                _ => "Conflict",
            };
            serde_json::to_vec(
                &json!({"kind": "Status", "status": "Failure", "message": "", "reason": reason, "code": code.as_u16()}),
            )?
        };
        Ok(Response::builder().status(code).body(answer.into())?)
    }

    fn asked(&self) -> Vec<Method> {
        std::mem::take(&mut self.0.lock().asked)
    }

    fn transitions(&self) -> Option<i32> {
        let state = self.0.lock();
        state.lease.as_ref()?.spec.as_ref()?.lease_transitions
    }

    fn delay(&self, delays: &[Duration]) {
        self.0.lock().delays.extend(delays);
    }

    /// Somebody writes it.
    fn write(&self, change: impl FnOnce(&mut LeaseSpec)) {
        let mut state = self.0.lock();
        let mut lease = state.lease.clone().unwrap();
        change(lease.spec.as_mut().unwrap());
        state.put(lease);
    }

    async fn acquire(&self, identity: &str) -> Leadership {
        let settings = LeaseSettings {
            namespace: "here".into(),
            name: "evenkeel".into(),
            identity: identity.into(),
        };
        let stop = CancellationToken::new();
        acquire(self.client(), settings, &stop).await.unwrap()
    }

    async fn leader(&self) -> Leadership {
        let leadership = self.acquire("me").await;
        // The first renewal follows at once.
        tokio::time::sleep(RETRY / 2).await;
        self.asked();
        leadership
    }
}

impl State {
    fn put(&mut self, mut lease: Lease) {
        self.version += 1;
        lease.metadata.resource_version = Some(self.version.to_string());
        self.lease = Some(lease);
    }
}

/// All that time.
async fn holds_for(leadership: &Leadership, time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        tokio::time::sleep(RETRY / 4).await;
        assert!(leadership.term().holds());
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_is_one_request() {
    let server = Server::default();
    let _leadership = server.leader().await;
    tokio::time::sleep(4 * RETRY).await;
    assert_eq!(server.asked(), [(); 4].map(|()| Method::PUT));
}

/// Each request is answered, if late: that costs nobody the Lease.
#[tokio::test(start_paused = true)]
async fn slow_answers_are_answers() {
    let server = Server::default();
    let leadership = server.leader().await;
    let slow = TIMEOUT.checked_sub(Duration::from_millis(400)).unwrap();
    server.delay(&[slow; 20]);
    tokio::time::sleep(10 * RETRY).await;
    assert!(leadership.term().holds());
    // Nor does one without any.
    server.delay(&[TIMEOUT * 2]);
    holds_for(&leadership, 10 * RETRY).await;
}

/// One that failed at once and an API server that is slow then: the next is tried a second later, not a period.
#[tokio::test(start_paused = true)]
async fn a_request_that_fails_costs_a_second() {
    let server = Server::default();
    let leadership = server.leader().await;
    let slow = Duration::from_millis(1500);
    server.0.lock().refusals = 1;
    server.delay(&[slow; 2]);
    holds_for(&leadership, 5 * RETRY).await;
}

#[tokio::test(start_paused = true)]
async fn it_is_read_after_a_conflict() {
    let server = Server::default();
    let leadership = server.leader().await;
    server.write(|spec| spec.lease_transitions = Some(7));
    tokio::time::sleep(2 * RETRY).await;
    let asked = [Method::PUT, Method::GET, Method::PUT, Method::PUT];
    assert_eq!(server.asked(), asked);
    assert!(leadership.term().holds());
}

/// Also where nobody holds it: somebody may have, in between.
#[tokio::test(start_paused = true)]
async fn what_another_held_is_lost() {
    for holder in [None, Some("another".to_owned())] {
        let server = Server::default();
        let mut leadership = server.leader().await;
        server.write(|spec| spec.holder_identity = holder);
        leadership.lost().await;
        assert!(!leadership.term().holds());
        assert_eq!(server.asked(), [Method::PUT, Method::GET]);
    }
}

/// Somebody deletes the Lease: its holder finds that out when it renews next, and what it has sent until then may arrive later still.
#[tokio::test(start_paused = true)]
async fn a_deletion_gives_nobody_the_lease_early() {
    let server = Server::default();
    let mut leadership = server.leader().await;
    let (acquired, deleted) = tokio::join!(server.acquire("another"), async {
        tokio::time::sleep(2 * RETRY).await;
        server.0.lock().lease = None;
        let deleted = Instant::now();
        leadership.lost().await;
        assert!(deleted.elapsed() <= RETRY);
        deleted
    });
    assert!(deleted.elapsed() >= TAKEOVER && deleted.elapsed() <= TAKEOVER + 2 * LOOK);
    assert!(acquired.term().holds());
}

/// The container is started again: what its last process sent may arrive until then.
#[tokio::test(start_paused = true)]
async fn the_next_process_of_a_pod_waits_for_what_the_last_one_sent() {
    let server = Server::default();
    let before = server.leader().await;
    before.renewal.abort();
    let begun = Instant::now();
    server.acquire("me").await;
    assert!(begun.elapsed() >= UNACKNOWLEDGED && begun.elapsed() <= UNACKNOWLEDGED + LOOK);
}

/// Should there ever be another.
#[tokio::test(start_paused = true)]
async fn a_living_process_of_that_name_keeps_the_lease() {
    let server = Server::default();
    let leadership = server.leader().await;
    let other = tokio::time::timeout(10 * TAKEOVER, server.acquire("me")).await;
    assert!(other.is_err() && leadership.term().holds());
}

/// Never two writers: what was sent and not answered may arrive until then, and another acts as soon as nobody holds it. Also where
/// whoever waits for the answer was told to end, and has not run since.
#[tokio::test(start_paused = true)]
async fn it_is_given_up_when_nothing_can_arrive_any_more() {
    for (writes, expected) in [
        (None, Duration::ZERO),
        (Some(true), UNACKNOWLEDGED),
        (Some(false), UNACKNOWLEDGED),
    ] {
        let server = Server::default();
        let leadership = server.leader().await;
        let term = leadership.term();
        let write = writes.map(|ends| {
            let write = term.write().unwrap();
            let pass = tokio::spawn(async move {
                std::future::pending::<()>().await;
                drop(write);
            });
            (pass, ends)
        });
        if let Some((pass, ends)) = write {
            tokio::task::yield_now().await;
            pass.abort();
            if ends {
                assert!(pass.await.unwrap_err().is_cancelled());
            }
        }
        let begun = Instant::now();
        leadership.release().await;
        assert_eq!(begun.elapsed(), expected, "{writes:?}");
        assert!(!term.holds() && term.write().is_none());
        let state = server.0.lock();
        assert_eq!(state.lease.as_ref().and_then(holder), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_handover_is_one_transition() {
    let server = Server::default();
    server.leader().await.release().await;
    assert_eq!(server.transitions(), Some(0), "there was none before");
    server.acquire("another").await;
    assert_eq!(server.transitions(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_server_without_answers() {
    let server = Server::default();
    let leadership = server.leader().await;
    server.delay(&[Duration::from_hours(1); 20]);
    let begun = Instant::now();
    leadership.release().await;
    assert!(begun.elapsed() <= 2 * TIMEOUT);
}
