//! A workload as it will be, and the guarded JSON patch that leads there.
//!
//! Each operation follows a `test` of what was seen. What is *not* there cannot be tested by JSON patch (a list, another's claim
//! to a value, the rollout of somebody who was quicker): whatever changes the pods, or adds annotations where there were none,
//! tests `metadata.resourceVersion` too. Lists of variables are never replaced as a whole: fields that this client does not know
//! would be lost.

use std::collections::{BTreeMap, BTreeSet};

use json_patch::{Patch, PatchOperation};
use k8s_openapi::api::core::v1::{Container, EnvVar};
use serde_json::json;

use super::knob::Entry;
use super::patch::{add, pointer, remove, replace, test};
use super::record::{Before, List, Record};
use super::{arguments, names, owner, pairs};
use crate::observed::Workload;

/// A workload in change.
#[derive(Clone, Debug)]
pub struct Draft<'a> {
    seen: &'a Workload,
    now: Vec<Container>,
    operations: Vec<PatchOperation>,
    /// Containers whose name at their index is tested already.
    named: BTreeSet<usize>,
}

/// Where entries went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// The list.
    pub list: List,
    /// What it was before.
    pub before: Before,
}

impl<'a> Draft<'a> {
    /// Nothing changed yet.
    pub fn new(seen: &'a Workload) -> Self {
        Self {
            seen,
            now: seen.containers().to_vec(),
            operations: Vec::new(),
            named: BTreeSet::new(),
        }
    }

    /// The containers as they will be.
    pub fn containers(&self) -> &[Container] {
        &self.now
    }

    /// The workload as it will be.
    pub fn after(&self) -> Workload {
        let mut workload = self.seen.clone();
        if let Some(pod) = &mut workload.template.spec {
            pod.containers.clone_from(&self.now);
        }
        workload
    }

    /// Whether the pods will be replaced.
    pub fn changes_pods(&self) -> bool {
        self.now != self.seen.containers()
    }

    /// What is changed in the template, without the guards: what a person would apply.
    pub fn changes(&self) -> Vec<&PatchOperation> {
        self.operations
            .iter()
            .filter(|operation| !matches!(operation, PatchOperation::Test(_)))
            .collect()
    }

    /// Takes out what the record says we wrote, where it is still so and still ours.
    pub fn undo(&mut self, record: &Record) {
        let Some(index) = self
            .containers()
            .iter()
            .position(|container| container.name == record.container)
        else {
            return;
        };
        let ours: Vec<&Entry> = record
            .entries
            .iter()
            .filter(|entry| !owner::is_theirs(self.seen, record, entry))
            .collect();
        if record.list == List::Env {
            for entry in ours {
                if let Entry::Variable { name, value } = entry {
                    self.remove_variable(index, name, value);
                }
            }
        } else {
            self.remove_arguments(index, record, &ours);
        }
    }

    /// Puts `missing` in.
    ///
    /// `None`: there is no list to extend, and making one would discard what the image has. With the image's command line
    /// at hand `command` is written, never `args`: `command` replaces entry point and arguments of any image, while `args`
    /// alone would be appended to an entry point that is not known.
    pub fn inject(&mut self, index: usize, missing: &[Entry]) -> Option<Place> {
        let container = &self.containers()[index];
        let args = container.args.clone().unwrap_or_default();
        let command = container.command.clone().unwrap_or_default();
        let flag_is_in = |words: &[String]| match missing.first() {
            Some(Entry::Pair { flag, .. }) => pairs::is_empty(words, flag),
            _ => None,
        };
        let emptiness = flag_is_in(&command);
        let (list, old) = if missing
            .iter()
            .any(|entry| matches!(entry, Entry::Variable { .. }))
        {
            return Some(self.add_variables(index, missing));
        } else if !args.is_empty() && emptiness.is_none() {
            (List::Args, args)
        } else if !command.is_empty() {
            (List::Command, command)
        } else {
            return None;
        };
        let before = match flag_is_in(&old) {
            Some(true) => Before::EmptyFlag,
            _ => Before::Present,
        };
        let mut new = old;
        for entry in missing {
            match entry {
                Entry::Arguments(group) => new.extend(group.iter().cloned()),
                Entry::Pair {
                    flag,
                    key,
                    value,
                    separate,
                } => pairs::insert(&mut new, flag, key, value, *separate),
                Entry::Variable { .. } => {}
            }
        }
        self.set_list(index, list, &new);
        Some(Place { list, before })
    }

    /// The patch, with the record as it is to be: absent where nothing of ours remains.
    pub fn finish(mut self, backend: &str, record: Option<&Record>) -> Patch {
        let key = names::record_annotation(backend);
        let path = pointer(["metadata", "annotations", &key]);
        let annotations = self.seen.metadata.annotations.as_ref();
        let mut pinned = self.changes_pods();
        match (annotations.and_then(|all| all.get(&key)), record) {
            (None, None) => {}
            (None, Some(record)) if annotations.is_none_or(BTreeMap::is_empty) => {
                pinned = true;
                let all = json!({ key: record.text() });
                self.operations
                    .push(add(pointer(["metadata", "annotations"]), all));
            }
            (None, Some(record)) => self.operations.push(add(path, record.text().into())),
            (Some(old), new) => {
                self.operations.push(test(path.clone(), old.clone().into()));
                self.operations.push(match new {
                    Some(record) => replace(path, record.text().into()),
                    None => remove(path),
                });
            }
        }
        let mut guarded = vec![test(
            pointer(["metadata", "uid"]),
            self.seen.metadata.uid.clone().unwrap_or_default().into(),
        )];
        if let Some(version) = &self.seen.metadata.resource_version
            && pinned
        {
            guarded.push(test(
                pointer(["metadata", "resourceVersion"]),
                version.clone().into(),
            ));
        }
        guarded.append(&mut self.operations);
        guarded.append(&mut owner::lend(&self.seen.metadata, &self.changed_lists()));
        Patch(guarded)
    }

