//! The other source of the pods' numbers: a Prometheus server that has read them already.
//!
//! Where it is and with what it is asked are settings of whoever installs the operator. A resource only chooses it: no request goes
//! to an address that somebody in a namespace chose, and the query asks for the pods of that namespace alone.

mod answer;
mod query;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use jiff::{SignedDuration, Timestamp};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::credentials::{bearer, tls};
use super::targets::Endpoint;
use super::{Answer, Asked};
use crate::balance::{MetricsReason, MetricsState, ScrapeError};
use crate::operator::{Peer, exchange};
use query::Matchers;

/// For one query.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of one answer. Four at once, and one of them as it is read, have to fit into the operator's memory.
const ANSWER_BYTES: usize = 4 << 20;
/// Pods in one query.
const PODS: usize = 25;
/// Queries under way at once.
const QUERIES: usize = 4;
/// Queries in a row that fail until no more are made: one may be too much for the server, two are not about the query.
const FAILURES: u32 = 2;
/// How far back samples are looked for, at least.
const RANGE: Duration = Duration::from_mins(2);
/// Within this time after Ready a pod may be unknown to Prometheus, which looks for new ones only now and then.
const UNKNOWN: Duration = Duration::from_mins(2);
/// Bytes of a file with a token or an authority.
const FILE_BYTES: u64 = 64 << 10;

/// Where Prometheus is, and with what it is asked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `http://…` or `https://…`, with or without a path.
    pub url: String,
    /// A file with a bearer token.
    pub token_file: Option<PathBuf>,
    /// A file with the authority that its certificate must come from.
    pub ca_file: Option<PathBuf>,
    /// Labels that series must have to count, as `label=value`.
    pub matchers: Vec<String>,
}

/// A Prometheus server.
pub struct Prometheus {
    peer: Peer,
    /// Of the query's endpoint.
    path: String,
    is_secured: bool,
    token_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    matchers: Matchers,
    places: Semaphore,
}

impl Prometheus {
    /// Refuses settings that cannot be meant so; the error names the flag.
    pub fn new(settings: &Settings) -> anyhow::Result<Self> {
        let uri: Uri = settings.url.parse().with_context(|| {
            format!(
                "--prometheus-url: {} is no URL; write http://host:9090",
                settings.url
            )
        })?;
        let is_secured = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => bail!("--prometheus-url must begin with http:// or https://"),
        };
        if is_secured && settings.ca_file.is_none() {
            bail!(
                "--prometheus-url is https: give the authority of its certificate by --prometheus-ca-file"
            );
        }
        if !is_secured && settings.token_file.is_some() {
            bail!(
                "--prometheus-token-file: a token is only sent over TLS; make --prometheus-url https"
            );
        }
        let port = if is_secured { 443 } else { 80 };
        Ok(Self {
            peer: Peer::of(&uri, port).context("--prometheus-url")?,
            path: format!("{}/api/v1/query", uri.path().trim_end_matches('/')),
            is_secured,
            token_file: settings.token_file.clone(),
            ca_file: settings.ca_file.clone(),
            matchers: Matchers::of(&settings.matchers).context("--prometheus-matchers")?,
            places: Semaphore::new(QUERIES),
        })
    }

    /// What it knows of these pods of one namespace; and why not of all, where some could not be asked about.
    pub async fn answers(
        &self,
        namespace: &str,
        endpoints: &[Endpoint],
        asked: &Asked,
        interval: Duration,
    ) -> (Vec<Answer>, Option<MetricsState>) {
        // What was answered first is too old by then to be judged with the rest.
        let end = Instant::now() + interval * 2;
        let (mut answers, mut obstacle, mut failures) = (Vec::new(), None, 0);
        let (mut rest, mut unasked): (Vec<_>, Vec<&[Endpoint]>) =
            (endpoints.chunks(PODS).collect(), Vec::new());
        while let Some(some) = rest.pop() {
            let known = if Instant::now() < end {
                self.known(namespace, some, asked, interval).await
            } else {
                Err(failed("takes more than two intervals over all pods"))
            };
            match known {
                Ok(Some(known)) => {
                    answers.extend(known);
                    failures = 0;
                }
                Ok(None) => {
                    let (first, second) = some.split_at(some.len() / 2);
                    rest.extend([first, second]);
                }
                Err(why) => {
                    unasked.push(some);
                    obstacle.get_or_insert(why);
                    failures += 1;
                    if failures == FAILURES {
                        break;
                    }
                }
            }
        }
        unasked.append(&mut rest);
        answers.extend(unasked.into_iter().flatten().map(Answer::none));
        (answers, obstacle)
    }

    /// What one query comes to; none where the answer is too large for so many pods.
    async fn known(
        &self,
        namespace: &str,
        some: &[Endpoint],
        asked: &Asked,
        interval: Duration,
    ) -> Result<Option<Vec<Answer>>, MetricsState> {
        let pods: Vec<&str> = some
            .iter()
            .map(|endpoint| endpoint.target.name.as_str())
            .collect();
        let _place = self.place(TIMEOUT).await?;
        let range = range(interval);
        let query = query::query(&self.matchers, namespace, &pods, asked.family, range);
        let body = match self.ask(&query).await? {
            Some(body) => body,
            None if some.len() > 1 => return Ok(None),
            None => return Err(failed("gives an answer for one pod that is too large")),
        };
        let now = Timestamp::now();
        let mut samples = answer::samples(&body, &asked.labels, now, apart(interval))
            .ok_or_else(|| failed("did not answer as a Prometheus does"))?;
        let known = some.iter().filter_map(|endpoint| {
            let sample = samples.remove(&endpoint.target.name);
            said(endpoint, sample, interval, now)
        });
        Ok(Some(known.collect()))
    }

    /// A place for one query, kept until its answer is read: an answer takes memory for as long. None is never closed.
    async fn place(&self, longest: Duration) -> Result<Option<SemaphorePermit<'_>>, MetricsState> {
        let place = tokio::time::timeout(longest, self.places.acquire()).await;
        place
            .map(Result::ok)
            .map_err(|_| failed("is busy with its questions about other resources"))
    }

    /// None: the answer is too large.
    async fn ask(&self, query: &str) -> Result<Option<Bytes>, MetricsState> {
        tokio::time::timeout(TIMEOUT, self.connected(query))
            .await
            .unwrap_or_else(|_| Err(failed("did not answer in time")))
    }

    async fn connected(&self, query: &str) -> Result<Option<Bytes>, MetricsState> {
        let unreachable = "could not be reached";
        let connected = self.peer.connect().await;
        let stream = connected.map_err(|_| failed(unreachable))?;
        if !self.is_secured {
            return self.exchange(stream, query).await;
        }
        let authority = self.ca_file.as_deref().map(file).transpose();
        let authority = authority.ok().flatten().unwrap_or_default();
        let config = tls(&authority)
            .map_err(|_| failed("has a file of its authority that cannot be read"))?;
        let name = ServerName::try_from(self.peer.host.clone()).map_err(|_| failed(unreachable))?;
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .map_err(|_| {
                failed(
                    "shows a certificate that its authority does not vouch for, or speaks no TLS",
                )
            })?;
        self.exchange(stream, query).await
    }

    async fn exchange<S>(&self, stream: S, query: &str) -> Result<Option<Bytes>, MetricsState>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let broken = |_| failed("broke the connection off");
        exchange(stream, self.request(query)?, body, broken).await
    }

    fn request(&self, query: &str) -> Result<Request<Full<Bytes>>, MetricsState> {
        let mut request = Request::post(&self.path)
            .header(header::HOST, &self.peer.authority)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::CONNECTION, "close");
        if let Some(path) = &self.token_file {
            let token = file(path).ok().and_then(|token| bearer(&token).ok());
            let token: HeaderValue =
                token.ok_or_else(|| refused("has a file with its token that cannot be read"))?;
            request = request.header(header::AUTHORIZATION, token);
        }
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("query", query)
            .finish();
        request
            .body(Full::from(form))
            .map_err(|_| failed("has a URL that cannot be asked"))
    }
}

