//! Pods that come and go, and when a client first hears from them.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use evenkeel_cluster::load::ready_since;
use evenkeel_cluster::until;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::ListParams;

use crate::bed::{Bed, ROLLOUT};
use crate::client::Client;

/// When a pod became Ready, and when a client had its first reply.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Ready, in whole seconds as Kubernetes keeps it.
    pub ready: Timestamp,
    /// The first reply, by the client's clock.
    pub first_reply: Timestamp,
    /// The time between the two, so up to a second too long.
    pub took: Duration,
}

/// The names, in order.
pub fn names(pods: &[Pod]) -> Vec<String> {
    let mut names: Vec<String> = pods.iter().map(kube::ResourceExt::name_any).collect();
    names.sort();
    names
}

/// Its address.
pub fn ip(pod: &Pod) -> Result<Ipv4Addr> {
    let status = pod.status.as_ref();
    let ip = status.and_then(|status| status.pod_ip.as_deref());
    ip.with_context(|| format!("{} has no IP", pod.name_any()))?
        .parse()
        .with_context(|| format!("the IP of {}", pod.name_any()))
}

/// The target by which a client calls this pod alone, whatever it resolves and balances.
pub fn target(pod: &Pod) -> Result<String> {
    Ok(format!("passthrough:///{}:8080", ip(pod)?))
}

/// Waits until there are so many Ready pods that are not among the old ones.
pub async fn new_pods(bed: &Bed, old: &[String], count: usize) -> Result<Vec<Pod>> {
    until(
        &format!("{count} new pods are Ready"),
        ROLLOUT,
        async || {
            let mut pods = bed.pods("app=echo").await?;
            pods.retain(|pod| !old.contains(&pod.name_any()) && ready_since(pod).is_some());
            Ok((pods.len() == count).then_some(pods))
        },
    )
    .await
}

/// Waits until so many pods are left, those included that are going.
pub async fn left(bed: &Bed, count: usize) -> Result<()> {
    left_of(bed, "echo", count).await
}

/// The same of another workload, by its label `app`.
pub async fn left_of(bed: &Bed, app: &str, count: usize) -> Result<()> {
    let pods = bed.namespace.api::<Pod>();
    let label = format!("app={app}");
    until(&format!("{count} pods are left"), ROLLOUT, async || {
        let all = pods.list(&ListParams::default().labels(&label)).await?;
        Ok((all.items.len() == count).then_some(()))
    })
    .await
}

/// Waits for a pod's first reply.
pub async fn arrival(client: &Client, pod: &Pod, limit: Duration) -> Result<Arrival> {
    let name = pod.name_any();
    let ready = ready_since(pod).with_context(|| format!("{name} is not Ready"))?;
    let first_reply = until(
        &format!("{name}, Ready since {ready}, serves"),
        limit,
        async || Ok(client.totals().await?.first_replies.get(&name).copied()),
    )
    .await?;
    let took = Duration::try_from(first_reply.duration_since(ready))
        .with_context(|| format!("{name} served at {first_reply} and was Ready at {ready} only"))?;
    Ok(Arrival {
        ready,
        first_reply,
        took,
    })
}
