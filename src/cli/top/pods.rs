//! The pods of one backend, as they are shown.

use serde::Serialize;

use super::model::{Backend, Key};
use crate::api::{BalanceStatus, GrpcBackend, PodShare};
use crate::balance::{PodStanding, Report};

/// All of them, or those that could be found out about.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pods {
    /// Of which.
    pub of: Key,
    /// Where the figures are from.
    pub source: From,
    /// What to know about them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// One by one.
    #[serde(rename = "items")]
    pub rows: Vec<PodRow>,
}

/// Where figures are from.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub enum From {
    /// The pods' own metrics pages, now.
    Pods,
    /// The backend's status: only the pods that it names.
    Status,
}

/// A line of the pods.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodRow {
    /// Its name.
    pub name: String,
    /// Over the window.
    pub requests_per_second: Option<f64>,
    /// Of all requests, 0 to 1.
    pub share: Option<f64>,
    /// What to know about it.
    pub state: State,
}

/// By what the pods are ordered; those without a figure are the last.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PodOrder {
    /// Most requests first.
    Busiest,
    /// Fewest first.
    Idlest,
    /// By name.
    Name,
}

impl PodOrder {
    /// As the bottom line says it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Busiest => "busiest first",
            Self::Idlest => "idlest first",
            Self::Name => "by name",
        }
    }

    /// The one after it.
    pub fn next(self) -> Self {
        match self {
            Self::Busiest => Self::Idlest,
            Self::Idlest => Self::Name,
            Self::Name => Self::Busiest,
        }
    }
}

/// What a pod is to the balance.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub enum State {
    /// One of many.
    Serving,
    /// The status names it as one with too many requests.
    Hot,
    /// The status names it as one without requests.
    Starved,
    /// Ready for too short a time to be judged.
    WarmingUp,
    /// Its metrics cannot be read.
    NoMetrics,
}

impl Pods {
    /// From the pods' own pages, busiest first.
    pub fn of_report(backend: &GrpcBackend, report: &Report) -> Self {
        let named = named(backend);
        let total: f64 = report
            .loads
            .iter()
            .filter_map(|load| load.requests_per_second)
            .sum();
        let rows: Vec<PodRow> = report
            .loads
            .iter()
            .map(|load| PodRow {
                name: load.pod.clone(),
                requests_per_second: load.requests_per_second,
                share: load
                    .requests_per_second
                    .filter(|_| total > 0.0)
                    .map(|rate| rate / total),
                state: match load.standing {
                    PodStanding::Failing => State::NoMetrics,
                    PodStanding::Warming => State::WarmingUp,
                    PodStanding::Judged => named(&load.pod).unwrap_or(State::Serving),
                },
            })
            .collect();
        let filled = rows.iter().any(|pod| pod.requests_per_second.is_some());
        let mut pods = Self {
            of: Backend::of(backend).key,
            source: From::Pods,
            note: (!filled).then(|| {
                if rows.is_empty() || report.scraped > 0 {
                    "the first window is not full yet".into()
                } else {
                    report.metrics.message.clone()
                }
            }),
            rows,
        };
        pods.sort(PodOrder::Busiest);
        pods
    }

    /// Only what the status names.
    pub fn of_status(backend: &GrpcBackend, note: String) -> Self {
        let balance = balance(backend);
        let total: Option<f64> = balance
            .requests_per_second
            .and_then(|total| total.parse().ok());
        let row = |share: &PodShare, state| {
            let part: Option<f64> = share.share.parse().ok();
            PodRow {
                name: share.pod.clone(),
                requests_per_second: part.zip(total).map(|(part, total)| part * total),
                share: part,
                state,
            }
        };
        let hot = balance.hottest.iter().map(|share| row(share, State::Hot));
        let starved = balance
            .starved
            .iter()
            .map(|share| row(share, State::Starved));
        Self {
            of: Backend::of(backend).key,
            source: From::Status,
            note: Some(note),
            rows: hot.chain(starved).collect(),
        }
    }

    /// Puts them into this order.
    pub fn sort(&mut self, order: PodOrder) {
        let sign = match order {
            PodOrder::Busiest => -1.0,
            PodOrder::Idlest => 1.0,
            PodOrder::Name => 0.0,
        };
        let place = |pod: &PodRow| match pod.requests_per_second {
            Some(rate) => sign * rate,
            None if order == PodOrder::Name => 0.0,
            None => f64::INFINITY,
        };
        self.rows.sort_by(|a, b| {
            let by_rate = place(a).total_cmp(&place(b));
            by_rate.then_with(|| a.name.cmp(&b.name))
        });
    }

    /// Requests per second of a pod if all had the same.
    pub fn mean(&self) -> Option<f64> {
        let count = u32::try_from(self.rates().count()).ok()?;
        (count > 0).then(|| self.rates().sum::<f64>() / f64::from(count))
    }

    /// A pod's part of what the busiest has, 0 to 1.
    pub fn part(&self, pod: &PodRow) -> Option<f64> {
        let busiest = self.rates().fold(f64::MIN_POSITIVE, f64::max);
        Some(pod.requests_per_second? / busiest)
    }

    fn rates(&self) -> impl Iterator<Item = f64> {
        self.rows.iter().filter_map(|pod| pod.requests_per_second)
    }
}

fn balance(backend: &GrpcBackend) -> BalanceStatus {
    let status = backend.status.as_ref();
    status
        .and_then(|status| status.balance.clone())
        .unwrap_or_default()
}

fn named(backend: &GrpcBackend) -> impl Fn(&str) -> Option<State> {
    let balance = balance(backend);
    move |pod| {
        let among = |shares: &[PodShare]| shares.iter().any(|share| share.pod == pod);
        if among(&balance.hottest) {
            Some(State::Hot)
        } else {
            among(&balance.starved).then_some(State::Starved)
        }
    }
}
