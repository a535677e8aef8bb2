//! What the connection age does for clients: new pods are found in time, and going ones cost no call.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use evenkeel::api::ConditionType::{Balanced, ConnectionAgeApplied, ServicesReady};
use evenkeel::api::GoDuration;
use evenkeel_cluster::until;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::balance::{figures, told};
use crate::bed::{Bed, ROLLOUT, SOON};
use crate::client::Client;
use crate::manifests;
use crate::pods::{Arrival, arrival, left, names, new_pods};
use crate::tests;
use crate::versions::troubles;
use crate::world::World;

tests![
    shared new_pods_serve_within_the_promise(300),
    shared a_replaced_pod_serves_within_the_promise(300),
    shared two_versions_under_one_selector(540),
];

/// What the documentation promises for an age of 30 s: 1.1 times the age, the wait of resolvers, and the longest usual TTL.
const DOCUMENTED: Duration = Duration::from_secs(33 + 30 + 30);
/// In which Kubernetes keeps the time of Ready.
const WHOLE_SECOND: Duration = Duration::from_secs(1);
/// From one scrape to the next, and twice more: for one that was lost and one that came late.
const INTERVALS: Duration = Duration::from_secs(3 * 5);
/// Servers spread the age of 30 s by a tenth; the client's clock begins a little later than theirs.
const AGED: std::ops::RangeInclusive<u64> = 26_000..=43_000;
/// For each call. A client that knows no living pod has none until its next look-up, up to 30 s later: that still shows. A
/// machine on which all stands still for some seconds does not.
pub const PATIENT: &str = "--deadline=15s";

async fn new_pods_serve_within_the_promise(world: Arc<World>) -> Result<()> {
    let server = manifests::server("echo", 2);
    let (bed, client) =
        aged_with_client(&world, "discover", &server, &["--rate=50", PATIENT]).await?;
    until(
        "three rounds of scrapes saw the traffic",
        ROLLOUT,
        async || Ok((client.totals().await?.counts.ok > 50 * 15).then_some(())),
    )
    .await?;
    let old = names(&bed.pods("app=echo").await?);
    bed.scale("echo", 4).await?;
    bed.rolled_out("echo").await?;
    let mut slowest = Duration::ZERO;
    for pod in &new_pods(&bed, &old, 2).await? {
        let arrival = serves_in_time(&bed, &client, pod).await?;
        // No connection has ended for another reason since the client started.
        by_the_age(&bed, Timestamp::MIN, arrival.first_reply).await?;
        slowest = slowest.max(arrival.took);
    }
    told_as_it_was(&bed, 2, slowest).await?;
    // Without a promise to wait for, their idle time would have been a verdict of trouble.
    let troubles = troubles(&bed).await?;
    ensure!(troubles.is_empty(), "{troubles:?}");
    client.reset().await?;
    bed.scale("echo", 2).await?;
    left(&bed, 2).await?;
    // Another age and another look-up, so that a dead address would be dialled.
    let counts = client.totals().await?.counts;
    let aged = counts.goaway_reasons.get("max_age").copied().unwrap_or(0);
    until("a connection ends by its age", ROLLOUT, async || {
        let counts = client.totals().await?.counts;
        let now = counts.goaway_reasons.get("max_age").copied();
        Ok((now.unwrap_or(0) > aged).then_some(()))
    })
    .await?;
    let seen = client.totals().await?.counts.ok;
    until("the client goes on for 10 s", ROLLOUT, async || {
        Ok((client.totals().await?.counts.ok > seen + 500).then_some(()))
    })
    .await?;
    no_errors(&bed, &client).await
}

