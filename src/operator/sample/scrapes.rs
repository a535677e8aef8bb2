//! The scrapes of one backend, all through the interval.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::time::Instant;

use super::credentials::Secured;
use super::idle::Idle;
use super::lanes::Places;
use super::scrape::{TIMEOUT, scrape};
use super::targets::{Endpoint, Page, endpoint};
use super::turns::{TOGETHER, together, turn, window};
use super::{Answer, Asked};
use crate::api::GrpcBackend;
use crate::balance::{ScrapeError, exposition};
use crate::observed::selects;

/// How the pods are asked in one interval.
pub struct Way {
    /// Whose pods.
    pub backend: GrpcBackend,
    /// For what.
    pub asked: Asked,
    /// With what, over TLS.
    pub secured: Option<Arc<Secured>>,
}

/// What is under way, and what has come of it.
pub struct Scrapes {
    pods: Store<Pod>,
    places: Places,
    idle: Arc<Idle>,
    /// What turns are reckoned from, in all backends.
    origin: Instant,
    under_way: FuturesUnordered<BoxFuture<'static, (String, Option<Answer>)>>,
    /// By uid: nobody is asked twice at once.
    waited_for: HashSet<String>,
    /// Those that did not answer in time when last asked.
    hung: HashSet<String>,
    answers: Vec<Answer>,
}

impl Scrapes {
    /// Of the pods in this store.
    pub fn new(pods: Store<Pod>, places: Places, idle: Arc<Idle>, origin: Instant) -> Self {
        Self {
            pods,
            places,
            idle,
            origin,
            under_way: FuturesUnordered::new(),
            waited_for: HashSet::new(),
            hung: HashSet::new(),
            answers: Vec::new(),
        }
    }

    /// Has each pod asked at its turn in the interval that begins now.
    pub fn begin(&mut self, endpoints: &[Endpoint], way: &Arc<Way>, interval: Duration) {
        let begun = self.origin.elapsed();
        let window = window(interval, TIMEOUT + TOGETHER);
        let known: HashSet<&str> = endpoints
            .iter()
            .map(|endpoint| endpoint.target.uid.as_str())
            .collect();
        self.hung.retain(|uid| known.contains(uid.as_str()));
        self.idle.only(|uid| known.contains(uid));
        for endpoint in endpoints {
            let uid = &endpoint.target.uid;
            if !self.waited_for.insert(uid.clone()) {
                continue;
            }
            let ask = Ask {
                uid: uid.clone(),
                name: endpoint.target.name.clone(),
                turn: self.origin + together(begun + turn(uid, window)),
                has_hung: self.hung.contains(uid),
                pods: self.pods.clone(),
                way: way.clone(),
                interval,
                idle: self.idle.clone(),
                places: self.places.clone(),
            };
            self.under_way.push(Box::pin(ask.answer()));
        }
    }

    /// Waits for the next answer; where none is under way for ever. May be given up at any time.
    pub async fn next(&mut self) {
        let Some((uid, answer)) = self.under_way.next().await else {
            return std::future::pending().await;
        };
        self.waited_for.remove(&uid);
        let Some(answer) = answer else { return };
        if matches!(answer.page, Err(ScrapeError::Timeout)) {
            self.hung.insert(uid);
        } else {
            self.hung.remove(&uid);
        }
        self.answers.push(answer);
    }

    /// Goes on with them until some other work is done: those under way hold places that other backends wait for.
    pub async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = self.next() => {}
            }
        }
    }

    /// Asks nobody any more who has not answered yet: turns of a long interval must not hold up those of a short one.
    pub fn stop(&mut self) {
        self.under_way.clear();
        self.waited_for.clear();
    }

    /// What has been answered since this was last asked for.
    pub fn take(&mut self) -> Vec<Answer> {
        std::mem::take(&mut self.answers)
    }
}

/// One pod's turn.
struct Ask {
    uid: String,
    name: String,
    turn: Instant,
    has_hung: bool,
    pods: Store<Pod>,
    way: Arc<Way>,
    interval: Duration,
    idle: Arc<Idle>,
    places: Places,
}

impl Ask {
    async fn answer(self) -> (String, Option<Answer>) {
        let asked = self.ask();
        let answer = self.places.in_turn(self.turn, self.has_hung, asked).await;
        (self.uid, answer)
    }

    /// None: there is nobody to ask any more.
    async fn ask(&self) -> Option<Answer> {
        let page = match self.page()? {
            Ok(page) => self.scrape(&page).await,
            Err(error) => Err(error),
        };
        Some(Answer {
            uid: self.uid.clone(),
            at: Timestamp::now(),
            page,
        })
    }

