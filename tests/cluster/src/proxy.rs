//! A proxy between a program and the API server: counts, delays, refuses, and
//! ends the program at a chosen write.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use http::header::{AUTHORIZATION, CONNECTION, HOST, USER_AGENT};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use tokio::net::{UnixListener, UnixStream};

use crate::access::{From, Identity};
use crate::cluster::Cluster;
use crate::requests::{Fault, Rule, Seen, classify};

/// Requests that are remembered; later ones are not.
const REMEMBERED: usize = 100_000;
/// More than the API server takes.
const MAX_REQUEST: usize = 8 << 20;

#[derive(Default)]
struct Shared {
    seen: Vec<Seen>,
    rules: Vec<Rule>,
}

/// The proxy; it ends when dropped.
pub struct Proxy {
    shared: Arc<Mutex<Shared>>,
    inside: SocketAddr,
    host: SocketAddr,
    server: tokio::task::JoinHandle<()>,
}

impl Cluster {
    /// Starts a proxy to the API server. It speaks plain HTTP, over which
    /// programs send no credentials: whoever comes through it is `identity`.
    /// [`Cluster::kubeconfig_via`] leads a program there.
    pub async fn proxy(&self, identity: &Identity) -> Result<Proxy> {
        let kubeconfig = self.kubeconfig_host_text(identity).await?;
        let path = self.state.join(format!(
            "proxy-{}-{}.sock",
            std::process::id(),
            self.next_serial()
        ));
        let shared = Arc::<Mutex<Shared>>::default();
        let (background, state, socket) = (self.background()?, Arc::clone(&shared), path.clone());
        let (client, listener) = background
            .spawn(async move {
                anyhow::Ok((
                    crate::access::client_from(&kubeconfig).await?,
                    UnixListener::bind(socket)?,
                ))
            })
            .await??;
        let server = background.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, client.clone(), Arc::clone(&state)));
            }
        });
        let inside = self.control.expose(&path)?;
        let host = self.forward(inside).await?;
        Ok(Proxy {
            shared,
            inside,
            host,
            server,
        })
    }
}

impl Proxy {
    /// What to put into a kubeconfig as the API server's address.
    pub fn url(&self, from: From) -> String {
        match from {
            From::Host => format!("http://{}", self.host),
            From::Inside => format!("http://{}", self.inside),
        }
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.lock().seen.clone()
    }

    /// How many requests so far are like this.
    pub fn count(&self, matches: impl Fn(&Seen) -> bool) -> usize {
        self.shared
            .lock()
            .seen
            .iter()
            .filter(|seen| matches(seen))
            .count()
    }

    /// From now on this happens; the first rule that fits decides.
    pub fn add(&self, rule: Rule) {
        self.shared.lock().rules.push(rule);
    }

    /// Ends all faults.
    pub fn clear(&self) {
        self.shared.lock().rules.clear();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Remembers a request and decides what happens to it.
fn decide(shared: &Mutex<Shared>, seen: Seen) -> Option<Fault> {
    let mut shared = shared.lock();
    let mut fault = None;
    for rule in &mut shared.rules {
        if rule.times == 0 || !(rule.matches)(&seen) {
            continue;
        }
        if rule.skip > 0 {
            rule.skip -= 1;
            continue;
        }
        rule.times = rule
            .times
            .saturating_sub(usize::from(rule.times != usize::MAX));
        fault = Some(rule.fault.clone());
        break;
    }
    if shared.seen.len() < REMEMBERED {
        shared.seen.push(seen);
    }
    fault
}

async fn serve(stream: UnixStream, client: Client, shared: Arc<Mutex<Shared>>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (client, shared) = (client.clone(), Arc::clone(&shared));
        async move {
            let answer = answer(request, client, &shared).await;
            Ok::<_, Infallible>(
                answer
                    .unwrap_or_else(|error| plain(StatusCode::BAD_GATEWAY, &format!("{error:#}"))),
            )
        }
    });
    // That a client goes away is no error here.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    request: Request<Incoming>,
    client: Client,
    shared: &Mutex<Shared>,
) -> Result<Response<Body>> {
    let fault = decide(shared, describe(&request));
    match &fault {
        Some(Fault::Delay(time)) => tokio::time::sleep(*time).await,
        Some(Fault::Refuse(code)) => {
            return Ok(plain(
                StatusCode::from_u16(*code).context("status code")?,
                "refused by the test's proxy",
            ));
        }
        Some(Fault::KillBefore(victim)) => {
            victim.kill();
            return Ok(plain(StatusCode::SERVICE_UNAVAILABLE, "too late"));
        }
        Some(Fault::KillAfter(_)) | None => {}
    }
    let (mut parts, body) = request.into_parts();
    for header in [HOST, CONNECTION, AUTHORIZATION] {
        parts.headers.remove(header);
    }
    let limited = Limited::new(body, MAX_REQUEST);
    let body = limited
        .collect()
        .await
        .map_err(|error| anyhow!("request body: {error}"))?
        .to_bytes();
    let response = client
        .send(Request::from_parts(parts, Body::from(body)))
        .await?;
    if let Some(Fault::KillAfter(victim)) = fault {
        victim.kill();
    }
    Ok(response)
}

fn plain(status: StatusCode, message: &str) -> Response<Body> {
    let text = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "ServiceUnavailable",
        "code": status.as_u16(), "message": message,
    });
    let mut response = Response::new(Body::from(text.to_string().into_bytes()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        "content-type",
        http::HeaderValue::from_static("application/json"),
    );
    response
}

fn describe(request: &Request<Incoming>) -> Seen {
    let agent = request
        .headers()
        .get(USER_AGENT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let (verb, resource) = classify(
        request.method(),
        request.uri().path(),
        request.uri().query().unwrap_or_default(),
    );
    Seen {
        user_agent: agent.to_owned(),
        verb,
        resource,
        uri: request.uri().to_string(),
    }
}
