//! `spec.balance`: how the verdict is come to.

use std::borrow::Cow;
use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::MetricsHttps;
use crate::api::GoDuration;

/// How balance is measured and judged.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.window) || duration(self.window) >= duration('10s') && duration(self.window) >= duration(has(self.interval) ? self.interval : '15s') + duration(has(self.interval) ? self.interval : '15s')").message("balance.window must be at least 10s and two intervals (interval is 15s unless given)"))]
#[x_kube(validation = Rule::new("!has(self.interval) || has(self.window) || duration(self.interval) <= duration('30s')").message("balance.window is 60s unless given: with an interval over 30s give a window of at least two intervals"))]
#[x_kube(validation = Rule::new("!has(self.source) || self.source != 'Prometheus' || !has(self.metrics) || !(has(self.metrics.port) || has(self.metrics.path) || has(self.metrics.https))").message("balance.source Prometheus asks no pod: leave metrics.port, metrics.path and metrics.https out"))]
pub struct Balance {
    /// `Judge` (default) gives a verdict; `Observe` gives numbers only, for weighted, zonal or sharded backends; `Disabled` reads no metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<BalanceMode>,

    /// Whose numbers are judged: `Pods` (default) asks each pod for its metrics; `Prometheus` asks the Prometheus server in the operator's settings, which must read the pods at least once in an interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<BalanceSource>,

    /// Where the pods serve their metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,

    /// How often each pod's metrics are read: 5s to 10m, default 15s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$') && duration(self) >= duration('5s') && duration(self) <= duration('10m')").message("a duration from 5s to 10m, such as 15s"))]
    pub interval: Option<GoDuration>,

    /// The time over which requests are counted: 10s to 1h, default 60s, at least two intervals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$') && duration(self) >= duration('10s') && duration(self) <= duration('1h')").message("a duration from 10s to 1h, such as 60s"))]
    pub window: Option<GoDuration>,

    /// From where on unevenness is large. It must be more than chance explains as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Thresholds>,
}

/// Whose numbers are judged.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum BalanceSource {
    /// Each pod's own.
    #[default]
    Pods,
    /// Those of the Prometheus server in the operator's settings.
    Prometheus,
}

/// What is done about balance.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum BalanceMode {
    /// Numbers and a verdict.
    #[default]
    Judge,
    /// Numbers only.
    Observe,
    /// Nothing. (Not called `Off`, which YAML 1.1 reads as a boolean.)
    Disabled,
}

/// Where the pods serve their metrics.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    /// The pods' port, 1 to 65535; it must be among the container's declared ports. Default: the one that the pod's annotation `prometheus.io/port` names, else the declared port named `metrics`, `http-metrics` or `prom…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,

    /// The path, at most 128 characters. Default: the pod's annotation `prometheus.io/path`, where its port is used too, else `/metrics`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = Rule::new("self.matches('^/[A-Za-z0-9._/-]*$')").message("a path starts with '/', then letters, digits, '.', '_', '-' and '/'"))]
    #[x_kube(validation = Rule::new("!self.matches('/[.][.](/|$)')").message("a path has no part '..'"))]
    pub path: Option<String>,

    /// Asks the pods over TLS. Left out: without, and then no token is ever sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https: Option<MetricsHttps>,

    /// The family of metrics to count requests by; docs/metrics.md lists them. By default it is the best that all pods show: RPCs before messages, the server's own before a sidecar's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<MetricFamily>,

    /// Only series with all of these labels count, at most 8, each name and value at most 128 characters: for programs with several servers on one metrics page.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8, "additionalProperties" = {"type": "string", "maxLength": 128}))]
    #[x_kube(validation = Rule::new("self.all(k, size(k) <= 128)").message("the name of a label has at most 128 characters"))]
    pub labels: BTreeMap<String, String>,
}

/// The name of a family that is known.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct MetricFamily(String);

impl MetricFamily {
    /// The name as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl JsonSchema for MetricFamily {
    fn schema_name() -> Cow<'static, str> {
        "MetricFamily".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let known = &crate::balance::families::catalogue().families;
        let names: Vec<&str> = known.iter().map(|meter| meter.name.as_str()).collect();
        json_schema!({ "type": "string", "enum": names })
    }
}

/// From where on unevenness is large. Decimals are strings, as the API conventions ask.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Thresholds {
    /// Busiest pod over the mean, "1.1" to "100"; default "1.5".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9]{1,3}([.][0-9]{1,3})?$') && double(self) >= 1.1 && double(self) <= 100.0").message("a decimal from \"1.1\" to \"100\", in quotes"))]
    pub max_over_mean: Option<String>,

    /// Idlest pod over the mean, "0" to "0.9"; default "0.5".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9]{1,3}([.][0-9]{1,3})?$') && double(self) <= 0.9").message("a decimal from \"0\" to \"0.9\", in quotes"))]
    pub min_over_mean: Option<String>,

    /// Coefficient of variation after what chance explains, "0.05" to "10"; default "0.25".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9]{1,3}([.][0-9]{1,3})?$') && double(self) >= 0.05 && double(self) <= 10.0").message("a decimal from \"0.05\" to \"10\", in quotes"))]
    pub cv: Option<String>,

    /// Mean requests a pod in the window below which nothing is judged, 10 to 1000000; default 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 1_000_000))]
    pub min_requests: Option<i32>,
}
