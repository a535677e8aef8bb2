//! Asks the cluster, with the user's own rights: the backends by a list, and when the pods of one are due.

use std::time::Duration;

use anyhow::anyhow;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::Client;
use kube::api::{Api, ListParams};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::model::{Backend, Key, Pods, Snapshot};
use super::pace::Pace;
use super::round::{ROUND_IN, round};
use super::unread::{SILENT, unlisted};
use crate::api::GrpcBackend;
use crate::balance::{Choice, Judge, Mode, Settings};
use crate::cli::connect::connect;
use crate::connection_age::timing;
use crate::status::settings;

/// For one answer to a list.
pub const LISTED_IN: Duration = Duration::from_secs(10);
/// From one look to the next.
const EVERY: Duration = Duration::from_secs(2);
/// From one list of all backends to the next while one of them is looked at.
const LISTED_EVERY: Duration = Duration::from_secs(10);
/// Objects in one answer; no more pods are looked at.
pub const PAGE: u32 = 500;
/// Backends that are looked at.
const BACKENDS: usize = 5000;

/// Where it all comes from.
pub struct Source {
    client: Client,
    namespace: Option<String>,
    window: Duration,
    listed: Option<Listed>,
    opened: Option<Opened>,
}

/// The backends.
struct Listed {
    at: Instant,
    backends: Vec<GrpcBackend>,
    /// What is left out of them.
    cut: Option<String>,
}

/// The backend whose pods are looked at.
struct Opened {
    key: Key,
    /// Which resource and which of its specs.
    of: (Option<String>, Option<i64>),
    judge: Judge,
    choice: Choice,
    pace: Pace,
    /// When the last round began that came to something.
    begun: Option<Instant>,
    /// When its pods are due again.
    due: Instant,
    pods: Option<Pods>,
    /// What is left out of them.
    cut: Option<String>,
}

impl Source {
    /// Finds the cluster as kubectl does; gives the context's namespace too.
    pub async fn connect(context: Option<&str>) -> anyhow::Result<(Self, String)> {
        let (client, namespace) = connect(context).await?;
        let source = Self {
            client,
            namespace: None,
            window: Duration::ZERO,
            listed: None,
            opened: None,
        };
        Ok((source, namespace))
    }

    /// Of this namespace (none: all), counting pods' requests over this window.
    pub fn of(self, namespace: Option<String>, window: Duration) -> Self {
        Self {
            namespace,
            window,
            ..self
        }
    }

    /// Looks again and again, at the pods of what is to be opened too, until nobody listens.
    pub async fn keep_asking(
        mut self,
        mut to_open: watch::Receiver<Option<Key>>,
        found: mpsc::Sender<anyhow::Result<Snapshot>>,
    ) {
        loop {
            let begun = Instant::now();
            let open = to_open.borrow_and_update().clone();
            // An answer that nobody waits for any more must not hold up the next.
            let snapshot = tokio::select! {
                snapshot = self.look(open.as_ref()) => snapshot,
                changed = to_open.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
            };
            if found.send(snapshot).await.is_err() {
                return;
            }
            tokio::select! {
                () = sleep_until(begun + EVERY) => {}
                changed = to_open.changed() => if changed.is_err() { return },
            }
        }
    }

    /// One look. It can be given up at any time.
    pub async fn look(&mut self, open: Option<&Key>) -> anyhow::Result<Snapshot> {
        let now = Instant::now();
        let is_recent = |listed: &Listed| open.is_some() && now < listed.at + LISTED_EVERY;
        let listed = match self.listed.take_if(|listed| is_recent(listed)) {
            Some(listed) => listed,
            None => self.backends().await?,
        };
        let listed = &*self.listed.insert(listed);
        let mut snapshot = Snapshot {
            backends: listed.backends.iter().map(Backend::of).collect(),
            cut: listed.cut.clone(),
            pods: None,
        };
        snapshot.backends.sort_by(|a, b| a.key.cmp(&b.key));
        let Some(key) = open else {
            self.opened = None;
            return Ok(snapshot);
        };
        let mut backends = listed.backends.iter();
        let backend = backends.find(|backend| Backend::of(backend).key == *key);
        let backend = backend.cloned().ok_or_else(|| {
            anyhow!(
                "there is no GrpcBackend {} in namespace {}",
                key.name,
                key.namespace
            )
        })?;
        let (pods, cut) = self.pods(&backend, key).await?;
        (snapshot.pods, snapshot.cut) = (Some(pods), cut);
        Ok(snapshot)
    }

