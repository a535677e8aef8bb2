//! Metrics pages with something wrong about them: each ends in words that help, and nobody else suffers.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::{Balanced, MetricsAvailable};
use evenkeel_cluster::{Cut, until};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::balance::{even, figures};
use crate::bed::{Bed, ROLLOUT};
use crate::discovery::endpoints;
use crate::manifests;
use crate::pods::{ip, names};
use crate::tests;
use crate::world::World;

tests![
    shared what_is_wrong_with_a_page_is_said(240),
    shared a_pod_that_hangs_hides_no_other(180),
    shared a_page_without_an_end_hides_no_other(180),
    shared a_pod_that_speaks_tls_hides_no_other(180),
    shared a_pod_that_counts_otherwise_is_told_and_not_averaged(180),
    shared a_family_that_one_pod_gives_up_is_given_up(240),
    shared a_count_that_stands_still_names_its_pod(240),
    shared a_count_that_always_falls_is_named(240),
    shared a_meter_that_all_pods_change_is_followed(240),
];

/// The kind of page, and the reason and the words that say so.
const ODD: [(&str, &str, &str); 9] = [
    ("hang", "ScrapeFailed", "did not answer the scrape in time"),
    ("endless", "ScrapeFailed", "over the size limit"),
    ("broken", "ScrapeFailed", "could not be reached"),
    ("redirect", "ScrapeFailed", "redirect (HTTP status 302)"),
    // Lines that nobody asked for are not read, so that nobody knows what they are.
    ("garbage", "NoKnownMetric", "none shows a metric"),
    ("lie", "ScrapeFailed", "as no counter can be"),
    ("tls", "Refused", "speaks TLS"),
    ("grpc", "Refused", "no answer in HTTP/1.1"),
    ("mesh", "Refused", "asks for mutual TLS"),
];
/// Pods start, two scrapes fail.
const SAID: Duration = Duration::from_secs(150);
/// Three rounds of scrapes.
const ROUNDS: Duration = Duration::from_secs(15);
/// The debug binary needs about 40 at rest; a page of a gigabyte must not show.
const RESIDENT_KB: u64 = 64_000;

/// A server whose page, named by the annotation that Prometheus reads, is odd, and not the one that the kubelet asks.
pub fn odd(name: &str, app: &str, kind: &str) -> Value {
    let mut server = manifests::server(app, 1);
    server["metadata"]["name"] = json!(name);
    server["spec"]["selector"]["matchLabels"]["odd"] = json!(kind);
    server["spec"]["template"]["metadata"]["labels"]["odd"] = json!(kind);
    server["spec"]["template"]["metadata"]["annotations"] = json!({"prometheus.io/port": "9091"});
    let container = manifests::container(&mut server);
    container["args"] = json!([format!("--odd-metrics={kind}")]);
    container["ports"] = json!([
        {"name": "grpc", "containerPort": manifests::PORT},
        {"name": "health", "containerPort": 9090},
        {"name": "odd", "containerPort": 9091},
    ]);
    match kind {
        "grpc" => {
            container["args"] = json!([]);
            server["spec"]["template"]["metadata"]["annotations"] =
                json!({"prometheus.io/port": manifests::PORT.to_string()});
        }
        "mesh" => {
            container["name"] = json!("istio-proxy");
            container["args"] = json!(["--odd-metrics=hang"]);
        }
        _ => {}
    }
    server
}

/// As the proxy of a mesh under strict mutual TLS: the port takes connections, and resets those that send anything else.
async fn strict(bed: &Bed) -> Result<Cut<'_>> {
    bed.rolled_out("mesh").await?;
    let pod = bed.pods("app=mesh").await?.pop().context("no pod")?;
    bed.world.cluster.reset((ip(&pod)?, 9091).into()).await
}

