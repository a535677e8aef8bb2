//! What is shown, as plain values; their JSON is what `--once -o json` prints, and a promise to scripts.

use kube::ResourceExt as _;
use serde::Serialize;

use crate::api::{ConditionType, GrpcBackend};

pub use super::pods::{From, PodOrder, PodRow, Pods, State};

/// Which backend.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Key {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Everything at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// The backends, as their status says.
    pub backends: Vec<Backend>,
    /// Where there are more than are looked at: how many are left out of what, as a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<String>,
    /// The pods of the one that is opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<Pods>,
}

/// A line of the list.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// Which.
    #[serde(flatten)]
    pub key: Key,
    /// `True`, `False` or `Unknown`.
    pub ready: String,
    /// The reason of the condition Balanced.
    pub verdict: String,
    /// Whether that is good (`true`), trouble (`false`) or not known.
    pub balanced: Option<bool>,
    /// The sentence of the condition Balanced.
    pub message: String,
    /// Ready pods of all, such as `3/3`.
    pub pods: String,
    /// Pods that the figures are of.
    pub judged_pods: i32,
    /// How many evenly loaded pods would carry the load as it is spread.
    pub effective_pods: Option<f64>,
    /// Requests of the busiest pod over the mean.
    pub max_over_mean: Option<f64>,
    /// Of the judged pods.
    pub requests_per_second: Option<f64>,
    /// Pods that should get requests and do not.
    pub starved_pods: i32,
    /// The age that runs, such as `1m`.
    pub max_age: Option<String>,
    /// How many findings there are.
    pub findings: usize,
}

impl Backend {
    /// What the status says.
    pub fn of(backend: &GrpcBackend) -> Self {
        let status = backend.status.clone().unwrap_or_default();
        let condition = |kind: ConditionType| {
            let mut conditions = status.conditions.iter();
            conditions.find(|condition| condition.type_ == kind.as_str())
        };
        let balanced = condition(ConditionType::Balanced);
        let ready = condition(ConditionType::Ready);
        let balance = status.balance.clone().unwrap_or_default();
        let number = |text: Option<String>| text.and_then(|text| text.parse().ok());
        Self {
            key: Key {
                namespace: backend.namespace().unwrap_or_default(),
                name: backend.name_any(),
            },
            ready: ready.map_or_else(|| "Unknown".into(), |ready| ready.status.clone()),
            verdict: balanced.map_or_else(|| "Unknown".into(), |balanced| balanced.reason.clone()),
            balanced: balanced.and_then(|balanced| match balanced.status.as_str() {
                "True" => Some(true),
                "False" => Some(false),
                _ => None,
            }),
            message: balanced.map_or_else(
                || "the operator has not looked at it yet".into(),
                |balanced| balanced.message.clone(),
            ),
            pods: status
                .endpoints
                .map_or_else(String::new, |endpoints| endpoints.summary),
            judged_pods: balance.pods,
            effective_pods: number(balance.effective_pods),
            max_over_mean: number(balance.max_over_mean),
            requests_per_second: number(balance.requests_per_second),
            starved_pods: balance.starved_pods.unwrap_or(0),
            max_age: status.running_max_age,
            findings: status.findings.len(),
        }
    }