/// The end of the old pod's connection makes clients look too early: the new one is not ready then, so the age must bring it. To one that
/// waits for its next look-up as it does by default, and to one that shows by looking at once that nothing but the age did.
async fn a_replaced_pod_serves_within_the_promise(world: Arc<World>) -> Result<()> {
    let mut server = manifests::server("echo", 2);
    // Much longer than the old pod drains.
    manifests::container(&mut server)["args"] = json!(["--drain=5s", "--ready-after=20s"]);
    server["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": 2, "maxUnavailable": 0}});
    let flags = ["--rate=50", "--dns-min-interval=1s", PATIENT];
    let (bed, client) = aged_with_client(&world, "replace", &server, &flags).await?;
    let flags = ["--rate=50", PATIENT];
    let by_default = bed.client("by-default", &headless(&bed), &flags).await?;
    let old = names(&bed.pods("app=echo").await?);
    bed.kubectl(&["delete", "pod", &old[0], "--wait=false"])
        .await?;
    for pod in &new_pods(&bed, &old, 1).await? {
        let arrival = serves_in_time(&bed, &client, pod).await?;
        // A look-up follows the end of a connection, at once or a second later, and may be answered late: that end may be older than
        // Ready, but not as old as the old pod's own.
        let since = arrival.ready - 8 * WHOLE_SECOND;
        by_the_age(&bed, since, arrival.first_reply).await?;
        serves_in_time(&bed, &by_default, pod).await?;
    }
    no_errors(&bed, &client).await?;
    no_errors(&bed, &by_default).await
}

async fn two_versions_under_one_selector(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "versions").await?;
    for version in ["v1", "v2"] {
        let mut deployment = manifests::server(version, 2);
        let labels = json!({"app": "echo", "version": version});
        deployment["spec"]["selector"]["matchLabels"] = labels.clone();
        deployment["spec"]["template"]["metadata"]["labels"] = labels;
        bed.apply(&deployment).await?;
    }
    bed.rolled_out("v1").await?;
    bed.rolled_out("v2").await?;
    bed.apply(&manifests::backend("echo")).await?;
    bed.reason("echo", ServicesReady, "Created", SOON).await?;
    // Not by the operator's twin, which goes with the backend while the client is still there.
    let mut theirs = manifests::service("theirs");
    theirs["spec"]["clusterIP"] = "None".into();
    theirs["spec"]["selector"] = json!({"app": "echo"});
    bed.apply(&theirs).await?;
    let target = format!("dns:///theirs.{}.svc.cluster.local:8080", bed.name());
    let client = bed
        .client("client", &target, &["--rate=100", PATIENT])
        .await?;
    // At once: the client has just looked up and will not for 30 s. Both rollouts in that time would leave it no pod that lives.
    let begun = Timestamp::now();
    let age = manifests::backend_with_age("echo", "30s")["spec"]["connectionAge"].clone();
    bed.change("echo", &json!({"connectionAge": age})).await?;
    let backend = bed
        .reason("echo", ConnectionAgeApplied, "Applied", ROLLOUT * 2)
        .await?;
    let servers = backend.status.unwrap_or_default().servers;
    let rows: Vec<_> = servers
        .iter()
        .map(|server| {
            (
                server.name.as_str(),
                server.replicas,
                server.running.as_deref(),
                server.state.as_deref(),
            )
        })
        .collect();
    ensure!(
        rows == [
            ("v1", 2, Some("30s"), Some("Applied")),
            ("v2", 2, Some("30s"), Some("Applied"))
        ],
        "{rows:?}"
    );
    one_after_the_other(&bed, begun).await?;
    // The last pods are judged once they are older than the promise and were watched for a window.
    until(
        "the four pods are judged as balanced",
        DOCUMENTED + ROLLOUT,
        async || {
            let backend = bed.reason("echo", Balanced, "Balanced", SOON).await?;
            let status = backend.status.unwrap_or_default();
            let judged = status.balance.context("no figures")?;
            ensure!(judged.pods == 4, "{judged:?}");
            Ok(Some(()))
        },
    )
    .await?;
    for service in ["echo", "echo-headless"] {
        let pods = names(&bed.pods("app=echo").await?);
        until(
            &format!("the pods of both are in {service}"),
            SOON,
            async || {
                let listed = endpoints(&bed, service).await?;
                if listed != pods {
                    bail!("{listed:?} instead of {pods:?}");
                }
                Ok(Some(()))
            },
        )
        .await?;
    }
    no_errors(&bed, &client).await?;
    // The way back replaces all pods likewise.
    let begun = Timestamp::now();
    bed.kubectl(&["delete", "gb", "echo", "--wait=false"])
        .await?;
    until("the backend is gone", ROLLOUT * 2, async || {
        Ok((!bed.exists("gb/echo").await?).then_some(()))
    })
    .await?;
    one_after_the_other(&bed, begun).await?;
    no_errors(&bed, &client).await
}