async fn what_is_wrong_with_a_page_is_said(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "pages").await?;
    let healthy = [manifests::server("echo", 2), manifests::backend("echo")];
    let odd = ODD
        .iter()
        .flat_map(|(kind, ..)| [odd(kind, kind, kind), manifests::backend(kind)]);
    let items: Vec<Value> = healthy.into_iter().chain(odd).collect();
    bed.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}))
        .await?;
    let _mesh = strict(&bed).await?;
    bed.rolled_out("echo").await?;
    bed.client("even", &even(&bed), &["--rate=30"]).await?;
    for (kind, reason, words) in ODD {
        let pods = names(&bed.pods(&format!("app={kind}")).await?);
        let words: &[&str] = match reason {
            "NoKnownMetric" => &[words],
            _ => &[words, &pods[0]],
        };
        bed.says(kind, MetricsAvailable, reason, words, SAID)
            .await
            .with_context(|| format!("the page of kind {kind}"))?;
    }
    // Until they are old enough to be judged there is more to come.
    for (kind, ..) in ODD {
        bed.reason(kind, Balanced, "NoMetrics", SAID).await?;
    }
    bed.reason("echo", Balanced, "Balanced", SAID).await?;
    are_told_of(&bed).await?;

    // From now on nothing is new: neither of them nor of the healthy one beside them.
    let mut attempt = 0;
    until("nothing is written", SAID, async || {
        attempt += 1;
        let since = Timestamp::now();
        tokio::time::sleep(ROUNDS).await;
        let writes = bed.writes_and_events_since(since)?;
        ensure!(writes.is_empty(), "span {attempt}: {writes:#?}");
        Ok(Some(()))
    })
    .await?;
    // A machine that stands still is a reason to write, once.
    ensure!(attempt <= 2, "only in span {attempt} nothing was written");
    bed.reason("echo", Balanced, "Balanced", ROLLOUT).await?;
    let peak = bed.peak_resident().await?;
    println!("    the operator had {peak} kB at most");
    ensure!(peak < RESIDENT_KB, "the operator had {peak} kB");
    Ok(())
}

/// By an event each, for whoever describes the resource; not of pages that may only be without a request yet.
async fn are_told_of(bed: &Bed) -> Result<()> {
    let list = ["get", "events.events.k8s.io", "-o", "json"];
    let events: Value = serde_json::from_str(&bed.kubectl(&list).await?)?;
    let events = events["items"].as_array().context("no list")?;
    for (kind, reason, _) in ODD {
        let is_it = |event: &&Value| {
            event["regarding"]["name"] == kind
                && event["reason"] == reason
                && event["type"] == "Warning"
        };
        let told = events.iter().filter(is_it).count();
        let expected = usize::from(reason != "NoKnownMetric");
        ensure!(
            told == expected,
            "{kind}: {told} events {reason}: {events:#?}"
        );
    }
    Ok(())
}

async fn a_pod_that_hangs_hides_no_other(world: Arc<World>) -> Result<()> {
    the_others_are_judged(&world, "hang", "in time").await
}

async fn a_page_without_an_end_hides_no_other(world: Arc<World>) -> Result<()> {
    the_others_are_judged(&world, "endless", "over the size limit").await
}

async fn a_pod_that_speaks_tls_hides_no_other(world: Arc<World>) -> Result<()> {
    the_others_are_judged(&world, "tls", "speaks TLS").await
}

async fn a_pod_that_counts_otherwise_is_told_and_not_averaged(world: Arc<World>) -> Result<()> {
    let words = "counts its requests in another metric than the other pods";
    the_others_are_judged(&world, "other", words).await
}

/// Of three pods that are asked for as much as each other one has an odd page: it is named, and the other two are judged.
async fn the_others_are_judged(world: &Arc<World>, kind: &str, words: &str) -> Result<()> {
    let bed = Bed::new(world, kind).await?;
    bed.echo(2).await?;
    bed.deploy(&odd("odd", "echo", kind)).await?;
    bed.apply(&manifests::backend("echo")).await?;
    bed.client("even", &even(&bed), &["--rate=45"]).await?;
    let odd = names(&bed.pods(&format!("odd={kind}")).await?);
    let words = [words, &odd[0]];
    bed.says("echo", MetricsAvailable, "PartlyScraped", &words, SAID)
        .await?;
    two_are_judged(&bed).await
}

async fn two_are_judged(bed: &Bed) -> Result<()> {
    // A verdict may come while the other one still warms up.
    until("two pods are judged", SAID, async || {
        let balance = figures(&bed.backend("echo").await?);
        ensure!(
            balance.pods == 2 && balance.verdict == "Balanced",
            "{balance:?}"
        );
        Ok(Some(()))
    })
    .await
}

