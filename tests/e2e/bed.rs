//! What a test works in: a namespace of its own with an operator that is limited to it, under the chart's rules.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use evenkeel::api::{ConditionType, GrpcBackend};
use evenkeel_cluster::{AuditEvent, From, Identity, Process, Proxy, Rule, TestNamespace, until};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::client::Client;
use crate::manifests;
use crate::workloads::Before;
use crate::world::{OPERATORS, World, operator_binary};

/// For what takes a rollout.
pub const ROLLOUT: Duration = Duration::from_mins(3);
/// For what needs only the operator.
pub const SOON: Duration = Duration::from_mins(1);

/// A namespace, and the operator that watches it.
pub struct Bed {
    /// The cluster.
    pub world: Arc<World>,
    /// The namespace.
    pub namespace: TestNamespace,
    /// The operator; none where the test starts it itself.
    pub operator: Option<Operator>,
    /// What workloads were before any GrpcBackend.
    pub before: Before,
}

/// An operator as a process.
pub struct Operator {
    /// The process.
    pub process: Process,
    /// As the API server knows it.
    pub user: String,
    /// Where it serves its metrics, in the cluster's network.
    pub metrics: std::net::SocketAddr,
}

impl Bed {
    /// A namespace with an operator.
    pub async fn new(world: &Arc<World>, prefix: &str) -> Result<Self> {
        let mut bed = Self::without_operator(world, prefix).await?;
        bed.start_operator(&[]).await?;
        Ok(bed)
    }

    /// A namespace alone.
    pub async fn without_operator(world: &Arc<World>, prefix: &str) -> Result<Self> {
        Ok(Self {
            world: world.clone(),
            namespace: world.cluster.namespace(prefix).await?,
            operator: None,
            before: Before::default(),
        })
    }

    /// Gives the operator its ServiceAccount and the chart's rules in this namespace, and starts it.
    pub async fn start_operator(&mut self, further: &[&str]) -> Result<()> {
        let namespace = self.name().to_owned();
        self.grant(&namespace).await?;
        self.operator =
            Some(start_operator(&self.world, &namespace, &[&namespace], further).await?);
        Ok(())
    }

    /// The same with a proxy between it and the API server, and rules for what comes by from the start.
    pub async fn start_operator_behind(&mut self, rules: Vec<Rule>) -> Result<Proxy> {
        let namespace = self.name().to_owned();
        self.grant(&namespace).await?;
        let cluster = &self.world.cluster;
        let identity = Identity::service_account(OPERATORS, &namespace);
        let proxy = cluster.proxy(&identity).await?;
        for rule in rules {
            proxy.add(rule);
        }
        let kubeconfig = cluster.kubeconfig_via(&proxy, &namespace, From::Inside)?;
        self.operator = Some(
            start_operator_by(&self.world, &namespace, &[&namespace], &[], &kubeconfig).await?,
        );
        Ok(proxy)
    }

    /// The namespace's name.
    pub fn name(&self) -> &str {
        self.namespace.name()
    }

