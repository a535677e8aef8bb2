//! Passes in the words of OTLP, as JSON: opentelemetry-proto, docs/specification.md, "JSON Protobuf Encoding". Identifiers are
//! hexadecimal, 64-bit numbers are strings.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::Pass;

/// A span that has no part outside of the process.
const INTERNAL: u8 = 1;
const ERROR: u8 = 2;

/// The body of one request; `instance`: which replica it is.
pub fn body(passes: &[Pass], instance: Option<&str>) -> Value {
    let mut resource = vec![
        text("service.name", "evenkeel"),
        text("service.version", env!("CARGO_PKG_VERSION")),
    ];
    resource.extend(instance.map(|instance| text("service.instance.id", instance)));
    let spans: Vec<Value> = passes.iter().map(span).collect();
    json!({"resourceSpans": [{
        "resource": {"attributes": resource},
        "scopeSpans": [{"scope": {"name": "evenkeel"}, "spans": spans}],
    }]})
}

fn span(pass: &Pass) -> Value {
    let outcome = pass.error.as_deref().unwrap_or(super::DONE);
    let mut span = json!({
        "traceId": format!("{:016x}{:016x}", pass.trace[0], pass.trace[1]),
        "spanId": format!("{:016x}", pass.id),
        "name": "pass over a GrpcBackend",
        "kind": INTERNAL,
        "startTimeUnixNano": nanoseconds(pass.started),
        "endTimeUnixNano": nanoseconds(pass.ended),
        "attributes": [
            text("k8s.namespace.name", &pass.namespace),
            text("evenkeel.backend", &pass.name),
            text("evenkeel.outcome", outcome),
            {"key": "evenkeel.writes", "value": {"intValue": pass.writes.to_string()}},
        ],
    });
    if let Some(error) = &pass.error {
        span["status"] = json!({"code": ERROR, "message": error});
    }
    span
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

fn nanoseconds(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos().to_string()
}
