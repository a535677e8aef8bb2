//! What is read for findings alone, where whoever installed the operator lets it look.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::core::Status;
use kube::{Api, ResourceExt as _};

use super::context::Scope;
use crate::observed::cluster_dns::{self, Corefile};
use crate::observed::{Autoscaler, ClusterDns, Optional};

/// More than any namespace has that a person looks after.
const LIMIT: u32 = 500;
/// For one request: less than a pass has for all that it reads.
const TIMEOUT: Duration = Duration::from_secs(3);

async fn in_time<T>(read: impl Future<Output = kube::Result<T>>) -> anyhow::Result<T> {
    Ok(tokio::time::timeout(TIMEOUT, read).await??)
}

/// It decides nothing that is written but findings, so that no failure to read it ends a pass.
fn unread<T>(error: &anyhow::Error, what: &str) -> Optional<T> {
    let refused = |status: &Status| matches!(status.code, 403 | 404);
    if matches!(error.downcast_ref(), Some(kube::Error::Api(status)) if refused(status)) {
        return Optional::Unknown;
    }
    tracing::warn!(%error, what, "could not read what findings need: what is found of it stays as it was");
    Optional::Missed
}

/// The autoscalers of a namespace, read live.
pub async fn autoscalers(scope: &Scope, namespace: &str) -> Optional<Vec<Autoscaler>> {
    if !scope.shared.settings.read_autoscalers {
        return Optional::Unknown;
    }
    let api = Api::<HorizontalPodAutoscaler>::namespaced(scope.shared.client.clone(), namespace);
    let parameters = ListParams::default().limit(LIMIT);
    match in_time(api.list(&parameters)).await {
        Ok(list)
            if list
                .metadata
                .continue_
                .as_ref()
                .is_some_and(|token| !token.is_empty()) =>
        {
            Optional::Unknown
        }
        Ok(list) => Optional::Known(list.items.iter().filter_map(plain).collect()),
        Err(error) => unread(&error, "HorizontalPodAutoscalers"),
    }
}

/// What is said of a backend's namespace, read live.
pub async fn namespace(scope: &Scope, name: &str) -> Optional<Arc<ObjectMeta>> {
    if !scope.shared.settings.read_namespaces {
        return Optional::Unknown;
    }
    let api = Api::<Namespace>::all(scope.shared.client.clone());
    match in_time(api.get_metadata(name)).await {
        Ok(namespace) => Optional::Known(Arc::new(namespace.metadata)),
        Err(error) => unread(&error, "the labels of a namespace"),
    }
}

/// How the cluster's DNS servers are configured, read live.
pub async fn dns(scope: &Scope) -> Optional<ClusterDns> {
    if !scope.shared.settings.read_cluster_dns {
        return Optional::Unknown;
    }
    let client = scope.shared.client.clone();
    let api = Api::<ConfigMap>::namespaced(client, cluster_dns::NAMESPACE);
    let mut corefiles = Vec::new();
    for name in cluster_dns::CONFIG_MAPS {
        match in_time(api.get_opt(name)).await {
            Ok(config) => corefiles.extend(config.and_then(corefile).map(|text| Corefile {
                name: name.to_owned(),
                text,
            })),
            Err(error) => return unread(&error, "the cluster's DNS configuration"),
        }
    }
    cluster_dns::read(&corefiles).into()
}

fn corefile(config: ConfigMap) -> Option<String> {
    config.data?.remove(cluster_dns::KEY)
}

fn plain(scaler: &HorizontalPodAutoscaler) -> Option<Autoscaler> {
    let spec = scaler.spec.as_ref()?;
    Some(Autoscaler {
        kind: "HorizontalPodAutoscaler",
        name: scaler.name_any(),
        target_kind: spec.scale_target_ref.kind.clone(),
        target_name: spec.scale_target_ref.name.clone(),
        min: spec.min_replicas.unwrap_or(1),
        max: spec.max_replicas,
    })
}
