//! Reads the pods of one backend, each one's metrics page through the API server.

use std::future::ready;
use std::time::Duration;

use anyhow::anyhow;
use futures::{StreamExt as _, stream};
use http::{Request, header};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, ListParams};
use tokio::time::{Instant, timeout};

use super::source::{LISTED_IN, PAGE, more};
use super::unread::{SILENT, only_status, unlisted, unread};
use crate::api::GrpcBackend;
use crate::balance::exposition::Page;
use crate::balance::{Choice, Round, ScrapeError};
use crate::operator::{ACCEPT, Answer, Asked, Endpoint, comparable, endpoint, read};

/// For one metrics page.
const READ_IN: Duration = Duration::from_secs(3);
/// In which pages are begun.
const BEGUN_IN: Duration = Duration::from_secs(7);
/// For the metrics pages of all pods.
pub const ROUND_IN: Duration = BEGUN_IN.saturating_add(READ_IN);
/// Pages read at once: nearly a hundred pods that hang are through within a round.
const AT_ONCE: usize = 32;

/// What comes of a round.
pub struct Looked {
    /// Pages that were asked for.
    pub pages: usize,
    /// What they say, and what is left out of them; or why only the status can be shown.
    pub seen: Result<(Round, Option<String>), String>,
}

/// Reads each pod once.
pub async fn round(
    client: &Client,
    backend: &GrpcBackend,
    choice: &mut Choice,
) -> anyhow::Result<Looked> {
    let namespace = backend.metadata.namespace.as_deref().unwrap_or_default();
    let Some((pods, cut)) = pods(client, backend, namespace).await? else {
        return Ok(Looked {
            pages: 0,
            seen: Err(only_status("list pods")),
        });
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
    let answers = begun_until(Instant::now() + BEGUN_IN, answers).await;
    let pages = answers.len();
    let cut = cut.or_else(|| unasked(pages, endpoints.len()));
    if let Some(why) = unread(&answers, &asked) {
        let seen = Err(why);
        return Ok(Looked { pages, seen });
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
    let seen = Ok((round, cut));
    Ok(Looked { pages, seen })
}

/// What comes of each, some at a time, of those whose turn comes by then.
async fn begun_until<F: Future>(last: Instant, each: Vec<F>) -> Vec<F::Output> {
    stream::iter(each)
        .take_while(|_| ready(Instant::now() < last))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

fn unasked(asked: usize, of: usize) -> Option<String> {
    (asked < of).then(|| {
        format!(
            "only {asked} of {of} pods were asked, since so many do not answer: see what keeps the API server from them, such as a NetworkPolicy"
        )
    })
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
        Err(_) => Err(anyhow!(SILENT)),
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => Ok(None),
        Ok(Err(error)) => Err(unlisted(&error, "pods", Some(namespace))),
        Ok(Ok(listed)) => {
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
        .header(header::ACCEPT, ACCEPT)
        .header(header::ACCEPT_ENCODING, "gzip")
        .body(kube::client::Body::empty())
        .map_err(|_| ScrapeError::Malformed)?;
    let response = client
        .send(request)
        .await
        .map_err(|_| ScrapeError::Unreachable)?;
    read(response, asked.labels.clone(), is_meshed).await
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use http::Response;
    use kube::client::Body;
    use tower::{BoxError, service_fn};

    use super::*;
    use crate::balance::MeterId;

    #[tokio::test]
    async fn pages_come_packed() {
        let server = service_fn(async |request: Request<Body>| {
            assert_eq!(request.headers()[header::ACCEPT_ENCODING], "gzip");
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packed.write_all(b"grpc_server_started_total 7\n")?;
            let answer = Response::builder().header(header::CONTENT_ENCODING, "gzip");
            Ok::<_, BoxError>(answer.body(Body::from(packed.finish()?))?)
        });
        let client = Client::new(server, "shop");
        let asked = Asked::of(&GrpcBackend::default());
        let page = page(&client, "/page", &asked, false).await.unwrap();
        assert_eq!(page.counters(MeterId::default()).started, Some(7.0));
    }

    #[tokio::test]
    async fn a_round_ends_and_what_it_has_is_kept() {
        let hangs = |number: usize| async move {
            if number >= 5 {
                tokio::time::sleep(Duration::from_millis(1500)).await;
            }
            number
        };
        let last = Instant::now() + Duration::from_secs(1);
        let mut said = begun_until(last, (0..1000).map(hangs).collect()).await;
        said.sort_unstable();
        assert!((AT_ONCE..1000).contains(&said.len()), "{}", said.len());
        assert_eq!(said[..5], [0, 1, 2, 3, 4]);
        assert_eq!(unasked(1000, 1000), None);
        let words = unasked(said.len(), 1000).unwrap();
        assert!(words.contains("of 1000 pods were asked"), "{words}");
    }
}
