//! What starts a pass: the watches, and the sampler's calls.

use std::collections::hash_map::DefaultHasher;
use std::fmt::Debug;
use std::hash::Hasher as _;
use std::sync::{Arc, Once};

use futures::channel::mpsc;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::controller::{self, Controller};
use kube::runtime::predicates;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{Predicate, PredicateConfig, WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::Namespaced;
use super::context::{Scope, Shared};
use super::kept;
use super::readable::readable;
use super::reconcile::{error_policy, reconcile};
use super::servers;
use super::watched::{heard, watched};
use super::workloads;
use crate::api::GrpcBackend;
use crate::names;
use crate::observed::{Serves, has_ended, is_serving, selects};

/// Passes under way at once in one scope.
const CONCURRENCY: u16 = 8;

/// Runs the controller of one namespace, or of all, until `stop`.
pub async fn run(shared: Arc<Shared>, namespace: Option<&str>, stop: CancellationToken) {
    let client = shared.client.clone();
    let (sampler, calls) = shared.sampler();
    let (backends, writer) = reflector::store();
    let triggers = specs(&client, namespace, writer, &sampler.calls());
    let (deployments, deployment_events) =
        watched(api::<Deployment>(&client, namespace), kept::deployment);
    let (stateful_sets, stateful_set_events) =
        watched(api::<StatefulSet>(&client, namespace), kept::stateful_set);
    let (daemon_sets, daemon_set_events) =
        watched(api::<DaemonSet>(&client, namespace), kept::daemon_set);
    let (pods, pod_events) = watched(api::<Pod>(&client, namespace), kept::pod);
    let pod_events = pod_events.predicate_filter(what_counts, PredicateConfig::default());
    let rights = stream::select_all([
        deployments.turns().boxed(),
        stateful_sets.turns().boxed(),
        daemon_sets.turns().boxed(),
        pods.turns().boxed(),
    ]);
    let scope = Arc::new(Scope {
        shared,
        backends: backends.clone(),
        deployments,
        stateful_sets,
        daemon_sets,
        pods,
        sampler,
        resumed: Once::new(),
    });
    let (gone, resumed) = (scope.clone(), scope.clone());
    let passes = Controller::for_stream(triggers, backends.clone())
        .with_config(controller::Config::default().concurrency(CONCURRENCY))
        .watches_stream(deployment_events, server(&backends))
        .watches_stream(stateful_set_events, server(&backends))
        .watches_stream(daemon_set_events, server(&backends))
        .watches_stream(pod_events, {
            let backends = backends.clone();
            move |pod| {
                concerned(&backends, pod.metadata.namespace.as_ref(), |backend| {
                    selects(&backend.spec.selector, pod.labels())
                })
            }
        })
        .watches_stream(
            metadata::<Service>(&client, namespace),
            child(
                &backends,
                &[names::cluster_ip_service, names::headless_service],
            ),
        )
        .watches_stream(
            metadata::<ServiceAccount>(&client, namespace),
            child(&backends, &[names::watch_service_account]),
        )
        .watches_stream(
            metadata::<Role>(&client, namespace),
            child(&backends, &[names::watch_role]),
        )
        .watches_stream(
            metadata::<RoleBinding>(&client, namespace),
            child(&backends, &[names::watch_role]),
        )
        .reconcile_on(calls)
        .reconcile_all_on(rights)
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(reconcile, error_policy, scope)
        .for_each(|result| {
            match result {
                // error_policy has said the rest.
                Ok(_) | Err(controller::Error::ReconcilerFailed(..)) => {}
                Err(controller::Error::ObjectNotFound(backend)) => {
                    gone.forget(&names::key(backend.namespace.as_deref(), &backend.name));
                }
                Err(error) => tracing::warn!(%error, "a watch failed and is started anew"),
            }
            std::future::ready(())
        });
    let _ = tokio::join!(passes, workloads::resume_unasked(&resumed));
}

/// What a user changes about the backends.
fn specs(
    client: &Client,
    namespace: Option<&str>,
    copy: reflector::store::Writer<GrpcBackend>,
    calls: &mpsc::Sender<ObjectRef<GrpcBackend>>,
) -> impl Stream<Item = watcher::Result<GrpcBackend>> + Send + use<> {
    let all = copy.as_reader();
    let (mut gone, mut changed) = (calls.clone(), calls.clone());
    readable(watcher(
        api::<DeserializeGuard<GrpcBackend>>(client, namespace),
        watcher::Config::default(),
    ))
    .default_backoff()
    // Several times what they are about, with a node for each field of the status.
    .modify(|backend| backend.metadata.managed_fields = None)
    .reflect(copy)
    .inspect_ok(move |event| {
        // The predicate holds back a deletion that changed nothing else; what is kept of the backend must go all the same.
        if let watcher::Event::Delete(backend) = event {
            let _ = gone.try_send(ObjectRef::from_obj(backend));
        }
    })
    .touched_objects()
    .predicate_filter(
        predicates::generation
            .combine(predicates::finalizers)
            .combine(deletion),
        PredicateConfig::default(),
    )
    .inspect_ok(move |backend| {
        let namespace = backend.metadata.namespace.as_ref();
        for other in concerned(&all, namespace, |other| shares(other, backend)) {
            let _ = changed.try_send(other);
        }
    })
}

/// Whether another one may want an age for the same pods. Of two the older has its way, and no change of a workload need tell that it
/// asks for something, or no more.
fn shares(other: &GrpcBackend, backend: &GrpcBackend) -> bool {
    let (own, theirs) = (&backend.spec.selector, &other.spec.selector);
    let differs = |(key, value)| theirs.get(key).is_some_and(|their| their != value);
    other.metadata.name != backend.metadata.name
        && other.spec.connection_age.is_some()
        && !own.iter().any(differs)
}

fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Only metadata: what is in the object is read live by the pass that it starts.
fn metadata<K>(
    client: &Client,
    namespace: Option<&str>,
) -> impl Stream<Item = watcher::Result<PartialObjectMeta<K>>> + Send + use<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    let objects = api::<PartialObjectMeta<K>>(client, namespace);
    let changes = watcher(objects, watcher::Config::default())
        .default_backoff()
        .modify(|object| object.metadata.managed_fields = None)
        .touched_objects();
    heard(changes)
}

