//! What runs, by lists, with the user's own rights: no more is asked for than what the rules look at, and nothing is written.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{anyhow, bail};
use futures::{StreamExt as _, stream};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, TypeMeta};
use kube::core::Status;
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::cli::connect::why;
use crate::manifests::{Node, Objects, Unlisted};
use crate::observed::cluster_dns;

/// For one page of a list.
const LISTED_IN: Duration = Duration::from_secs(20);
/// Objects of one page, and of one kind.
const PAGE: u32 = 250;
const MOST: usize = 10_000;
/// Lists at once.
const AT_ONCE: usize = 4;

/// Group, version, kind and plural of what is listed, and whether a cluster may well not know it.
const KINDS: [(&str, &str, &str, &str, bool); 9] = [
    (
        "evenkeel.dev",
        "v1alpha1",
        "GrpcBackend",
        "grpcbackends",
        true,
    ),
    ("apps", "v1", "Deployment", "deployments", false),
    ("apps", "v1", "StatefulSet", "statefulsets", false),
    ("apps", "v1", "DaemonSet", "daemonsets", false),
    ("", "v1", "Service", "services", false),
    ("", "v1", "ServiceAccount", "serviceaccounts", false),
    (
        "autoscaling",
        "v2",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        false,
    ),
    ("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects", true),
    // The last, since there are the most of them: what finds no room is one of these.
    ("", "v1", "Pod", "pods", false),
];

/// Everything that rules look at in a namespace; none: in all. What may not be listed is said, and the rest is there all the
/// same.
pub async fn all(client: &Client, namespace: Option<&str>) -> anyhow::Result<Objects> {
    let lists: Vec<_> = KINDS
        .iter()
        .map(|(group, version, kind, plural, may_miss)| {
            let kind = GroupVersionKind::gvk(group, version, kind);
            let resource = ApiResource::from_gvk_with_plural(&kind, plural);
            list(client, namespace, resource, *may_miss)
        })
        .collect();
    // In the order of the kinds, so that the answer is the same each time.
    let answers: Vec<_> = stream::iter(lists).buffered(AT_ONCE).collect().await;
    let answers: Vec<_> = answers.into_iter().collect::<anyhow::Result<_>>()?;
    let unlisted = || answers.iter().filter_map(|(_, unlisted)| unlisted.as_ref());
    let is_empty = answers.iter().all(|(items, _)| items.is_empty());
    if let (true, Some(first)) = (is_empty, unlisted().next())
        && unlisted().count() >= KINDS.len() - 2
    {
        bail!("nothing may be listed {}: {}", place(namespace), first.why);
    }
    let mut objects = Objects::of_cluster();
    let file: Rc<str> = "".into();
    let alone = [
        namespaces(client, namespace).await?,
        (dns(client).await?, None),
    ];
    for (items, unlisted) in alone.into_iter().chain(answers) {
        objects.unlisted.extend(unlisted);
        for item in &items {
            objects.add(&file, Node::of(item), "");
        }
    }
    Ok(objects)
}

/// How the cluster's DNS servers are configured. Who may not read that, as most may not, is told of the rule that is not checked.
async fn dns(client: &Client) -> anyhow::Result<Vec<Value>> {
    let kind = GroupVersionKind::gvk("", "v1", "ConfigMap");
    let resource = ApiResource::from_gvk_with_plural(&kind, "configmaps");
    let place = cluster_dns::NAMESPACE;
    let api = Api::namespaced_with(client.clone(), place, &resource);
    let mut items = Vec::new();
    for name in cluster_dns::CONFIG_MAPS {
        let what = format!("ConfigMap {name} in namespace {place}");
        let (own, unlisted) = one(&api, &resource, name, &what).await?;
        items.extend(own);
        if unlisted.is_some() {
            break;
        }
    }
    Ok(items)
}

/// An object by its name, if it is there, or why it may not be read.
async fn one(
    api: &Api<DynamicObject>,
    resource: &ApiResource,
    name: &str,
    what: &str,
) -> anyhow::Result<(Option<Value>, Option<Unlisted>)> {
    let answer = timeout(LISTED_IN, api.get_opt(name))
        .await
        .map_err(|_| anyhow!("the API server does not answer"))?;
    match answer {
        Ok(own) => Ok((own.and_then(|own| slim(own, resource)), None)),
        Err(kube::Error::Api(status)) if status.code == 403 => {
            let why = format!("you may not get {what}");
            Ok((None, Some(unlisted(resource, why))))
        }
        Err(error) => Err(anyhow!("{what} cannot be read: {}", why(&error))),
    }
}

