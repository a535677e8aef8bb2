//! The task of one backend: has its pods asked, judges what comes, and calls for a pass where something is worth writing.

use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::runtime::reflector::{ObjectRef, Store};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::credentials::Credentials;
use super::idle::Idle;
use super::lanes::Places;
use super::prometheus::{self, Prometheus};
use super::scrapes::{Scrapes, Way};
use super::turns::turn;
use super::{Answer, Asked, Endpoint, Plan, comparable, endpoint};
use crate::api::{BalanceSource, GrpcBackend};
use crate::balance::{Choice, Judge, MetricsState, Published, Report, Round, ScrapeError, publish};
use crate::observed::selects;
use crate::operator::telemetry::Backends;

/// Intervals within which what a changed spec comes to is said in all its words: otherwise a failure is said again only where it is of
/// another kind, since of many pods another one may be named each time.
const ANEW: u32 = 4;

/// What the task works with.
pub struct Worker {
    /// What to sample, and for whom.
    pub plan: watch::Receiver<(GrpcBackend, Plan)>,
    /// The watch's copy.
    pub pods: Store<Pod>,
    /// Where the pods are asked.
    pub places: Places,
    /// What turns are reckoned from.
    pub origin: Instant,
    /// The backend's connections.
    pub idle: Arc<Idle>,
    /// Where to call a pass for the backend.
    pub calls: mpsc::Sender<ObjectRef<GrpcBackend>>,
    /// What passes are told.
    pub found: Arc<Mutex<Option<Published>>>,
    /// The operator's own metrics.
    pub told: Arc<Backends>,
    /// The other source, where one is known.
    pub prometheus: Option<Arc<Prometheus>>,
    /// What pods are asked with over TLS.
    pub credentials: Credentials,
}

/// What a backend's sampling goes on from.
struct State {
    judge: Judge,
    choice: Choice,
    scrapes: Scrapes,
    /// Whether pods were asked in the interval that ends.
    has_asked: bool,
    /// What the spec asked for last, and for how many intervals.
    asked: Option<Asked>,
    intervals: u32,
}

impl State {
    /// Where something else is asked for from now on, nothing that was counted before goes with it: neither what was judged, nor
    /// what is still being answered.
    fn follow(&mut self, asked: &Asked) {
        if self.asked.as_ref().is_some_and(|before| before != asked) {
            self.scrapes.stop();
            self.scrapes.take();
            self.has_asked = false;
            self.choice = Choice::default();
            self.judge.begin_anew();
        }
    }

    /// Whether the spec has changed lately in what it asks for.
    fn is_anew(&mut self, asked: &Asked) -> bool {
        match self.asked.replace(asked.clone()) {
            // What a status says from before a restart of the operator stands.
            None => self.intervals = ANEW,
            Some(before) if before == *asked => self.intervals = self.intervals.saturating_add(1),
            Some(_) => self.intervals = 0,
        }
        self.intervals < ANEW
    }
}

impl Worker {
    /// Runs until it is aborted.
    pub async fn run(mut self, restored: Option<Published>) {
        let settings = self.plan.borrow().1.settings;
        let mut state = State {
            judge: Judge::new(settings, restored.as_ref()),
            choice: Choice::default(),
            scrapes: Scrapes::new(
                self.pods.clone(),
                self.places.clone(),
                self.idle.clone(),
                self.origin,
            ),
            has_asked: false,
            asked: None,
            intervals: 0,
        };
        let mut cadence = Cadence::of(&self.plan.borrow().1);
        let mut interval = cadence.ticks(&self.plan.borrow().0);
        loop {
            tokio::select! {
                biased;
                _ = interval.tick() => {}
                Ok(()) = self.plan.changed() => {
                    // Whoever shortens five minutes does not wait for their end.
                    let before = std::mem::replace(&mut cadence, Cadence::of(&self.plan.borrow().1));
                    if cadence != before {
                        state.scrapes.stop();
                        state.has_asked = false;
                        interval = cadence.ticks(&self.plan.borrow().0);
                    }
                    continue;
                }
                () = state.scrapes.next() => continue,
            }
            let (backend, plan) = self.plan.borrow().clone();
            self.look(&mut state, &backend, &plan).await;
        }
    }