    /// When another look can show anything new of an opened backend's pods.
    pub fn due(&self) -> Option<Instant> {
        self.opened.as_ref().map(|opened| opened.due)
    }

    /// How long to look until an opened backend's pods have figures, as far as can be told by now.
    pub fn settles_in(&self) -> Duration {
        let opened = self.opened.as_ref().map(|opened| opened.pace);
        opened.unwrap_or(Pace::new(self.window)).settles_in() + ROUND_IN
    }

    async fn backends(&self) -> anyhow::Result<Listed> {
        let api: Api<GrpcBackend> = match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let mut backends = Vec::new();
        let mut parameters = ListParams::default().limit(PAGE);
        loop {
            let list = timeout(LISTED_IN, api.list(&parameters))
                .await
                .map_err(|_| anyhow!(SILENT))?
                .map_err(|error| unlisted(&error, "GrpcBackends", self.namespace.as_deref()))?;
            backends.extend(list.items);
            let more = more(&list.metadata);
            if let Some(token) = more.filter(|_| backends.len() < BACKENDS) {
                parameters = parameters.continue_token(token);
                continue;
            }
            let cut = more.map(|_| {
                format!(
                    "only {} GrpcBackends are shown, and there are more: choose a namespace with -n",
                    backends.len()
                )
            });
            return Ok(Listed {
                at: Instant::now(),
                backends,
                cut,
            });
        }
    }

    /// They, and what is left out of them.
    async fn pods(
        &mut self,
        backend: &GrpcBackend,
        key: &Key,
    ) -> anyhow::Result<(Pods, Option<String>)> {
        let settings = |pace: &Pace| Settings {
            interval: pace.interval,
            window: pace.window(),
            mode: Mode::Observe,
            promise: Some(promise(backend)),
            ..Settings::default()
        };
        let pace = Pace::new(self.window);
        // Another resource of the name, or another spec, may be read otherwise.
        let of = (backend.metadata.uid.clone(), backend.metadata.generation);
        let is_same = |opened: &Opened| opened.key == *key && opened.of == of;
        let opened = match self.opened.take().filter(is_same) {
            Some(opened) => opened,
            None => Opened {
                key: key.clone(),
                of,
                judge: Judge::new(settings(&pace), None),
                choice: Choice::default(),
                pace,
                begun: None,
                due: Instant::now(),
                pods: None,
                cut: None,
            },
        };
        let opened = self.opened.insert(opened);
        let now = Instant::now();
        if let Some(pods) = opened.pods.as_ref().filter(|_| now < opened.due) {
            return Ok((pods.clone(), opened.cut.clone()));
        }
        // Where nothing comes of it, too.
        opened.due = now + opened.pace.next;
        let looked = round(&self.client, backend, &mut opened.choice).await?;
        if let Some(before) = opened.begun.replace(now) {
            opened.pace.begin(now - before);
        }
        opened.pace.end(looked.pages, now.elapsed());
        opened.due = now + opened.pace.next;
        opened.judge.configure(settings(&opened.pace));
        let (pods, cut) = match looked.seen {
            Ok((round, cut)) => (Pods::of_report(backend, opened.judge.round(&round)), cut),
            Err(note) => (Pods::of_status(backend, note), None),
        };
        opened.pods = Some(pods.clone());
        opened.cut.clone_from(&cut);
        Ok((pods, cut))
    }
}

/// For how long the operator takes a pod of this backend for a new one: so long clients may need to find it.
fn promise(backend: &GrpcBackend) -> Duration {
    let status = backend.status.as_ref();
    let servers = status.into_iter().flat_map(|status| &status.servers);
    let ages = servers.map(|server| server.running.as_deref());
    let running = status.and_then(|status| status.running_max_age.as_deref());
    let ages = ages.chain([running]).filter_map(timing::running_age);
    settings(backend, None, ages.max()).promise()
}

