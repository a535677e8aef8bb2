//! Faults: components and containers that die or freeze, and cuts in the
//! network.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{ConfigMap, ContainerStatus, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::io::AsyncReadExt;

use crate::bring_up::{api_ready, node_ready};
use crate::cluster::{API, Cluster};
use crate::control::Request;
use crate::forward;
use crate::plan::{Component, Plan};
use crate::process::Signal;
use crate::wait::until;

/// A node that was not ready takes about a minute until it is again.
const RECOVERY: Duration = Duration::from_mins(2);

impl Cluster {
    /// Kills a component with SIGKILL and leaves it dead.
    pub async fn kill(&self, component: Component) -> Result<()> {
        self.signal(component, Signal::Kill)?;
        self.control
            .wait(component.name(), Duration::from_secs(10))
            .await
            .map(drop)
    }

    /// Starts a component that was killed and waits until it does its work.
    pub async fn start_again(&self, component: Component) -> Result<()> {
        self.control.ask(&Request::Again {
            name: component.name().to_owned(),
        })?;
        self.wait_for(component).await
    }

    /// Kills a component, starts it again, and waits until it does its work.
    pub async fn restart(&self, component: Component) -> Result<()> {
        self.kill(component).await?;
        self.start_again(component).await
    }

    /// Lets a component crash, and waits until its supervisor has started it again and it does its work.
    pub async fn crash(&self, component: Component) -> Result<()> {
        let name = component.name();
        let before = self.control.status(name)?.restarts;
        self.signal(component, Signal::Abort)?;
        let what = format!("{name} runs again");
        until(&what, Duration::from_secs(20), async || {
            let state = self.control.status(name)?;
            Ok((state.restarts > before && state.pid.is_some()).then_some(()))
        })
        .await?;
        self.wait_for(component).await
    }

    /// Freezes a component: connections stay open and nobody answers.
    pub fn freeze(&self, component: Component) -> Result<()> {
        self.signal(component, Signal::Stop)
    }

    /// Lets a frozen component go on, and waits until it does its work.
    pub async fn thaw(&self, component: Component) -> Result<()> {
        self.signal(component, Signal::Cont)?;
        self.wait_for(component).await
    }

    fn signal(&self, component: Component, signal: Signal) -> Result<()> {
        let name = component.name().to_owned();
        self.control
            .ask(&Request::Signal {
                name,
                signal: signal.number(),
            })
            .map(drop)
    }

    /// Waits until a component does its work.
    pub async fn wait_for(&self, component: Component) -> Result<()> {
        let port = |port: u16| SocketAddr::from((API.0, port));
        match component {
            Component::Etcd | Component::ApiServer => self.wait_for_writes().await,
            Component::Kubelet => {
                until("the kubelet", RECOVERY, async || {
                    self.inside_ok(port(10248), "/healthz").await
                })
                .await?;
                let client = self.client().await?;
                until("the node to be ready", RECOVERY, async || {
                    node_ready(&client).await
                })
                .await
            }
            Component::KubeProxy => self.wait_for_kube_proxy().await,
            Component::CoreDns => self.wait_for_dns().await,
            Component::Containerd => {
                let socket = Plan::containerd_socket(&self.state);
                let listens = async || {
                    Ok(tokio::net::UnixStream::connect(&socket)
                        .await
                        .is_ok()
                        .then_some(()))
                };
                until("containerd", RECOVERY, listens).await
            }
            Component::ControllerManager => self.wait_for_port(port(10257)).await,
            Component::Scheduler => self.wait_for_port(port(10259)).await,
        }
    }

