//! Autoscaling.

use crate::observed::Observed;

use super::{Seen, age};

/// GB071: what is added when load comes gets none of it.
pub(super) fn scales_into_nothing(observed: &Observed) -> Option<Seen> {
    age::absent(observed)?;
    let scaler = observed
        .serving_workloads()
        .find_map(|workload| observed.autoscaler(workload))?;
    (scaler.max > scaler.min).then(|| {
        let message = format!(
            "{} {} scales {} {} from {} to {} pods, and nothing has clients look for new ones (GB021): pods that are added under load may get none of it, and the old ones stay as hot as they were. Set spec.connectionAge, or let clients watch endpoints",
            scaler.kind, scaler.name, scaler.target_kind, scaler.target_name, scaler.min, scaler.max
        );
        Seen::at(scaler.kind, Some(&scaler.name), scaler.max_field().into(), message)
    })
}
