//! What outlives the operator: the same before and after, whatever is done to it.

use std::fmt::Debug;

use anyhow::{Result, ensure};
use evenkeel::api::GrpcBackend;
use evenkeel_cluster::until;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::ListParams;
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use crate::bed::{Bed, ROLLOUT};

/// What must be the same before and after: pods with their restarts, Deployments, the resources and what was made for them.
pub async fn lasting(bed: &Bed) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let all = ListParams::default();
    for pod in bed.namespace.api::<Pod>().list(&all).await? {
        let status = pod.status.clone().unwrap_or_default();
        let containers = status.container_statuses.unwrap_or_default();
        let restarts: i32 = containers.iter().map(|one| one.restart_count).sum();
        let (name, uid) = (pod.name_any(), pod.uid());
        found.push(format!("pod {name} {uid:?}: {restarts} restarts"));
    }
    for deployment in bed.namespace.api::<Deployment>().list(&all).await? {
        let (name, uid) = (deployment.name_any(), deployment.uid());
        let generation = deployment.metadata.generation;
        found.push(format!(
            "Deployment {name} {uid:?}: generation {generation:?}"
        ));
    }
    found.extend(objects::<Service>(bed, "Service").await?);
    found.extend(objects::<ServiceAccount>(bed, "ServiceAccount").await?);
    found.extend(objects::<Role>(bed, "Role").await?);
    found.extend(objects::<RoleBinding>(bed, "RoleBinding").await?);
    found.extend(objects::<GrpcBackend>(bed, "GrpcBackend").await?);
    found.sort();
    Ok(found)
}

/// Every object of one kind by its name and uid.
async fn objects<K>(bed: &Bed, kind: &str) -> Result<Vec<String>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    K: Clone + Debug + DeserializeOwned,
{
    let list = bed.namespace.api().list(&ListParams::default()).await?;
    let line = |object: K| format!("{kind} {} {:?}", object.name_any(), object.uid());
    Ok(list.into_iter().map(line).collect())
}

/// Fails unless all of that is as it was.
pub async fn lasts(bed: &Bed, before: &[String], when: &str) -> Result<()> {
    let now = lasting(bed).await?;
    ensure!(now == before, "{when}: {now:#?}, before {before:#?}");
    Ok(())
}

/// Waits until a namespace has so many pods: those that were replaced are on their way out for a while.
pub async fn only_pods(bed: &Bed, count: usize) -> Result<()> {
    until(&format!("{count} pods"), ROLLOUT, async || {
        let pods = bed.kubectl(&["get", "pods", "--output=name"]).await?;
        Ok((pods.lines().count() == count).then_some(()))
    })
    .await
}
