//! The sampler: reads the pods' own metrics in a loop of its own, so that slow pods never delay a pass.
//!
//! One task a backend, started by its first pass and ended with it. What it has found is asked for by the next pass,
//! which it calls for when something worth writing has happened.

mod connection;
mod credentials;
mod http1;
mod idle;
mod lanes;
mod prometheus;
mod reading;
mod scrape;
mod scrapes;
mod targets;
#[cfg(test)]
mod tls_server;
mod turns;
mod worker;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::channel::mpsc;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, ResourceExt as _};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::api::{BalanceSource, GrpcBackend, MetricsHttps};
use crate::balance::{
    Choice, MeterId, Published, Scrape, ScrapeError, Settings, choice, exposition,
    families::Condition,
};
use crate::names;
use crate::observed::{Observed, is_serving};
use crate::operator::telemetry::Backends;
use credentials::Credentials;
use idle::Idle;
use lanes::{Hall, Places};
use prometheus::Prometheus;
use targets::Place;
use worker::Worker;

pub use prometheus::{Prometheus as PrometheusServer, Settings as PrometheusSettings};
pub use scrape::{ACCEPT, read};
pub use targets::{Endpoint, endpoint};

/// Backends whose call for a pass can wait; one more is dropped, its next round calls again.
const CALLS: usize = 1024;

/// What to sample, and how to judge it.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// How it is judged.
    pub settings: Settings,
    /// Which of the pods' metrics.
    pub asked: Asked,
    /// Whether a server's rollout is under way.
    pub rolling_out: bool,
}

/// Which metrics the spec asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// From whom.
    pub source: BalanceSource,
    /// Where they are, if it says so.
    pub place: Place,
    /// With what they are asked for over TLS, if they are.
    pub https: Option<MetricsHttps>,
    /// The family to count by, if it names one.
    pub family: Option<MeterId>,
    /// Labels that a series must have to count.
    pub labels: Arc<[Condition]>,
}

impl Asked {
    /// What the backend's spec says.
    pub fn of(backend: &GrpcBackend) -> Self {
        let balance = backend.spec.balance.as_ref();
        let metrics = balance.and_then(|balance| balance.metrics.clone());
        let metrics = metrics.unwrap_or_default();
        Self {
            source: balance
                .and_then(|balance| balance.source)
                .unwrap_or_default(),
            place: Place {
                port: metrics.port,
                path: metrics.path.map(Into::into),
            },
            https: metrics.https,
            family: metrics
                .family
                .and_then(|family| MeterId::named(family.as_str())),
            labels: metrics
                .labels
                .iter()
                .map(|(label, value)| Condition::equals(label, value))
                .collect(),
        }
    }
}

struct Entry {
    uid: Option<String>,
    plan: watch::Sender<(GrpcBackend, Plan)>,
    found: Arc<Mutex<Option<Published>>>,
    idle: Arc<Idle>,
    task: AbortHandle,
    key: String,
    told: Arc<Backends>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.task.abort();
        self.told.unsampled(&self.key);
    }
}

/// What all samplers of the process take from together.
#[derive(Clone)]
pub struct Bounds {
    room: Arc<Semaphore>,
    hall: Arc<Hall>,
}

impl Bounds {
    /// Those of the process: made once.
    pub fn of_process() -> Self {
        Self {
            room: idle::room(),
            hall: Hall::new(),
        }
    }
}

/// Reads metrics for every backend.
pub struct Sampler {
    client: Client,
    prometheus: Option<Arc<Prometheus>>,
    entries: Mutex<HashMap<String, Entry>>,
    bounds: Bounds,
    origin: Instant,
    calls: mpsc::Sender<ObjectRef<GrpcBackend>>,
    told: Arc<Backends>,
}

impl Sampler {
    /// The sampler, and the backends that it calls a pass for; what it finds is `told` too.
    pub fn new(
        client: Client,
        prometheus: Option<Arc<Prometheus>>,
        bounds: Bounds,
        told: Arc<Backends>,
    ) -> (Self, mpsc::Receiver<ObjectRef<GrpcBackend>>) {
        let (calls, called) = mpsc::channel(CALLS);
        let sampler = Self {
            client,
            prometheus,
            entries: Mutex::default(),
            bounds,
            origin: Instant::now(),
            calls,
            told,
        };
        (sampler, called)
    }

