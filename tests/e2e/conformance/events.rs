//! What happens to the pods.

use std::time::Duration;

use anyhow::Result;
use evenkeel_cluster::load::ready_since;
use evenkeel_cluster::{Component, until};
use evenkeel_conformance::{Action, Event, measure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{EvictParams, ListParams};

use crate::bed::{Bed, ROLLOUT};
use crate::pods::{left, names};

/// How long a part of the cluster is dead.
const OUTAGE: Duration = Duration::from_secs(20);

/// Does it, and waits until the servers are as they should be. `victim` is the pod that it hits, where it hits one.
pub async fn happen(bed: &Bed, event: &Event, victim: &str, idle: Duration) -> Result<()> {
    let pods = usize::try_from(event.pods)?;
    let all = names(&bed.pods("app=echo").await?);
    match event.action {
        Action::Scale(pods) => scale(bed, pods).await,
        Action::RollingUpdate => {
            bed.kubectl(&["rollout", "restart", "deployment/echo"])
                .await?;
            replaced(bed, &all, pods).await
        }
        Action::Kill => {
            let cluster = &bed.world.cluster;
            cluster.crash_container(bed.name(), victim, "server").await
        }
        Action::Evict => {
            let api = bed.namespace.api::<Pod>();
            api.evict(victim, &EvictParams::default()).await?;
            replaced(bed, &[victim.to_owned()], pods).await
        }
        Action::Replace => {
            bed.kubectl(&["delete", "pod", "-l", "app=echo", "--wait=false"])
                .await?;
            replaced(bed, &all, pods).await
        }
        Action::DnsDown => outage(bed, Component::CoreDns, event.pods).await,
        Action::ApiDown => outage(bed, Component::ApiServer, event.pods).await,
        Action::Idle => {
            // The measurement is the time itself.
            tokio::time::sleep(idle).await;
            Ok(())
        }
    }
}

/// Who waits to ask again shows only when there is something new.
async fn outage(bed: &Bed, component: Component, pods: u32) -> Result<()> {
    let cluster = &bed.world.cluster;
    let killed = cluster.kill(component).await;
    tokio::time::sleep(OUTAGE).await;
    // Whatever became of that: all that is measured later needs it.
    cluster.start_again(component).await?;
    killed?;
    scale(bed, pods + 1).await
}

async fn scale(bed: &Bed, pods: u32) -> Result<()> {
    bed.scale("echo", pods).await?;
    settled(bed, usize::try_from(pods)?).await
}

/// Waits until the Deployment has so many pods, and none that goes.
pub async fn settled(bed: &Bed, pods: usize) -> Result<()> {
    // A slow rollout takes longer than one step of it.
    until("the rollout is over", ROLLOUT * 5, async || {
        bed.rolled_out("echo").await.map(Some)
    })
    .await?;
    left(bed, pods).await
}

/// Waits until these pods are gone, and others there. The Deployment's status says that only after a while.
async fn replaced(bed: &Bed, gone: &[String], pods: usize) -> Result<()> {
    let api = bed.namespace.api::<Pod>();
    let label = ListParams::default().labels("app=echo");
    until("others are there", ROLLOUT * 5, async || {
        let listed = api.list(&label).await?.items.into_iter();
        let all: Vec<(String, bool)> = listed
            .map(|pod| (pod.name_any(), ready_since(&pod).is_some()))
            .collect();
        Ok(measure::replaced(&all, gone, pods).then_some(()))
    })
    .await?;
    settled(bed, pods).await
}