/// The namespaces that are looked at: who may not list all of them may often get their own.
async fn namespaces(
    client: &Client,
    namespace: Option<&str>,
) -> anyhow::Result<(Vec<Value>, Option<Unlisted>)> {
    let kind = GroupVersionKind::gvk("", "v1", "Namespace");
    let resource = ApiResource::from_gvk_with_plural(&kind, "namespaces");
    let Some(name) = namespace else {
        return list(client, None, resource, false).await;
    };
    let api = Api::all_with(client.clone(), &resource);
    let (own, unlisted) = one(&api, &resource, name, &format!("namespace {name}")).await?;
    Ok((own.into_iter().collect(), unlisted))
}

/// Every object of a kind, or as much as may be, with why it is not all.
async fn list(
    client: &Client,
    namespace: Option<&str>,
    resource: ApiResource,
    may_miss: bool,
) -> anyhow::Result<(Vec<Value>, Option<Unlisted>)> {
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let mut items = Vec::new();
    let mut parameters = ListParams::default().limit(PAGE);
    loop {
        let answer = timeout(LISTED_IN, api.list(&parameters))
            .await
            .map_err(|_| anyhow!("the API server does not answer"))?;
        let page = match answer {
            Ok(page) => page,
            Err(kube::Error::Api(status)) if status.code == 404 && may_miss => break,
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => {
                let why = refused(&status, namespace, &resource);
                return Ok((items, Some(unlisted(&resource, why))));
            }
            Err(error) => {
                let what = format!("{} cannot be listed {}", resource.plural, place(namespace));
                bail!("{what}: {}", why(&error));
            }
        };
        items.extend(
            page.items
                .into_iter()
                .filter_map(|item| slim(item, &resource)),
        );
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(_) if items.len() >= MOST => {
                let why =
                    format!("only the first {MOST} are looked at: choose a namespace with -n");
                return Ok((items, Some(unlisted(&resource, why))));
            }
            Some(token) => parameters = parameters.continue_token(&token),
            None => break,
        }
    }
    Ok((items, None))
}

fn refused(status: &Status, namespace: Option<&str>, resource: &ApiResource) -> String {
    if status.code == 404 {
        return format!(
            "this cluster does not serve them as {}",
            resource.api_version
        );
    }
    format!("you may not list {} {}", resource.plural, place(namespace))
}

fn unlisted(resource: &ApiResource, why: String) -> Unlisted {
    Unlisted {
        kind: resource.kind.clone(),
        why,
    }
}

fn place(namespace: Option<&str>) -> String {
    namespace.map_or_else(
        || "in all namespaces".into(),
        |namespace| format!("in namespace {namespace}"),
    )
}

/// Without what no rule looks at, which is most of a pod.
fn slim(mut item: DynamicObject, resource: &ApiResource) -> Option<Value> {
    // Who scales it shows there alone where its autoscaler cannot be listed.
    let fields = item.managed_fields_mut();
    fields.retain(|own| own.subresource.as_deref() == Some("scale"));
    if resource.kind == "Pod"
        && let Some(status) = item.data.get_mut("status")
    {
        *status = json!({"phase": status["phase"]});
    }
    item.types = Some(TypeMeta {
        api_version: resource.api_version.clone(),
        kind: resource.kind.clone(),
    });
    serde_json::to_value(item).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who scales shows in no other way where autoscalers may not be listed; of the rest nothing is kept.
    #[test]
    fn who_scales_is_kept() {
        let kind = GroupVersionKind::gvk("apps", "v1", "Deployment");
        let resource = ApiResource::from_gvk_with_plural(&kind, "deployments");
        let fields = |subresource: &str| {
            json!({"manager": "kube-controller-manager", "operation": "Update", "subresource": subresource,
            "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}}})
        };
        for (managed, is_scaled) in [
            (json!([fields("status"), fields("scale")]), true),
            (json!([fields("status")]), false),
        ] {
            let listed = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "namespace": "shop", "managedFields": managed},
                "spec": {"replicas": 1, "selector": {}, "template": {}}});
            let kept = slim(serde_json::from_value(listed).unwrap(), &resource).unwrap();
            let count = kept["metadata"]["managedFields"]
                .as_array()
                .map_or(0, Vec::len);
            assert_eq!(count, usize::from(is_scaled));
            let mut objects = Objects::of_cluster();
            objects.add(&"".into(), Node::of(&kept), "");
            assert_eq!(objects.workloads[0].object.is_scaled(), is_scaled);
        }
    }
}