    /// An interval ends: what has come of it is judged.
    async fn look(&mut self, state: &mut State, backend: &GrpcBackend, plan: &Plan) {
        state.follow(&plan.asked);
        let is_anew = state.is_anew(&plan.asked);
        let endpoints = self.endpoints(backend, plan);
        let (answers, obstacle) = match plan.asked.source {
            BalanceSource::Pods => match self.ask_pods(state, backend, plan, &endpoints).await {
                Ok(None) if !endpoints.is_empty() => return,
                Ok(answers) => (answers.unwrap_or_default(), None),
                Err(obstacle) => (endpoints.iter().map(Answer::none).collect(), Some(obstacle)),
            },
            BalanceSource::Prometheus => {
                // What pods said before is too old once they are asked again.
                state.has_asked = false;
                self.idle.only(|_| false);
                let asked = self.ask_prometheus(backend, plan, &endpoints);
                state.scrapes.beside(asked).await
            }
        };
        let round = Round {
            now: Timestamp::now(),
            targets: endpoints
                .into_iter()
                .map(|endpoint| endpoint.target)
                .collect(),
            scrapes: comparable(answers, &mut state.choice, plan.asked.family),
            rolling_out: plan.rolling_out,
            obstacle,
        };
        state.judge.configure(plan.settings);
        let report = state.judge.round(&round);
        self.told.report(backend, report);
        self.publish(backend, report, round.now, is_anew);
    }

    /// Begins the next interval, and gives the answers of the one that ends; none where nobody was asked in it. Answers that come
    /// later are of the next one.
    async fn ask_pods(
        &mut self,
        state: &mut State,
        backend: &GrpcBackend,
        plan: &Plan,
        endpoints: &[Endpoint],
    ) -> Result<Option<Vec<Answer>>, MetricsState> {
        let answers = state.scrapes.take();
        self.look_for_refusals(&answers);
        let way = state.scrapes.beside(self.way(backend, plan)).await;
        let had_asked = std::mem::replace(&mut state.has_asked, way.is_ok());
        let way = Arc::new(way.inspect_err(|_| self.idle.only(|_| false))?);
        state.scrapes.begin(endpoints, &way, plan.settings.interval);
        Ok(had_asked.then_some(answers))
    }

    /// What Prometheus knows now, and why not of all.
    async fn ask_prometheus(
        &self,
        backend: &GrpcBackend,
        plan: &Plan,
        endpoints: &[Endpoint],
    ) -> (Vec<Answer>, Option<MetricsState>) {
        let Some(prometheus) = &self.prometheus else {
            let unasked = endpoints.iter().map(Answer::none).collect();
            return (unasked, Some(prometheus::unknown()));
        };
        let namespace = backend.namespace().unwrap_or_default();
        let interval = plan.settings.interval;
        let answers = prometheus.answers(&namespace, endpoints, &plan.asked, interval);
        answers.await
    }

    /// How the pods are to be asked, or why they cannot be.
    async fn way(&mut self, backend: &GrpcBackend, plan: &Plan) -> Result<Way, MetricsState> {
        let secured = match &plan.asked.https {
            Some(https) => Some(self.credentials.get(https).await?),
            None => None,
        };
        Ok(Way {
            backend: backend.clone(),
            asked: plan.asked.clone(),
            secured,
        })
    }

    fn look_for_refusals(&mut self, answers: &[Answer]) {
        let is_refused = |answer: &Answer| {
            answer
                .page
                .as_ref()
                .is_err_and(ScrapeError::is_of_credentials)
        };
        if answers.iter().any(is_refused) {
            self.credentials.refused();
        }
    }

    fn endpoints(&self, backend: &GrpcBackend, plan: &Plan) -> Vec<Endpoint> {
        let namespace = backend.namespace();
        let mut endpoints: Vec<_> = self
            .pods
            .state_filter(|pod| {
                pod.namespace() == namespace && selects(&backend.spec.selector, pod.labels())
            })
            .iter()
            .filter_map(|pod| endpoint(pod, &plan.asked.place))
            .collect();
        endpoints.sort_by(|a, b| a.target.name.cmp(&b.target.name));
        endpoints
    }

