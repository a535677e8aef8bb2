//! To whom a value in a workload belongs: the owner's manifest, another field manager, or nobody but us.

use json_patch::jsonptr::PointerBuf;
use json_patch::{Patch, PatchOperation};
use k8s_openapi::api::core::v1::Container;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde_json::{Value, json};

use super::knob::Entry;
use super::pairs::{self, Held};
use super::patch::{pointer, remove, replace, test};
use super::record::{Before, List, Record};
use super::{arguments, names};
use crate::observed::Workload;

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The field manager of `kubectl apply`, which pipelines use. Those of other commands (`kubectl-rollout`, `kubectl-edit`,
/// `kubectl-patch`) are a person's, who has a reason whatever is in Git.
const PIPELINE: &str = "kubectl-client-side-apply";

/// Whether somebody else has claimed since what the record says we wrote; then it is not ours to take.
///
/// Who edits another argument by hand owns the whole list, and has said nothing of ours in it. From a program's list it cannot be told:
/// a chart may name ours by now.
pub fn is_theirs(workload: &Workload, record: &Record, entry: &Entry) -> bool {
    let mut others = managers(workload, &record.container, record.list, Some(entry));
    others.any(|other| record.list == List::Env || !is_by_hand(other))
        || in_manifest(workload, record, entry)
}

fn is_by_hand(entry: &ManagedFieldsEntry) -> bool {
    let manager = entry.manager.as_deref().unwrap_or_default();
    let applied = entry.operation.as_deref() == Some("Apply");
    !applied && manager.starts_with("kubectl") && manager != PIPELINE
}

/// Whether the list was put back by a person's hand, as by `kubectl rollout undo`, or in a way that left no trace. Variables that go
/// with all others are no answer to ours where the manifest has none either: so it drops them with its own.
pub fn looks_undone(workload: &Workload, record: &Record) -> bool {
    if record.list == List::Env {
        let mut containers = workload.containers().iter();
        let own = containers.find(|container| container.name == record.container);
        let empty = own.is_some_and(|own| own.env.as_ref().is_none_or(Vec::is_empty));
        let manifest = workload.annotation(LAST_APPLIED);
        let manifest = manifest.and_then(|text| serde_json::from_str::<Value>(text).ok());
        let sent = manifest
            .as_ref()
            .and_then(|manifest| sent(manifest, record));
        return !(empty && record.before == Before::Present && sent.is_none_or(Vec::is_empty));
    }
    managers(workload, &record.container, record.list, None).all(is_by_hand)
}

/// Others that own an entry (a variable has an owner of its own, arguments have the list's). Whom a list was only given back owns
/// nothing of what we put into it.
fn managers<'a>(
    workload: &'a Workload,
    container: &str,
    list: List,
    entry: Option<&Entry>,
) -> impl Iterator<Item = &'a ManagedFieldsEntry> {
    let mut path = path_of(container, list);
    if let Some(Entry::Variable { name, .. }) = entry {
        path.push(format!("k:{}", json!({ "name": name })));
    }
    let mark = [mark(container, list)];
    let entries = workload.metadata.managed_fields.iter().flatten();
    entries
        .filter(|entry| !is_ours(entry))
        .filter(move |entry| has(entry, &path) && !has(entry, &mark))
}

/// Where managedFields have a container's list.
fn path_of(container: &str, list: List) -> Vec<String> {
    let container = format!("k:{}", json!({ "name": container }));
    let field = format!("f:{}", list.field());
    let path = ["f:spec", "f:template", "f:spec", "f:containers"];
    path.into_iter()
        .map(str::to_owned)
        .chain([container, field])
        .collect()
}

/// What stands in an applier's fields for a list that we have taken from it: a field that no object has. The applier's next apply wipes it,
/// since what it sends is all that it owns. It stands by itself: below a field that there is, as the annotations, that next apply would take
/// away all of it that nobody owns, our records among them.
fn mark(container: &str, list: List) -> String {
    format!("f:{}{}.{container}", names::LENT_PREFIX, list.field())
}

fn has(entry: &ManagedFieldsEntry, path: &[String]) -> bool {
    let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
    let owned = path
        .iter()
        .try_fold(fields, |at, step| at.map(|at| at.get(step)));
    owned.flatten().is_some()
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
    let Some(list) = sent(&manifest, record) else {
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

/// The list as a manifest has it.
fn sent<'a>(manifest: &'a Value, record: &Record) -> Option<&'a Vec<Value>> {
    let containers = manifest.pointer("/spec/template/spec/containers");
    let mut containers = containers?.as_array()?.iter();
    let own = containers.find(|container| container["name"] == record.container.as_str());
    own?.get(record.list.field())?.as_array()
}

/// Whether a managedFields entry of ours is left.
pub fn owns_fields(metadata: &ObjectMeta) -> bool {
    metadata.managed_fields.iter().flatten().any(is_ours)
}

fn is_ours(entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some(names::WORKLOAD_MANAGER)
}

