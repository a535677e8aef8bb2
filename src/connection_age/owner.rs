//! To whom a value in a workload belongs: the owner's manifest, another field manager, or nobody but us.

use json_patch::Patch;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde_json::{Value, json};

use super::knob::Entry;
use super::pairs::{self, Held};
use super::patch::{pointer, remove, test};
use super::record::{Before, List, Record};
use super::{arguments, names};
use crate::observed::Workload;

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The field manager of `kubectl apply`, which pipelines use. Those of other commands (`kubectl-rollout`, `kubectl-edit`,
/// `kubectl-patch`) are a person's, who has a reason whatever is in Git.
const PIPELINE: &str = "kubectl-client-side-apply";

/// Whether somebody else has claimed since what the record says we wrote; then it is not ours to take.
pub fn is_theirs(workload: &Workload, record: &Record, entry: &Entry) -> bool {
    managers(workload, &record.container, record.list, Some(entry))
        .next()
        .is_some()
        || in_manifest(workload, record, entry)
}

/// Whether the list was put back by a person's hand, as by `kubectl rollout undo`, or in a way that left no trace.
pub fn looks_undone(workload: &Workload, record: &Record) -> bool {
    record.list == List::Env
        || managers(workload, &record.container, record.list, None).all(|entry| {
            entry.operation.as_deref() != Some("Apply")
                && entry
                    .manager
                    .as_deref()
                    .is_some_and(|manager| manager.starts_with("kubectl") && manager != PIPELINE)
        })
}

/// Others that own an entry (a variable has an owner of its own, arguments have the list's).
fn managers<'a>(
    workload: &'a Workload,
    container: &str,
    list: List,
    entry: Option<&Entry>,
) -> impl Iterator<Item = &'a ManagedFieldsEntry> {
    let container = format!("k:{}", json!({ "name": container }));
    let mut path = vec![
        "f:spec".to_owned(),
        "f:template".into(),
        "f:spec".into(),
        "f:containers".into(),
        container,
        format!("f:{}", list.field()),
    ];
    if let Some(Entry::Variable { name, .. }) = entry {
        path.push(format!("k:{}", json!({ "name": name })));
    }
    workload
        .metadata
        .managed_fields
        .iter()
        .flatten()
        .filter(|entry| !is_ours(entry))
        .filter(move |entry| {
            let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
            path.iter()
                .try_fold(fields, |at, step| at?.get(step).map(Some))
                .is_some_and(|owned| owned.is_some())
        })
}

/// Whether the manifest that `kubectl apply` last sent has the entry, or a list where there was none.
fn in_manifest(workload: &Workload, record: &Record, entry: &Entry) -> bool {
    let Some(text) = workload.annotation(LAST_APPLIED) else {
        return false;
    };
    let Ok(manifest) = serde_json::from_str::<Value>(text) else {
        // What cannot be read may hold anything: leave the value alone.
        return true;
    };
    let containers = manifest.pointer("/spec/template/spec/containers");
    let container = containers
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .find(|container| container["name"] == record.container.as_str());
    let Some(list) = container
        .and_then(|container| container.get(record.list.field()))
        .and_then(Value::as_array)
    else {
        return false;
    };
    match entry {
        Entry::Variable { name, .. } => list.iter().any(|v| v["name"] == name.as_str()),
        Entry::Pair { flag, key, .. } => {
            let words: Vec<String> = list
                .iter()
                .filter_map(|word| word.as_str().map(str::to_owned))
                .collect();
            pairs::find(&[], &words, flag, key) != Held::Absent
        }
        Entry::Arguments(group) => {
            let flag = group.first().map(|word| arguments::name(word));
            record.before == Before::Absent
                || list
                    .iter()
                    .filter_map(Value::as_str)
                    .any(|word| word.starts_with('-') && Some(arguments::name(word)) == flag)
        }
    }
}

/// Whether a managedFields entry of ours is left.
pub fn owns_fields(metadata: &ObjectMeta) -> bool {
    metadata.managed_fields.iter().flatten().any(is_ours)
}

fn is_ours(entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some(names::WORKLOAD_MANAGER)
}

/// Removes our managedFields entry, so that every later apply of the owner succeeds and wins; `None` if there is none.
///
/// Not guaranteed: that the entry is still at that place when the patch arrives. Then the `test` fails, nothing changes, and the next look finds the new place.
pub fn release(metadata: &ObjectMeta) -> Option<Patch> {
    let entries = metadata.managed_fields.iter().flatten();
    let mut operations = Vec::new();
    // From the end, so that one removal does not move the next.
    for (at, _) in entries
        .enumerate()
        .filter(|(_, entry)| is_ours(entry))
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
    {
        let at = at.to_string();
        let place = ["metadata", "managedFields", at.as_str()];
        operations.push(test(
            pointer(place.into_iter().chain(["manager"])),
            names::WORKLOAD_MANAGER.into(),
        ));
        operations.push(remove(pointer(place)));
    }
    if operations.is_empty() {
        return None;
    }
    let uid = metadata.uid.clone().unwrap_or_default();
    operations.insert(0, test(pointer(["metadata", "uid"]), uid.into()));
    Some(Patch(operations))
}
