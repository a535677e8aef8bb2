//! An Echo server whose connections have an age, and whose metrics say how many RPCs it served.

use std::net::Ipv6Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::routing::get;
use echo::echo::echo_server::{Echo, EchoServer};
use echo::echo::{EchoReply, EchoRequest, WatchRequest};
use echo::metrics::Rpcs;
use echo::report::line;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{interval, sleep};
use tokio_stream::wrappers::IntervalStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

/// After SIGTERM: serve on while endpoints and DNS forget this pod, then let calls finish.
const DRAIN: Duration = Duration::from_secs(5);
const FINISH: Duration = Duration::from_secs(20);

/// Answers with who it is.
#[derive(Clone)]
struct Answers {
    pod: String,
    version: String,
    age: String,
}

type Replies = Pin<Box<dyn Stream<Item = Result<EchoReply, Status>> + Send>>;

impl Answers {
    fn reply(&self, message: String) -> EchoReply {
        EchoReply {
            message,
            pod: self.pod.clone(),
            version: self.version.clone(),
            connection_age: self.age.clone(),
        }
    }
}

#[tonic::async_trait]
impl Echo for Answers {
    type WatchStream = Replies;
    type ChatStream = Replies;

    async fn echo(&self, request: Request<EchoRequest>) -> Result<Response<EchoReply>, Status> {
        Ok(Response::new(self.reply(request.into_inner().message)))
    }

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Replies>, Status> {
        let WatchRequest {
            message,
            count,
            interval_ms,
        } = request.into_inner();
        let reply = self.reply(message);
        let every = Duration::from_millis(if interval_ms == 0 {
            1000
        } else {
            interval_ms.into()
        });
        let replies = IntervalStream::new(interval(every)).map(move |_| Ok(reply.clone()));
        let count = if count == 0 {
            usize::MAX
        } else {
            count as usize
        };
        Ok(Response::new(Box::pin(replies.take(count))))
    }

    async fn chat(
        &self,
        request: Request<Streaming<EchoRequest>>,
    ) -> Result<Response<Replies>, Status> {
        let answers = self.clone();
        let replies = request
            .into_inner()
            .map(move |asked| Ok(answers.reply(asked?.message)));
        Ok(Response::new(Box::pin(replies)))
    }
}

/// Whole seconds from the environment; absent, empty and zero are none.
fn seconds(variable: &str) -> Result<Option<Duration>> {
    let value = std::env::var(variable).unwrap_or_default();
    if value.is_empty() {
        return Ok(None);
    }
    let number: u64 = value
        .parse()
        .with_context(|| format!("{variable}: {value:?} is not a whole number of seconds"))?;
    Ok((number > 0).then(|| Duration::from_secs(number)))
}

fn port(variable: &str, usual: u16) -> Result<u16> {
    std::env::var(variable).map_or(Ok(usual), |port| port.parse().context(variable.to_owned()))
}

#[tokio::main]
async fn main() -> Result<()> {
    let age = seconds("MAX_CONNECTION_AGE_SECONDS")?;
    let answers = Answers {
        pod: std::env::var("POD_NAME")
            .or_else(|_| std::env::var("HOSTNAME"))
            .unwrap_or_default(),
        version: std::env::var("VERSION").unwrap_or_default(),
        age: age.map_or("none".to_owned(), |age| format!("{}s", age.as_secs())),
    };
    let mut registry = Registry::default();
    let rpcs = Rpcs::register(&mut registry);
    serve_metrics(Arc::new(registry), port("METRICS_PORT", 9090)?).await?;
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<EchoServer<Answers>>().await;

    let mut server = tonic::transport::Server::builder();
    if let Some(age) = age {
        // No max_connection_age_grace: with it tonic sends no GOAWAY, and cuts the connection at age + grace.
        server = server.max_connection_age(age);
    }
    let start =
        json!({"pod": answers.pod, "version": answers.version, "max_connection_age": answers.age});
    line("start", start);
    let address = (Ipv6Addr::UNSPECIFIED, port("PORT", 8080)?).into();
    let mut terminate = signal(SignalKind::terminate())?;
    let (ending, ended) = tokio::sync::oneshot::channel();
    let serving = server
        .layer(rpcs)
        .add_service(health_service)
        .add_service(EchoServer::new(answers))
        .serve_with_shutdown(address, async {
            terminate.recv().await;
            line("draining", json!({}));
            sleep(DRAIN).await;
            let _ = ending.send(());
        });
    tokio::select! {
        served = serving => served?,
        () = async { let _ = ended.await; sleep(FINISH).await } => {}
    }
    line("stopped", json!({}));
    Ok(())
}

async fn serve_metrics(registry: Arc<Registry>, port: u16) -> Result<()> {
    let page = async move || {
        let mut text = String::new();
        let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        match encode(&mut text, &registry) {
            Ok(()) => Ok(([("content-type", content_type)], text)),
            Err(error) => Err(error.to_string()),
        }
    };
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await?;
    let pages = axum::Router::new().route("/metrics", get(page));
    tokio::spawn(axum::serve(listener, pages).into_future());
    Ok(())
}
