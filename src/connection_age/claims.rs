//! Two backends, one variable: the older wins.

use kube::ResourceExt as _;

use super::knob::{Entry, Found, Wanted};
use super::record::{Record, Recorded};
use super::target::{self, Target};
use crate::api::conditions::Statement;
use crate::api::{AgeMode, GrpcBackend, Reason};
use crate::observed::{Observed, Workload};

/// Who keeps us from an entry of a container.
pub fn refusal(
    observed: &Observed,
    workload: &Workload,
    index: usize,
    entry: &Entry,
) -> Option<Statement> {
    let container = &workload.containers().get(index)?.name;
    observed.siblings.iter().find_map(|sibling| {
        let name = sibling.name_any();
        let why = if is_older(sibling, &observed.backend) && asks(sibling, workload, index, entry)
        {
            "which is older and asks for it too"
        } else if has_written(&name, workload, index, entry) {
            "which has set it"
        } else {
            return None;
        };
        Some(Statement::no(
            Reason::ClaimedByOther,
            format!(
                "{} in container {container} of {} belongs to GrpcBackend {name}, {why}: remove spec.connectionAge from one of the two",
                entry.key(),
                workload,
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

/// Whether the sibling's spec asks for the same variable or flag of the same container.
fn asks(sibling: &GrpcBackend, workload: &Workload, index: usize, entry: &Entry) -> bool {
    let active = sibling.metadata.deletion_timestamp.is_none() && !sibling.spec.suspend;
    active
        && sibling.spec.connection_age.as_ref().is_some_and(|age| {
            age.mode.unwrap_or_default() == AgeMode::Enforce
                && target::find(&sibling.spec, age, workload) == Target::Container(index)
                && Wanted::of(age)
                    .is_ok_and(|wanted| wanted.entries.iter().any(|w| w.key() == entry.key()))
        })
}

/// Whether the sibling's record says that it wrote it, and it is still there.
fn has_written(sibling: &str, workload: &Workload, index: usize, entry: &Entry) -> bool {
    let Recorded::Record(record) = Record::of(workload, sibling) else {
        return false;
    };
    let container = &workload.containers()[index];
    let as_written = record.as_wanted();
    record.container == container.name
        && record.entries.iter().any(|written| {
            written.key() == entry.key() && as_written.find(container, written) == Found::Same
        })
}
