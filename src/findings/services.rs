//! Services.

use kube::ResourceExt as _;

use crate::observed::Observed;

/// GB005: `ready` is then true for every pod, for those that are going too.
pub(super) fn publishes_not_ready(observed: &Observed) -> Option<String> {
    let service = [&observed.cluster_ip, &observed.headless]
        .into_iter()
        .flatten()
        .find(|service| {
            service
                .spec
                .as_ref()
                .is_some_and(|spec| spec.publish_not_ready_addresses == Some(true))
        })?;
    Some(format!(
        "Service {} has publishNotReadyAddresses: true: clients are sent to pods that are not ready yet, or not any more. Set it to false; peers that must find each other before they are ready want a Service of their own",
        service.name_any()
    ))
}