    async fn wait_for_writes(&self) -> Result<()> {
        let client = self.client().await?;
        until("the API server", RECOVERY, async || {
            api_ready(&client).await
        })
        .await?;
        let maps: Api<ConfigMap> = Api::namespaced(client, "kube-system");
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "evenkeel-recovery"},
            "data": {"at": jiff::Timestamp::now().to_string()}});
        let how = PatchParams::apply("evenkeel-cluster");
        until("a write", RECOVERY, async || {
            Ok(Some(
                maps.patch("evenkeel-recovery", &how, &Patch::Apply(&object))
                    .await?,
            ))
        })
        .await
        .map(drop)
    }

    /// An open connection stays silent; a refused one ends at once.
    async fn wait_for_port(&self, address: SocketAddr) -> Result<()> {
        until(&address.to_string(), RECOVERY, async || {
            let mut stream = forward::connect(self.control.socket(), address).await?;
            let silent = tokio::time::timeout(Duration::from_millis(200), stream.read_u8())
                .await
                .is_err();
            Ok(silent.then_some(()))
        })
        .await
    }

    async fn container(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
    ) -> Result<ContainerStatus> {
        let pods: Api<Pod> = Api::namespaced(self.client().await?, namespace);
        let statuses = pods
            .get(pod)
            .await?
            .status
            .and_then(|status| status.container_statuses)
            .unwrap_or_default();
        let found = statuses.into_iter().find(|status| status.name == container);
        found.with_context(|| {
            format!("pod {namespace}/{pod} has no container {container} that was started")
        })
    }

    /// Sends a signal to all processes of a container.
    pub async fn signal_container(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        signal: Signal,
    ) -> Result<()> {
        let status = self.container(namespace, pod, container).await?;
        let id = status
            .container_id
            .context("the container was not started")?;
        let id = id.trim_start_matches("containerd://");
        self.ctr(&[
            "tasks",
            "kill",
            "--all",
            "--signal",
            &signal.number().to_string(),
            id,
        ])
        .await
        .map(drop)
    }

    /// Kills a container and waits until the kubelet has started it again and
    /// it is ready.
    pub async fn crash_container(&self, namespace: &str, pod: &str, container: &str) -> Result<()> {
        let before = self
            .container(namespace, pod, container)
            .await?
            .restart_count;
        self.signal_container(namespace, pod, container, Signal::Kill)
            .await?;
        until("the container's restart", RECOVERY, async || {
            let status = self.container(namespace, pod, container).await?;
            Ok((status.restart_count > before && status.ready).then_some(()))
        })
        .await
    }

    /// Drops every packet between two ends, in both directions, until the cut
    /// heals. Addresses are pods' or the node's, not Services'.
    pub async fn cut(&self, one: Endpoint, other: Endpoint) -> Result<Cut<'_>> {
        let there = format!("{} {}", one.matching("s"), other.matching("d"));
        let back = format!("{} {}", other.matching("s"), one.matching("d"));
        self.filter(&format!("{there} drop; {back} drop;")).await
    }

    /// Resets each connection to a pod's address as soon as something is sent over it, until that heals.
    pub async fn reset(&self, at: SocketAddr) -> Result<Cut<'_>> {
        let there = Endpoint::from(at).matching("d");
        self.filter(&format!(
            "{there} tcp flags & psh == psh reject with tcp reset;"
        ))
        .await
    }

    async fn filter(&self, rules: &str) -> Result<Cut<'_>> {
        let table = format!("evenkeel_cut_{}_{}", std::process::id(), self.next_serial());
        let chains = ["input", "output", "forward"].map(|hook| {
            format!("chain {hook} {{ type filter hook {hook} priority -50; {rules} }}\n")
        });
        let script = format!("table inet {table} {{\n{}}}", chains.concat());
        self.run_in_net(Command::new("nft").arg(script), Duration::from_secs(20))
            .await?;
        Ok(Cut {
            cluster: self,
            table,
        })
    }
}

/// One end of a [`Cluster::cut`].
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// The address.
    pub ip: IpAddr,
    /// Its TCP port; every port and protocol if none is given.
    pub port: Option<u16>,
}

impl Endpoint {
    fn matching(self, side: &str) -> String {
        let family = if self.ip.is_ipv4() { "ip" } else { "ip6" };
        let port = self
            .port
            .map(|port| format!(" tcp {side}port {port}"))
            .unwrap_or_default();
        format!("{family} {side}addr {}{port}", self.ip)
    }
}

impl std::convert::From<IpAddr> for Endpoint {
    fn from(ip: IpAddr) -> Self {
        Self { ip, port: None }
    }
}

impl std::convert::From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self {
            ip: address.ip(),
            port: Some(address.port()),
        }
    }
}

/// A cut in the network; it heals when this is dropped.
#[must_use = "the cut heals when this is dropped"]
pub struct Cut<'a> {
    cluster: &'a Cluster,
    table: String,
}

impl Cut<'_> {
    fn command(&self) -> Command {
        let mut command = Command::new("nft");
        command.args(["delete", "table", "inet", &self.table]);
        command
    }

    /// Heals it and waits until that is done.
    pub async fn heal(self) -> Result<()> {
        let command = self.command();
        let healed = self
            .cluster
            .run_in_net(&command, Duration::from_secs(20))
            .await
            .map(drop);
        std::mem::forget(self);
        healed
    }
}

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        if let Ok(process) = self.cluster.spawn_in_net("nft", &self.command()) {
            // Its own drop would kill it before it has done its work.
            std::mem::forget(process);
        }
    }
}