    fn publish(&mut self, backend: &GrpcBackend, report: &Report, now: Timestamp, is_anew: bool) {
        let mut found = self.found.lock();
        let is_other_failure = |last: &Published| {
            report.metrics.reason.is_available() == Some(false) && last.metrics != report.metrics
        };
        let last = found
            .as_ref()
            .filter(|last| !(is_anew && is_other_failure(last)));
        let next = publish(last, report, now);
        if found.as_ref() != Some(&next) {
            *found = Some(next);
            // Full: the call of the next round that finds something new will do, or the regular pass.
            let _ = self.calls.try_send(ObjectRef::from_obj(backend));
        }
    }
}

/// When a backend is looked at.
#[derive(Clone, Copy, PartialEq)]
struct Cadence {
    interval: Duration,
    source: BalanceSource,
}

impl Cadence {
    fn of(plan: &Plan) -> Self {
        Self {
            interval: plan.settings.interval,
            source: plan.asked.source,
        }
    }

    /// How long until the first time. Pods have turns of their own; Prometheus is one for all backends, and all of them begin at once
    /// when the operator does.
    fn first(self, backend: &GrpcBackend) -> Duration {
        match self.source {
            BalanceSource::Pods => Duration::ZERO,
            BalanceSource::Prometheus => turn(&backend.uid().unwrap_or_default(), self.interval),
        }
    }

    fn ticks(self, backend: &GrpcBackend) -> tokio::time::Interval {
        let first = Instant::now() + self.first(backend);
        let mut interval = tokio::time::interval_at(first, self.interval);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        interval
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector::store;
    use serde_json::{Value, json};
    use tokio::sync::Semaphore;

    use super::super::lanes::Hall;
    use super::*;
    use crate::balance::Settings;

    fn asked(metrics: &Value) -> Asked {
        let mut backend = GrpcBackend::default();
        let balance = json!({"metrics": metrics});
        backend.spec.balance = serde_json::from_value(balance).unwrap();
        Asked::of(&backend)
    }

    /// When the operator begins, all backends do.
    #[test]
    fn backends_ask_prometheus_at_times_of_their_own() {
        let interval = Duration::from_secs(15);
        let first = |source, number: u32| {
            let mut backend = GrpcBackend::default();
            backend.metadata.uid = Some(format!("0b0e8f6c-5a3e-4a68-9d4c-{number:012x}"));
            let cadence = Cadence { interval, source };
            cadence.first(&backend)
        };
        let mut seconds = [0; 15];
        for number in 0..300 {
            assert_eq!(first(BalanceSource::Pods, number), Duration::ZERO);
            let first = first(BalanceSource::Prometheus, number).as_secs();
            seconds[usize::try_from(first).unwrap()] += 1;
        }
        assert!(
            seconds.iter().all(|count| (1..=40).contains(count)),
            "{seconds:?}"
        );
    }

    #[test]
    fn answers_to_another_question_are_dropped() {
        let (pods, _) = store();
        let idle = Arc::new(Idle::new(Arc::new(Semaphore::new(1))));
        let mut state = State {
            judge: Judge::new(Settings::default(), None),
            choice: Choice::default(),
            scrapes: Scrapes::new(pods, Places::new(Hall::new(), "n"), idle, Instant::now()),
            has_asked: false,
            asked: None,
            intervals: 0,
        };
        for (metrics, goes_on) in [
            // After a restart of the operator nothing is another.
            (json!({}), true),
            (json!({}), true),
            (json!({"labels": {"server": "a"}}), false),
            (json!({"labels": {"server": "a"}}), true),
            (json!({"port": 9090}), false),
            (json!({"port": 9090, "path": "/stats"}), false),
            (json!({}), false),
        ] {
            state.has_asked = true;
            let asked = asked(&metrics);
            state.follow(&asked);
            assert_eq!(state.has_asked, goes_on, "{metrics}");
            state.is_anew(&asked);
        }
    }
}
