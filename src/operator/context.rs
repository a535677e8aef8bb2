//! What a pass needs besides the backend: the client, the watches' copies, and what is shared by all backends.

use std::collections::HashMap;
use std::sync::{Arc, Once};
use std::time::Duration;

use futures::channel::mpsc;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{ObjectRef, Store};
use parking_lot::Mutex;

use super::budget::Budget;
use super::sample::{Bounds, PrometheusServer, PrometheusSettings, Sampler};
use super::telemetry::Metrics;
use super::watched::Watched;
use crate::api::GrpcBackend;
use crate::names;

/// What whoever installs the operator sets.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Empty: all namespaces.
    pub watch_namespaces: Vec<String>,
    /// Namespaces whose clients may be bound besides the backend's own.
    pub client_namespaces: Vec<String>,
    /// Rollouts that the operator has under way at once.
    pub max_concurrent_rollouts: usize,
    /// How long a pod may take to be ready in a rollout of ours, where the workload's kind has no such limit itself.
    pub rollout_deadline: Duration,
    /// Whether HorizontalPodAutoscalers are read, for findings.
    pub read_autoscalers: bool,
    /// Likewise the configuration of the cluster's DNS servers.
    pub read_cluster_dns: bool,
    /// Likewise what a backend's namespace asks of a mesh.
    pub read_namespaces: bool,
    /// The server that backends with `source: Prometheus` are judged by.
    pub prometheus: Option<PrometheusSettings>,
}

impl Settings {
    /// In how many parts the cluster is watched.
    fn scopes(&self) -> usize {
        self.watch_namespaces.len().max(1)
    }
}

/// Shared by everything that runs.
pub struct Shared {
    /// The API server.
    pub client: Client,
    /// What the installer set.
    pub settings: Settings,
    /// One for the process: repeated events are then counted instead of piling up.
    pub recorder: Recorder,
    /// The operator's own metrics.
    pub metrics: Metrics,
    /// How many rollouts may be under way.
    pub rollouts: Budget,
    /// The Prometheus server, where one is known.
    pub prometheus: Option<Arc<PrometheusServer>>,
    bounds: Bounds,
    attempts: Mutex<HashMap<String, u32>>,
}

impl Shared {
    /// Everything at its beginning.
    pub fn new(
        client: Client,
        settings: Settings,
        prometheus: Option<Arc<PrometheusServer>>,
        metrics: Metrics,
    ) -> Self {
        let reporter = Reporter {
            controller: names::MANAGER.into(),
            instance: std::env::var("POD_NAME").ok(),
        };
        Self {
            prometheus,
            recorder: Recorder::new(client.clone(), reporter),
            rollouts: Budget::new(settings.max_concurrent_rollouts, settings.scopes(), now()),
            client,
            settings,
            metrics,
            bounds: Bounds::of_process(),
            attempts: Mutex::default(),
        }
    }

    /// The sampler of one more scope, and the backends that it calls a pass for.
    pub fn sampler(&self) -> (Sampler, mpsc::Receiver<ObjectRef<GrpcBackend>>) {
        Sampler::new(
            self.client.clone(),
            self.prometheus.clone(),
            self.bounds.clone(),
            self.metrics.backends().clone(),
        )
    }

    /// Counts a failed pass; gives how many there were in a row before it.
    pub fn failed(&self, backend: &str) -> u32 {
        let mut attempts = self.attempts.lock();
        let count = attempts.entry(backend.to_owned()).or_default();
        *count = count.saturating_add(1);
        *count - 1
    }

    /// A pass succeeded.
    pub fn succeeded(&self, backend: &str) {
        self.attempts.lock().remove(backend);
    }
}

/// One watched namespace, or all of them.
pub struct Scope {
    /// What all scopes share.
    pub shared: Arc<Shared>,
    /// The backends.
    pub backends: Store<GrpcBackend>,
    /// Deployments, with only what finds them and says whether a rollout of ours is under way.
    pub deployments: Watched<Deployment>,
    /// StatefulSets, likewise.
    pub stateful_sets: Watched<StatefulSet>,
    /// DaemonSets, likewise.
    pub daemon_sets: Watched<DaemonSet>,
    /// Pods, without what is never looked at.
    pub pods: Watched<Pod>,
    /// Reads the pods' metrics.
    pub sampler: Sampler,
    /// Whether the rollouts that were under way at the start have their places.
    pub resumed: Once,
}

impl Scope {
    /// The backend is gone: nothing of it stays in memory.
    pub fn forget(&self, backend: &str) {
        self.sampler.forget(backend);
        self.shared.succeeded(backend);
        self.shared.metrics.backends().forget(backend);
        self.shared.rollouts.release(backend, now());
    }
}

/// Now, in whole seconds as the API server keeps them.
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// A tenth more or less, so that backends do not all wake at once.
pub fn jittered(duration: Duration, seed: &str) -> Duration {
    use std::hash::{BuildHasher as _, RandomState};
    let random = RandomState::new().hash_one(seed) % 200;
    let tenth = u32::try_from(random).unwrap_or(100);
    duration.mul_f64(0.9 + f64::from(tenth) / 1000.0)
}
