//! Pods without containers: a node that no kubelet stands behind, on which every pod is ready at once, at an address of its own that one
//! program answers for. Everything else about them is Kubernetes' own: Deployments make and replace them, EndpointSlices list them.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::pin::pin;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use evenkeel_cluster::{Cluster, Options, Process, until};
use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::pages;

const NODE: &str = "hollow";
/// The pods' addresses, of a range that is for measurements (RFC 2544).
const NETWORK: &str = "198.18.0.0/16";
/// Where metrics are served, at each of them.
pub const PORT: u16 = 9090;
/// Nobody renews the node's heartbeat.
const GRACE: &str = "24h";
const LIMIT: Duration = Duration::from_secs(30);

/// The node, for as long as this is held.
pub struct Hollow {
    keeper: JoinHandle<Result<()>>,
    /// Serves the pages.
    pages: Process,
    /// Bytes of each of [`pages::PAGES`].
    pub sizes: Vec<usize>,
}

impl Drop for Hollow {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// What a cluster needs for it.
pub fn options(name: &str) -> Options {
    let flags = ["--node-monitor-grace-period", "--node-startup-grace-period"];
    Options {
        controller_manager_flags: flags.map(|flag| format!("{flag}={GRACE}")).to_vec(),
        ..Options::named(name)
    }
}

/// Puts a Deployment's pods there, with this page.
pub fn place(template: &mut Value, page: &str) {
    template["spec"]["nodeName"] = json!(NODE);
    template["metadata"]["annotations"] = json!({
        "prometheus.io/port": PORT.to_string(), "prometheus.io/path": format!("/{page}"),
    });
}

impl Hollow {
    /// Adds the node, and serves pages for its pods.
    pub async fn add(cluster: &Cluster, root: &Path) -> Result<Self> {
        let directory = cluster.state_dir().join("pages");
        let sizes = pages::write(root, &directory)?;
        let route = format!("route add local {NETWORK} dev lo");
        let mut command = Command::new("ip");
        command.args(route.split(' '));
        cluster.run_in_net(&command, LIMIT).await?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args([pages::SERVE, &format!("0.0.0.0:{PORT}")])
            .arg(&directory);
        let served = cluster.spawn_in_net("pages", &command)?;
        let client = cluster.client().await?;
        add_node(&client).await?;
        let keeper = tokio::spawn(keep(client));
        let hollow = Self {
            keeper,
            pages: served,
            sizes,
        };
        let what = "the pages are served";
        until(what, LIMIT, async || hollow.counts(cluster).await.map(Some)).await?;
        Ok(hollow)
    }

    /// How often each page was asked for, by path and query.
    pub async fn counts(&self, cluster: &Cluster) -> Result<Value> {
        if !self.pages.is_running() {
            bail!("the pages' server has ended: {}", self.pages.log_text()?);
        }
        let said = ask(cluster, PORT, &format!("GET {}", pages::COUNTS)).await?;
        serde_json::from_str(&said).context("the counts of the pages")
    }
}

/// Asks a program on the node's own loopback.
pub async fn ask(cluster: &Cluster, port: u16, what: &str) -> Result<String> {
    let address = cluster.forward((Ipv4Addr::LOCALHOST, port).into()).await?;
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        stream
            .write_all(format!("{what} HTTP/1.0\r\nContent-Length: 0\r\n\r\n").as_bytes())
            .await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map(|_| answer)
    };
    let answer = timeout(LIMIT, asked).await??;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    ensure!(head.contains(" 200 "), "{what}: {head}");
    Ok(body.to_owned())
}

async fn add_node(client: &Client) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    // Only pods that name it come here: those of the operator are to run.
    let node = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}, "spec": {"unschedulable": true},
    });
    nodes
        .create(&PostParams::default(), &serde_json::from_value(node)?)
        .await?;
    let room = json!({"cpu": "1000", "memory": "1000Gi", "pods": "2000"});
    let ready = json!({
        "type": "Ready", "status": "True", "reason": "Hollow", "lastHeartbeatTime": Timestamp::now(),
        "lastTransitionTime": Timestamp::now(),
    });
    let status = json!({"status": {"capacity": room, "allocatable": room, "conditions": [ready]}});
    nodes
        .patch_status(NODE, &PatchParams::default(), &Patch::Strategic(status))
        .await
        .map(drop)
        .context("the node is ready")
}

/// What a kubelet would do for its pods, as far as others can see.
async fn keep(client: Client) -> Result<()> {
    let config = watcher::Config::default().fields(&format!("spec.nodeName={NODE}"));
    let pods = watcher(Api::<Pod>::all(client.clone()), config).default_backoff();
    let mut pods = pin!(pods.applied_objects());
    let mut used = 0;
    while let Some(pod) = pods.next().await {
        let Ok(pod) = pod else { continue };
        let own: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
        let name = pod.name_any();
        let done = if pod.metadata.deletion_timestamp.is_some() {
            let at_once = DeleteParams::default().grace_period(0);
            own.delete(&name, &at_once).await.map(drop)
        } else if pod
            .status
            .as_ref()
            .is_none_or(|status| status.pod_ip.is_none())
        {
            used += 1;
            let status = Patch::Strategic(ready(&pod, address(used)));
            let parameters = PatchParams::default();
            let patched = own.patch_status(&name, &parameters, &status).await;
            patched.map(drop)
        } else {
            Ok(())
        };
        match done {
            // It has gone meanwhile.
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => eprintln!("  hollow pod {name}: {error}"),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// The so-manieth: one after the other through the network.
fn address(number: u16) -> IpAddr {
    let [high, low] = (number + 1).to_be_bytes();
    Ipv4Addr::new(198, 18, high, low).into()
}

fn ready(pod: &Pod, address: IpAddr) -> Value {
    let now = Timestamp::now();
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now});
    let kinds = ["PodScheduled", "Initialized", "ContainersReady", "Ready"];
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let containers: Vec<Value> = containers
        .map(|container| {
            json!({
                "name": container.name, "image": container.image, "imageID": "", "ready": true, "started": true,
                "restartCount": 0, "state": {"running": {"startedAt": now}},
            })
        })
        .collect();
    json!({"status": {
        "phase": "Running", "startTime": now, "podIP": address, "podIPs": [{"ip": address}],
        "conditions": kinds.map(condition), "containerStatuses": containers,
    }})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_of_the_network_and_differ() {
        assert_eq!(address(1), IpAddr::from([198, 18, 0, 2]));
        assert_eq!(address(300), IpAddr::from([198, 18, 1, 45]));
    }
}