/// Where a list goes on.
pub fn more(list: &ListMeta) -> Option<&str> {
    list.continue_.as_deref().filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use http::{Request, Response};
    use jiff::Timestamp;
    use kube::client::Body;
    use parking_lot::Mutex;
    use serde_json::{Value, json};
    use tower::{BoxError, service_fn};

    use super::super::model::State;
    use super::*;

    const PODS: usize = 40;

    /// What the API server was asked for.
    type Asked = Arc<Mutex<Vec<String>>>;

    fn backends(generation: i64) -> Value {
        let backend = |name: &str| {
            json!({"apiVersion": "evenkeel.dev/v1alpha1", "kind": "GrpcBackend",
                "metadata": {"name": name, "namespace": "shop", "uid": name, "generation": generation},
                "spec": {"selector": {"app": name}, "ports": [{"port": 80}]},
                "status": {"runningMaxAge": "30s"}})
        };
        json!({"apiVersion": "evenkeel.dev/v1alpha1", "kind": "GrpcBackendList", "metadata": {},
            "items": [backend("cart"), backend("rng")]})
    }

    fn pods(ready: Timestamp) -> Value {
        let pod = |number: usize| {
            let name = format!("cart-{number}");
            json!({"metadata": {"name": name, "namespace": "shop", "uid": name, "creationTimestamp": ready},
                "spec": {"containers": [{"name": "cart", "ports": [{"name": "metrics", "containerPort": 9090}]}]},
                "status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": [
                    {"type": "Ready", "status": "True", "lastTransitionTime": ready}]}})
        };
        let pods: Vec<Value> = (0..PODS).map(pod).collect();
        json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": pods})
    }

    /// A cluster in which this is the generation of all backends, the pods are ready since then, and each has this page; without one it
    /// hangs.
    fn cluster(
        generation: Arc<AtomicI64>,
        ready: Timestamp,
        page: Option<&'static str>,
    ) -> (Source, Asked) {
        let asked = Asked::default();
        let log = asked.clone();
        let server = service_fn(move |request: Request<Body>| {
            let path = request.uri().path().to_owned();
            log.lock().push(path.clone());
            let generation = generation.load(Ordering::Relaxed);
            async move {
                let answer = if path.ends_with("/grpcbackends") {
                    backends(generation).to_string()
                } else if path.ends_with("/pods") {
                    pods(ready).to_string()
                } else if let Some(page) = page {
                    page.to_owned()
                } else {
                    std::future::pending().await
                };
                Ok::<_, BoxError>(Response::new(Body::from(answer.into_bytes())))
            }
        });
        let source = Source {
            client: Client::new(server, "shop"),
            namespace: Some("shop".into()),
            window: Duration::from_secs(1),
            listed: None,
            opened: None,
        };
        (source, asked)
    }

    /// A cluster in which every pod's page hangs.
    fn source() -> (Source, Asked) {
        cluster(Arc::default(), Timestamp::UNIX_EPOCH, None)
    }

    fn key(name: &str) -> Key {
        Key {
            namespace: "shop".into(),
            name: name.into(),
        }
    }

    #[tokio::test]
    async fn pods_that_hang_do_not_keep_the_next_question_waiting() {
        let (source, asked) = source();
        let (open, to_open) = watch::channel(Some(key("cart")));
        let (found, mut finds) = mpsc::channel(1);
        let asking = tokio::spawn(source.keep_asking(to_open, found));
        let pages = || {
            let asked = asked.lock();
            asked.iter().filter(|path| path.contains("/proxy")).count()
        };
        while pages() == 0 {
            tokio::task::yield_now().await;
        }
        open.send_replace(None);
        let soon = timeout(Duration::from_secs(2), finds.recv()).await;
        let snapshot = soon.expect("it waits for the pods").unwrap().unwrap();
        assert_eq!((snapshot.backends.len(), snapshot.pods), (2, None));
        assert!(pages() < PODS, "all are asked at once");
        asking.abort();
    }

    #[tokio::test]
    async fn many_pods_are_read_less_often() {
        let page = "grpc_server_started_total 7\n";
        let (mut source, _) = cluster(Arc::default(), Timestamp::UNIX_EPOCH, Some(page));
        let begun = Instant::now();
        source.look(Some(&key("cart"))).await.unwrap();
        // Else a fifth of the window.
        let due = source.due().unwrap();
        assert!(due >= begun + Duration::from_millis(800));
        let settled = source.settles_in();
        assert!(
            settled >= ROUND_IN + Duration::from_millis(2400),
            "{settled:?}"
        );
    }

    /// Whoever sets another port or other labels in the spec sees what is read there.
    #[tokio::test]
    async fn another_spec_is_read_anew() {
        let generation = Arc::new(AtomicI64::new(1));
        let page = "grpc_server_started_total 7\n";
        let (mut source, _) = cluster(generation.clone(), Timestamp::UNIX_EPOCH, Some(page));
        source.look(Some(&key("cart"))).await.unwrap();
        for (is_now, is_kept) in [(1, true), (2, false), (2, true)] {
            generation.store(is_now, Ordering::Relaxed);
            source.listed = None;
            let opened = source.opened.as_mut().unwrap();
            opened.cut = Some("as before".into());
            opened.due = Instant::now() + Duration::from_hours(1);
            let snapshot = source.look(Some(&key("cart"))).await.unwrap();
            assert_eq!(snapshot.cut.is_some(), is_kept, "{is_now}");
        }
    }

    #[tokio::test]
    async fn a_pod_warms_up_for_as_long_as_clients_may_need_to_find_it() {
        for (age, state) in [(60, State::WarmingUp), (300, State::Serving)] {
            let ready = Timestamp::now() - jiff::SignedDuration::from_secs(age);
            let page = "grpc_server_started_total 7\n";
            let (mut source, _) = cluster(Arc::default(), ready, Some(page));
            let pods = timeout(Duration::from_mins(1), async {
                loop {
                    let pods = source.look(Some(&key("cart"))).await.unwrap().pods.unwrap();
                    if pods.note.is_none() {
                        return pods;
                    }
                    sleep_until(source.due().unwrap()).await;
                }
            });
            let pods = pods.await.expect("no window fills");
            assert!(pods.rows.iter().all(|pod| pod.state == state), "{pods:?}");
        }
    }

    #[test]
    fn what_is_promised_goes_by_the_longest_age_that_runs() {
        let promised = |status: Value, spec: Value| {
            let mut backend = backends(1)["items"][0].take();
            backend["status"] = status;
            backend["spec"]["balance"] = spec;
            promise(&serde_json::from_value(backend).unwrap()).as_secs()
        };
        let server = |age: &str| json!({"kind": "Deployment", "name": age, "running": age});
        let mixed = json!({"runningMaxAge": "mixed", "servers": [server("1m"), server("30s")]});
        let longest = timing::patience(Duration::from_mins(1)).unwrap().as_secs();
        assert_eq!(promised(mixed, Value::Null), longest);
        // Where nothing promises anything: two windows of the backend's own.
        assert_eq!(promised(Value::Null, Value::Null), 120);
        assert_eq!(promised(Value::Null, json!({"window": "3m"})), 360);
    }

    #[tokio::test]
    async fn while_one_is_looked_at_not_all_are_listed_each_time() {
        let (mut source, asked) = source();
        let lists = || {
            let asked = asked.lock();
            let lists = asked.iter().filter(|path| path.ends_with("/grpcbackends"));
            lists.count()
        };
        let at_once = Duration::from_millis(50);
        source.look(None).await.unwrap();
        source.look(None).await.unwrap();
        assert_eq!(lists(), 2);
        for _ in 0..3 {
            // Its pods hang, and it is given up.
            let given_up = timeout(at_once, source.look(Some(&key("cart")))).await;
            assert!(given_up.is_err());
        }
        assert_eq!(lists(), 2);
        let absent = source.look(Some(&key("gone"))).await;
        assert!(absent.unwrap_err().to_string().contains("no GrpcBackend"));
        source.listed.as_mut().unwrap().at -= LISTED_EVERY;
        let _ = timeout(at_once * 20, source.look(Some(&key("cart")))).await;
        assert_eq!(lists(), 3);
    }
}