/// What is written with a change of these lists, of container and list each: server-side apply takes away only what its manager
/// owned, and a change by us takes a list from everybody. Who has one by an apply is marked, to get it back with the release; not where
/// several have it: each of them, with the list as it was, would be in the way of the others' next apply. So would one from whom
/// somebody has taken it since.
pub fn lend(metadata: &ObjectMeta, lists: &[(&str, List)]) -> Vec<PatchOperation> {
    let entries = || metadata.managed_fields.iter().flatten();
    let applied = |entry: &ManagedFieldsEntry, path: &[String]| {
        entry.operation.as_deref() == Some("Apply") && has(entry, path)
    };
    let marked = entries().enumerate().filter_map(|(at, entry)| {
        let old = &entry.fields_v1.as_ref()?.0;
        let mut fields = old.clone();
        for (container, list) in lists {
            let (path, mark) = (path_of(container, *list), mark(container, *list));
            let alone = entries().filter(|own| applied(own, &path)).count() == 1;
            if alone && applied(entry, &path) {
                put(&mut fields, &[mark])?;
            } else if entries().any(|own| !is_ours(own) && has(own, &path)) {
                fields.as_object_mut()?.remove(&mark);
            }
        }
        (fields != *old).then(|| replace(fields_of(at), fields))
    });
    marked.collect()
}

/// Removes our managedFields entry, so that every later apply of the owner succeeds and wins, and gives back what [`lend`] has marked;
/// `None` if there is nothing of the kind. `containers`: as they are now.
///
/// Not guaranteed: that the entries are still at that place when the patch arrives. Then the `test` fails, nothing changes, and the next look finds the new place.
pub fn release(metadata: &ObjectMeta, containers: &[Container]) -> Option<Patch> {
    let mut operations = Vec::new();
    // From the end, so that one removal does not move the next.
    let entries = metadata.managed_fields.iter().flatten().enumerate();
    for (at, entry) in entries.collect::<Vec<_>>().into_iter().rev() {
        let index = at.to_string();
        let place = ["metadata", "managedFields", index.as_str()];
        let manager = pointer(place.into_iter().chain(["manager"]));
        if is_ours(entry) {
            operations.push(test(manager, names::WORKLOAD_MANAGER.into()));
            operations.push(remove(pointer(place)));
        } else if let Some(fields) = given_back(metadata, containers, entry) {
            let old = entry.fields_v1.as_ref()?.0.clone();
            operations.push(test(manager, json!(entry.manager)));
            operations.push(test(fields_of(at), old));
            operations.push(replace(fields_of(at), fields));
        }
    }
    if operations.is_empty() {
        return None;
    }
    let uid = metadata.uid.clone().unwrap_or_default();
    operations.insert(0, test(pointer(["metadata", "uid"]), uid.into()));
    Some(Patch(operations))
}

/// What an applier owns with the lists that are marked, unless somebody else has one by now. A mark goes when nothing of ours is left in
/// its list.
fn given_back(
    metadata: &ObjectMeta,
    containers: &[Container],
    entry: &ManagedFieldsEntry,
) -> Option<Value> {
    let others = || metadata.managed_fields.iter().flatten();
    let old = &entry.fields_v1.as_ref()?.0;
    let marks = old.as_object()?;
    let records = || {
        let all = metadata.annotations.iter().flatten();
        all.filter(|(key, _)| key.starts_with(names::RECORD_PREFIX))
    };
    let mut fields = old.clone();
    for key in marks.keys() {
        let Some((container, list)) = marked(key) else {
            continue;
        };
        let path = path_of(container, list);
        let mut live = containers.iter().filter(|own| own.name == container);
        let is_there = live.any(|own| list.of(own).is_some_and(|words| !words.is_empty()));
        if is_there && !others().any(|other| !is_ours(other) && has(other, &path)) {
            // Nothing to give back where the container is none of its own any more.
            let inner = path.split_last().map(|(_, container)| container);
            if inner.is_some_and(|inner| has(entry, inner)) {
                put(&mut fields, &path)?;
            }
        }
        if !records().any(|(_, text)| Record::is_of(text, container, list)) {
            fields.as_object_mut()?.remove(key);
        }
    }
    (fields != *old).then_some(fields)
}

fn marked(key: &str) -> Option<(&str, List)> {
    let name = key.strip_prefix("f:")?.strip_prefix(names::LENT_PREFIX)?;
    let (list, container) = name.split_once('.')?;
    let mut lists = [List::Args, List::Command].into_iter();
    Some((container, lists.find(|own| own.field() == list)?))
}

fn put(fields: &mut Value, path: &[String]) -> Option<()> {
    let inner = path.iter().try_fold(fields, |at, step| {
        let at = at.as_object_mut()?;
        Some(at.entry(step.clone()).or_insert_with(|| json!({})))
    });
    inner.map(drop)
}

fn fields_of(at: usize) -> PointerBuf {
    pointer(["metadata", "managedFields", &at.to_string(), "fieldsV1"])
}
