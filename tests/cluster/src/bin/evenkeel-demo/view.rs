//! The world of the demo at one moment: the pods, how a client's requests are spread over them, and the verdict.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use anyhow::Result;
use evenkeel_cluster::grpc_backends;
use evenkeel_cluster::load::{Load, Totals, ready_since};
use jiff::Timestamp;
use k8s_openapi::api::core::v1;
use kube::api::{DynamicObject, ListParams};
use kube::{Api, Client, ResourceExt as _};

/// Over which requests are counted: long enough for steady bars, short enough to see them move.
const SPAN: Duration = Duration::from_secs(4);

/// What can be said of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not ready yet.
    Starting,
    /// Ready since the moment that the story looks back to.
    New,
    /// Ready for longer.
    Ready,
    /// On its way out.
    Leaving,
}

/// A pod, as the bars show it.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// What can be said of it.
    pub state: State,
    /// Requests per second, seen by the client.
    pub rate: f64,
    /// For how many seconds it has been ready.
    pub ready_for: f64,
    /// Seconds from ready to the first request.
    pub first_after: Option<f64>,
}

/// Everything at one moment.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The pods, oldest first.
    pub pods: Vec<Pod>,
    /// Requests per second to pods that are gone.
    pub elsewhere: f64,
    /// Calls that failed since the first look.
    pub failed: u64,
    /// The verdict on balance, if there is a GrpcBackend.
    pub verdict: String,
    /// Pods that the verdict is about.
    pub judged: u64,
    /// ConnectionAgeApplied's reason.
    pub age: String,
}

impl View {
    /// Pods that are ready and get requests.
    pub fn busy(&self) -> usize {
        self.ready().filter(|pod| pod.rate > 0.0).count()
    }

    /// Pods that are ready.
    pub fn ready(&self) -> impl Iterator<Item = &Pod> {
        self.pods
            .iter()
            .filter(|pod| matches!(pod.state, State::Ready | State::New))
    }

    /// Whether every ready pod has within a tenth of its even share, and no other pod has any.
    pub fn even(&self) -> bool {
        let rates: Vec<f64> = self.ready().map(|pod| pod.rate).collect();
        let only = rates.len() == self.pods.len() && self.elsewhere == 0.0;
        #[expect(clippy::cast_precision_loss, reason = "a handful of pods")]
        let mean = rates.iter().sum::<f64>() / rates.len().max(1) as f64;
        only && mean > 0.0 && rates.iter().all(|rate| (rate / mean - 1.0).abs() <= 0.1)
    }
}

/// Looks again and again.
pub struct Observer {
    pods: Api<v1::Pod>,
    backends: Api<DynamicObject>,
    /// Pods that became ready later are new.
    since: Timestamp,
    samples: VecDeque<(Instant, Totals)>,
    /// Failed calls at the first look.
    failed: Option<u64>,
}

impl Observer {
    /// In the namespace `default`, where the story plays.
    pub fn new(client: Client, since: Timestamp) -> Self {
        Self {
            pods: Api::default_namespaced(client.clone()),
            backends: grpc_backends(client, "default"),
            since,
            samples: VecDeque::new(),
            failed: None,
        }
    }

    /// How it is now.
    pub async fn look(&mut self, load: Option<&Load>) -> Result<View> {
        if let Some(load) = load {
            self.samples
                .push_back((Instant::now(), load.totals().await?));
            while self
                .samples
                .get(1)
                .is_some_and(|(at, _)| at.elapsed() >= SPAN)
            {
                self.samples.pop_front();
            }
        }
        let newest = self
            .samples
            .back()
            .map(|(_, totals)| totals.clone())
            .unwrap_or_default();
        let rates = self.rates();
        let list = self
            .pods
            .list(&ListParams::default().labels("app=echo"))
            .await?;
        let failed: u64 = newest.counts.errors.values().sum();
        let listed = |name: &String| {
            list.iter()
                .any(|pod| pod.metadata.name.as_ref() == Some(name))
        };
        let mut pods: Vec<(Option<Timestamp>, Pod)> = list
            .iter()
            .map(|pod| {
                (
                    pod.creation_timestamp().map(|time| time.0),
                    describe(pod, &rates, &newest, self.since),
                )
            })
            .collect();
        pods.sort_by(|a, b| (a.0, &a.1.name).cmp(&(b.0, &b.1.name)));
        let mut view = View {
            pods: pods.into_iter().map(|(_, pod)| pod).collect(),
            elsewhere: rates
                .iter()
                .filter(|(pod, _)| !listed(pod))
                .map(|(_, rate)| rate)
                .sum(),
            failed: failed - *self.failed.get_or_insert(failed),
            ..View::default()
        };
        if let Some(backend) = self.backends.get_opt("echo").await? {
            let status = &backend.data["status"];
            view.verdict = reason(status, "Balanced");
            view.age = reason(status, "ConnectionAgeApplied");
            view.judged = status["balance"]["pods"].as_u64().unwrap_or(0);
        }
        Ok(view)
    }

    fn rates(&self) -> BTreeMap<String, f64> {
        let (Some((from, before)), Some((to, now))) = (self.samples.front(), self.samples.back())
        else {
            return BTreeMap::new();
        };
        let seconds = to.duration_since(*from).as_secs_f64().max(0.5);
        now.counts
            .replies
            .iter()
            .map(|(pod, count)| {
                let more =
                    count.saturating_sub(before.counts.replies.get(pod).copied().unwrap_or(0));
                #[expect(clippy::cast_precision_loss, reason = "some hundred requests")]
                let rate = more as f64 / seconds;
                (pod.clone(), rate)
            })
            .collect()
    }
}

fn describe(
    pod: &v1::Pod,
    rates: &BTreeMap<String, f64>,
    totals: &Totals,
    since: Timestamp,
) -> Pod {
    let name = pod.name_any();
    let ready = ready_since(pod);
    let state = match ready {
        _ if pod.metadata.deletion_timestamp.is_some() => State::Leaving,
        None => State::Starting,
        Some(ready) if ready.as_second() >= since.as_second() => State::New,
        Some(_) => State::Ready,
    };
    let after =
        |moment: Timestamp| ready.map(|ready| moment.duration_since(ready).as_secs_f64().max(0.0));
    Pod {
        state,
        rate: rates.get(&name).copied().unwrap_or(0.0),
        ready_for: after(Timestamp::now()).unwrap_or(0.0),
        first_after: totals.first_replies.get(&name).copied().and_then(after),
        name,
    }
}

fn reason(status: &serde_json::Value, kind: &str) -> String {
    let conditions = status["conditions"].as_array();
    let condition =
        conditions.and_then(|all| all.iter().find(|condition| condition["type"] == kind));
    condition
        .and_then(|condition| condition["reason"].as_str())
        .unwrap_or_default()
        .to_owned()
}
