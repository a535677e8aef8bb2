//! Asks the cluster, with the user's own rights: the backends by a list, the pods' metrics pages through the API server.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use futures::{StreamExt as _, stream};
use http::Request;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::Client;
use kube::api::{Api, ListParams};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::model::{Backend, Key, Pods, Snapshot};
use super::unread::{only_status, unread};
use crate::api::GrpcBackend;
use crate::balance::exposition::Page;
use crate::balance::{Choice, Judge, Mode, Round, ScrapeError, Settings};
use crate::cli::connect::connect;
use crate::operator::{ACCEPT, Answer, Asked, Endpoint, comparable, endpoint, read};

/// For one list.
const LISTED_IN: Duration = Duration::from_secs(10);
/// For one metrics page.
const READ_IN: Duration = Duration::from_secs(5);
/// From one look to the next.
const EVERY: Duration = Duration::from_secs(2);
/// Objects in one answer; no more pods are looked at.
const PAGE: u32 = 500;
/// Backends that are looked at.
const BACKENDS: usize = 5000;
/// Pages read at once.
const AT_ONCE: usize = 8;

/// Where it all comes from.
pub struct Source {
    client: Client,
    namespace: Option<String>,
    window: Duration,
    opened: Option<Opened>,
}

/// The backend whose pods are looked at.
struct Opened {
    key: Key,
    judge: Judge,
    choice: Choice,
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
            let snapshot = self.look(open.as_ref()).await;
            if found.send(snapshot).await.is_err() {
                return;
            }
            tokio::select! {
                () = sleep_until(begun + EVERY) => {}
                changed = to_open.changed() => if changed.is_err() { return },
            }
        }
    }

    /// One look.
    pub async fn look(&mut self, open: Option<&Key>) -> anyhow::Result<Snapshot> {
        let (backends, mut cut) = self.backends().await?;
        let pods = match open {
            None => {
                self.opened = None;
                None
            }
            Some(key) => {
                let backend = backends
                    .iter()
                    .find(|backend| Backend::of(backend).key == *key)
                    .ok_or_else(|| {
                        anyhow!(
                            "there is no GrpcBackend {} in namespace {}",
                            key.name,
                            key.namespace
                        )
                    })?;
                let (pods, cut_pods) = self.pods(backend, key).await?;
                cut = cut_pods;
                Some(pods)
            }
        };
        let mut backends: Vec<Backend> = backends.iter().map(Backend::of).collect();
        backends.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Snapshot {
            backends,
            cut,
            pods,
        })
    }

    /// When another look can show anything new of an opened backend's pods.
    pub fn due(&self) -> Option<Instant> {
        self.opened.as_ref().map(|opened| opened.due)
    }

    /// How long to look until an opened backend's pods have figures.
    pub fn settles_in(&self) -> Duration {
        self.window + self.interval() + READ_IN
    }

    fn interval(&self) -> Duration {
        self.window / 5
    }

    /// They, and what is left out of them.
    async fn backends(&self) -> anyhow::Result<(Vec<GrpcBackend>, Option<String>)> {
        let api: Api<GrpcBackend> = match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let mut backends = Vec::new();
        let mut parameters = ListParams::default().limit(PAGE);
        loop {
            let list = timeout(LISTED_IN, api.list(&parameters))
                .await
                .context("the API server does not answer")?
                .context("GrpcBackends cannot be listed")?;
            backends.extend(list.items);
            match more(&list.metadata) {
                None => return Ok((backends, None)),
                Some(token) if backends.len() < BACKENDS => {
                    parameters = parameters.continue_token(token);
                }
                Some(_) => {
                    let cut = format!(
                        "only {} GrpcBackends are shown, and there are more: choose a namespace with -n",
                        backends.len()
                    );
                    return Ok((backends, Some(cut)));
                }
            }
        }
    }

    /// They, and what is left out of them.
    async fn pods(
        &mut self,
        backend: &GrpcBackend,
        key: &Key,
    ) -> anyhow::Result<(Pods, Option<String>)> {
        let interval = self.interval();
        let settings = Settings {
            interval,
            window: self.window,
            mode: Mode::Observe,
            ..Settings::default()
        };
        let opened = match self.opened.take().filter(|opened| opened.key == *key) {
            Some(opened) => opened,
            None => Opened {
                key: key.clone(),
                judge: Judge::new(settings, None),
                choice: Choice::default(),
                due: Instant::now(),
                pods: None,
                cut: None,
            },
        };
        let opened = self.opened.insert(opened);
        if let Some(pods) = opened.pods.as_ref().filter(|_| Instant::now() < opened.due) {
            return Ok((pods.clone(), opened.cut.clone()));
        }
        opened.due = Instant::now() + interval;
        let (pods, cut) = match round(&self.client, backend, &mut opened.choice).await? {
            Ok((round, cut)) => (Pods::of_report(backend, opened.judge.round(&round)), cut),
            Err(note) => (Pods::of_status(backend, note), None),
        };
        opened.pods = Some(pods.clone());
        opened.cut.clone_from(&cut);
        Ok((pods, cut))
    }
}

