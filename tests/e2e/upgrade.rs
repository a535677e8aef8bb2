//! From the last packaged chart to the one at hand, and away with everything: as docs/install.md says.
//!
//! `tests/upgrade` has that chart and what users may have stored under it. The image is today's for both: no other is to be had.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::{ConnectionAgeApplied, Ready};
use evenkeel::api::GrpcBackend;
use evenkeel_cluster::until;
use kube::ResourceExt as _;
use kube::api::ListParams;

use crate::bed::{Bed, ROLLOUT};
use crate::helm::{SYSTEM, TAKES_OVER, bring, image, lasting, restricted_namespace};
use crate::manifests::{self, none_of_our_fields, same};
use crate::tests;
use crate::world::{World, root};

tests![
    installs stored_resources_outlive_an_upgrade(600),
    installs nothing_is_left_without_the_definition(600),
];

const BEFORE: &str = "tests/upgrade/evenkeel-0.1.0.tgz";
/// That chart knew the image by another name.
const IMAGE: &str = "--set=image.repository=ghcr.io/evenkeel/evenkeel";
const NOW: &str = "charts/evenkeel";
/// What the passage of time changes by itself.
const JUDGED: [&str; 2] = ["Balanced", "MetricsAvailable"];

/// What each GrpcBackend asks for and says, but for the verdict.
async fn said(bed: &Bed) -> Result<BTreeMap<String, String>> {
    let backends = bed.namespace.api::<GrpcBackend>();
    let list = backends.list(&ListParams::default()).await?;
    let say = |backend: GrpcBackend| {
        let status = backend.status.clone().unwrap_or_default();
        let conditions = status.conditions.into_iter();
        let conditions = conditions.filter(|condition| !JUDGED.contains(&condition.type_.as_str()));
        let conditions: Vec<_> = conditions
            .map(|condition| {
                let since = condition.last_transition_time.0;
                let (kind, state) = (condition.type_, condition.status);
                format!("{kind} {state} {} since {since}", condition.reason)
            })
            .collect();
        let spec = serde_json::to_string(&backend.spec)?;
        let told = format!(
            "{spec} {} {conditions:?}",
            backend.uid().unwrap_or_default()
        );
        Ok((backend.name_any(), told))
    };
    list.items.into_iter().map(say).collect()
}

/// Fails as soon as something is said that was not said before.
async fn flaps(bed: &Bed, before: &BTreeMap<String, String>) -> Result<()> {
    let mut ticks = tokio::time::interval(Duration::from_millis(250));
    loop {
        ticks.tick().await;
        let now = said(bed).await?;
        for (name, told) in before {
            let now = now.get(name);
            ensure!(now == Some(told), "{name}: {now:?}\nbefore: {told}");
        }
    }
}

/// A server whose pods run with an age.
async fn served(bed: &Bed) -> Result<()> {
    bed.echo(2).await?;
    bed.apply_age(&manifests::backend_with_age("echo", "60s"))
        .await?;
    bed.reason("echo", Ready, "AllReady", ROLLOUT).await?;
    until("two pods", ROLLOUT, async || {
        let pods = bed.kubectl(&["get", "pods", "--output=name"]).await?;
        Ok((pods.lines().count() == 2).then_some(()))
    })
    .await
}

/// Everything stored has been looked at, and the last word is said: twice the same, a while apart.
async fn settled(bed: &Bed, stored: usize) -> Result<BTreeMap<String, String>> {
    let quiet = Duration::from_secs(5);
    until("all is quiet", TAKES_OVER, async || {
        let now = said(bed).await?;
        let looked_at = now.values().filter(|told| told.contains("Ready ")).count();
        ensure!(
            looked_at == stored,
            "{looked_at} of {stored} were looked at"
        );
        let flapped = tokio::time::timeout(quiet, flaps(bed, &now)).await;
        Ok(flapped.is_err().then_some(now))
    })
    .await
}

