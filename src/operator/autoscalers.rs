//! What scales the workloads, where whoever installed the operator lets it look.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use super::context::Scope;
use super::error::Error;
use crate::observed::Autoscaler;

/// More than any namespace has that a person looks after.
const LIMIT: u32 = 500;

/// The autoscalers of a namespace, read live: they decide nothing that is written but findings. None: they may not be read,
/// or not all of them, so that nothing can be said.
pub async fn autoscalers(scope: &Scope, namespace: &str) -> Result<Option<Vec<Autoscaler>>, Error> {
    if !scope.shared.settings.read_autoscalers {
        return Ok(None);
    }
    let api = Api::<HorizontalPodAutoscaler>::namespaced(scope.shared.client.clone(), namespace);
    match api.list(&ListParams::default().limit(LIMIT)).await {
        Ok(list)
            if list
                .metadata
                .continue_
                .as_ref()
                .is_some_and(|token| !token.is_empty()) =>
        {
            Ok(None)
        }
        Ok(list) => Ok(Some(list.items.iter().filter_map(plain).collect())),
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => Ok(None),
        Err(error) => Err(Error::from_api("reading HorizontalPodAutoscalers", &error)),
    }
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
