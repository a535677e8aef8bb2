//! What the metrics page says of each backend: told anew for every page, so that nothing outlives its backend.
//!
//! ```text
//! evenkeel_condition{namespace,name,type,status,reason}          1 for what each condition says
//! evenkeel_findings{namespace,name,id,severity}                  1 for each finding
//! evenkeel_backend_pods{namespace,name,state}                    pods that are judged, warming or failing
//! evenkeel_backend_effective_pods{namespace,name}                (sum of x) squared over the sum of x squared
//! evenkeel_backend_max_over_mean{namespace,name}                 requests of the busiest pod over the mean
//! evenkeel_backend_min_over_mean{namespace,name}                 requests of the idlest pod over the mean
//! evenkeel_backend_requests_per_second{namespace,name}           of the pods that are judged
//! evenkeel_backend_starved_pods{namespace,name}                  pods that should get requests and do not
//! evenkeel_backend_discovery_seconds_bucket{…,stage,le}          new pods by the time from Ready to their first request, and to
//!                                                                80 % of a fair share
//! evenkeel_pod_requests_per_second{namespace,name,pod}           of up to 100 pods of a backend, and 5000 in all
//! evenkeel_pods_not_shown                                        pods beyond these bounds
//! ```

use std::collections::BTreeMap;
use std::fmt::Error;
use std::time::Duration;

use kube::ResourceExt as _;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeMetric as _, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::api::{GrpcBackend, GrpcBackendStatus};
use crate::balance::arrivals::{self, Histogram};
use crate::balance::{PodStanding, Report};
use crate::names;

/// Pods of one backend that have a series of their own.
const PODS_OF_A_BACKEND: usize = 100;
/// Pods of all backends that have one: a page that grows with the cluster would be a burden to whoever stores it.
const PODS: usize = 5000;

