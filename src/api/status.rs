//! What a user reads.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How things stand.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcBackendStatus {
    /// The generation of the spec that this status speaks of; -1 until it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready, ServicesReady, ConnectionAgeApplied, EndpointWatchReady, MetricsAvailable, Balanced, and Reconciling or Stalled while so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// The names of the two Services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<ServiceNames>,

    /// What to dial, per port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["port".into()]))]
    pub targets: Vec<Target>,

    /// The workloads that serve, and what they run with; at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub servers: Vec<Server>,

    /// The maximum connection age that the ready pods run with; `mixed` where they differ, `unknown` where it is set in a way that cannot be read, absent where connections may live for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24))]
    pub running_max_age: Option<String>,

    /// Within what time each kind of client finds a new pod, at the most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["client".into()]))]
    pub discovery: Vec<PromisedDiscovery>,

    /// The selected pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Endpoints>,

    /// How requests are spread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<BalanceStatus>,

    /// How many findings there are, the ignored ones left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub findings_count: Option<i32>,

    /// The severity of the worst of them: `Error`, `Warning` or `Info`; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst_finding: Option<String>,

    /// How many more there would be without `spec.ignoreFindings`; absent where nothing is ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignored_findings: Option<i32>,

    /// Rules that have no answer: the operator may not read what they look at (see the chart's `findings`), the pods' metrics are not read, or do not say it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub unchecked_findings: Vec<String>,

    /// What is worth changing, worst first; at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub findings: Vec<Finding>,
}

/// The names of the two Services.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceNames {
    /// The Service with a virtual address.
    #[serde(default, rename = "clusterIP", skip_serializing_if = "Option::is_none")]
    pub cluster_ip: Option<String>,
    /// The headless Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headless: Option<String>,
}

/// What to dial for one port.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// The port's name.
    pub port: String,
    /// For clients that balance by DNS, with the policy `round_robin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<String>,
    /// For meshed clients, health checks and HTTP.
    #[serde(default, rename = "clusterIP", skip_serializing_if = "Option::is_none")]
    pub cluster_ip: Option<String>,
    /// For clients that watch endpoints (kuberesolver), with the policy `round_robin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<String>,
    /// The name to expect in the server's certificate where TLS is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
}

/// One workload that serves.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    /// The workload's kind.
    pub kind: String,
    /// The workload's name.
    pub name: String,
    /// The container that has, or would get, the age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Replicas asked for.
    #[serde(default)]
    pub replicas: i32,
    /// The age that its ready pods run with; `mixed` where they differ, `unknown` where it is set in a way that cannot be read, absent where connections may live for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<String>,
    /// Who set what stands in the template: `Evenkeel`, also where only the grace is its own and the age the owner's, or the workload's `Owner`, by whom another GrpcBackend counts too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_by: Option<SetBy>,
    /// What its connections say, by the server's own count of them: `AtAge` (they end as often as the age has it), `Later` (they outlive it), `Unclear` (they end more often: probes, or clients that come and go), `Measuring` (not for long enough yet: 3.3 ages; or its metrics cannot be read), `NotMeasurable` (the server does not count its connections in `grpc_tcp_connections_created_total` and `grpc_tcp_connection_count`, its pods have no port for metrics, or `spec.balance.mode` is `Disabled`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<ObservedAge>,
    /// The age that it is to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned: Option<String>,
    /// One of the reasons of ConnectionAgeApplied, for this workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Since when the age that Evenkeel had set is known to be taken out by somebody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_since: Option<Time>,
    /// When Evenkeel set the age again after somebody took it out, in the last six hours: at most 3 times. A change of `spec` starts anew.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub reverts: Vec<Time>,
    /// The workload's generation at the last of these attempts, as long as it was not answered: the next one counts as the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempted_generation: Option<i64>,
    /// What stands in the way, or under `mode: Advise` the patch to apply, at most 1024 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Who set an age.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum SetBy {
    /// This operator.
    Evenkeel,
    /// Whoever wrote the workload.
    Owner,
}