/// The second Deployment, whichever that is, is patched only when clients can have looked up the pods of the first.
async fn one_after_the_other(bed: &Bed, begun: Timestamp) -> Result<()> {
    let writes = bed.writes_since(begun)?;
    let first_write = |name: &'static str| {
        let mut patches = writes
            .iter()
            .filter(|write| write.resource == "deployments" && write.name == name);
        patches
            .next()
            .map(|write| (write.time, name))
            .with_context(|| format!("{name} was not patched"))
    };
    let mut patched = [first_write("v1")?, first_write("v2")?];
    patched.sort();
    let [(first, name), (second, other)] = patched;
    let pods = bed.pods(&format!("version={name}")).await?;
    // Not since when they are Ready: a probe that was late once would have moved that.
    let known = pods.iter().filter_map(started).max();
    let known = known.with_context(|| format!("no pod of {name} runs"))?;
    ensure!(
        second.duration_since(known).as_secs() >= 60,
        "{name} was patched at {first}, its last pod started at {known}, {other} was patched at {second}"
    );
    Ok(())
}

/// When a pod's server was started.
fn started(pod: &Pod) -> Option<Timestamp> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    let running = containers.first()?.state.as_ref()?.running.as_ref()?;
    running.started_at.as_ref().map(|time| time.0)
}

/// The server with an age of 30 s that all its pods run with, and a client that balances by DNS.
async fn aged_with_client(
    world: &Arc<World>,
    prefix: &str,
    server: &Value,
    flags: &[&str],
) -> Result<(Bed, Client)> {
    let bed = Bed::new(world, prefix).await?;
    bed.deploy(server).await?;
    bed.apply_age(&manifests::backend_with_age("echo", "30s"))
        .await?;
    // Else the client may meet one that is going.
    left(&bed, 2).await?;
    let client = bed.client("client", &headless(&bed), flags).await?;
    Ok((bed, client))
}

/// From Ready to the first reply at the client, within what the status promises.
async fn serves_in_time(bed: &Bed, client: &Client, pod: &Pod) -> Result<Arrival> {
    let arrival = arrival(client, pod, DOCUMENTED + WHOLE_SECOND).await?;
    let promised = promised(bed).await?;
    println!(
        "    {} served {:.1?} after it was ready, {promised:?} are promised",
        pod.name_any(),
        arrival.took
    );
    ensure!(arrival.took <= promised + WHOLE_SECOND, "{arrival:?}");
    ensure!(promised <= DOCUMENTED, "{promised:?} are promised");
    Ok(arrival)
}

