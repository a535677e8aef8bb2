//! Reads one backend's world. The only step that asks the cluster how things stand.

use std::time::Duration;

use futures::future::join_all;
use futures::try_join;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use kube::api::ListParams;
use kube::runtime::reflector::Store;
use kube::runtime::reflector::store::WriterDropped;
use kube::{Api, Client, ResourceExt as _};

use super::Namespaced;
use super::autoscalers::autoscalers;
use super::context::Scope;
use super::error::Error;
use crate::api::GrpcBackend;
use crate::observed::{Kind, Observed, Observer, Serves, Unreadable, Workload, labels, selects};
use crate::{connection_age, names};

/// Longer than any healthy answer, shorter than a leader's lease.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// More labelled objects than any spec can ask for.
const LIST_LIMIT: u32 = 50;
/// Workloads of one backend that are looked at.
const MAX_WORKLOADS: usize = 32;

/// Reads children and workloads live: a decision to write is never made from a copy that may be old. Pods come from the watch.
///
/// `None`: what the watch knows of the resource is old. Its next event starts a pass that knows better.
pub async fn observe(scope: &Scope, backend: &GrpcBackend) -> Result<Option<Observed>, Error> {
    let refused = copies_are_complete(scope).await?;
    let client = &scope.shared.client;
    let namespace = backend.namespace().unwrap_or_default();
    let name = backend.name_any();
    let read = Box::pin(async {
        let labels = format!(
            "{}={},{}={}",
            names::MANAGED_BY_LABEL,
            names::MANAGED_BY,
            names::BACKEND_LABEL,
            backend.name_any()
        );
        let (cluster_ip, headless) = (
            names::cluster_ip_service(backend),
            names::headless_service(backend),
        );
        let (account, role) = (
            names::watch_service_account(backend),
            names::watch_role(backend),
        );
        try_join!(
            get(client, &namespace, &cluster_ip),
            get(client, &namespace, &headless),
            list(client, &namespace, &labels),
            get(client, &namespace, &account),
            list(client, &namespace, &labels),
            get(client, &namespace, &role),
            get(client, &namespace, &role),
            workloads(scope, backend, refused),
            get::<GrpcBackend>(client, &namespace, &name),
            namespace_terminating(client, backend),
            autoscalers(scope, &namespace),
        )
    });
    let (
        cluster_ip,
        headless,
        labelled_services,
        service_account,
        labelled_service_accounts,
        role,
        role_binding,
        (workloads, unreadable),
        live,
        namespace_terminating,
        autoscalers,
    ) = tokio::time::timeout(READ_TIMEOUT, read)
        .await
        .map_err(|_| Error::timeout("reading what exists", READ_TIMEOUT))??;
    let Some(live) = live.filter(|live| is_same(backend, live)) else {
        return Ok(None);
    };
    Ok(Some(Observed {
        cluster_ip,
        headless,
        labelled_services,
        service_account,
        service_accounts_in_use: in_use(scope, &namespace, &labelled_service_accounts),
        labelled_service_accounts,
        role,
        role_binding,
        workloads,
        unreadable,
        pods: pods(scope, backend),
        siblings: siblings(scope, backend),
        namespace_terminating,
        published: None,
        autoscalers,
        observer: Observer::Operator,
        guessed: false,
        backend: live,
    }))
}

/// Whether the watch's copy asks for what the live resource asks for. What else is in the live one is newer: a status that
/// counts, and the finalizers.
fn is_same(copy: &GrpcBackend, live: &GrpcBackend) -> bool {
    let asks = |backend: &GrpcBackend| {
        let metadata = &backend.metadata;
        (
            metadata.uid.clone(),
            metadata.generation,
            metadata.deletion_timestamp.clone(),
        )
    };
    asks(copy) == asks(live)
}

/// At the start the watches' copies are still being filled: half of one would be taken for a world without workloads. Of the
/// kinds of workloads it says which may not be read.
async fn copies_are_complete(scope: &Scope) -> Result<Vec<Unreadable>, Error> {
    let complete = async {
        let workloads = [
            (Kind::Deployment, scope.deployments.settled().await?),
            (Kind::StatefulSet, scope.stateful_sets.settled().await?),
            (Kind::DaemonSet, scope.daemon_sets.settled().await?),
        ];
        Ok::<_, WriterDropped>((workloads, scope.pods.settled().await?))
    };
    match tokio::time::timeout(READ_TIMEOUT, complete).await {
        // Without pods nothing can be told of any workload.
        Ok(Ok((_, Some(verb)))) => Err(Error::Forbidden {
            action: "watching Pods".into(),
            message: format!("give its role the verbs list and watch on pods ({verb} is refused)"),
        }),
        Ok(Ok((workloads, None))) => Ok(workloads
            .into_iter()
            .filter_map(|(kind, verb)| Some(Unreadable { kind, verb: verb? }))
            .collect()),
        // The other side of the copy is gone: the operator is ending.
        Ok(Err(_)) | Err(_) => Err(Error::timeout(
            "the first list of workloads and Pods",
            READ_TIMEOUT,
        )),
    }
}

