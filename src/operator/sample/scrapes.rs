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
use super::lanes::Lanes;
use super::scrape::{TIMEOUT, scrape};
use super::targets::{Endpoint, Page, endpoint};
use super::turns::{TOGETHER, together, turn, window};
use super::{Answer, Asked};
use crate::api::GrpcBackend;
use crate::balance::{ScrapeError, exposition};
use crate::observed::selects;

/// Scrapes under way at once for one backend.
const PLACES: usize = 16;

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
    shared: Arc<Lanes>,
    own: Arc<Lanes>,
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
    /// Of the pods in this store; the places are `shared` with other backends.
    pub fn new(pods: Store<Pod>, shared: Arc<Lanes>, idle: Arc<Idle>, origin: Instant) -> Self {
        Self {
            pods,
            shared,
            idle,
            origin,
            own: Arc::new(Lanes::new(PLACES)),
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
                lanes: [self.own.clone(), self.shared.clone()],
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
    /// The backend's own first, so that what waits there holds no place that others could have.
    lanes: [Arc<Lanes>; 2],
}

impl Ask {
    /// A schedule, not a wait for anything. None: there is nobody to ask any more.
    async fn answer(self) -> (String, Option<Answer>) {
        tokio::time::sleep_until(self.turn).await;
        let _own = self.lanes[0].enter(self.has_hung).await;
        let _shared = self.lanes[1].enter(self.has_hung).await;
        let Some(page) = self.page() else {
            return (self.uid, None);
        };
        let page = match page {
            Ok(page) => self.scrape(&page).await,
            Err(error) => Err(error),
        };
        let answer = Answer {
            uid: self.uid.clone(),
            at: Timestamp::now(),
            page,
        };
        (self.uid, Some(answer))
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
    use kube::runtime::reflector::store;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn scrapes_go_on_beside_other_work() {
        let (pods, _) = store();
        let idle = Arc::new(Idle::new(Arc::new(Semaphore::new(1))));
        let mut scrapes = Scrapes::new(pods, Arc::new(Lanes::new(1)), idle, Instant::now());
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
