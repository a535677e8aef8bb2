//! A Kubernetes namespace for one test.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, ObjectMeta, Patch,
    PatchParams, PostParams,
};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use crate::access::Identity;
use crate::cluster::Cluster;
use crate::wait::until;

const READY_WITHIN: Duration = Duration::from_secs(30);
const DELETED_WITHIN: Duration = Duration::from_secs(30);

/// A namespace with a name of its own, deleted in the background when dropped.
pub struct TestNamespace {
    name: String,
    client: Client,
    background: tokio::runtime::Handle,
    kubeconfig: String,
}

impl Cluster {
    /// Makes a namespace that is ready for pods.
    pub async fn namespace(&self, prefix: &str) -> Result<TestNamespace> {
        self.namespace_with_labels(prefix, &[]).await
    }

    /// The same with labels, for instance those of Pod Security.
    pub async fn namespace_with_labels(
        &self,
        prefix: &str,
        labels: &[(&str, &str)],
    ) -> Result<TestNamespace> {
        let client = self.client().await?;
        let labels = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let metadata = ObjectMeta {
            generate_name: Some(format!("{prefix}-")),
            labels: Some(labels),
            ..ObjectMeta::default()
        };
        let wanted = Namespace {
            metadata,
            ..Namespace::default()
        };
        let created = Api::<Namespace>::all(client.clone())
            .create(&PostParams::default(), &wanted)
            .await?;
        let name = created.metadata.name.context("the namespace got no name")?;
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &name);
        // Pods are refused until it is there.
        until("the default ServiceAccount", READY_WITHIN, async || {
            Ok(accounts.get_opt("default").await?)
        })
        .await?;
        let kubeconfig = self.kubeconfig_host_text(&Identity::Admin).await?;
        Ok(TestNamespace {
            name,
            client,
            background: self.background()?.handle().clone(),
            kubeconfig,
        })
    }
}

impl TestNamespace {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A client with all rights.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The objects of a kind in it.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }
}

impl Drop for TestNamespace {
    fn drop(&mut self) {
        let (name, kubeconfig) = (self.name.clone(), std::mem::take(&mut self.kubeconfig));
        // With a client of its own: that of the test ends with the test's runtime.
        self.background
            .spawn(tokio::time::timeout(DELETED_WITHIN, async move {
                let client = crate::access::client_from(&kubeconfig).await?;
                Api::<Namespace>::all(client.clone())
                    .delete(&name, &DeleteParams::background())
                    .await?;
                let_go(&grpc_backends(client, &name)).await
            }));
    }
}

/// The GrpcBackends of a namespace, for programs that do not know their fields.
pub fn grpc_backends(client: Client, namespace: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("evenkeel.dev", "v1alpha1", "GrpcBackend");
    let resource = ApiResource::from_gvk_with_plural(&kind, "grpcbackends");
    Api::namespaced_with(client, namespace, &resource)
}

/// Deletes them without their operator, which ends with its test: a namespace that cannot go is swept every few seconds for as long as
/// the cluster is there, and a few dozen of them take a third of what its API server can do.
async fn let_go(backends: &Api<DynamicObject>) -> Result<()> {
    // First, so that nobody puts a finalizer in again.
    backends
        .delete_collection(&DeleteParams::background(), &ListParams::default())
        .await?;
    let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    for backend in backends.list(&ListParams::default()).await?.items {
        // It may be gone by now.
        let _ = backends
            .patch(&backend.name_any(), &PatchParams::default(), &none)
            .await;
    }
    Ok(())
}
