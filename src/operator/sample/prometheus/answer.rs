//! What Prometheus answers, as pages like those of the pods themselves. Pure.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::balance::exposition::{self, ReadError, Wanted, read};
use crate::balance::families::Condition;

/// Labels that tell where Prometheus read a series. A pod may be read in several ways: by two monitors, or at the ports of the server
/// and of a sidecar. Adding these up would count each request twice.
const PLACES: [&str; 5] = [
    "job",
    "instance",
    "prometheus",
    "prometheus_replica",
    "cluster",
];

/// Such labels that a pod's series may have of their own, as families have `service`: they tell only where the pod's `up`, which has
/// none of its own, has the same.
const SHARED: [&str; 3] = ["endpoint", "service", "container"];

#[derive(Deserialize)]
struct Response {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    /// Seconds and text.
    values: Vec<(f64, String)>,
}

impl Series {
    fn label(&self, name: &str) -> &str {
        self.metric.get(name).map_or("", String::as_str)
    }

    fn is_up(&self) -> bool {
        self.label("__name__") == "up"
    }
}

/// A pod's newest sample.
pub struct Sample {
    /// When it was read.
    pub at: Timestamp,
    /// When the one before was read, if there is one.
    pub before: Option<Timestamp>,
    /// What it says.
    pub page: Result<exposition::Page, ReadError>,
}

/// The newest sample of each pod by its name; none: the answer is not that of a Prometheus. Samples are to lie no further `apart`,
/// and the newest from `now`.
pub fn samples(
    body: &[u8],
    labels: &Arc<[Condition]>,
    now: Timestamp,
    apart: SignedDuration,
) -> Option<HashMap<String, Sample>> {
    let mut response: Response = serde_json::from_slice(body).ok()?;
    for series in &mut response.data.result {
        // A pod that could not be read has `up` all the same, and would look idle.
        if series.is_up() {
            series.values.retain(|(_, value)| value == "1");
        }
    }
    let result = &response.data.result;
    let ups = result.iter().filter(|series| series.is_up());
    let read_at: HashSet<_> = ups
        .flat_map(|up| SHARED.map(|name| (up.label("pod"), name, up.label(name))))
        .collect();
    let mut places: BTreeMap<_, Vec<&Series>> = BTreeMap::new();
    for series in result {
        let pod = series.label("pod");
        let shared = SHARED.map(|name| {
            let label = series.label(name);
            read_at.get(&(pod, name, label)).map(|_| label)
        });
        let key = (pod, PLACES.map(|name| series.label(name)), shared);
        places.entry(key).or_default().push(series);
    }
    let mut pods: HashMap<String, (Rank, Sample)> = HashMap::new();
    for ((pod, ..), series) in places {
        let newest = newest(&series, f64::INFINITY);
        let Some(at) = timestamp(newest) else {
            continue;
        };
        let before = timestamp(self::newest(&series, newest));
        let page = page(&series, newest, labels);
        let sample = Sample { at, before, page };
        let gap = sample.before.map(|before| at.duration_since(before));
        let is_steady = now.duration_since(at) <= apart && gap.is_none_or(|gap| gap <= apart);
        let rank = Rank::of(&sample, is_steady);
        let known = pods
            .get(pod)
            .is_some_and(|(known, _)| !rank.is_better(known));
        if !known {
            pods.insert(pod.to_owned(), (rank, sample));
        }
    }
    let samples = pods.into_iter();
    Some(samples.map(|(pod, (_, sample))| (pod, sample)).collect())
}

/// The time of the newest sample before this one.
fn newest(series: &[&Series], before: f64) -> f64 {
    let times = series
        .iter()
        .flat_map(|series| series.values.iter().map(|(at, _)| *at));
    times
        .filter(|at| *at < before)
        .fold(f64::NEG_INFINITY, f64::max)
}

/// Which of a pod's places is taken: the one with the best family. Of equals it is always the same as long as it is read often enough,
/// since what one says is not to be compared with what the other did; of those that are not it is the newest.
struct Rank {
    family: usize,
    is_steady: bool,
    at: Timestamp,
}