type Labels = Vec<(&'static str, String)>;

#[derive(Debug, Default)]
struct Backend {
    namespace: String,
    name: String,
    conditions: Vec<[String; 3]>,
    findings: Vec<[String; 2]>,
    report: Option<Report>,
}

impl Backend {
    fn labels(&self, further: &[(&'static str, &str)]) -> Labels {
        let own = [("namespace", &*self.namespace), ("name", &*self.name)];
        own.iter()
            .chain(further)
            .map(|(label, value)| (*label, (*value).to_owned()))
            .collect()
    }
}

/// Every backend, as it stands.
#[derive(Debug, Default)]
pub struct Backends(Mutex<BTreeMap<String, Backend>>);

impl Backends {
    /// What its conditions say, and what is worth changing.
    pub fn status(&self, backend: &GrpcBackend, status: &GrpcBackendStatus) {
        self.update(backend, |entry| {
            let told = status.conditions.iter().map(|condition| {
                [&condition.type_, &condition.status, &condition.reason].map(Clone::clone)
            });
            entry.conditions = told.collect();
            let found = status.findings.iter();
            entry.findings = found
                .map(|finding| [&finding.id, &finding.severity].map(Clone::clone))
                .collect();
        });
    }

    /// What the last round of scrapes came to.
    pub fn report(&self, backend: &GrpcBackend, report: &Report) {
        self.update(backend, |entry| entry.report = Some(report.clone()));
    }

    /// It is no longer sampled.
    pub fn unsampled(&self, key: &str) {
        let mut backends = self.0.lock();
        if let Some(entry) = backends.get_mut(key) {
            entry.report = None;
        }
    }

    /// It is gone.
    pub fn forget(&self, key: &str) {
        self.0.lock().remove(key);
    }

    fn update(&self, backend: &GrpcBackend, change: impl FnOnce(&mut Backend)) {
        let mut backends = self.0.lock();
        let entry = backends
            .entry(names::key_of(backend))
            .or_insert_with(|| Backend {
                namespace: backend.namespace().unwrap_or_default(),
                name: backend.name_any(),
                ..Backend::default()
            });
        change(entry);
    }
}

impl Collector for Backends {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let backends = self.0.lock();
        let mut family = |name: &str, help: &str, series: Vec<(Labels, f64)>| {
            if series.is_empty() {
                return Ok(());
            }
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (labels, value) in series {
                ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
            }
            Ok(())
        };
        family(
            "condition",
            "1 for the status and reason that each condition of a GrpcBackend has",
            backends.values().flat_map(conditions).collect(),
        )?;
        family(
            "findings",
            "1 for each finding of a GrpcBackend that is not ignored",
            backends.values().flat_map(findings).collect(),
        )?;
        let reports = || {
            backends
                .values()
                .filter_map(|backend| Some((backend, backend.report.as_ref()?)))
        };
        family(
            "backend_pods",
            "Ready pods of a GrpcBackend by what they count for: judged, warming up, or without usable numbers",
            reports()
                .flat_map(|(backend, report)| pods(backend, report))
                .collect(),
        )?;
        for (name, help, figure) in FIGURES {
            let told = |(backend, report): (&Backend, &Report)| {
                Some((backend.labels(&[]), figure(report)?))
            };
            family(name, help, reports().filter_map(told).collect())?;
        }
        let mut shown: Vec<_> = reports()
            .flat_map(|(backend, report)| loads(backend, report))
            .collect();
        let all: usize = reports().map(|(_, report)| told(report).count()).sum();
        shown.truncate(PODS);
        let hidden = all - shown.len();
        family(
            "pod_requests_per_second",
            "Requests per second of a pod, over spec.balance.window; the busiest and the idlest of a backend where they are too many",
            shown,
        )?;
        #[allow(clippy::cast_precision_loss)]
        family(
            "pods_not_shown",
            "Pods without a series of their own in evenkeel_pod_requests_per_second, because they are too many",
            vec![(Vec::new(), hidden as f64)],
        )?;
        let mut discovery = encoder.encode_descriptor(
            "backend_discovery_seconds",
            "Time from Ready to a stage of discovery, of all new pods; the sum is made of the buckets' upper bounds",
            None,
            MetricType::Histogram,
        )?;
        for (backend, report) in reports() {
            // At zero before the first, which would else be no increase to Prometheus.
            let discovered = report.discovery.map(|discovery| discovery.histogram);
            let Histogram {
                first_request,
                fair_share,
            } = discovered.unwrap_or_default();
            for (stage, counts) in [("first_request", first_request), ("fair_share", fair_share)] {
                let labels = backend.labels(&[("stage", stage)]);
                histogram(discovery.encode_family(&labels)?, &counts)?;
            }
        }
        Ok(())
    }
}

fn histogram(mut metric: MetricEncoder<'_>, counts: &arrivals::Counts) -> Result<(), Error> {
    let bounds: Vec<f64> = arrivals::BOUNDS
        .iter()
        .map(|bound| Duration::from_secs(*bound).as_secs_f64())
        .collect();
    let largest = bounds.iter().copied().fold(0.0, f64::max);
    let buckets: Vec<(f64, u64)> = bounds
        .into_iter()
        .chain([f64::INFINITY])
        .zip(counts.iter().map(|count| u64::from(*count)))
        .collect();
    let uppers = buckets.iter().map(|(bound, _)| bound.min(largest));
    let sum = uppers
        .zip(counts)
        .map(|(upper, count)| upper * f64::from(*count))
        .sum();
    let count = buckets.iter().map(|(_, count)| count).sum();
    metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
}

type Figure = (&'static str, &'static str, fn(&Report) -> Option<f64>);

const FIGURES: [Figure; 5] = [
    (
        "backend_effective_pods",
        "How many evenly loaded pods would carry the load as it is spread",
        |report| report.effective_pods,
    ),
    (
        "backend_max_over_mean",
        "Requests of the busiest pod over the mean",
        |report| report.max_over_mean,
    ),
    (
        "backend_min_over_mean",
        "Requests of the idlest pod over the mean",
        |report| report.min_over_mean,
    ),
    (
        "backend_requests_per_second",
        "Requests per second of the pods that are judged",
        |report| report.requests_per_second,
    ),
    (
        "backend_starved_pods",
        "Pods that should get requests and do not",
        |report| (report.judged > 0).then_some(f64::from(report.starved_pods)),
    ),
];

fn conditions(backend: &Backend) -> impl Iterator<Item = (Labels, f64)> {
    backend.conditions.iter().map(|[kind, status, reason]| {
        let said = [("type", &**kind), ("status", status), ("reason", reason)];
        (backend.labels(&said), 1.0)
    })
}

fn findings(backend: &Backend) -> impl Iterator<Item = (Labels, f64)> {
    backend.findings.iter().map(|[id, severity]| {
        let said = [("id", &**id), ("severity", &**severity)];
        (backend.labels(&said), 1.0)
    })
}

fn pods(backend: &Backend, report: &Report) -> [(Labels, f64); 3] {
    let failing = report.pods.saturating_sub(report.judged + report.warming);
    [
        ("judged", report.judged),
        ("warming", report.warming),
        ("failing", failing),
    ]
    .map(|(state, count)| (backend.labels(&[("state", state)]), f64::from(count)))
}

/// Pods whose requests are known.
fn told(report: &Report) -> impl Iterator<Item = (&str, f64)> {
    let known = report
        .loads
        .iter()
        .filter(|load| load.standing != PodStanding::Failing);
    known.filter_map(|load| Some((load.pod.as_str(), load.requests_per_second?)))
}

/// The busiest and the idlest, half of each, where not all can be shown.
fn loads(backend: &Backend, report: &Report) -> Vec<(Labels, f64)> {
    let mut loads: Vec<(&str, f64)> = told(report).collect();
    loads.sort_by(|a, b| b.1.total_cmp(&a.1));
    if loads.len() > PODS_OF_A_BACKEND {
        loads.drain(PODS_OF_A_BACKEND / 2..loads.len() - PODS_OF_A_BACKEND / 2);
    }
    loads
        .into_iter()
        .map(|(pod, rate)| (backend.labels(&[("pod", pod)]), rate))
        .collect()
}

#[cfg(test)]
mod tests;
