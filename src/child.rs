//! What is to become of an object that the operator owns: decided without a client, carried out by `operator/apply.rs`.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde_json::{Value, json};

use crate::api::GrpcBackend;
use crate::names;

/// What is to become of one child.
///
/// ```text
///                      wanted                     not wanted
/// nothing there        Create                     Leave
/// ours, as wanted      Leave                      Delete
/// ours, differs        Update (or Replace)        Delete
/// somebody else's      Leave, and a condition     Leave
/// ```
///
/// What the owner asks to have to themselves is given to them: Release.
#[derive(Clone, Debug, PartialEq)]
pub enum Child<K> {
    /// Nothing to do.
    Leave,
    /// Not there: created by POST, which never takes over what somebody else created meanwhile.
    Create(Box<K>),
    /// Ours (uid in the metadata), but not as wanted: server-side apply.
    Update(Box<K>),
    /// Ours, but what differs cannot be changed: deleted now, created in the next pass.
    Replace(Target),
    /// Ours and not wanted.
    Delete(Target),
    /// Ours, and from now on somebody else's: nothing in it says any more that it is ours.
    Release(Target, json_patch::Patch),
}

/// The very object that is meant, so that a namesake is never hit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// Name of the object.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

impl Target {
    /// The object as it was seen.
    pub fn of<K: Resource>(object: &K) -> Self {
        Self {
            name: object.name_any(),
            uid: object.meta().uid.clone().unwrap_or_default(),
        }
    }
}

/// Whether an object was made for this backend and may be written: it has the backend as its controller, or it carries
/// our labels and no controller at all (orphaned, or restored from a backup).
pub fn is_ours<K: Resource>(object: &K, backend: &GrpcBackend) -> bool {
    let mut controllers = object
        .meta()
        .owner_references
        .iter()
        .flatten()
        .filter(|owner| owner.controller == Some(true))
        .peekable();
    if controllers.peek().is_none() {
        let labels = object.meta().labels.as_ref();
        let label = |key| {
            labels
                .and_then(|labels| labels.get(key))
                .map(String::as_str)
        };
        return label(names::MANAGED_BY_LABEL) == Some(names::MANAGED_BY)
            && label(names::BACKEND_LABEL) == Some(&backend.name_any());
    }
    controllers.any(|owner| Some(&owner.uid) == backend.metadata.uid.as_ref())
}

/// Whether the backend is the object's controller. Labels alone may have been copied: what only carries them is adopted where it
/// is wanted, and never deleted.
pub fn is_controlled<K: Resource>(object: &K, backend: &GrpcBackend) -> bool {
    let mut owners = object.meta().owner_references.iter().flatten();
    owners.any(|owner| {
        owner.controller == Some(true) && Some(&owner.uid) == backend.metadata.uid.as_ref()
    })
}

/// Gives an object of ours away: it stays as it is when the backend goes.
pub fn release<K: Resource>(object: &K, backend: &GrpcBackend) -> Child<K> {
    let meta = object.meta();
    let owners = meta.owner_references.iter();
    let owners = owners.flat_map(|owners| owners.iter().enumerate());
    // From the last on, so that the places of the others stay.
    let owners = owners
        .filter(|(_, owner)| Some(&owner.uid) == backend.metadata.uid.as_ref())
        .map(|(index, _)| format!("/metadata/ownerReferences/{index}"))
        .rev();
    let labels = meta.labels.iter().flatten().filter(|(key, value)| {
        let ours = [names::BACKEND_LABEL, names::SERVICE_LABEL];
        ours.contains(&key.as_str())
            || *key == names::MANAGED_BY_LABEL && *value == names::MANAGED_BY
    });
    let labels = labels.map(|(key, _)| format!("/metadata/labels/{}", key.replace('/', "~1")));
    // The very object that was seen, and nothing has changed since.
    let mut operations = vec![
        json!({"op": "test", "path": "/metadata/uid", "value": meta.uid}),
        json!({"op": "test", "path": "/metadata/resourceVersion", "value": meta.resource_version}),
    ];
    operations.extend(
        owners
            .chain(labels)
            .map(|path| json!({"op": "remove", "path": path})),
    );
    // Two tests and paths without a fault always make a patch.
    serde_json::from_value(Value::Array(operations)).map_or(Child::Leave, |patch| {
        Child::Release(Target::of(object), patch)
    })
}