/// What connections say of the age, worst first.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
pub enum ObservedAge {
    /// They outlive it.
    Later,
    /// They end more often.
    Unclear,
    /// They end at it.
    AtAge,
    /// Not for long enough yet, or its metrics cannot be read.
    Measuring,
    /// The server does not count them, or nobody may ask.
    NotMeasurable,
}

/// What is promised to a kind of client.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PromisedDiscovery {
    /// `DNS`, `DNSJava` and `DNSDotNet` (`round_robin` over the headless name), `DNSPolling` (looks the name up every 10 s), `EndpointWatch` (kuberesolver), `ClusterIP` (one connection).
    pub client: String,
    /// Seconds from Ready to the first request at the most, such as `93s`. Absent where nothing can be promised: to clients that go by the age without one that runs on all pods, and behind the virtual address at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
}

/// The selected pods.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoints {
    /// Pods that get requests.
    #[serde(default)]
    pub ready: i32,
    /// Pods that do not.
    #[serde(default)]
    pub not_ready: i32,
    /// Ready pods of all pods, as `kubectl get` shows it.
    #[serde(default)]
    pub summary: String,
}

/// How requests are spread. Decimals are strings, as the API conventions ask; they move only when more than noise moved.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BalanceStatus {
    /// The same word as the reason of the condition Balanced.
    #[serde(default)]
    pub verdict: String,
    /// Pods that were judged.
    #[serde(default)]
    pub pods: i32,
    /// How many evenly loaded pods would carry the load as it is spread: (sum of x) squared over the sum of x squared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_pods: Option<String>,
    /// Requests of the busiest pod over the mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_over_mean: Option<String>,
    /// Requests of the idlest pod over the mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_over_mean: Option<String>,
    /// Requests per second over the pods that were judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<String>,
    /// The metric family that was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// Pods with most requests, at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub hottest: Vec<PodShare>,
    /// How many pods should get requests and do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starved_pods: Option<i32>,
    /// Pods that should get requests and do not, at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub starved: Vec<PodShare>,
    /// How long the last new pods took from Ready to their first request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery: Option<Discovery>,
    /// When this was last found to be so, in steps of ten minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_evaluated: Option<Time>,
}

/// A pod and its share of all requests.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodShare {
    /// The pod's name.
    pub pod: String,
    /// Its share of all requests, 0 to 1, such as `0.48`.
    pub share: String,
}

/// How long new pods wait for their first request.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Discovery {
    /// Seconds from Ready to the first request, of the slowest of the last new pods, such as `14.3s`.
    pub slowest: String,
    /// Seconds from Ready to 80 % of a fair share of the requests, of the slowest of the last new pods, such as `38.0s`. Absent until all of them have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fair_share: Option<String>,
    /// What is promised to clients of kind `DNS` with the age that runs. Absent where nothing can be promised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promised: Option<String>,
    /// By how many seconds these times may be wrong: the metrics are read that often, such as `15s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolution: Option<String>,
    /// All new pods since this backend is watched, by how long they took; buckets without a pod are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub histogram: Vec<DiscoveryBucket>,
}

/// New pods that took so long, and longer than the bucket before.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiscoveryBucket {
    /// Seconds from Ready at the most: `5s`, `15s`, `30s`, `60s`, `120s`, `300s`, `900s`, or `more`.
    pub within: String,
    /// Pods that had their first request then.
    #[serde(default)]
    pub first_request: i32,
    /// Pods that had 80 % of a fair share then.
    #[serde(default)]
    pub fair_share: i32,
}

/// Something worth changing.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Which rule, such as `GB033`.
    pub id: String,
    /// `Error`, `Warning` or `Info`.
    pub severity: String,
    /// What was seen, why it matters, and what to do; at most 1024 characters.
    pub message: String,
}