/// The operator counted these new pods, and says of the slowest what the client saw, to two intervals between scrapes; and
/// when they had their share, which is no sooner.
async fn told_as_it_was(bed: &Bed, pods: u32, slowest: Duration) -> Result<()> {
    until("the operator tells of the new pods", ROLLOUT, async || {
        let counted = "evenkeel_backend_discovery_seconds_count{";
        let counted = told(bed, counted, "stage=\"first_request\"").await?;
        let off = (counted - f64::from(pods)).abs();
        ensure!(off < 0.5, "{counted} new pods are counted");
        let discovery = figures(&bed.backend("echo").await?).discovery;
        let shown = discovery.context("no word of new pods")?.slowest;
        println!("    the status says {shown}, the client {slowest:.1?}");
        ensure!(
            (seconds(&shown)? - slowest.as_secs_f64()).abs() <= INTERVALS.as_secs_f64(),
            "the status says {shown}, the client {slowest:?}"
        );
        Ok(Some(()))
    })
    .await?;
    until("it tells when they had their share", ROLLOUT, async || {
        let counted = "evenkeel_backend_discovery_seconds_count{";
        let counted = told(bed, counted, "stage=\"fair_share\"").await?;
        let off = (counted - f64::from(pods)).abs();
        ensure!(off < 0.5, "{counted} new pods have their share");
        let discovery = figures(&bed.backend("echo").await?).discovery;
        let discovery = discovery.context("no word of new pods")?;
        let fair_share = discovery.fair_share.context("no word of their share")?;
        println!("    the status says {fair_share} until they had their share");
        ensure!(
            seconds(&fair_share)? >= seconds(&discovery.slowest)?,
            "a share after {fair_share}, a first request after {}",
            discovery.slowest
        );
        Ok(Some(()))
    })
    .await
}

/// Of a figure such as `14.3s`.
fn seconds(shown: &str) -> Result<f64> {
    Ok(shown.strip_suffix('s').unwrap_or(shown).parse()?)
}

/// What the status promises; it does once the operator itself has seen how long a pod took.
async fn promised(bed: &Bed) -> Result<Duration> {
    let promised = until("the status promises something", ROLLOUT, async || {
        let status = bed.backend("echo").await?.status.unwrap_or_default();
        let discovery = status.balance.and_then(|balance| balance.discovery);
        Ok(discovery.and_then(|discovery| discovery.promised))
    })
    .await?;
    Ok(GoDuration::new(promised).get()?)
}

/// A GOAWAY as the client's log has it.
#[derive(Debug, Deserialize)]
struct GoAway {
    t: Timestamp,
    debug: String,
    age_ms: u64,
}

/// In that time connections ended, and all of them for their age.
async fn by_the_age(bed: &Bed, since: Timestamp, until: Timestamp) -> Result<()> {
    let mut goaways = Vec::new();
    let log = bed.kubectl(&["logs", "client"]).await?;
    for line in log.lines().filter(|line| line.starts_with('{')) {
        let line: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        if line["event"] == "goaway" {
            goaways.push(serde_json::from_value::<GoAway>(line)?);
        }
    }
    goaways.retain(|goaway| (since..=until).contains(&goaway.t));
    let aged = |goaway: &GoAway| goaway.debug == "max_age" && AGED.contains(&goaway.age_ms);
    ensure!(
        !goaways.is_empty() && goaways.iter().all(aged),
        "not the age alone: {goaways:#?}"
    );
    Ok(())
}

fn headless(bed: &Bed) -> String {
    format!("dns:///echo-headless.{}.svc.cluster.local:8080", bed.name())
}

/// The pods behind a Service, ready ones alone.
pub async fn endpoints(bed: &Bed, service: &str) -> Result<Vec<String>> {
    let selector = format!("kubernetes.io/service-name={service}");
    let path = "jsonpath={range .items[*].endpoints[?(@.conditions.ready==true)]}{.targetRef.name}{\"\\n\"}{end}";
    let listed = bed
        .kubectl(&["get", "endpointslices", "-l", &selector, "-o", path])
        .await?;
    let mut pods: Vec<String> = listed.lines().map(str::to_owned).collect();
    pods.sort();
    Ok(pods)
}

/// Fails where a call failed, with what the client said of it: its log goes with its pod.
async fn no_errors(bed: &Bed, client: &Client) -> Result<()> {
    let Err(error) = client.none_failed().await else {
        return Ok(());
    };
    let log = bed.kubectl(&["logs", client.name()]).await?;
    let told = |line: &&str| {
        line.contains("\"error\"")
            || line.contains("\"goaway\"")
            || line.contains("\"first_reply\"")
    };
    let told: Vec<&str> = log.lines().filter(told).collect();
    Err(error.context(told.join("\n")))
}