/// Where a list goes on.
fn more(list: &ListMeta) -> Option<&str> {
    list.continue_.as_deref().filter(|token| !token.is_empty())
}

/// Reads each pod once, and says what it leaves out; the inner error says why only the status can be shown.
async fn round(
    client: &Client,
    backend: &GrpcBackend,
    choice: &mut Choice,
) -> anyhow::Result<Result<(Round, Option<String>), String>> {
    let namespace = backend.metadata.namespace.as_deref().unwrap_or_default();
    let Some((pods, cut)) = pods(client, backend, namespace).await? else {
        return Ok(Err(only_status("list pods")));
    };
    let asked = Asked::of(backend);
    let endpoints: Vec<Endpoint> = pods
        .iter()
        .filter_map(|pod| endpoint(pod, &asked.place))
        .collect();
    // One pod that hangs must not make the others' numbers old.
    let begun = Timestamp::now();
    let answers: Vec<_> = endpoints
        .iter()
        .map(|endpoint| answer(client, namespace, endpoint, &asked))
        .collect();
    let answers: Vec<Answer> = stream::iter(answers)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    if let Some(why) = unread(&answers, &asked) {
        return Ok(Err(why));
    }
    let round = Round {
        now: begun,
        scrapes: comparable(answers, choice, asked.family),
        targets: endpoints
            .into_iter()
            .map(|endpoint| endpoint.target)
            .collect(),
        rolling_out: false,
        obstacle: None,
    };
    Ok(Ok((round, cut)))
}

/// The first of them, and what is left out; none: they may not be listed.
async fn pods(
    client: &Client,
    backend: &GrpcBackend,
    namespace: &str,
) -> anyhow::Result<Option<(Vec<Pod>, Option<String>)>> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let selector: Vec<String> = backend
        .spec
        .selector
        .iter()
        .map(|(label, value)| format!("{label}={value}"))
        .collect();
    let parameters = ListParams::default()
        .labels(&selector.join(","))
        .limit(PAGE);
    match timeout(LISTED_IN, api.list(&parameters)).await {
        Err(_) => Err(anyhow!("the API server does not answer")),
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => Ok(None),
        Ok(listed) => {
            let listed = listed.context("pods cannot be listed")?;
            let cut = more(&listed.metadata).map(|_| {
                let count = listed.items.len();
                format!("only {count} of the pods are looked at, and shares are of these: the status counts all")
            });
            Ok(Some((listed.items, cut)))
        }
    }
}

async fn answer(client: &Client, namespace: &str, endpoint: &Endpoint, asked: &Asked) -> Answer {
    let read = async {
        let at = endpoint.page.as_ref().map_err(|error| *error)?;
        let pod = &endpoint.target.name;
        let port = at.address.port();
        let scheme = if asked.https.is_some() { "https:" } else { "" };
        let place = format!(
            "/api/v1/namespaces/{namespace}/pods/{scheme}{pod}:{port}/proxy{}",
            at.path
        );
        timeout(READ_IN, page(client, &place, asked, at.is_meshed))
            .await
            .unwrap_or(Err(ScrapeError::Timeout))
    };
    Answer {
        page: read.await,
        uid: endpoint.target.uid.clone(),
        at: Timestamp::now(),
    }
}

async fn page(
    client: &Client,
    place: &str,
    asked: &Asked,
    is_meshed: bool,
) -> Result<Page, ScrapeError> {
    let request = Request::get(place)
        .header(http::header::ACCEPT, ACCEPT)
        .body(kube::client::Body::empty())
        .map_err(|_| ScrapeError::Malformed)?;
    let response = client
        .send(request)
        .await
        .map_err(|_| ScrapeError::Unreachable)?;
    read(response, asked.labels.clone(), is_meshed).await
}
