//! Reads one backend's world. The only step that asks the cluster how things stand.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::try_join;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};

use tokio::sync::watch::error::RecvError;

use super::Namespaced;
use super::context::Scope;
use super::error::Error;
use super::{optional, servers};
use crate::api::{GrpcBackend, ServiceNames};
use crate::names;
use crate::observed::{Kind, Observed, Observer, Peers, Unreadable, selects};
use crate::services;

/// Longer than any healthy answer, shorter than a leader's lease.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// More labelled objects than any spec can ask for.
const LIST_LIMIT: u32 = 50;
/// The label by which a slice says whose it is.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

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
        // What the spec disclaims is somebody else's, whatever its name.
        let wanted = services::names(backend);
        let (account, role) = (
            names::watch_service_account(backend),
            names::watch_role(backend),
        );
        try_join!(
            service(client, &namespace, wanted.cluster_ip.as_deref()),
            service(client, &namespace, wanted.headless.as_deref()),
            list(client, &namespace, &labels),
            get(client, &namespace, &account),
            list(client, &namespace, &labels),
            get(client, &namespace, &role),
            get(client, &namespace, &role),
            endpoint_slices(client, backend, &wanted),
            servers::read(scope, backend, refused),
            get::<GrpcBackend>(client, &namespace, &name),
            namespace_terminating(client, backend),
            async { Ok::<_, Error>(optional::autoscalers(scope, &namespace).await) },
            async { Ok::<_, Error>(optional::dns(scope).await) },
            async { Ok::<_, Error>(optional::namespace(scope, &namespace).await) },
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
        endpoint_slices,
        found,
        live,
        namespace_terminating,
        autoscalers,
        cluster_dns,
        namespace_metadata,
    ) = tokio::time::timeout(READ_TIMEOUT, read)
        .await
        .map_err(|_| Error::timeout("reading what exists", READ_TIMEOUT))??;
    let Some(mut live) = live.filter(|live| is_same(backend, live)) else {
        return Ok(None);
    };
    live.metadata.managed_fields = None;
    Ok(Some(Observed {
        cluster_ip,
        headless,
        labelled_services,
        service_account,
        unselected: Vec::new(),
        watching: Vec::new(),
        namespace_metadata,
        age_configs: BTreeSet::new(),
        jobs: Vec::new(),
        callers: Vec::new(),
        service_accounts_in_use: in_use(scope, &namespace, &labelled_service_accounts),
        labelled_service_accounts,
        role,
        role_binding,
        endpoint_slices,
        workloads: found.workloads,
        workloads_left_out: found.left_out,
        unreadable: found.unreadable,
        pods: pods(scope, backend),
        siblings: siblings(scope, backend),
        namespace_terminating,
        published: None,
        autoscalers,
        cluster_dns,
        observer: Observer::Operator,
        guessed: false,
        named_namespace: live.metadata.namespace.clone(),
        peers: Peers::Possible,
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
        Ok::<_, RecvError>((workloads, scope.pods.settled().await?))
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

/// One object; none where there is none of that name.
pub(super) async fn get<K: Namespaced>(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<K>, Error> {
    Api::<K>::namespaced(client.clone(), namespace)
        .get_opt(name)
        .await
        .map_err(|error| Error::from_api(format!("reading {} {name}", K::kind(&())), &error))
}

async fn service(
    client: &Client,
    namespace: &str,
    name: Option<&str>,
) -> Result<Option<Service>, Error> {
    match name {
        Some(name) => get(client, namespace, name).await,
        None => Ok(None),
    }
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

/// What clients see that watch: of which Service is theirs to choose, and both have the same pods.
async fn endpoint_slices(
    client: &Client,
    backend: &GrpcBackend,
    services: &ServiceNames,
) -> Result<Option<usize>, Error> {
    let services = [&services.cluster_ip, &services.headless];
    let services: Vec<&str> = services.into_iter().flatten().map(String::as_str).collect();
    if backend.spec.endpoint_watch.is_none() || services.is_empty() {
        return Ok(None);
    }
    let namespace = backend.namespace().unwrap_or_default();
    let params = ListParams::default()
        .labels(&format!("{SERVICE_NAME} in ({})", services.join(",")))
        .limit(LIST_LIMIT);
    let slices = Api::<EndpointSlice>::namespaced(client.clone(), &namespace);
    match slices.list_metadata(&params).await {
        Ok(list) => {
            let of = |service: &str| {
                let owners = list
                    .items
                    .iter()
                    .map(|slice| slice.labels().get(SERVICE_NAME));
                owners
                    .filter(|owner| owner.is_some_and(|owner| owner == service))
                    .count()
            };
            Ok(services.into_iter().map(of).max())
        }
        // Without the right it is the number of pods that tells.
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
        Err(error) => Err(Error::from_api("listing EndpointSlices", &error)),
    }
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

/// What the others ask for. Their status is most of them, and nobody's business: with many backends in one namespace each
/// pass would copy megabytes.
fn siblings(scope: &Scope, backend: &GrpcBackend) -> Vec<GrpcBackend> {
    let namespace = backend.namespace();
    let mut siblings: Vec<GrpcBackend> = scope
        .backends
        .state_filter(|other| {
            other.namespace() == namespace && other.name_any() != backend.name_any()
        })
        .iter()
        .map(|other| GrpcBackend {
            metadata: other.metadata.clone(),
            spec: other.spec.clone(),
            status: None,
        })
        .collect();
    siblings.sort_by_key(kube::ResourceExt::name_any);
    siblings
}

/// Asked only while the backend itself is going: an operator whose rights went first restores as usual, and is refused that too.
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
    fn a_pass_is_for_the_spec_that_is() {
        let copy = backend("a", 2, false, "7");
        assert!(is_same(&copy, &backend("a", 2, false, "9")), "a status");
        assert!(!is_same(&copy, &backend("a", 3, false, "9")), "changed");
        assert!(!is_same(&copy, &backend("a", 2, true, "9")), "going");
        assert!(!is_same(&copy, &backend("b", 2, false, "9")), "made anew");
    }
}
