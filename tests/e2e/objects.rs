//! Objects as the API server has them. Asked for by a client, since most are asked for over and over, and kubectl takes a sixth of a second
//! of a processor to start.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use evenkeel::api::GrpcBackend;
use evenkeel_cluster::until;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::DynamicObject;
use kube::core::ApiResource;
use serde_json::Value;

use crate::bed::{Bed, SOON};

/// For what the garbage collector does: it hears of a new kind only every half minute, on a cluster seconds old too.
const COLLECTED: Duration = Duration::from_secs(90);

impl Bed {
    /// An object, `kind/name` as kubectl takes it, without what only kubectl hides too.
    pub async fn object(&self, object: &str) -> Result<Value> {
        let found = self.find(object).await?;
        found.with_context(|| format!("there is no {object}"))
    }

    /// Its `resourceVersion`: the same as long as nobody writes it.
    pub async fn version(&self, object: &str) -> Result<String> {
        let object = self.object(object).await?;
        let version = object["metadata"]["resourceVersion"].as_str();
        Ok(version.context("no resourceVersion")?.to_owned())
    }

    /// Whether there is such an object.
    pub async fn exists(&self, object: &str) -> Result<bool> {
        Ok(self.find(object).await?.is_some())
    }

    /// Waits until there is no such object.
    pub async fn gone(&self, object: &str) -> Result<()> {
        until(&format!("{object} is gone"), COLLECTED, async || {
            Ok((!self.exists(object).await?).then_some(()))
        })
        .await
    }

    /// Waits until a part of an object, by JSON pointer, has this value.
    pub async fn becomes(&self, object: &str, part: &str, wanted: &Value) -> Result<()> {
        until(&format!("{part} of {object}"), SOON, async || {
            let now = self.object(object).await?;
            let now = now.pointer(part).unwrap_or(&Value::Null);
            ensure!(now == wanted, "it is {now} and not {wanted}");
            Ok(Some(()))
        })
        .await
    }

    async fn find(&self, object: &str) -> Result<Option<Value>> {
        let (kind, name) = object.split_once('/').context("not kind/name")?;
        let Some(mut found) = self.of_kind(kind)?.get_opt(name).await? else {
            return Ok(None);
        };
        found.metadata.managed_fields = None;
        Ok(Some(serde_json::to_value(&found)?))
    }

    /// The objects of a kind in this namespace, as kubectl takes its name.
    pub fn of_kind(&self, kind: &str) -> Result<Api<DynamicObject>> {
        let client = self.namespace.client();
        let resource = match kind.to_ascii_lowercase().as_str() {
            "deployment" => ApiResource::erase::<Deployment>(&()),
            "statefulset" => ApiResource::erase::<StatefulSet>(&()),
            "daemonset" => ApiResource::erase::<DaemonSet>(&()),
            "pod" => ApiResource::erase::<Pod>(&()),
            "service" => ApiResource::erase::<Service>(&()),
            "serviceaccount" => ApiResource::erase::<ServiceAccount>(&()),
            "role" => ApiResource::erase::<Role>(&()),
            "rolebinding" => ApiResource::erase::<RoleBinding>(&()),
            "gb" => ApiResource::erase::<GrpcBackend>(&()),
            "crd" => {
                let resource = ApiResource::erase::<CustomResourceDefinition>(&());
                return Ok(Api::all_with(client, &resource));
            }
            other => bail!("no test has asked for a {other} yet: add it here"),
        };
        Ok(Api::namespaced_with(client, self.name(), &resource))
    }
}