    /// Samples the backend by this plan from now on; gives what was found last. Before anything was found, that is what
    /// the status says already.
    pub fn sample(
        &self,
        observed: &Observed,
        plan: Plan,
        pods: &Store<Pod>,
        restored: Option<Published>,
    ) -> Option<Published> {
        let backend = &observed.backend;
        let mut entries = self.entries.lock();
        let key = names::key_of(backend);
        if entries
            .get(&key)
            .is_some_and(|entry| entry.uid != backend.uid())
        {
            entries.remove(&key);
        }
        let entry = entries.entry(key.clone()).or_insert_with(|| {
            let (sender, receiver) = watch::channel((backend.clone(), plan.clone()));
            let found = Arc::new(Mutex::new(restored.clone()));
            let idle = Arc::new(Idle::new(self.bounds.room.clone()));
            let namespace = backend.namespace().unwrap_or_default();
            let worker = Worker {
                plan: receiver,
                pods: pods.clone(),
                places: Places::new(self.bounds.hall.clone(), &namespace),
                origin: self.origin,
                idle: idle.clone(),
                calls: self.calls.clone(),
                found: found.clone(),
                told: self.told.clone(),
                prometheus: self.prometheus.clone(),
                credentials: Credentials::new(self.client.clone(), namespace),
            };
            let task = tokio::spawn(worker.run(restored)).abort_handle();
            Entry {
                uid: backend.uid(),
                plan: sender,
                found,
                idle,
                task,
                key,
                told: self.told.clone(),
            }
        });
        entry.plan.send_if_modified(|current| {
            let changed = current.1 != plan || current.0.spec.selector != backend.spec.selector;
            if changed {
                *current = (backend.clone(), plan);
            }
            changed
        });
        // A pass comes with each change of a pod: one that ends must not wait for a connection that nobody uses.
        let serving = observed.pods.iter().filter(|pod| is_serving(pod));
        let serving: HashSet<_> = serving.filter_map(Pod::uid).collect();
        entry.idle.only(|uid| serving.contains(uid));
        entry.found.lock().clone()
    }

    /// Where to call a pass for a backend.
    pub fn calls(&self) -> mpsc::Sender<ObjectRef<GrpcBackend>> {
        self.calls.clone()
    }

    /// Ends the sampling of a backend.
    pub fn forget(&self, backend: &str) {
        self.entries.lock().remove(backend);
    }
}

/// What one pod answered.
pub struct Answer {
    /// The pod's uid.
    pub uid: String,
    /// When.
    pub at: Timestamp,
    /// Its page, or why there is none.
    pub page: Result<exposition::Page, ScrapeError>,
}

impl Answer {
    /// Of a pod that could not be asked.
    fn none(endpoint: &Endpoint) -> Self {
        Self {
            uid: endpoint.target.uid.clone(),
            at: Timestamp::now(),
            page: Err(ScrapeError::NotAsked),
        }
    }
}

/// What each pod says by the family that all are compared by.
pub fn comparable(
    answers: Vec<Answer>,
    choice: &mut Choice,
    asked: Option<MeterId>,
) -> Vec<Scrape> {
    let pages = answers
        .iter()
        .filter_map(|answer| answer.page.as_ref().ok());
    let pages: Vec<&exposition::Page> = pages.collect();
    let chosen = choice.round(&pages, asked).unwrap_or_default();
    let scrape = |answer: Answer| Scrape {
        uid: answer.uid,
        at: answer.at,
        outcome: answer.page.and_then(|page| choice::counters(&page, chosen)),
    };
    answers.into_iter().map(scrape).collect()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use http::{Request, Response};
    use kube::client::Body;

    use super::*;
    use crate::operator::context::{Settings, Shared};
    use crate::operator::telemetry::Metrics;

    /// Files and memory are the process's, however many namespaces it watches.
    #[tokio::test]
    async fn what_is_bounded_is_bounded_over_all_namespaces() {
        let empty = async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Body::empty()));
        let client = Client::new(tower::service_fn(empty), "default");
        let settings = Settings {
            watch_namespaces: vec!["a".into(), "b".into()],
            client_namespaces: Vec::new(),
            max_concurrent_rollouts: 1,
            rollout_deadline: Duration::from_mins(10),
            read_autoscalers: false,
            read_cluster_dns: false,
            read_namespaces: false,
            prometheus: None,
        };
        let shared = Shared::new(client, settings, None, Metrics::new());
        let ((a, _), (b, _)) = (shared.sampler(), shared.sampler());
        let room = b.bounds.room.available_permits();
        let _kept = a.bounds.room.try_acquire().unwrap();
        assert_eq!(b.bounds.room.available_permits(), room - 1);
        assert!(Arc::ptr_eq(&a.bounds.hall, &b.bounds.hall));
    }
}
