//! What a GrpcBackend says that its own findings would have otherwise.

use crate::observed::Observed;

use super::{pair, ports, services, snippet};

/// The backend and its world with that mended which is to be mended in the resource, and is told from the manifests: the selector
/// (GB006), the Services' names (GB008) and the ports (GB009); and what was done.
pub fn mend(observed: &Observed) -> (Observed, Vec<String>) {
    let mut world = observed.clone();
    let mut notes = Vec::new();
    if let Some((selector, nearest)) = services::carried_selector(observed) {
        notes.push(format!(
            "GB006: spec.selector was {}, which nothing carries; these are the labels of {nearest}: keep those that only its pods have.",
            snippet::map(&observed.backend.spec.selector)
        ));
        world.backend.spec.selector = selector;
        let selected = std::mem::take(&mut world.unselected);
        let selected = selected
            .iter()
            .filter(|own| own.is_selected(&world.backend.spec.selector));
        world.workloads = selected.map(|own| own.as_ref().clone()).collect();
    }
    let changed = ports::mend(&mut world);
    notes.extend(
        changed
            .into_iter()
            .map(|from| format!("GB009: a targetPort was {from}, where nobody listens.")),
    );
    let taken = pair::rename(&mut world).into_iter();
    notes.extend(taken.map(|name| format!("GB008: the name {name} is taken by another Service.")));
    (world, notes)
}
