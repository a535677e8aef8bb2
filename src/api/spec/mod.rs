//! What a user asks for.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::GrpcBackendStatus;

mod balance;
mod connection_age;
mod endpoint_watch;
mod https;
mod labels;
mod services;

pub use balance::*;
pub use connection_age::*;
pub use endpoint_watch::*;
pub use https::*;
pub use services::*;

/// A gRPC backend that is kept evenly loaded: a ClusterIP and a headless Service for its pods, a maximum connection age
/// on its servers, access to its endpoints for clients that watch them, and a verdict on how its requests are spread.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "evenkeel.dev",
    version = "v1alpha1",
    kind = "GrpcBackend",
    plural = "grpcbackends",
    shortname = "gb",
    category = "grpc",
    namespaced,
    status = "GrpcBackendStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A gRPC backend that is kept evenly loaded: paired Services, a maximum connection age on its servers, endpoint access for watching clients, and a verdict on its balance.",
    validation = Rule::new("self.metadata.name.size() <= 54 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message("metadata.name becomes the name of Services: at most 54 characters, lower case letters, digits and '-', starting with a letter"),
    validation = Rule::new("!self.metadata.name.endsWith('-headless')").message("metadata.name must not end in '-headless': that is the name of another backend's headless Service"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status", description = "Whether everything that was asked for is in place"),
    printcolumn(name = "Balance", type_ = "string", json_path = ".status.conditions[?(@.type=='Balanced')].reason", description = "How requests are spread over the pods"),
    printcolumn(name = "Pods", type_ = "string", json_path = ".status.endpoints.summary", description = "Ready pods of all selected pods"),
    printcolumn(name = "Effective", type_ = "string", json_path = ".status.balance.effectivePods", description = "How many evenly loaded pods would carry the load as it is spread"),
    printcolumn(name = "Max/Mean", type_ = "string", json_path = ".status.balance.maxOverMean", description = "Requests of the busiest pod over the mean"),
    printcolumn(name = "MaxAge", type_ = "string", json_path = ".status.runningMaxAge", description = "The maximum connection age that the ready pods run with"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Headless", type_ = "string", json_path = ".status.services.headless", description = "The Service for clients that balance by DNS", priority = 1),
    printcolumn(name = "ClusterIP", type_ = "string", json_path = ".status.services.clusterIP", description = "The Service with a virtual address", priority = 1),
    printcolumn(name = "Starved", type_ = "integer", json_path = ".status.balance.starvedPods", description = "Pods that should get requests and do not", priority = 1),
    printcolumn(name = "RPS", type_ = "string", json_path = ".status.balance.requestsPerSecond", description = "Requests per second over the pods that were judged", priority = 1),
    printcolumn(name = "Findings", type_ = "integer", json_path = ".status.findingsCount", description = "Findings that are not ignored", priority = 1),
    printcolumn(name = "Worst", type_ = "string", json_path = ".status.worstFinding", description = "Severity of the worst finding", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].message", description = "What to know first", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.ports.all(p, self.ports.exists_one(q, (has(q.targetPort) ? q.targetPort : q.port) == (has(p.targetPort) ? p.targetPort : p.port)))").message("two ports lead to one targetPort: the headless Service, whose port is the targetPort, cannot have it twice"))]
#[x_kube(validation = Rule::new("self.ports.all(p, self.ports.exists_one(q, q.port == p.port))").message("two entries have the same port: give each its own"))]
pub struct GrpcBackendSpec {
    /// Labels of the serving pods, at least one; becomes the selector of both Services.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 16, "additionalProperties" = {"type": "string", "maxLength": 63}))]
    #[x_kube(validation = labels::names())]
    #[x_kube(validation = labels::values())]
    pub selector: BTreeMap<String, String>,

    /// The gRPC ports of the pods, one to eight.
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub ports: Vec<Port>,

    /// The two Services; absent: both are managed under their default names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<Services>,

    /// Has the servers end each connection after a while, so that clients look up the pods anew. Absent: no workload is touched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_age: Option<ConnectionAge>,

    /// A ServiceAccount, Role and RoleBinding for clients that watch endpoints instead of asking DNS. Absent: none are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_watch: Option<EndpointWatch>,

    /// How balance is measured and judged. Absent: on, with the defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<Balance>,

    /// While true nothing is written but the status; deletion still finishes. Default false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,

    /// Findings that are known and accepted, each with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    pub ignore_findings: Vec<IgnoredFinding>,
}

/// One gRPC port.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// Name of the port in both Services; default `grpc`.
    #[serde(default = "default_port_name")]
    #[schemars(length(min = 1, max = 15))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message("a port's name is at most 15 lower case letters, digits and '-', as in a Service"))]
    pub name: String,

    /// Port of the ClusterIP Service, 1 to 65535.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,

    /// Port of the pods, 1 to 65535; default: `port`. It is a number, since a named port may differ from pod to pod and cannot serve DNS clients. The headless Service has this port, because its clients dial the pods themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub target_port: Option<i32>,

    /// The Services' `appProtocol`, at most 128 characters; default `kubernetes.io/h2c`. `None` leaves it out, for TLS or for meshes that tell by themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub app_protocol: Option<String>,
}

impl Port {
    /// The pods' port.
    pub fn target(&self) -> i32 {
        self.target_port.unwrap_or(self.port)
    }

    /// What the Services say of the protocol.
    pub fn app_protocol(&self) -> Option<&str> {
        match self.app_protocol.as_deref() {
            None => Some("kubernetes.io/h2c"),
            Some("None") => None,
            given => given,
        }
    }
}

fn default_port_name() -> String {
    "grpc".into()
}

/// A finding that is known and accepted.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IgnoredFinding {
    /// The finding's id, such as `GB033`.
    #[schemars(length(min = 5, max = 5))]
    #[x_kube(validation = Rule::new("self.matches('^GB[0-9]{3}$')").message("the id of a finding is GB and three digits, as in status.findings"))]
    pub id: String,

    /// Why it is accepted, 1 to 256 characters.
    #[schemars(length(min = 1, max = 256))]
    pub reason: String,
}
