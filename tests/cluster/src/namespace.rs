//! A Kubernetes namespace for one test.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::{Api, Client};

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
                Api::<Namespace>::all(client)
                    .delete(&name, &DeleteParams::background())
                    .await?;
                anyhow::Ok(())
            }));
    }
}
