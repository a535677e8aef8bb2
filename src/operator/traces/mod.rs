//! Traces: a span of each pass, to an OpenTelemetry collector where one is named. Without one there is nothing of this in memory.
//!
//! [`Layer`] makes spans of what a pass says in the code's own `tracing`, and puts them into a queue; [`Exporter`] sends them. A
//! collector that is slow or gone costs spans, and no pass anything: docs/decisions/0017-traces-by-hand.md.

mod collector;
mod otlp;

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::SystemTime;

use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Span, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::registry::LookupSpan;

pub use collector::Exporter;

/// Of what belongs to traces and into no log.
const TARGET: &str = "evenkeel::traces";
/// Spans that wait to be sent; what comes while it is full is lost. Each has less than a kilobyte.
const QUEUE: usize = 1000;

/// The span of a pass over a backend. Nothing where no traces are asked for.
pub fn pass(namespace: Option<&str>, name: &str) -> Span {
    tracing::trace_span!(
        target: TARGET,
        "pass",
        namespace,
        name,
        outcome = tracing::field::Empty
    )
}

/// How it ended.
pub fn ended(pass: &Span, error: Option<&'static str>) {
    pass.record("outcome", error.unwrap_or(DONE));
}

const DONE: &str = "done";

/// A write goes out, for the pass under way.
pub fn wrote() {
    tracing::trace!(target: TARGET, "write");
}

/// A pass, as it is sent.
#[derive(Clone, Debug, PartialEq)]
struct Pass {
    trace: [u64; 2],
    id: u64,
    started: SystemTime,
    ended: SystemTime,
    namespace: String,
    name: String,
    /// What kind of error it ended in.
    error: Option<String>,
    writes: u64,
}

/// A queue with the layer that fills it and the exporter that empties it.
pub fn start(endpoint: &str) -> anyhow::Result<(Layer, Exporter)> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    Ok((Layer(sender), Exporter::new(endpoint, receiver)?))
}

/// Makes spans of passes.
#[derive(Debug)]
pub struct Layer(mpsc::Sender<Pass>);

impl Layer {
    /// What it hears of; everything else is the log's.
    pub fn filter<S>() -> impl Filter<S> {
        Targets::new().with_target(TARGET, tracing::Level::TRACE)
    }
}

impl<S> tracing_subscriber::Layer<S> for Layer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let now = SystemTime::now();
        let mut pass = Pass {
            trace: [random(), random()],
            id: random(),
            started: now,
            ended: now,
            namespace: String::new(),
            name: String::new(),
            error: None,
            writes: 0,
        };
        attributes.record(&mut pass);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(pass);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(pass) = span.extensions_mut().get_mut::<Pass>()
        {
            values.record(pass);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(pass) = span.extensions_mut().get_mut::<Pass>() {
                pass.writes += 1;
            }
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else {
            return;
        };
        if let Some(mut pass) = span.extensions_mut().remove::<Pass>() {
            pass.ended = SystemTime::now();
            // Full: the collector does not keep up.
            let _ = self.0.try_send(pass);
        }
    }
}

impl Visit for Pass {
    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "namespace" => value.clone_into(&mut self.namespace),
            "name" => value.clone_into(&mut self.name),
            "outcome" => self.error = (value != DONE).then(|| value.to_owned()),
            _ => {}
        }
    }
}

/// The standard library's keys are random, and others for each hasher. Zero is no id.
fn random() -> u64 {
    RandomState::new().build_hasher().finish().max(1)
}

#[cfg(test)]
mod tests;