    /// How much of the pods' capacity the load uses evenly, 0 to 1.
    pub fn evenness(&self) -> Option<f64> {
        (self.judged_pods > 0).then_some(self.effective_pods? / f64::from(self.judged_pods))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::balance::{PodLoad, PodStanding, Report};
    use serde_json::json;

    fn key(name: &str) -> Key {
        Key {
            namespace: "shop".into(),
            name: name.into(),
        }
    }

    /// A backend of two pods.
    pub fn backend(name: &str, balanced: Option<bool>, effective: f64, rate: f64) -> Backend {
        Backend {
            key: key(name),
            ready: "True".into(),
            verdict: if balanced == Some(false) {
                "HotPod"
            } else {
                "Balanced"
            }
            .into(),
            balanced,
            message: "a sentence".into(),
            pods: "2/2".into(),
            judged_pods: 2,
            effective_pods: Some(effective),
            max_over_mean: Some(2.0 / effective),
            requests_per_second: Some(rate),
            starved_pods: 0,
            max_age: Some("1m".into()),
            findings: 0,
        }
    }

    /// Pods with these rates.
    pub fn pods(of: &str, rates: &[f64]) -> Pods {
        let total: f64 = rates.iter().sum();
        let row = |(index, rate): (usize, &f64)| PodRow {
            name: format!("{of}-{index}"),
            requests_per_second: Some(*rate),
            share: Some(rate / total),
            state: if *rate > 1.5 * total / 2.0 {
                State::Hot
            } else {
                State::Serving
            },
        };
        Pods {
            of: key(of),
            source: From::Pods,
            note: None,
            rows: rates.iter().enumerate().map(row).collect(),
        }
    }

    fn resource() -> GrpcBackend {
        let spec = json!({"selector": {"app": "cart"}, "ports": [{"port": 80}]});
        let mut backend = GrpcBackend::new("cart", serde_json::from_value(spec).unwrap());
        backend.metadata.namespace = Some("shop".into());
        let condition = |kind: &str, status: &str, reason: &str, message: &str| {
            json!({"type": kind, "status": status, "reason": reason, "message": message,
                "lastTransitionTime": "2026-01-01T00:00:00Z"})
        };
        let status = json!({
            "conditions": [condition("Balanced", "False", "HotPod", "a is hot"), condition("Ready", "True", "AllReady", "")],
            "endpoints": {"ready": 2, "notReady": 0, "summary": "2/2"},
            "runningMaxAge": "1m",
            "balance": {"verdict": "HotPod", "pods": 2, "effectivePods": "1.60", "maxOverMean": "1.50", "requestsPerSecond": "40",
                "hottest": [{"pod": "a", "share": "0.75"}]},
        });
        backend.status = Some(serde_json::from_value(status).unwrap());
        backend
    }

    #[test]
    fn a_line_is_what_the_status_says() {
        let line = Backend::of(&resource());
        assert_eq!(
            (&*line.verdict, line.balanced, &*line.pods),
            ("HotPod", Some(false), "2/2")
        );
        assert_eq!(line.evenness(), Some(0.8));
        let mut untouched = resource();
        untouched.status = None;
        let line = Backend::of(&untouched);
        assert_eq!(
            (&*line.ready, &*line.verdict, line.evenness()),
            ("Unknown", "Unknown", None)
        );
    }

    #[test]
    fn scripts_get_what_they_were_promised() {
        let snapshot = Snapshot {
            backends: vec![Backend::of(&resource())],
            ..Snapshot::default()
        };
        let promised = json!({"backends": [{
            "namespace": "shop",
            "name": "cart",
            "ready": "True",
            "verdict": "HotPod",
            "balanced": false,
            "message": "a is hot",
            "pods": "2/2",
            "judgedPods": 2,
            "effectivePods": 1.6,
            "maxOverMean": 1.5,
            "requestsPerSecond": 40.0,
            "starvedPods": 0,
            "maxAge": "1m",
            "findings": 0,
        }]});
        assert_eq!(serde_json::to_value(&snapshot).unwrap(), promised);
        let mut unknown = resource();
        unknown.status = None;
        let said = serde_json::to_value(Backend::of(&unknown)).unwrap();
        // Each is there, known or not.
        let keys = |value: &serde_json::Value| -> Vec<String> {
            value.as_object().unwrap().keys().cloned().collect()
        };
        assert_eq!(keys(&said), keys(&promised["backends"][0]));
        for unknown in [
            "balanced",
            "effectivePods",
            "maxOverMean",
            "requestsPerSecond",
            "maxAge",
        ] {
            assert!(said[unknown].is_null(), "{unknown}: {said}");
        }
    }

    #[test]
    fn pods_are_told_from_their_own_pages() {
        let load = |pod: &str, standing, rate| PodLoad {
            pod: pod.into(),
            standing,
            requests_per_second: rate,
        };
        let report = Report {
            loads: vec![
                load("a", PodStanding::Judged, Some(30.0)),
                load("b", PodStanding::Judged, Some(10.0)),
                load("c", PodStanding::Warming, None),
                load("d", PodStanding::Failing, None),
            ],
            ..Report::default()
        };
        let pods = Pods::of_report(&resource(), &report);
        let told: Vec<_> = pods
            .rows
            .iter()
            .map(|row| (&*row.name, row.share, row.state))
            .collect();
        assert_eq!(
            told,
            [
                ("a", Some(0.75), State::Hot),
                ("b", Some(0.25), State::Serving),
                ("c", None, State::WarmingUp),
                ("d", None, State::NoMetrics)
            ]
        );
        assert_eq!((pods.note.as_deref(), pods.mean()), (None, Some(20.0)));
    }

    #[test]
    fn without_rights_the_status_has_to_do() {
        let pods = Pods::of_status(&resource(), "why".into());
        assert_eq!(pods.rows.len(), 1);
        assert_eq!(pods.rows[0].requests_per_second, Some(30.0));
        let json = serde_json::to_value(&pods).unwrap();
        assert_eq!(json["source"], "Status");
        assert_eq!(json["items"][0]["state"], "Hot");
    }
}