async fn stored_resources_outlive_an_upgrade(world: Arc<World>) -> Result<()> {
    image(&world).await?;
    restricted_namespace(&world).await?;
    let values = ["--set=replicaCount=2", IMAGE];
    bring(&world, "install", BEFORE, &values).await?;
    let bed = Bed::without_operator(&world, "shop").await?;
    served(&bed).await?;
    let corpus = std::fs::read_to_string(root().join("tests/upgrade/stored.yaml"))?;
    bed.kubectl_with(&["apply", "-f", "-"], &corpus).await?;
    let stored = corpus.matches("kind: GrpcBackend").count() + 1;
    ensure!(stored > 10, "only {stored} shapes");
    let told = settled(&bed, stored).await?;
    let there = lasting(&bed).await?;

    // Another pod template, as with every release.
    let upgrade = [
        "--reset-then-reuse-values",
        "--set=podAnnotations.release=next",
    ];
    let namespace = format!("--namespace={SYSTEM}");
    let upgraded = async {
        bring(&world, "upgrade", NOW, &upgrade).await?;
        until("only new pods of the operator", TAKES_OVER, async || {
            let path = "jsonpath={.items[*].metadata.annotations.release}";
            let pods = [&namespace, "get", "pods", "-o", path];
            let releases = world.cluster.kubectl(&pods).await?;
            Ok((releases.split_whitespace().count() == 2).then_some(()))
        })
        .await?;
        // Something to do, so that it can be seen that the new one is at work.
        bed.apply(&manifests::backend("another")).await?;
        bed.reason("another", Ready, "AllReady", TAKES_OVER).await
    };
    tokio::select! {
        upgraded = upgraded => upgraded.map(drop)?,
        flapped = flaps(&bed, &told) => return flapped.context("while it was upgraded"),
    }
    bed.kubectl(&["delete", "gb", "another"]).await?;
    bed.gone("service/another").await?;
    bed.gone("service/another-headless").await?;
    let after = lasting(&bed).await?;
    ensure!(after == there, "{after:#?}, before {there:#?}");
    Ok(())
}

/// The order that the page gives: first the resources, whose ages are taken back, then the release.
async fn nothing_is_left_without_the_definition(world: Arc<World>) -> Result<()> {
    image(&world).await?;
    restricted_namespace(&world).await?;
    bring(&world, "install", NOW, &["--set=crds.keep=false"]).await?;
    let bed = Bed::without_operator(&world, "shop").await?;
    bed.echo(2).await?;
    let before = bed.template("echo").await?;
    bed.apply(&manifests::backend_with_age("echo", "60s"))
        .await?;
    bed.reason("echo", ConnectionAgeApplied, "Applied", ROLLOUT)
        .await?;
    ensure!(bed.template("echo").await? != before, "no age is set");

    let all = ["delete", "gb", "--all", "--all-namespaces", "--timeout=90s"];
    world.cluster.kubectl(&all).await?;
    same(&bed.template("echo").await?, &before)?;
    let live = bed.live("echo").await?;
    none_of_our_fields(&live)?;
    let record = live.annotations().keys();
    let mut record = record.filter(|name| name.starts_with(manifests::RECORDS));
    ensure!(record.next().is_none(), "{:?}", live.annotations());
    for service in ["service/echo", "service/echo-headless"] {
        bed.gone(service).await?;
    }
    let namespace = format!("--namespace={SYSTEM}");
    let uninstall = [
        "uninstall",
        "evenkeel",
        &namespace,
        "--wait",
        "--timeout=90s",
    ];
    world.cluster.helm(&uninstall).await?;
    until("nothing is left of the release", ROLLOUT, async || {
        let kinds = "crd,clusterroles,clusterrolebindings,roles,rolebindings,deployments,services,serviceaccounts";
        let ours = "--selector=app.kubernetes.io/instance=evenkeel";
        let left = ["get", kinds, "--all-namespaces", ours, "--output=name"];
        let left = world.cluster.kubectl(&left).await?;
        ensure!(left.trim().is_empty(), "{left}");
        Ok(Some(()))
    })
    .await?;
    let served = world.cluster.kubectl(&["get", "gb", "-A"]).await;
    ensure!(served.is_err(), "the kind is still served");
    bed.rolled_out("echo").await
}
