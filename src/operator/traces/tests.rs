use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use tracing::instrument::WithSubscriber as _;
use tracing_subscriber::Layer as _;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

/// Takes one request and returns what it was: its first line and its body.
async fn take(listener: &TcpListener) -> (String, Value) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    loop {
        let read = stream.read_buf(&mut request).await.unwrap();
        assert!(read > 0, "it ended: {}", String::from_utf8_lossy(&request));
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.parse::<usize>().unwrap())
        });
        if body.len() == length.unwrap() {
            let taken = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
            stream.write_all(taken).await.unwrap();
            let line = head.lines().next().unwrap().to_owned();
            return (line, serde_json::from_str(body).unwrap());
        }
    }
}

fn spans(body: &Value) -> Vec<Value> {
    let spans = &body["resourceSpans"][0]["scopeSpans"][0]["spans"];
    spans.as_array().unwrap().clone()
}

fn attribute(span: &Value, key: &str) -> Value {
    let attributes = span["attributes"].as_array().unwrap();
    let found = attributes.iter().find(|attribute| attribute["key"] == key);
    found.unwrap()["value"].clone()
}

/// A pass with so many writes, as the operator makes them: another task may carry them out.
async fn passed(name: &str, writes: usize, error: Option<&'static str>) {
    let span = super::pass(Some("shop"), name);
    async {
        for _ in 0..writes {
            wrote();
            tokio::task::yield_now().await;
        }
    }
    .instrument(span.clone())
    .await;
    ended(&span, error);
}

#[tokio::test]
async fn each_pass_is_a_span_with_its_writes_and_its_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/otlp/", listener.local_addr().unwrap());
    let (layer, exporter) = start(&endpoint).unwrap();
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(Layer::filter()));
    async {
        tokio::join!(
            passed("cart", 3, None),
            passed("rng", 1, Some("forbidden")),
            passed("idle", 0, None),
        );
        // Of no pass, and of somebody else.
        wrote();
        tracing::info_span!("another").in_scope(|| tracing::error!("no span of ours"));
    }
    .with_subscriber(subscriber)
    .await;

    let stop = CancellationToken::new();
    let sending = exporter.run(Some("evenkeel-0".into()), stop.clone());
    let collecting = async {
        let taken = take(&listener).await;
        stop.cancel();
        taken
    };
    let both = async { tokio::join!(sending, collecting) };
    let ((), (line, body)) = tokio::time::timeout(Duration::from_secs(20), both)
        .await
        .unwrap();
    assert_eq!(line, "POST /otlp/v1/traces HTTP/1.1");
    let instance = &body["resourceSpans"][0]["resource"]["attributes"][2]["value"];
    assert_eq!(*instance, json!({"stringValue": "evenkeel-0"}));
    let spans = spans(&body);
    let mut told: Vec<Value> = spans
        .iter()
        .map(|span| {
            json!([
                attribute(span, "k8s.namespace.name")["stringValue"],
                attribute(span, "evenkeel.backend")["stringValue"],
                attribute(span, "evenkeel.writes")["intValue"],
                attribute(span, "evenkeel.outcome")["stringValue"],
                span["status"]["code"],
            ])
        })
        .collect();
    told.sort_by_key(ToString::to_string);
    assert_eq!(
        told,
        [
            json!(["shop", "cart", "3", "done", null]),
            json!(["shop", "idle", "0", "done", null]),
            json!(["shop", "rng", "1", "forbidden", 2]),
        ]
    );
    for span in &spans {
        assert_eq!(span["traceId"].as_str().unwrap().len(), 32);
        assert_eq!(span["spanId"].as_str().unwrap().len(), 16);
        let time = |key: &str| span[key].as_str().unwrap().parse::<u128>().unwrap();
        assert!(time("startTimeUnixNano") <= time("endTimeUnixNano"));
    }
    assert_ne!(spans[0]["traceId"], spans[1]["traceId"]);
}

#[tokio::test]
async fn a_collector_that_hangs_holds_nobody_up() {
    // It takes connections, and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (layer, exporter) = start(&endpoint).unwrap();
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(Layer::filter()));
    async {
        for _ in 0..3 * QUEUE {
            passed("cart", 1, None).await;
        }
    }
    .with_subscriber(subscriber)
    .await;
    let stop = CancellationToken::new();
    stop.cancel();
    let ended = exporter.run(None, stop);
    let ended = tokio::time::timeout(Duration::from_secs(20), ended).await;
    assert!(ended.is_ok(), "it waits for the collector");
}

#[test]
fn an_endpoint_that_cannot_be_meant_is_refused() {
    for (endpoint, words) in [
        ("collector", "http://"),
        ("https://collector:4318", "http://"),
        ("http://", "URL"),
        ("not a url", "URL"),
    ] {
        let said = format!("{:#}", start(endpoint).unwrap_err());
        assert!(
            said.contains("--otlp-endpoint") && said.contains(words),
            "{endpoint}: {said}"
        );
    }
    for endpoint in ["http://collector:4318", "http://[::1]:4318/otlp"] {
        assert!(start(endpoint).is_ok(), "{endpoint}");
    }
}
