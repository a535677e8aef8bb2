//! The operator's own metrics.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::ResourceExt as _;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::api::{GrpcBackend, GrpcBackendStatus};
use crate::names;

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ErrorLabels {
    kind: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ConditionLabels {
    namespace: String,
    name: String,
    r#type: String,
    status: String,
    reason: String,
}

/// Counts and times what the operator does, and says how each backend stands.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    passes: Counter,
    errors: Family<ErrorLabels, Counter>,
    duration: Histogram,
    leader: Gauge,
    conditions: Family<ConditionLabels, Gauge>,
    shown: Arc<Mutex<HashMap<String, Vec<ConditionLabels>>>>,
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
            conditions: Family::default(),
            shown: Arc::default(),
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
        registry.register(
            "condition",
            "1 for the status and reason that each condition of a GrpcBackend has",
            metrics.conditions.clone(),
        );
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

    /// Shows how a backend stands; what no longer holds goes.
    pub fn backend(&self, backend: &GrpcBackend, status: &GrpcBackendStatus) {
        let labels: Vec<_> = status
            .conditions
            .iter()
            .map(|condition| ConditionLabels {
                namespace: backend.namespace().unwrap_or_default(),
                name: backend.name_any(),
                r#type: condition.type_.clone(),
                status: condition.status.clone(),
                reason: condition.reason.clone(),
            })
            .collect();
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let before = shown
            .insert(names::key_of(backend), labels.clone())
            .unwrap_or_default();
        for gone in before.iter().filter(|before| !labels.contains(before)) {
            self.conditions.remove(gone);
        }
        for label in &labels {
            self.conditions.get_or_create(label).set(1);
        }
    }

    /// A backend is gone.
    pub fn forget(&self, backend: &str) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in shown.remove(backend).unwrap_or_default() {
            self.conditions.remove(&gone);
        }
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
