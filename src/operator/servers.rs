//! The workloads that serve for a backend: their names from the watches, their contents live.

use futures::{StreamExt as _, stream};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use kube::runtime::reflector::Store;
use kube::{Client, ResourceExt as _};

use super::Namespaced;
use super::context::Scope;
use super::error::Error;
use super::observe::get;
use crate::api::GrpcBackend;
use crate::observed::{Kind, Serves, Unreadable, Workload, labels, selects};
use crate::{connection_age, names};

/// Of one backend, that are looked at.
const MAX_WORKLOADS: usize = 32;
/// Of these, that are read at once: whoever may annotate workloads settles how many there are.
const AT_ONCE: usize = 16;

/// What serves for a backend.
pub struct Found {
    /// Of every kind that may be read.
    pub workloads: Vec<Workload>,
    /// How many there was no room for.
    pub left_out: usize,
    /// The kinds that may not be read.
    pub unreadable: Vec<Unreadable>,
}

/// Looks for workloads in the watches' copies, and at each as it is now.
pub async fn read(
    scope: &Scope,
    backend: &GrpcBackend,
    mut unreadable: Vec<Unreadable>,
) -> Result<Found, Error> {
    let namespace = backend.namespace().unwrap_or_default();
    let mut found = [
        candidates(&scope.deployments.copy, Kind::Deployment, backend),
        candidates(&scope.stateful_sets.copy, Kind::StatefulSet, backend),
        candidates(&scope.daemon_sets.copy, Kind::DaemonSet, backend),
    ]
    .concat();
    // What is left of a copy whose kind may not be watched any more is old.
    found.retain(|candidate| unreadable.iter().all(|kind| kind.kind != candidate.kind));
    // Those that we have written to first, and all of them: what was written must be found again, and what was taken out. Then
    // those that the spec names.
    found.sort();
    let needed = found
        .iter()
        .filter(|candidate| candidate.rank <= Rank::Named)
        .count();
    let room = MAX_WORKLOADS.max(needed);
    let left_out = found.len().saturating_sub(room);
    found.truncate(room);
    let client = &scope.shared.client;
    let reads: Vec<_> = found
        .iter()
        .map(|candidate| live(client, &namespace, candidate.kind, &candidate.name))
        .collect();
    let mut workloads = Vec::new();
    let results: Vec<_> = stream::iter(reads).buffered(AT_ONCE).collect().await;
    for (candidate, result) in found.iter().zip(results) {
        match result {
            Ok(workload) => workloads.extend(workload),
            Err(Error::Forbidden { .. }) => may_not_get(&mut unreadable, candidate.kind),
            Err(error) => return Err(error),
        }
    }
    workloads.sort_by(|a, b| (a.name(), a.kind).cmp(&(b.name(), b.kind)));
    Ok(Found {
        workloads,
        left_out,
        unreadable,
    })
}

/// Each kind once: what is known of its workloads is kept once for each.
fn may_not_get(unreadable: &mut Vec<Unreadable>, kind: Kind) {
    if unreadable.iter().all(|known| known.kind != kind) {
        unreadable.push(Unreadable { kind, verb: "get" });
    }
}

async fn live(
    client: &Client,
    namespace: &str,
    kind: Kind,
    name: &str,
) -> Result<Option<Workload>, Error> {
    Ok(match kind {
        Kind::Deployment => get::<Deployment>(client, namespace, name)
            .await?
            .map(Workload::from),
        Kind::StatefulSet => get::<StatefulSet>(client, namespace, name)
            .await?
            .map(Workload::from),
        Kind::DaemonSet => get::<DaemonSet>(client, namespace, name)
            .await?
            .map(Workload::from),
    })
}

/// A workload worth reading; in the order in which there is room for them.
#[derive(Clone, Eq, Ord, PartialEq, PartialOrd)]
struct Candidate {
    rank: Rank,
    name: String,
    kind: Kind,
}

#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum Rank {
    Written,
    Named,
    Selected,
}

fn candidates<K>(store: &Store<K>, kind: Kind, backend: &GrpcBackend) -> Vec<Candidate>
where
    K: Namespaced + Serves,
{
    let record = names::record_annotation(&backend.name_any());
    let age = backend.spec.connection_age.as_ref();
    let named = |name: &String| age.is_some_and(|age| age.workloads.contains(name));
    let rows = backend.status.as_ref().map(|status| &status.servers);
    let remembered = |name: &str| {
        let mut rows = rows.into_iter().flatten();
        rows.any(|row| {
            row.kind == kind.as_str() && row.name == name && connection_age::remembers(row)
        })
    };
    store
        .state_filter(|object| {
            object.namespace() == backend.namespace() && concerns(object, backend)
        })
        .iter()
        .map(|object| Candidate {
            rank: if object.annotations().contains_key(&record)
                || connection_age::owns_fields(object.meta())
                || remembered(&object.name_any())
            {
                Rank::Written
            } else if named(&object.name_any()) {
                Rank::Named
            } else {
                Rank::Selected
            },
            name: object.name_any(),
            kind,
        })
        .collect()
}

/// Whether a workload serves for the backend, carries its record, or still has fields of ours: these may be all that is left
/// where the operator ended between a write and its release, and any backend gives them up.
pub fn concerns<K: kube::Resource + Serves>(object: &K, backend: &GrpcBackend) -> bool {
    let serves = object
        .template()
        .and_then(labels)
        .is_some_and(|labels| selects(&backend.spec.selector, labels));
    serves
        || object
            .annotations()
            .contains_key(&names::record_annotation(&backend.name_any()))
        || connection_age::owns_fields(object.meta())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_may_not_be_read_is_told_of_once() {
        let mut unreadable = vec![Unreadable {
            kind: Kind::StatefulSet,
            verb: "watch",
        }];
        for kind in [
            Kind::Deployment,
            Kind::DaemonSet,
            Kind::Deployment,
            Kind::StatefulSet,
        ] {
            may_not_get(&mut unreadable, kind);
        }
        let told: Vec<_> = unreadable.iter().map(|own| (own.kind, own.verb)).collect();
        assert_eq!(
            told,
            [
                (Kind::StatefulSet, "watch"),
                (Kind::Deployment, "get"),
                (Kind::DaemonSet, "get")
            ]
        );
    }
}