async fn get<K: Namespaced>(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<K>, Error> {
    Api::<K>::namespaced(client.clone(), namespace)
        .get_opt(name)
        .await
        .map_err(|error| Error::from_api(format!("reading {} {name}", K::kind(&())), &error))
}

async fn list<K: Namespaced>(
    client: &Client,
    namespace: &str,
    labels: &str,
) -> Result<Vec<K>, Error> {
    let params = ListParams::default().labels(labels).limit(LIST_LIMIT);
    Api::<K>::namespaced(client.clone(), namespace)
        .list(&params)
        .await
        .map(|list| list.items)
        .map_err(|error| {
            Error::from_api(
                format!("listing the {} objects of this backend", K::kind(&())),
                &error,
            )
        })
}

/// The workloads of every kind that may be read. Names from the watches, contents live.
async fn workloads(
    scope: &Scope,
    backend: &GrpcBackend,
    mut unreadable: Vec<Unreadable>,
) -> Result<(Vec<Workload>, Vec<Unreadable>), Error> {
    let namespace = backend.namespace().unwrap_or_default();
    let mut found = [
        candidates(&scope.deployments.copy, Kind::Deployment, backend),
        candidates(&scope.stateful_sets.copy, Kind::StatefulSet, backend),
        candidates(&scope.daemon_sets.copy, Kind::DaemonSet, backend),
    ]
    .concat();
    // What is left of a copy whose kind may not be watched any more is old.
    found.retain(|candidate| unreadable.iter().all(|kind| kind.kind != candidate.kind));
    // Those that we have written to first, and all of them: what was written must be found again, and what was taken out.
    found.sort();
    let recorded = found
        .iter()
        .filter(|candidate| candidate.rank == Rank::Written)
        .count();
    found.truncate(MAX_WORKLOADS.max(recorded));
    let client = &scope.shared.client;
    let read = found
        .iter()
        .map(|candidate| read(client, &namespace, candidate.kind, &candidate.name));
    let mut workloads = Vec::new();
    for (candidate, result) in found.iter().zip(join_all(read).await) {
        match result {
            Ok(workload) => workloads.extend(workload),
            Err(Error::Forbidden { .. }) => may_not_get(&mut unreadable, candidate.kind),
            Err(error) => return Err(error),
        }
    }
    workloads.sort_by(|a, b| (a.name(), a.kind).cmp(&(b.name(), b.kind)));
    Ok((workloads, unreadable))
}

/// Each kind once: what is known of its workloads is kept once for each.
fn may_not_get(unreadable: &mut Vec<Unreadable>, kind: Kind) {
    if unreadable.iter().all(|known| known.kind != kind) {
        unreadable.push(Unreadable { kind, verb: "get" });
    }
}

async fn read(
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
    Selected,
}

fn candidates<K>(store: &Store<K>, kind: Kind, backend: &GrpcBackend) -> Vec<Candidate>
where
    K: Namespaced + Serves,
{
    let record = names::record_annotation(&backend.name_any());
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

fn pods(scope: &Scope, backend: &GrpcBackend) -> Vec<Pod> {
    let namespace = backend.namespace();
    let mut pods: Vec<Pod> = scope
        .pods
        .copy
        .state_filter(|pod| {
            pod.namespace() == namespace && selects(&backend.spec.selector, pod.labels())
        })
        .iter()
        .map(|pod| pod.as_ref().clone())
        .collect();
    pods.sort_by_key(kube::ResourceExt::name_any);
    pods
}

/// Of these ServiceAccounts those that pods run under, each with one of those pods.
fn in_use(scope: &Scope, namespace: &str, accounts: &[ServiceAccount]) -> Vec<(String, String)> {
    let mut used = std::collections::BTreeMap::new();
    for pod in scope
        .pods
        .copy
        .state_filter(|pod| pod.namespace().as_deref() == Some(namespace))
    {
        let account = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.service_account_name.clone());
        if let Some(account) = account
            && accounts.iter().any(|known| known.name_any() == account)
        {
            used.entry(account).or_insert_with(|| pod.name_any());
        }
    }
    used.into_iter().collect()
}

fn siblings(scope: &Scope, backend: &GrpcBackend) -> Vec<GrpcBackend> {
    let namespace = backend.namespace();
    let mut siblings: Vec<GrpcBackend> = scope
        .backends
        .state_filter(|other| {
            other.namespace() == namespace && other.name_any() != backend.name_any()
        })
        .iter()
        .map(|other| other.as_ref().clone())
        .collect();
    siblings.sort_by_key(kube::ResourceExt::name_any);
    siblings
}

/// Asked only while the backend itself is going: an operator that may not look at the namespace restores as usual.
async fn namespace_terminating(client: &Client, backend: &GrpcBackend) -> Result<bool, Error> {
    if backend.metadata.deletion_timestamp.is_none() {
        return Ok(false);
    }
    let name = backend.namespace().unwrap_or_default();
    match Api::<Namespace>::all(client.clone()).get_opt(&name).await {
        Ok(namespace) => {
            Ok(namespace.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some()))
        }
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(false),
        Err(error) => Err(Error::from_api(format!("reading Namespace {name}"), &error)),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn backend(uid: &str, generation: i64, deleted: bool, version: &str) -> GrpcBackend {
        let mut backend = GrpcBackend::new("echo", crate::api::GrpcBackendSpec::default());
        backend.metadata.uid = Some(uid.into());
        backend.metadata.generation = Some(generation);
        backend.metadata.resource_version = Some(version.into());
        backend.metadata.deletion_timestamp = deleted.then_some(Time(jiff::Timestamp::UNIX_EPOCH));
        backend
    }

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

    #[test]
    fn a_pass_is_for_the_spec_that_is() {
        let copy = backend("a", 2, false, "7");
        assert!(is_same(&copy, &backend("a", 2, false, "9")), "a status");
        assert!(!is_same(&copy, &backend("a", 3, false, "9")), "changed");
        assert!(!is_same(&copy, &backend("a", 2, true, "9")), "going");
        assert!(!is_same(&copy, &backend("b", 2, false, "9")), "made anew");
    }
}
