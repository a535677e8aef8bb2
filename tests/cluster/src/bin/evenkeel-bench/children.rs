//! How long it takes from a GrpcBackend to everything that is made for it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use evenkeel_cluster::{Cluster, grpc_backends};
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{DeleteParams, DynamicObject, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use crate::report::{Figure, median};

/// How often it is measured.
pub const APPLIES: usize = 30;
const LIMIT: Duration = Duration::from_secs(30);
/// The measurement is late by at most this and one request.
const GRAIN: Duration = Duration::from_millis(5);

/// Applies one after another, each alone.
pub async fn measure(cluster: &Cluster) -> Result<Figure> {
    let client = cluster.client().await?;
    let mut spans = Vec::new();
    for number in 0..APPLIES {
        spans.push(once(&client, &format!("child-{number}")).await?);
    }
    let (middle, slowest) = median(&mut spans);
    Ok(Figure {
        name: "children exist after apply",
        measured: format!("{} ms", middle.as_millis()),
        target: "≤ 300 ms",
        met: middle <= Duration::from_millis(300),
        how: format!(
            "from the request that creates the GrpcBackend until two Services, ServiceAccount, Role and RoleBinding can be read; median of {APPLIES}, slowest {} ms",
            slowest.as_millis()
        ),
    })
}

async fn once(client: &Client, name: &str) -> Result<Duration> {
    let backends = grpc_backends(client.clone(), "default");
    let backend: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "evenkeel.dev/v1alpha1",
        "kind": "GrpcBackend",
        "metadata": {"name": name},
        "spec": {
            "selector": {"app": name},
            "ports": [{"port": 8080}],
            "endpointWatch": {"serviceAccount": {"create": true}},
        },
    }))?;
    let begun = Instant::now();
    backends.create(&PostParams::default(), &backend).await?;
    let mut ticks = interval(GRAIN);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !complete(client, name).await? {
        ensure!(
            begun.elapsed() < LIMIT,
            "the children of {name} are not there after {LIMIT:?}"
        );
        ticks.tick().await;
    }
    let span = begun.elapsed();
    backends
        .delete(name, &DeleteParams::default())
        .await
        .context("clean up")?;
    Ok(span)
}

/// The RoleBinding comes last, so it is asked for first.
async fn complete(client: &Client, name: &str) -> Result<bool> {
    let services: Api<Service> = Api::default_namespaced(client.clone());
    Ok(Api::<RoleBinding>::default_namespaced(client.clone())
        .get_opt(name)
        .await?
        .is_some()
        && Api::<Role>::default_namespaced(client.clone())
            .get_opt(name)
            .await?
            .is_some()
        && Api::<ServiceAccount>::default_namespaced(client.clone())
            .get_opt(&format!("{name}-client"))
            .await?
            .is_some()
        && services.get_opt(name).await?.is_some()
        && services
            .get_opt(&format!("{name}-headless"))
            .await?
            .is_some())
}
