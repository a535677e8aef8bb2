//! What happens to the pods.

use std::time::Duration;

use anyhow::{Context as _, Result};
use evenkeel_cluster::{Component, until};
use evenkeel_conformance::Action;
use k8s_openapi::api::core::v1::Pod;
use kube::api::EvictParams;

use crate::bed::{Bed, ROLLOUT};
use crate::pods::{left, names};

/// How long a part of the cluster is dead.
const OUTAGE: Duration = Duration::from_secs(20);

/// Does it, and waits until the servers are as they should be.
pub async fn happen(bed: &Bed, action: Action, idle: Duration) -> Result<()> {
    let all = || async {
        let pods = names(&bed.pods("app=echo").await?);
        anyhow::Ok((pods.first().cloned().context("no pod")?, pods.len()))
    };
    match action {
        Action::Scale(pods) => {
            bed.scale("echo", pods).await?;
            settled(bed, usize::try_from(pods)?).await
        }
        Action::RollingUpdate => {
            let (_, pods) = all().await?;
            bed.kubectl(&["rollout", "restart", "deployment/echo"])
                .await?;
            settled(bed, pods).await
        }
        Action::Kill => {
            let (pod, _) = all().await?;
            let cluster = &bed.world.cluster;
            cluster.crash_container(bed.name(), &pod, "server").await
        }
        Action::Evict => {
            let (pod, pods) = all().await?;
            let api = bed.namespace.api::<Pod>();
            api.evict(&pod, &EvictParams::default()).await?;
            settled(bed, pods).await
        }
        Action::Replace => {
            let (_, pods) = all().await?;
            bed.kubectl(&["delete", "pod", "-l", "app=echo", "--wait=false"])
                .await?;
            settled(bed, pods).await
        }
        Action::DnsDown => outage(bed, Component::CoreDns).await,
        Action::ApiDown => outage(bed, Component::ApiServer).await,
        Action::Idle => {
            // The measurement is the time itself.
            tokio::time::sleep(idle).await;
            Ok(())
        }
    }
}

async fn outage(bed: &Bed, component: Component) -> Result<()> {
    let cluster = &bed.world.cluster;
    cluster.kill(component).await?;
    tokio::time::sleep(OUTAGE).await;
    cluster.start_again(component).await
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