async fn body(response: http::Response<Incoming>) -> Result<Option<Bytes>, MetricsState> {
    match response.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return Err(refused(
                "does not take the operator's token, or asks for one",
            ));
        }
        status if status.is_redirection() => {
            return Err(failed("answered with a redirect, which is never followed"));
        }
        status => {
            return Err(failed(&format!(
                "answered with HTTP status {}",
                status.as_u16()
            )));
        }
    }
    let whole = Limited::new(response.into_body(), ANSWER_BYTES);
    match whole.collect().await {
        Ok(whole) => Ok(Some(whole.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Ok(None),
        Err(_) => Err(failed("broke off its answer")),
    }
}

/// How far back samples are looked for: far enough to see of one that is new whether the one before is too.
fn range(interval: Duration) -> Duration {
    RANGE.max(interval * 4)
}

/// How far apart a pod's samples may lie: two intervals, and a little that Prometheus is late.
fn apart(interval: Duration) -> SignedDuration {
    SignedDuration::try_from(interval * 2 + interval / 10).unwrap_or(SignedDuration::MAX)
}

/// What a pod's sample says; none where it is too early to miss one.
fn said(
    endpoint: &Endpoint,
    sample: Option<answer::Sample>,
    interval: Duration,
    now: Timestamp,
) -> Option<Answer> {
    let target = &endpoint.target;
    // Of the process before, or of a pod before of the same name.
    let sample = sample.filter(|sample| sample.at >= target.ready_since);
    let known = target.ready_since.saturating_add(UNKNOWN).unwrap_or(now);
    let apart = apart(interval);
    let page = match sample {
        None if now < known => return None,
        None => Err(ScrapeError::NotInPrometheus),
        Some(sample) => {
            let before = sample.before.filter(|at| *at >= target.ready_since);
            // Where none is found, one before the range may be missed.
            let range = now.saturating_sub(range(interval)).unwrap_or(now);
            let before = before.unwrap_or(range.max(known));
            let is_old = now.duration_since(sample.at) > apart;
            if is_old || sample.at.duration_since(before) > apart {
                Err(ScrapeError::OldInPrometheus)
            } else {
                return Some(Answer {
                    uid: target.uid.clone(),
                    at: sample.at.min(now),
                    page: sample.page.map_err(ScrapeError::from),
                });
            }
        }
    };
    Some(Answer {
        uid: target.uid.clone(),
        at: now,
        page,
    })
}

/// Whom a resource's user has to tell.
const INSTALLER: &str = "whoever installed the operator sees to it (prometheus.url of its chart)";

/// That no Prometheus is known.
pub fn unknown() -> MetricsState {
    MetricsState::new(
        MetricsReason::ScrapeFailed,
        format!(
            "spec.balance.source is Prometheus, and the operator knows of none: {INSTALLER}, or leave the field out"
        ),
    )
}

fn failed(what: &str) -> MetricsState {
    MetricsState::new(
        MetricsReason::ScrapeFailed,
        format!("the Prometheus server that the operator asks {what}: {INSTALLER}"),
    )
}

fn refused(what: &str) -> MetricsState {
    MetricsState {
        reason: MetricsReason::Refused,
        ..failed(what)
    }
}

fn file(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(FILE_BYTES).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;