    /// kubectl in this namespace, as administrator.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let all = [&["-n", self.name()], arguments].concat();
        self.world.cluster.kubectl(&all).await
    }

    /// `kubectl apply` of an object.
    pub async fn apply(&self, object: &Value) -> Result<String> {
        self.remember_before(object).await?;
        self.kubectl_with(&["apply", "-f", "-"], &object.to_string())
            .await
    }

    /// kubectl with something on standard input.
    pub async fn kubectl_with(&self, arguments: &[&str], input: &str) -> Result<String> {
        let all = [&["-n", self.name()], arguments].concat();
        self.world
            .cluster
            .kubectl_with(&Identity::Admin, &all, input)
            .await
    }

    /// Applies a Deployment and waits for its pods.
    pub async fn deploy(&self, deployment: &Value) -> Result<()> {
        self.apply(deployment).await?;
        let name = deployment["metadata"]["name"]
            .as_str()
            .context("a Deployment without a name")?;
        self.rolled_out(name).await
    }

    /// Waits until a Deployment has all its pods, of its newest template and no others.
    pub async fn rolled_out(&self, name: &str) -> Result<()> {
        let deployments = self.namespace.api::<Deployment>();
        until(
            &format!("Deployment {name} has rolled out"),
            ROLLOUT,
            async || {
                let deployment = deployments.get(name).await?;
                let wanted = deployment.spec.and_then(|spec| spec.replicas).unwrap_or(1);
                let status = deployment.status.unwrap_or_default();
                let done = status.observed_generation >= deployment.metadata.generation
                    && status.updated_replicas.unwrap_or(0) == wanted
                    && status.replicas.unwrap_or(0) == wanted
                    && status.ready_replicas.unwrap_or(0) == wanted;
                Ok(done.then_some(()))
            },
        )
        .await
    }

    /// Applies a GrpcBackend for [`Bed::echo`] and waits until all pods run with its age.
    pub async fn apply_age(&self, backend: &Value) -> Result<()> {
        self.apply(backend).await?;
        let applied = ConditionType::ConnectionAgeApplied;
        self.reason("echo", applied, "Applied", ROLLOUT).await?;
        self.rolled_out("echo").await
    }

    /// A GrpcBackend as it is.
    pub async fn backend(&self, name: &str) -> Result<GrpcBackend> {
        Ok(self.namespace.api::<GrpcBackend>().get(name).await?)
    }

    /// Waits until a condition of a GrpcBackend has this reason for the newest spec; fails with what it says instead.
    pub async fn reason(
        &self,
        name: &str,
        kind: ConditionType,
        reason: &str,
        limit: Duration,
    ) -> Result<GrpcBackend> {
        let backends = self.namespace.api::<GrpcBackend>();
        until(
            &format!("{kind} of {name} says {reason}"),
            limit,
            async || {
                let backend = backends.get(name).await?;
                let status = backend.status.as_ref();
                let seen = status.and_then(|status| status.observed_generation);
                match condition(&backend, kind) {
                    Some(condition)
                        if condition.reason == reason && seen == backend.metadata.generation =>
                    {
                        Ok(Some(backend))
                    }
                    Some(condition) => bail!(
                        "it says {} {}: {}",
                        condition.status,
                        condition.reason,
                        condition.message
                    ),
                    None => Ok(None),
                }
            },
        )
        .await
    }

    /// Waits until a condition has this reason and says all of these words: of what changes, the two must be of one moment.
    pub async fn says(
        &self,
        name: &str,
        kind: ConditionType,
        reason: &str,
        words: &[&str],
        limit: Duration,
    ) -> Result<()> {
        let what = format!("{kind} of {name} says {reason} and {words:?}");
        until(&what, limit, async || {
            let backend = self.reason(name, kind, reason, limit).await?;
            let message = condition(&backend, kind).map_or("", |told| told.message.as_str());
            ensure!(words.iter().all(|word| message.contains(word)), "{message}");
            Ok(Some(()))
        })
        .await
    }

    /// What the condition says.
    pub async fn message(&self, name: &str, kind: ConditionType) -> Result<String> {
        let backend = self.backend(name).await?;
        let condition = condition(&backend, kind).context("no such condition")?;
        Ok(condition.message.clone())
    }

    /// The pods with a label, that are not going.
    pub async fn pods(&self, label: &str) -> Result<Vec<Pod>> {
        let pods: Api<Pod> = self.namespace.api();
        let list = pods.list(&ListParams::default().labels(label)).await?;
        Ok(list
            .items
            .into_iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none())
            .collect())
    }

    /// Starts a load client as a pod and waits for its first reply.
    pub async fn client(&self, name: &str, target: &str, further: &[&str]) -> Result<Client> {
        Client::start(self, name, target, "default", further).await
    }

    /// What this test's operator wrote since then; its Lease and its events left out.
    pub fn writes_since(&self, since: Timestamp) -> Result<Vec<AuditEvent>> {
        let mut writes = self.writes_and_events_since(since)?;
        writes.retain(|write| write.resource != "events");
        Ok(writes)
    }

    /// The same with its events.
    pub fn writes_and_events_since(&self, since: Timestamp) -> Result<Vec<AuditEvent>> {
        let operator = self.operator.as_ref().context("no operator runs")?;
        let mut writes = self
            .world
            .cluster
            .audit()
            .writes_by(&operator.user, since)?;
        writes.retain(|write| write.resource != "leases");
        Ok(writes)
    }

    /// The operator's own metrics.
    pub async fn metrics_page(&self) -> Result<String> {
        let metrics = self.operator.as_ref().context("no operator runs")?.metrics;
        let address = self.world.cluster.forward(metrics).await?;
        let (status, page) = crate::client::get(address, "/metrics").await?;
        ensure!(status == 200, "/metrics says {status}: {page}");
        Ok(page)
    }

    /// The operator's memory in kB.
    pub async fn resident(&self) -> Result<u64> {
        self.memory("VmRSS:").await
    }

    /// The most that it ever had.
    pub async fn peak_resident(&self) -> Result<u64> {
        self.memory("VmHWM:").await
    }

    async fn memory(&self, which: &str) -> Result<u64> {
        let process = &self.operator.as_ref().context("no operator runs")?.process;
        let pid = process.state()?.pid.context("the operator has ended")?;
        let mut command = Command::new("cat");
        command.arg(format!("/proc/{pid}/status"));
        let status = self.world.cluster.run_in_net(&command, SOON).await?;
        let line = status.lines().find_map(|line| line.strip_prefix(which));
        let figure = line.and_then(|line| line.split_whitespace().next());
        let figure = figure.with_context(|| format!("no {which}"))?;
        figure.parse().with_context(|| which.to_owned())
    }

    /// A Deployment as it is.
    pub async fn deployment(&self, name: &str) -> Result<Deployment> {
        Ok(self.namespace.api::<Deployment>().get(name).await?)
    }

    /// Changes the spec of a GrpcBackend by a merge patch.
    pub async fn change(&self, backend: &str, spec: &Value) -> Result<()> {
        let patch = json!({ "spec": spec }).to_string();
        self.kubectl(&["patch", "gb", backend, "--type=merge", "-p", &patch])
            .await
            .map(drop)
    }

    /// Waits until the operator has looked at a Deployment once more, and has done what it was about to do.
    pub async fn another_pass(&self, deployment: &str) -> Result<()> {
        self.another_pass_over(&format!("deployment/{deployment}"))
            .await
    }

    /// The same for any workload, `kind/name`. By a label: an annotation would count as a new generation of a Deployment, and with
    /// that as somebody's answer to what the operator is about to do. Twice: the first look may be that of a pass which had begun
    /// before, and the second comes when the writes of the first are done.
    pub async fn another_pass_over(&self, object: &str) -> Result<()> {
        self.another_look_at(object).await?;
        self.another_look_at(object).await
    }

    async fn another_look_at(&self, object: &str) -> Result<()> {
        let operator = self.operator.as_ref().context("no operator runs")?;
        let touched = Timestamp::now();
        let touch = format!("touched-at={}", touched.as_millisecond());
        self.kubectl(&["label", "--overwrite", object, &touch])
            .await?;
        let (kind, name) = object.split_once('/').context("not kind/name")?;
        until("the operator looks again", SOON, async || {
            let requests = self
                .world
                .cluster
                .audit()
                .requests_by(&operator.user, touched)?;
            let looked = |request: &AuditEvent| {
                request.verb == "get"
                    && request.resource.strip_suffix('s') == Some(kind)
                    && request.name == name
            };
            Ok(requests.iter().any(looked).then_some(()))
        })
        .await
    }

    /// The usual server: Deployment `echo`.
    pub async fn echo(&self, replicas: u32) -> Result<()> {
        self.deploy(&manifests::server("echo", replicas)).await
    }
}