impl Rank {
    fn of(sample: &Sample, is_steady: bool) -> Self {
        let page = sample.page.as_ref().ok();
        let best = page.and_then(|page| page.meters().next());
        Self {
            family: best.map_or(usize::MAX, crate::balance::MeterId::index),
            is_steady,
            at: sample.at,
        }
    }

    /// Than one whose place comes before.
    fn is_better(&self, other: &Self) -> bool {
        match self.family.cmp(&other.family) {
            Ordering::Less => true,
            Ordering::Greater => false,
            Ordering::Equal if other.is_steady => false,
            Ordering::Equal => self.is_steady || self.at > other.at,
        }
    }
}

/// A page with the newest sample of each series. One that ended before is not on it any more.
fn page(
    series: &[&Series],
    newest: f64,
    labels: &Arc<[Condition]>,
) -> Result<exposition::Page, ReadError> {
    let mut text = String::new();
    for series in series {
        let Some((at, value)) = series.values.last() else {
            continue;
        };
        if *at < newest {
            continue;
        }
        text.push_str("{\"");
        escaped(&mut text, series.label("__name__"));
        text.push('"');
        for (name, label) in &series.metric {
            if name != "__name__" {
                // Where Prometheus has set a label that the pod has too, it has renamed the pod's.
                let own = series.metric.get(&format!("exported_{name}"));
                let label = own.unwrap_or(label);
                text.push_str(",\"");
                escaped(&mut text, name);
                text.push_str("\"=\"");
                escaped(&mut text, label);
                text.push('"');
            }
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, "}} {value}");
    }
    let wanted = Wanted {
        labels: labels.clone(),
        ..Wanted::default()
    };
    read(text.as_bytes(), &wanted)
}

fn escaped(page: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '"' | '\\' => page.extend(['\\', letter]),
            '\n' => page.push_str("\\n"),
            _ => page.push(letter),
        }
    }
}