/// The metadata that every child has.
pub fn metadata(backend: &GrpcBackend, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: backend.namespace(),
        labels: Some(
            [
                (names::MANAGED_BY_LABEL, names::MANAGED_BY),
                (names::BACKEND_LABEL, &backend.name_any()),
            ]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        ),
        owner_references: backend.controller_owner_ref(&()).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

/// Leaves, creates or updates: the upper row of the table, for an object that is ours or not there.
pub fn ensure<K: Resource + Clone + Serialize>(live: Option<&K>, mut wanted: K) -> Child<K> {
    let Some(live) = live else {
        return Child::Create(Box::new(wanted));
    };
    if !differs(live, &wanted) {
        return Child::Leave;
    }
    // The uid makes the API server refuse if it is another object by now.
    wanted.meta_mut().uid.clone_from(&live.meta().uid);
    Child::Update(Box::new(wanted))
}

/// Whether `live` lacks anything of `wanted`, or still has a label or an annotation of ours that is not wanted any more.
fn differs<K: Resource + Serialize>(live: &K, wanted: &K) -> bool {
    let (Ok(live_value), Ok(wanted_value)) =
        (serde_json::to_value(live), serde_json::to_value(wanted))
    else {
        return true;
    };
    !contains(&live_value, &wanted_value)
        // Whoever adds to these changes what they mean.
        || ["/spec/selector", "/rules"]
            .into_iter()
            .any(|whole| live_value.pointer(whole) != wanted_value.pointer(whole))
        || app_protocols(&live_value) != app_protocols(&wanted_value)
        || ["labels", "annotations"].into_iter().any(|map| {
            let wanted = wanted_value.pointer(&format!("/metadata/{map}"));
            owned_keys(live.meta(), map)
                .iter()
                .any(|key| wanted.is_none_or(|wanted| wanted.get(key).is_none()))
        })
}

/// Of each port: one that is not wanted any more is a difference too, and no default of the server.
fn app_protocols(object: &Value) -> Vec<Option<&Value>> {
    let ports = object.pointer("/spec/ports").and_then(Value::as_array);
    ports
        .into_iter()
        .flatten()
        .map(|port| port.get("appProtocol"))
        .collect()
}

/// Whether every field of `part` is in `whole` with the same value. Lists must have the same length.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part
            .iter()
            .all(|(key, value)| whole.get(key).is_some_and(|whole| contains(whole, value))),
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len()
                && whole
                    .iter()
                    .zip(part)
                    .all(|(whole, part)| contains(whole, part))
        }
        (whole, part) => whole == part,
    }
}

/// The keys of a metadata map that our field manager owns.
fn owned_keys(meta: &ObjectMeta, map: &str) -> BTreeSet<String> {
    meta.managed_fields
        .iter()
        .flatten()
        .filter(|entry| entry.manager.as_deref() == Some(names::MANAGER))
        .filter_map(|entry| {
            entry
                .fields_v1
                .as_ref()?
                .0
                .pointer(&format!("/f:metadata/f:{map}"))?
                .as_object()
        })
        .flat_map(|fields| fields.keys())
        .filter_map(|key| key.strip_prefix("f:").map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_of_the_server_are_no_difference() {
        let live = json!({"a": 1, "default": true, "ports": [{"port": 1, "protocol": "TCP"}]});
        assert!(contains(&live, &json!({"a": 1, "ports": [{"port": 1}]})));
        assert!(!contains(&live, &json!({"a": 2})));
        assert!(!contains(&live, &json!({"ports": []})));
    }
}