/// A condition of a GrpcBackend, if it has been said.
pub fn condition(backend: &GrpcBackend, kind: ConditionType) -> Option<&Condition> {
    let conditions = &backend.status.as_ref()?.conditions;
    conditions.iter().find(|own| own.type_ == kind.as_str())
}

/// Starts an operator that watches `namespaces` (none: all) under the ServiceAccount `account`.
pub async fn start_operator(
    world: &World,
    account: &str,
    namespaces: &[&str],
    further: &[&str],
) -> Result<Operator> {
    let identity = Identity::service_account(OPERATORS, account);
    let kubeconfig = world
        .cluster
        .kubeconfig_for(&identity, From::Inside)
        .await?;
    start_operator_by(world, account, namespaces, further, &kubeconfig).await
}

/// The same with a way of its own to the API server.
pub async fn start_operator_by(
    world: &World,
    account: &str,
    namespaces: &[&str],
    further: &[&str],
    kubeconfig: &Path,
) -> Result<Operator> {
    let (metrics, health) = (world.port(), world.port());
    let metrics = std::net::SocketAddr::from(([127, 0, 0, 1], metrics));
    let mut command = Command::new(operator_binary());
    command
        .arg("run")
        .arg(format!("--watch-namespaces={}", namespaces.join(",")))
        .arg(format!("--metrics-address={metrics}"))
        .arg(format!("--health-address=127.0.0.1:{health}"))
        .arg("--log-filter=info,evenkeel=debug")
        .args(further)
        .env("KUBECONFIG", kubeconfig)
        .env("POD_NAME", account);
    let process = world
        .cluster
        .spawn_in_net(&format!("operator-{account}"), &command)?;
    let address = world
        .cluster
        .forward(([127, 0, 0, 1], health).into())
        .await?;
    until("the operator is ready", SOON, async || {
        let (status, _) = crate::client::get(address, "/readyz").await?;
        if status != 200 {
            bail!("/readyz says {status}");
        }
        Ok(Some(()))
    })
    .await?;
    Ok(Operator {
        process,
        user: Identity::service_account(OPERATORS, account).username(),
        metrics,
    })
}