/// A number that does not rise is what an idle pod has: nothing tells the lie, but the pod to look at is named.
async fn a_count_that_stands_still_names_its_pod(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "frozen").await?;
    bed.echo(3).await?;
    bed.deploy(&odd("odd", "echo", "frozen")).await?;
    bed.apply(&manifests::backend("echo")).await?;
    // The client looks up once, and there is no age to have it look again.
    until("all four are published", ROLLOUT, async || {
        let published = endpoints(&bed, "echo-headless").await?;
        Ok((published.len() == 4).then_some(()))
    })
    .await?;
    bed.client("even", &even(&bed), &["--rate=60"]).await?;
    let odd = names(&bed.pods("odd=frozen").await?);
    // It had served before.
    until("the pod is named as idle", SAID * 2, async || {
        let backend = bed.reason("echo", Balanced, "FewClients", SAID).await?;
        let starved = figures(&backend).starved.into_iter();
        let starved: Vec<String> = starved.map(|share| share.pod).collect();
        ensure!(starved == odd, "starved {starved:?}, frozen {odd:?}");
        let message = bed.message("echo", Balanced).await?;
        ensure!(
            message.contains(&format!("{} is idle", odd[0])),
            "{message}"
        );
        Ok(Some(()))
    })
    .await?;
    bed.reason("echo", MetricsAvailable, "Scraped", ROLLOUT)
        .await?;
    Ok(())
}

/// Each fall is a process that began anew, so that there never is a window to judge the pod by.
async fn a_count_that_always_falls_is_named(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "falling").await?;
    // It is the oldest: the others are not judged any sooner than it could be.
    bed.deploy(&odd("odd", "echo", "falling")).await?;
    bed.echo(2).await?;
    bed.apply(&manifests::backend("echo")).await?;
    bed.client("even", &even(&bed), &["--rate=45"]).await?;
    two_are_judged(&bed).await?;
    tokio::time::sleep(ROUNDS).await;
    two_are_judged(&bed).await?;
    let starved = figures(&bed.backend("echo").await?).starved;
    ensure!(starved.is_empty(), "{starved:?}");
    let pods = names(&bed.pods("odd=falling").await?);
    let named = format!("2/3 pods scraped: pod {} has counts that fall", pods[0]);
    let words = [named.as_str(), "several processes"];
    bed.says("echo", MetricsAvailable, "PartlyScraped", &words, SAID)
        .await
}

/// As where a library is changed, or its names by a setting: the old ones are gone from all pages, one after the other.
async fn a_meter_that_all_pods_change_is_followed(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "meter").await?;
    let mut server = odd("echo", "echo", "migrate");
    server["spec"]["replicas"] = json!(2);
    bed.deploy(&server).await?;
    bed.apply(&manifests::backend("echo")).await?;
    bed.client("even", &even(&bed), &["--rate=30"]).await?;
    let reads = async |metric: &str| {
        until(&format!("{metric} is read"), SAID * 2, async || {
            let balance = figures(&bed.backend("echo").await?);
            let is_read = balance.metric.as_deref() == Some(metric);
            Ok(is_read.then_some(()))
        })
        .await
    };
    reads("grpc_server_started_total").await?;
    reads("rpc_server_call_duration_seconds_count").await?;
    two_are_judged(&bed).await?;
    let family = ["(family OtelRpc)"];
    bed.says("echo", MetricsAvailable, "Scraped", &family, ROLLOUT)
        .await
}

async fn a_family_that_one_pod_gives_up_is_given_up(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "family").await?;
    bed.echo(2).await?;
    bed.deploy(&odd("switching", "echo", "switch")).await?;
    bed.apply(&manifests::backend("echo")).await?;
    bed.client("even", &even(&bed), &["--rate=45"]).await?;
    // All pods have shown calls that began; then one shows only those that ended, as the others do too.
    until(
        "all are counted by what they have in common",
        SAID * 2,
        async || {
            let balance = bed
                .backend("echo")
                .await?
                .status
                .and_then(|status| status.balance);
            let balance = balance.context("no figures")?;
            let metric = balance.metric.as_deref() == Some("grpc_server_handled_total");
            ensure!(
                metric && balance.pods == 3 && balance.verdict == "Balanced",
                "{balance:?}"
            );
            Ok(Some(()))
        },
    )
    .await
}
