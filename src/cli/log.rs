//! How the operator's log is written.

use clap::ValueEnum;
use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::operator::Traces;

/// What a line looks like.
#[derive(Clone, Copy, ValueEnum)]
pub enum LogFormat {
    Json,
    Text,
}

/// Writes what passes the filter, a line each; with `traces`, passes become spans besides.
pub fn subscriber<W>(
    filter: EnvFilter,
    format: LogFormat,
    writer: W,
    traces: Option<Traces>,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let log = tracing_subscriber::fmt::layer().with_writer(writer);
    // The spans of passes, and what they are made of, are for traces alone.
    let filter = match "evenkeel::traces=off".parse() {
        Ok(off) => filter.add_directive(off),
        Err(_) => filter,
    };
    let log = match format {
        LogFormat::Json => log.json().flatten_event(true).boxed(),
        // Who keeps logs has no use for colours.
        LogFormat::Text => log.with_ansi(false).boxed(),
    };
    Box::new(
        tracing_subscriber::registry()
            .with(log.with_filter(filter))
            .with(traces.map(|traces| traces.with_filter(Traces::filter()))),
    )
}
