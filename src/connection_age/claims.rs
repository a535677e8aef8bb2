//! Two backends, one variable, or two names for the same: the older wins.

use k8s_openapi::api::core::v1::Container;
use kube::ResourceExt as _;

use super::knob::{Entry, Found, Wanted};
use super::record::{Record, Recorded};
use super::target::{self, Target};
use crate::api::conditions::Statement;
use crate::api::{AgeMode, GrpcBackend, Reason};
use crate::observed::{Observed, Workload};

/// Who keeps us from what is wanted in a container.
pub fn refusal(
    observed: &Observed,
    workload: &Workload,
    index: usize,
    wanted: &Wanted,
) -> Option<Statement> {
    let container = workload.containers().get(index)?;
    observed.siblings.iter().find_map(|sibling| {
        let name = sibling.name_any();
        let asked = sibling.spec.connection_age.as_ref();
        let asked = asked.and_then(|age| Wanted::of(age).ok());
        let older = asked.as_ref().filter(|_| {
            is_older(sibling, &observed.backend) && is_active(sibling, workload, index)
        });
        let written = written(&name, workload, container).map(|written| Wanted {
            also: asked
                .as_ref()
                .map_or_else(Vec::new, |asked| asked.also.clone()),
            ..written
        });
        let claimed = older.and_then(|theirs| wanted.meets(theirs));
        let (ours, theirs, why) = if let Some((ours, theirs)) = claimed {
            (ours, theirs, "is older and asks for")
        } else {
            let (ours, theirs) = wanted.meets(&written?)?;
            (ours, theirs, "has set")
        };
        let what = if ours == theirs {
            "it".to_owned()
        } else {
            format!("the same by {theirs}")
        };
        Some(Statement::no(
            Reason::ClaimedByOther,
            format!(
                "{ours} in container {} of {workload} belongs to GrpcBackend {name}, which {why} {what}: remove spec.connectionAge from one of the two",
                container.name,
            ),
        ))
    })
}

fn is_older(sibling: &GrpcBackend, backend: &GrpcBackend) -> bool {
    let age = |of: &GrpcBackend| {
        (
            of.metadata.creation_timestamp.clone().map(|t| t.0),
            of.name_any(),
        )
    };
    age(sibling) < age(backend)
}

/// Whether the sibling's spec is about this container.
fn is_active(sibling: &GrpcBackend, workload: &Workload, index: usize) -> bool {
    let active = sibling.metadata.deletion_timestamp.is_none() && !sibling.spec.suspend;
    active
        && sibling.spec.connection_age.as_ref().is_some_and(|age| {
            age.mode.unwrap_or_default() == AgeMode::Enforce
                && target::find(&sibling.spec, age, workload) == Target::Container(index)
        })
}

/// What the sibling's record says that it wrote, as far as it is still there.
fn written(sibling: &str, workload: &Workload, container: &Container) -> Option<Wanted> {
    let Recorded::Record(record) = Record::of(workload, sibling) else {
        return None;
    };
    let mut written = record.as_wanted();
    let there = |entry: &Entry| record.as_wanted().find(container, entry) == Found::Same;
    written.entries.retain(there);
    (record.container == container.name).then_some(written)
}
