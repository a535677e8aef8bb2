//! The order in which a cluster comes up, from a bare supervisor to a ready
//! node.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::{Api, Client};

use crate::access::Identity;
use crate::cluster::{API, Cluster};
use crate::forward;
use crate::kubeconfig::{Credential, INSIDE, kubeconfig};
use crate::options::Options;
use crate::plan::{Component, Plan};
use crate::wait::until;

const LIMIT: Duration = Duration::from_mins(3);
/// Kubeconfig, user and groups of the components.
const CLIENTS: [(&str, &str, &str); 5] = [
    (
        "kube-controller-manager",
        "system:kube-controller-manager",
        "",
    ),
    ("kube-scheduler", "system:kube-scheduler", ""),
    ("kubelet", "system:node:node1", "system:nodes"),
    ("kube-proxy", "system:kube-proxy", ""),
    ("coredns", "system:coredns", ""),
];

impl Cluster {
    pub(crate) async fn bring_up(&self, options: &Options, pause: &Path) -> Result<()> {
        let cgroup = self.cgroup();
        let plan = self.plan(options, &cgroup);
        self.write_kubeconfigs()?;
        until("the cluster's supervisor", LIMIT, async || {
            Ok(self.control.socket().exists().then_some(()))
        })
        .await?;
        self.start_component(&plan, Component::Etcd)?;
        self.start_component(&plan, Component::Containerd)?;
        let etcd = SocketAddr::from((API.0, 2379));
        until("etcd", LIMIT, async || {
            self.inside_ok(etcd, "/health").await
        })
        .await?;
        self.start_component(&plan, Component::ApiServer)?;
        let client = self.client().await?;
        tokio::try_join!(self.control_plane(&plan, &client), self.containers(pause))?;
        self.wait_until_ready(&client).await
    }

    fn write_kubeconfigs(&self) -> Result<()> {
        for (file, user, group) in CLIENTS {
            let groups: Vec<String> = Some(group.to_owned())
                .filter(|group| !group.is_empty())
                .into_iter()
                .collect();
            let credential = Credential::Certificate(self.pki.client(user, &groups)?);
            let text = kubeconfig(
                INSIDE,
                self.pki.file("ca.crt").as_ref(),
                &credential,
                "default",
            );
            std::fs::write(self.state.join(format!("config/{file}.kubeconfig")), text)?;
        }
        // Under the name that the API server's flags have.
        let files = self.pki.client("apiserver-kubelet", &[])?;
        std::fs::copy(files.crt, self.pki.file("apiserver-kubelet.crt"))?;
        std::fs::copy(files.key, self.pki.file("apiserver-kubelet.key"))?;
        Ok(())
    }

    async fn control_plane(&self, plan: &Plan<'_>, client: &Client) -> Result<()> {
        until("the API server", LIMIT, async || api_ready(client).await).await?;
        // What needs longest comes first.
        for component in [
            Component::Kubelet,
            Component::ControllerManager,
            Component::Scheduler,
        ] {
            self.start_component(plan, component)?;
        }
        // kube-system and the default roles come a moment after readiness.
        let manifest = include_str!("bootstrap.yaml");
        until("the first objects", LIMIT, async || {
            self.kubectl_with(
                &Identity::Admin,
                &["apply", "--server-side", "-f", "-"],
                manifest,
            )
            .await
            .map(Some)
        })
        .await?;
        self.start_component(plan, Component::KubeProxy)?;
        self.start_component(plan, Component::CoreDns)
    }

    async fn containers(&self, pause: &Path) -> Result<()> {
        let socket = Plan::containerd_socket(&self.state);
        until("containerd", LIMIT, async || {
            Ok(tokio::net::UnixStream::connect(&socket)
                .await
                .is_ok()
                .then_some(()))
        })
        .await?;
        until("the pause image", LIMIT, async || {
            self.import_image(pause).await.map(Some)
        })
        .await
    }

    async fn wait_until_ready(&self, client: &Client) -> Result<()> {
        until("the node to be ready", LIMIT, async || {
            node_ready(client).await
        })
        .await?;
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
        until("the default ServiceAccount", LIMIT, async || {
            Ok(accounts.get_opt("default").await?)
        })
        .await?;
        self.wait_for_dns().await?;
        self.wait_for_kube_proxy().await
    }

    pub(crate) async fn wait_for_dns(&self) -> Result<()> {
        let address = SocketAddr::from((API.0, 8181));
        until("CoreDNS", LIMIT, async || {
            self.inside_ok(address, "/ready").await
        })
        .await
    }

    pub(crate) async fn wait_for_kube_proxy(&self) -> Result<()> {
        let address = SocketAddr::from((API.0, 10256));
        until("kube-proxy", LIMIT, async || {
            self.inside_ok(address, "/healthz").await
        })
        .await
    }

    pub(crate) async fn inside_ok(&self, address: SocketAddr, path: &str) -> Result<Option<()>> {
        Ok(forward::http_ok(self.control.socket(), address, path)
            .await?
            .then_some(()))
    }
}

pub(crate) async fn api_ready(client: &Client) -> Result<Option<()>> {
    let request = http::Request::get("/readyz").body(Vec::new())?;
    Ok((client.request_text(request).await? == "ok").then_some(()))
}

pub(crate) async fn node_ready(client: &Client) -> Result<Option<()>> {
    let Some(node) = Api::<Node>::all(client.clone()).get_opt("node1").await? else {
        return Ok(None);
    };
    let conditions = node
        .status
        .and_then(|status| status.conditions)
        .unwrap_or_default();
    Ok(conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
        .then_some(()))
}