/// The backends that a workload serves for, or whose record it carries.
fn server<K: Namespaced + Serves>(
    backends: &Store<GrpcBackend>,
) -> impl Fn(K) -> Vec<ObjectRef<GrpcBackend>> + Send + Sync + use<K> {
    let backends = backends.clone();
    move |workload| {
        concerned(&backends, workload.meta().namespace.as_ref(), |backend| {
            servers::concerns(&workload, backend)
        })
    }
}

/// The backends that an object is made for, or whose child's name it has: somebody else's is in the way until it goes.
fn child<K: Resource<DynamicType = ()>>(
    backends: &Store<GrpcBackend>,
    named: &'static [fn(&GrpcBackend) -> String],
) -> impl Fn(PartialObjectMeta<K>) -> Vec<ObjectRef<GrpcBackend>> + Send + Sync + use<K> {
    let backends = backends.clone();
    move |object| {
        let name = object.name_any();
        let label = object.labels().get(names::BACKEND_LABEL).cloned();
        concerned(&backends, object.metadata.namespace.as_ref(), |backend| {
            named.iter().any(|of| of(backend) == name)
                || label.as_ref() == Some(&backend.name_any())
        })
    }
}

fn concerned(
    backends: &Store<GrpcBackend>,
    namespace: Option<&String>,
    is: impl Fn(&GrpcBackend) -> bool,
) -> Vec<ObjectRef<GrpcBackend>> {
    backends
        .state_filter(|backend| backend.metadata.namespace.as_ref() == namespace && is(backend))
        .iter()
        .map(|backend| ObjectRef::from_obj(backend.as_ref()))
        .collect()
}

fn hash(value: impl std::hash::Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// A pod's passage from one state to another, not each of its heartbeats.
#[expect(clippy::unnecessary_wraps, reason = "a predicate has this form")]
fn what_counts(pod: &Pod) -> Option<u64> {
    let address = pod
        .status
        .as_ref()
        .and_then(|status| status.pod_ip.as_ref());
    Some(hash((
        pod.labels(),
        is_serving(pod),
        has_ended(pod),
        pod.metadata.deletion_timestamp.is_some(),
        address,
    )))
}

/// That a resource is to go; its generation moves too, but not on every server.
#[expect(clippy::unnecessary_wraps, reason = "a predicate has this form")]
fn deletion(backend: &GrpcBackend) -> Option<u64> {
    Some(hash((
        &backend.metadata.uid,
        backend.metadata.deletion_timestamp.is_some(),
    )))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_that_has_ended_is_counted_anew() {
        let pod = |phase: &str, message: &str| {
            let status = json!({"phase": phase, "message": message});
            what_counts(&serde_json::from_value(json!({"metadata": {}, "status": status})).unwrap())
        };
        assert_ne!(pod("Pending", ""), pod("Failed", ""));
        assert_eq!(pod("Pending", ""), pod("Pending", "a heartbeat"));
    }
}