fn timestamp(seconds: f64) -> Option<Timestamp> {
    let since = SignedDuration::try_from_secs_f64(seconds).ok()?;
    Timestamp::from_duration(since).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::balance::MeterId;

    fn series(name: &str, job: &str, more: &[(&str, &str)], values: &Value) -> Value {
        let mut metric = json!({"__name__": name, "job": job, "namespace": "n", "pod": "a"});
        for (label, value) in more {
            metric[*label] = json!(value);
        }
        json!({"metric": metric, "values": values})
    }

    fn samples(result: &[Value]) -> HashMap<String, Sample> {
        let body = json!({"status": "success", "data": {"resultType": "matrix", "result": result}});
        let now = Timestamp::from_second(120).unwrap();
        let apart = SignedDuration::from_secs(30);
        super::samples(body.to_string().as_bytes(), &Arc::default(), now, apart).unwrap()
    }

    /// Seconds, and what the family counts, of the pod `a`.
    fn told(result: &[Value]) -> Option<(i64, Option<f64>)> {
        let sample = samples(result).remove("a")?;
        let counters = sample
            .page
            .unwrap()
            .counters(MeterId::named("GrpcMiddleware").unwrap());
        Some((sample.at.as_second(), counters.started))
    }

    const NAME: &str = "grpc_server_started_total";

    #[test]
    fn the_newest_sample_counts_and_methods_are_added_up() {
        let method =
            |name: &str, values: Value| series(NAME, "j", &[("grpc_method", name)], &values);
        assert_eq!(
            told(&[
                method("A", json!([[100.5, "1"], [115.5, "4"]])),
                method("B\"\\\n", json!([[100.5, "2"], [115.5, "3"]])),
                // It ended with the process before.
                method("C", json!([[100.5, "50"]])),
            ]),
            Some((115, Some(7.0)))
        );
    }

    #[test]
    fn a_pod_that_is_read_twice_counts_once() {
        let twice = |newer: f64| {
            told(&[
                series(NAME, "j", &[], &json!([[100, "4"]])),
                series(NAME, "k", &[], &json!([[newer, "5"]])),
                series("up", "k", &[], &json!([[newer, "1"]])),
            ])
        };
        assert_eq!(twice(90.0), Some((100, Some(4.0))));
        assert_eq!(twice(110.0), Some((100, Some(4.0))));
        // The first is read no more, or too seldom.
        let instead = |values: Value| {
            told(&[
                series(NAME, "j", &[], &values),
                series(NAME, "k", &[], &json!([[90, "4"], [105, "5"]])),
            ])
        };
        assert_eq!(instead(json!([[80, "3"]])), Some((105, Some(5.0))));
        let seldom = json!([[50, "3"], [110, "4"]]);
        assert_eq!(instead(seldom), Some((105, Some(5.0))));
        let often = json!([[85, "3"], [100, "4"]]);
        assert_eq!(instead(often), Some((100, Some(4.0))));
        // The sidecar's port was read later, and says less.
        let sidecar = series("istio_requests_total", "s", &[], &json!([[120, "9"]]));
        let own = series(NAME, "j", &[], &json!([[100, "4"]]));
        assert_eq!(told(&[sidecar, own]), Some((100, Some(4.0))));
    }

    #[test]
    fn a_pod_s_own_label_service_is_no_place() {
        let told = |up: &[(&str, &str)], first: &[(&str, &str)], second: &[(&str, &str)]| {
            let of = |name, labels, value| series(name, "j", labels, &json!([[100, value]]));
            let name = "grpc_requests_received_total";
            let result = [
                of("up", up, "1"),
                of(name, first, "4"),
                of(name, second, "7"),
            ];
            let page = samples(&result).remove("a").unwrap().page.unwrap();
            let meter = MeterId::named("PrometheusNet").unwrap();
            page.counters(meter).started.unwrap()
        };
        let (cart, search) = (("service", "shop.Cart"), ("service", "shop.Search"));
        let health = "grpc.health.v1.Health";
        // By a PodMonitor.
        assert!((told(&[], &[cart], &[search]) - 11.0).abs() < 0.1);
        assert!((told(&[], &[("service", health)], &[search]) - 7.0).abs() < 0.1);
        // By a ServiceMonitor, as it is and with honorLabels.
        let at = ("service", "shop");
        let renamed = [at, ("exported_service", health)];
        let other = [at, ("exported_service", "shop.Search")];
        assert!((told(&[at], &renamed, &other) - 7.0).abs() < 0.1);
        assert!((told(&[at], &[at, ("exported_service", "shop.Cart")], &other) - 11.0).abs() < 0.1);
        assert!((told(&[at], &[cart], &[search]) - 11.0).abs() < 0.1);
    }

    #[test]
    fn a_pod_that_is_read_through_two_services_counts_once() {
        let through = |service, value| {
            let of =
                |name, value| series(name, "j", &[("service", service)], &json!([[100, value]]));
            [of("up", "1"), of(NAME, value)]
        };
        let both = [through("shop", "4"), through("shop-headless", "4")].concat();
        assert_eq!(told(&both), Some((100, Some(4.0))));
    }

    #[test]
    fn an_idle_pod_is_told_from_one_that_is_not_read() {
        let up = series("up", "j", &[], &json!([[100, "1"]]));
        assert_eq!(told(&[up]), Some((100, None)));
        let failed = series("up", "j", &[], &json!([[100, "1"], [115, "0"]]));
        assert_eq!(told(std::slice::from_ref(&failed)), Some((100, None)));
        let before = series(NAME, "j", &[], &json!([[85, "3"], [100, "4"]]));
        assert_eq!(told(&[before, failed]), Some((100, Some(4.0))));
        let never = series("up", "j", &[], &json!([[100, "0"], [115, "0"]]));
        assert_eq!(told(&[never]), None);
        assert_eq!(told(&[]), None);
        let (now, apart) = (Timestamp::UNIX_EPOCH, SignedDuration::ZERO);
        assert!(super::samples(b"<html>", &Arc::default(), now, apart).is_none());
    }
}
