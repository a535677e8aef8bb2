//! Workloads as the API server has them, to the letter, and what their templates were before any GrpcBackend came.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use kube::ResourceExt as _;
use kube::api::{DynamicObject, ListParams};
use parking_lot::Mutex;
use serde_json::Value;

use crate::bed::Bed;
use crate::manifests::{none_of_our_fields, same};

/// What serves.
pub const KINDS: [&str; 3] = ["Deployment", "StatefulSet", "DaemonSet"];

/// The pod templates of a namespace, by `Kind/name`, as they were when the first GrpcBackend came.
#[derive(Default)]
pub struct Before(Mutex<BTreeMap<String, Value>>);

impl Before {
    /// Those that are known already stay what they were.
    fn add(&self, templates: BTreeMap<String, Value>) {
        let mut known = self.0.lock();
        for (object, template) in templates {
            known.entry(object).or_insert(template);
        }
    }

    fn get(&self, object: &str) -> Option<Value> {
        let known = self.0.lock();
        known.get(object).cloned()
    }
}

impl Bed {
    /// Before objects are applied, one of which may be the GrpcBackend that sets an age.
    pub async fn remember_before(&self, object: &Value) -> Result<()> {
        let is_backend = |object: &Value| object["kind"] == "GrpcBackend";
        let mut items = object["items"].as_array().into_iter().flatten();
        if is_backend(object) || items.any(is_backend) {
            self.before.add(self.templates().await?);
        }
        Ok(())
    }

    /// Deletes all GrpcBackends: of no workload is the template other than it was before the first of them, and nothing else of
    /// ours is left on it.
    pub async fn finish(self) -> Result<()> {
        self.finish_with([]).await
    }

    /// The same where the owner changed a Deployment's template himself since.
    pub async fn finish_as(self, deployment: &str, template: &Value) -> Result<()> {
        let object = format!("Deployment/{deployment}");
        self.finish_with([(object, template.clone())]).await
    }

    /// The same of several workloads, each `Kind/name`.
    pub async fn finish_with(
        self,
        changed: impl IntoIterator<Item = (String, Value)>,
    ) -> Result<()> {
        self.kubectl(&["delete", "gb", "--all", "--timeout=90s"])
            .await?;
        let changed: BTreeMap<String, Value> = changed.into_iter().collect();
        for live in self.workloads().await? {
            let object = named(&live);
            let before = changed.get(&object).cloned();
            let before = before
                .or_else(|| self.before.get(&object))
                .with_context(|| format!("{object} came after the last GrpcBackend"))?;
            is_untouched(&live, &before).context(object)?;
        }
        Ok(())
    }

    /// The Deployment's pod template.
    pub async fn template(&self, deployment: &str) -> Result<Value> {
        self.template_of(&format!("deployment/{deployment}")).await
    }

    /// That of any workload, `kind/name`.
    pub async fn template_of(&self, object: &str) -> Result<Value> {
        Ok(self.object(object).await?["spec"]["template"].take())
    }

    /// A Deployment, with what this program does not know of too.
    pub async fn live(&self, deployment: &str) -> Result<DynamicObject> {
        self.live_of("Deployment", deployment).await
    }

    /// Any workload.
    pub async fn live_of(&self, kind: &str, name: &str) -> Result<DynamicObject> {
        Ok(self.of_kind(kind)?.get(name).await?)
    }

    async fn templates(&self) -> Result<BTreeMap<String, Value>> {
        let workloads = self.workloads().await?.into_iter();
        let template = |mut live: DynamicObject| {
            let object = named(&live);
            (object, live.data["spec"]["template"].take())
        };
        Ok(workloads.map(template).collect())
    }

    async fn workloads(&self) -> Result<Vec<DynamicObject>> {
        let mut all = Vec::new();
        for kind in KINDS {
            let list = self.of_kind(kind)?.list(&ListParams::default()).await?;
            all.extend(list.items.into_iter().map(|mut live| {
                // Items of a list do not tell their kind.
                live.types = Some(kube::api::TypeMeta {
                    kind: kind.into(),
                    api_version: "apps/v1".into(),
                });
                live
            }));
        }
        Ok(all)
    }
}

fn named(live: &DynamicObject) -> String {
    let kind = live.types.as_ref().map_or("", |types| types.kind.as_str());
    format!("{kind}/{}", live.name_any())
}

/// The template is as expected, and nothing else is left of us either.
fn is_untouched(live: &DynamicObject, template: &Value) -> Result<()> {
    same(&live.data["spec"]["template"], template)?;
    let (labels, annotations) = (live.labels().keys(), live.annotations().keys());
    let ours = labels
        .chain(annotations)
        .find(|key| key.contains("evenkeel"));
    ensure!(ours.is_none(), "{ours:?} stays");
    let fields = serde_json::to_string(&live.metadata.managed_fields)?;
    ensure!(!fields.contains("lent.evenkeel.dev"), "{fields}");
    none_of_our_fields(live)
}