    async fn scrape(&self, page: &Page) -> Result<exposition::Page, ScrapeError> {
        let mut kept = self.idle.take(&self.uid);
        let labels = self.way.asked.labels.clone();
        let said = scrape(page, labels, self.way.secured.as_ref(), &mut kept).await;
        // One that never ends would stand among those whose end is waited for: servers of ASP.NET count it as any other.
        let counts = |page: &exposition::Page| page.counts_connections();
        if let Some(connection) = kept
            && !said.as_ref().is_ok_and(counts)
            && self.page().is_some()
        {
            self.idle.keep(&self.uid, connection, self.interval);
        }
        said
    }

    /// The pod may have gone since the interval began, and its address may be another's.
    fn page(&self) -> Option<Result<Page, ScrapeError>> {
        let backend = &self.way.backend;
        let mut place = ObjectRef::<Pod>::new(&self.name);
        place.namespace.clone_from(&backend.metadata.namespace);
        let pod = self.pods.get(&place)?;
        let labels = pod.metadata.labels.as_ref()?;
        let endpoint = endpoint(&pod, &self.way.asked.place)?;
        (endpoint.target.uid == self.uid && selects(&backend.spec.selector, labels))
            .then_some(endpoint.page)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use kube::runtime::{reflector::store, watcher::Event};
    use serde_json::json;
    use tokio::{sync::Semaphore, task::JoinSet};

    use super::super::lanes::Hall;
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(15);

    fn pod(number: u32) -> Pod {
        let uid = format!("0b0e8f6c-5a3e-4a68-9d4c-{number:012x}");
        // Without a port for metrics: it is answered for at once when its turn has come.
        let pod = json!({
            "metadata": {
                "name": uid, "uid": uid, "namespace": "n", "labels": {"app": "echo"},
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {"containers": [{"name": "c"}]},
            "status": {"conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
            ]},
        });
        serde_json::from_value(pod).unwrap()
    }

    /// The scrapes of so many pods, begun.
    fn begun(pods: u32) -> Scrapes {
        let (kept, mut writer) = store();
        let mut backend = GrpcBackend::default();
        backend.metadata.namespace = Some("n".into());
        backend.spec.selector = serde_json::from_value(json!({"app": "echo"})).unwrap();
        let asked = Asked::of(&backend);
        let pods: Vec<Pod> = (0..pods).map(pod).collect();
        let endpoints = pods.iter().map(|pod| endpoint(pod, &asked.place).unwrap());
        let endpoints: Vec<Endpoint> = endpoints.collect();
        for pod in pods {
            writer.apply_watcher_event(&Event::Apply(pod));
        }
        let way = Way {
            backend,
            asked,
            secured: None,
        };
        let places = Places::new(Hall::new(), "n");
        let idle = Arc::new(Idle::new(Arc::new(Semaphore::new(1))));
        let mut scrapes = Scrapes::new(kept, places, idle, Instant::now());
        scrapes.begin(&endpoints, &Arc::new(way), INTERVAL);
        scrapes
    }

    #[tokio::test(start_paused = true)]
    async fn pods_are_asked_all_through_the_interval() {
        let begin = Instant::now();
        let mut scrapes = begun(1000);
        let window = window(INTERVAL, TIMEOUT + TOGETHER);
        let mut tenths = [0; 10];
        for _ in 0..1000 {
            scrapes.next().await;
            let part = begin.elapsed().as_secs_f64() / window.as_secs_f64();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "0 to 10"
            )]
            let tenth = (part * 10.0) as usize;
            // The last ones are asked together, up to a tenth of a second later.
            tenths[tenth.min(9)] += 1;
        }
        assert_eq!(scrapes.take().len(), 1000);
        let fair = 50..=150;
        assert!(
            tenths.iter().all(|count| fair.contains(count)),
            "{tenths:?}"
        );
        assert!(begin.elapsed() <= INTERVAL.saturating_sub(TIMEOUT));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_waits_for_a_place_when_its_turn_has_come() {
        let mut scrapes = begun(1);
        let mut held = JoinSet::new();
        for _ in 0..100 {
            let (places, now) = (scrapes.places.clone(), Instant::now());
            held.spawn(async move { places.in_turn(now, false, pending::<()>()).await });
        }
        let waited = tokio::time::timeout(INTERVAL * 2, scrapes.next()).await;
        assert!(waited.is_err(), "all places are taken");
        drop(held);
        scrapes.next().await;
        assert_eq!(scrapes.take().len(), 1);
    }

    #[tokio::test]
    async fn scrapes_go_on_beside_other_work() {
        let mut scrapes = begun(0);
        let (sender, receiver) = futures::channel::oneshot::channel();
        scrapes.waited_for.insert("u".into());
        scrapes.under_way.push(Box::pin(async {
            sender.send(7).unwrap();
            let answer = Answer {
                uid: "u".into(),
                at: Timestamp::now(),
                page: Err(ScrapeError::Timeout),
            };
            ("u".to_owned(), Some(answer))
        }));
        // It ends only if the scrape gets on.
        assert_eq!(scrapes.beside(receiver).await, Ok(7));
        assert_eq!(scrapes.take().len(), 1);
        assert!(scrapes.waited_for.is_empty());
    }
}
