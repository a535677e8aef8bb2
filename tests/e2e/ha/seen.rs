//! What the test itself sees of the API server while the replicas work.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use evenkeel::api::GrpcBackend;
use evenkeel_cluster::TestNamespace;
use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Service};
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Resource, ResourceExt as _};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Of what each version is seen.
pub const RESOURCES: [&str; 3] = ["services", "grpcbackends", "events"];
/// A look without an answer is one that was not taken.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// Looks and watches until it is dropped.
pub struct Watch {
    looks: Arc<Mutex<Vec<Timestamp>>>,
    stored: Arc<Mutex<Versions>>,
    _tasks: JoinSet<()>,
}

/// Those that were stored of each object, by resource and name.
type Versions = BTreeMap<(String, String), BTreeSet<Option<String>>>;

impl Watch {
    /// Looks at the Lease as often as a replica that waits for it.
    pub fn begin(namespace: &TestNamespace, every: Duration) -> Self {
        let mut tasks = JoinSet::new();
        let (looks, stored) = <(Arc<Mutex<Vec<_>>>, Arc<Mutex<_>>)>::default();
        tasks.spawn(look(namespace.api(), every, looks.clone()));
        tasks.spawn(follow::<Service>(namespace.api(), stored.clone()));
        tasks.spawn(follow::<GrpcBackend>(namespace.api(), stored.clone()));
        tasks.spawn(follow::<Event>(namespace.api(), stored.clone()));
        Self {
            looks,
            stored,
            _tasks: tasks,
        }
    }

    /// When each was answered.
    pub fn looks(&self) -> Vec<Timestamp> {
        self.looks.lock().clone()
    }

    /// How many versions of each object were stored, by resource and name.
    pub fn stored(&self) -> BTreeMap<(String, String), usize> {
        let stored = self.stored.lock();
        let counts = stored
            .iter()
            .map(|(object, versions)| (object.clone(), versions.len()));
        counts.collect()
    }
}

async fn look(leases: Api<Lease>, every: Duration, looks: Arc<Mutex<Vec<Timestamp>>>) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Ok(Ok(_)) = timeout(ANSWERED_WITHIN, leases.get_opt("evenkeel")).await {
            looks.lock().push(Timestamp::now());
        }
    }
}

async fn follow<K>(objects: Api<PartialObjectMeta<K>>, stored: Arc<Mutex<Versions>>)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + 'static,
{
    let versions = watcher(objects, watcher::Config::default())
        .default_backoff()
        .touched_objects();
    let mut versions = std::pin::pin!(versions);
    while let Some(seen) = versions.next().await {
        // A watch that fails begins anew by itself; what it missed is not counted.
        if let Ok(object) = seen {
            let key = (K::plural(&()).into_owned(), object.name_any());
            let version = object.resource_version();
            stored.lock().entry(key).or_default().insert(version);
        }
    }
}
