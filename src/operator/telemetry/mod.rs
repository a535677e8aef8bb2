//! The operator's own metrics.

mod backends;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

pub use backends::Backends;

use super::error::Error;

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ErrorLabels {
    kind: &'static str,
}

/// Counts and times what the operator does, and says how each backend stands.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    passes: Counter,
    errors: Family<ErrorLabels, Counter>,
    duration: Histogram,
    leader: Gauge,
    backends: Arc<Backends>,
}

impl Metrics {
    /// Everything at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("evenkeel");
        let metrics = Self {
            registry: Arc::default(),
            passes: Counter::default(),
            errors: Family::default(),
            duration: Histogram::new([0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0]),
            leader: Gauge::default(),
            backends: Arc::default(),
        };
        registry.register(
            "reconciliations",
            "Passes over a GrpcBackend",
            metrics.passes.clone(),
        );
        registry.register(
            "reconciliation_errors",
            "Passes that failed, by kind of error",
            metrics.errors.clone(),
        );
        registry.register(
            "reconciliation_duration_seconds",
            "Time that a pass took",
            metrics.duration.clone(),
        );
        registry.register(
            "leader",
            "1 while this process is the one that writes",
            metrics.leader.clone(),
        );
        registry.register_collector(Box::new(metrics.backends.clone()));
        // From the start, since Prometheus sees no increase in a series that begins with its first error.
        for kind in Error::LABELS {
            let _ = metrics.errors.get_or_create(&ErrorLabels { kind });
        }
        Self {
            registry: Arc::new(registry),
            ..metrics
        }
    }

    /// A pass ended.
    pub fn pass(&self, took: Duration, error: Option<&'static str>) {
        self.passes.inc();
        self.duration.observe(took.as_secs_f64());
        if let Some(kind) = error {
            self.errors.get_or_create(&ErrorLabels { kind }).inc();
        }
    }

    /// Whether this process writes.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// What is said of backends.
    pub fn backends(&self) -> &Arc<Backends> {
        &self.backends
    }

    /// The metrics page, in OpenMetrics text.
    pub fn page(&self) -> String {
        let mut page = String::new();
        if let Err(error) = prometheus_client::encoding::text::encode(&mut page, &self.registry) {
            let _ = writeln!(page, "# {error}");
        }
        page
    }
}
