//! What scales the workloads, where whoever installed the operator lets it look.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use super::context::Scope;
use crate::observed::Autoscaler;

/// More than any namespace has that a person looks after.
const LIMIT: u32 = 500;

/// What is known of a namespace's autoscalers.
#[derive(Default)]
pub struct Seen {
    /// All of them; none: they may not be read, or not all of them, so that nothing can be said.
    pub all: Option<Vec<Autoscaler>>,
    /// The API server gave no answer this time.
    pub missed: bool,
}

/// The autoscalers of a namespace, read live. They decide nothing that is written but findings, so that no failure to read
/// them ends a pass.
pub async fn autoscalers(scope: &Scope, namespace: &str) -> Seen {
    if !scope.shared.settings.read_autoscalers {
        return Seen::default();
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
            Seen::default()
        }
        Ok(list) => Seen {
            all: Some(list.items.iter().filter_map(plain).collect()),
            missed: false,
        },
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => Seen::default(),
        Err(error) => {
            tracing::warn!(%error, namespace, "could not read HorizontalPodAutoscalers: what is found of them stays as it was");
            Seen {
                all: None,
                missed: true,
            }
        }
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
