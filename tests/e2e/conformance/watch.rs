//! Looks on while something happens: pods by a watch, clients by their sums.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_cluster::load::Totals;
use evenkeel_conformance::measure::{self, Snapshot, State, Watched};
use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::utils::Backoff;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::client::Client;

const EVERY: Duration = Duration::from_millis(500);

/// After an outage of the API server it must know of a new pod before the clients do, whatever they wait.
struct AtOnce;

impl Iterator for AtOnce {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(100))
    }
}

impl Backoff for AtOnce {
    fn reset(&mut self) {}
}

/// What goes on until this is dropped.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The lives of all pods of the servers, by an informer's clock: Kubernetes keeps whole seconds.
pub struct Pods {
    lives: Arc<Mutex<BTreeMap<String, measure::Pod>>>,
    _task: Task,
}

impl Pods {
    /// From `begun` on.
    pub fn watch(pods: Api<Pod>, begun: Timestamp) -> Self {
        let lives = Arc::new(Mutex::new(BTreeMap::new()));
        let seen = lives.clone();
        let task = tokio::spawn(async move {
            let config = watcher::Config::default().labels("app=echo");
            let stream = watcher(pods, config)
                .backoff(AtOnce)
                .touched_objects()
                .for_each(|touched| {
                    // The backoff only waits: errors come by here, and the watch goes on after them.
                    if let Ok(pod) = touched {
                        note(&mut seen.lock(), &pod, since(begun, Timestamp::now()));
                    }
                    std::future::ready(())
                });
            stream.await;
        });
        Self {
            lives,
            _task: Task(task),
        }
    }

    /// As far as they are known.
    pub fn lives(&self) -> Vec<measure::Pod> {
        self.lives.lock().values().cloned().collect()
    }

    /// Forgets when they became Ready: all that are there were so before what comes now.
    pub fn begin(&self) {
        let mut lives = self.lives.lock();
        lives.retain(|_, pod| pod.terminating.is_none());
        for pod in lives.values_mut() {
            pod.ready = pod.ready.map(|_| 0.0);
        }
    }
}

fn note(lives: &mut BTreeMap<String, measure::Pod>, pod: &Pod, now: f64) {
    let name = pod.name_any();
    let known = lives.entry(name.clone()).or_insert_with(|| measure::Pod {
        name,
        ..measure::Pod::default()
    });
    let state = State {
        terminating: pod.metadata.deletion_timestamp.is_some(),
        ready: evenkeel_cluster::load::ready_since(pod).is_some(),
        restarts: restarts(pod),
    };
    known.note(now, state);
}

fn restarts(pod: &Pod) -> i32 {
    let status = pod.status.as_ref();
    let containers = status.and_then(|status| status.container_statuses.as_ref());
    containers
        .into_iter()
        .flatten()
        .map(|container| container.restart_count)
        .sum()
}

/// The sums of a client, twice a second.
pub struct Sums {
    kept: Arc<Mutex<(Vec<Snapshot>, Option<Totals>)>>,
    begun: Timestamp,
    under_way: f64,
    _task: Task,
}

impl Sums {
    /// From `begun` on, of a client that may have so many calls under way at the end.
    pub fn watch(client: &Arc<Client>, begun: Timestamp, under_way: f64) -> Self {
        let kept = Arc::new(Mutex::new((Vec::new(), None)));
        let (keep, client) = (kept.clone(), client.clone());
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(EVERY);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                // One that does not answer now is asked again.
                let Ok(totals) = client.totals().await else {
                    continue;
                };
                let mut kept = keep.lock();
                kept.0.push(Snapshot {
                    at: since(begun, totals.t),
                    ok: totals.counts.ok,
                    replies: totals.counts.replies.clone(),
                });
                kept.1 = Some(totals);
            }
        });
        Self {
            kept,
            begun,
            under_way,
            _task: Task(task),
        }
    }

    /// Until now.
    pub fn watched(&self) -> Watched {
        let kept = self.kept.lock();
        let totals = kept.1.clone().unwrap_or_default();
        Watched {
            snapshots: kept.0.clone(),
            first_replies: totals
                .first_replies
                .into_iter()
                .map(|(pod, at)| (pod, since(self.begun, at)))
                .collect(),
            failed: measure::failed(
                totals.counts.errors,
                totals.counts.dropped,
                totals.counts.in_flight,
                self.under_way,
            ),
            not_begun: totals.counts.late,
        }
    }
}

/// Seconds.
pub fn since(begun: Timestamp, at: Timestamp) -> f64 {
    at.duration_since(begun).as_secs_f64()
}