    /// The lists that are one value to an apply, and change.
    fn changed_lists(&self) -> Vec<(&str, List)> {
        let pairs = self.seen.containers().iter().zip(self.containers());
        pairs
            .flat_map(|(old, new)| {
                let args = (old.args != new.args).then_some(List::Args);
                let command = (old.command != new.command).then_some(List::Command);
                let lists = args.into_iter().chain(command);
                lists.map(|list| (new.name.as_str(), list))
            })
            .collect()
    }

    fn add_variables(&mut self, index: usize, missing: &[Entry]) -> Place {
        self.test_name(index);
        let before = match self.containers()[index].env.as_deref() {
            None | Some([]) => Before::Absent,
            Some(_) => Before::Present,
        };
        for entry in missing {
            let Entry::Variable { name, value } = entry else {
                continue;
            };
            let variable = json!({ "name": name, "value": value });
            let path = env_path(index);
            let env = self.container_mut(index).env.get_or_insert_default();
            let operation = if env.is_empty() {
                add(pointer(&path), json!([variable]))
            } else {
                add(
                    pointer(path.iter().map(String::as_str).chain(["-"])),
                    variable,
                )
            };
            env.push(EnvVar {
                name: name.clone(),
                value: Some(value.clone()),
                value_from: None,
            });
            self.operations.push(operation);
        }
        Place {
            list: List::Env,
            before,
        }
    }

    fn remove_variable(&mut self, index: usize, name: &str, value: &str) {
        let env = self.containers()[index].env.as_deref().unwrap_or_default();
        let mut places = env.iter().enumerate().filter(|(_, v)| v.name == name);
        let (Some((at, variable)), None) = (places.next(), places.next()) else {
            return;
        };
        if variable.value.as_deref() != Some(value) || variable.value_from.is_some() {
            return;
        }
        let alone = env.len() == 1;
        self.test_name(index);
        let path = env_path(index);
        let at_text = at.to_string();
        let entry = |field: Option<&'static str>| {
            pointer(
                path.iter()
                    .map(String::as_str)
                    .chain([at_text.as_str()])
                    .chain(field),
            )
        };
        if alone {
            let only = json!([{ "name": name, "value": value }]);
            self.operations.push(test(pointer(&path), only));
            self.operations.push(remove(pointer(&path)));
            self.container_mut(index).env = None;
        } else {
            self.operations.push(test(entry(Some("name")), name.into()));
            self.operations
                .push(test(entry(Some("value")), value.into()));
            self.operations.push(remove(entry(None)));
            self.container_mut(index)
                .env
                .get_or_insert_default()
                .remove(at);
        }
    }

    fn remove_arguments(&mut self, index: usize, record: &Record, ours: &[&Entry]) {
        let container = &self.containers()[index];
        let live = record.list.of(container).cloned().unwrap_or_default();
        let mut left = live.clone();
        for entry in ours.iter().rev() {
            match entry {
                Entry::Arguments(group) => {
                    if let Some(at) = arguments::position(&left, group) {
                        left.drain(at..at + group.len());
                    }
                }
                Entry::Pair {
                    flag, key, value, ..
                } => {
                    let keep = record.before == Before::EmptyFlag;
                    pairs::remove(&mut left, flag, key, value, keep);
                }
                Entry::Variable { .. } => {}
            }
        }
        if left == live {
            return;
        }
        self.set_list(index, record.list, &left);
    }

    /// Absent and empty are one to the API server: an empty list is never written.
    fn set_list(&mut self, index: usize, list: List, new: &[String]) {
        self.test_name(index);
        let container = self.container_mut(index);
        let field = match list {
            List::Args => &mut container.args,
            List::Command | List::Env => &mut container.command,
        };
        let old = field.take().unwrap_or_default();
        *field = (!new.is_empty()).then(|| new.to_vec());
        let path = container_path(index, list.field());
        let path = pointer(&path);
        if old.is_empty() {
            self.operations.push(add(path, json!(new)));
            return;
        }
        self.operations.push(test(path.clone(), json!(old)));
        self.operations.push(if new.is_empty() {
            remove(path)
        } else {
            replace(path, json!(new))
        });
    }

    fn test_name(&mut self, index: usize) {
        if self.named.insert(index) {
            let name = self.containers()[index].name.clone();
            self.operations
                .push(test(pointer(container_path(index, "name")), name.into()));
        }
    }

    fn container_mut(&mut self, index: usize) -> &mut Container {
        &mut self.now[index]
    }
}

fn env_path(index: usize) -> Vec<String> {
    container_path(index, "env")
}

fn container_path(index: usize, field: &str) -> Vec<String> {
    let index = index.to_string();
    ["spec", "template", "spec", "containers", &index, field]
        .map(str::to_owned)
        .to_vec()
}
