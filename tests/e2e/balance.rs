//! What is said of the load: the verdicts, the metrics they rest on, and that they outlive the operator.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::{Balanced, MetricsAvailable, Ready};
use evenkeel::api::{BalanceStatus, GrpcBackend};
use evenkeel_cluster::{Signal, until};
use futures::future::try_join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::bed::{Bed, SOON};
use crate::client::Client;
use crate::dials::Dials;
use crate::manifests;
use crate::pods::target;
use crate::tests;
use crate::versions::{conditions, versions};
use crate::world::World;

tests![
    shared a_pinned_client_makes_a_hot_pod(300),
    shared new_pods_starve_without_an_age(240),
    shared one_connection_is_few_clients(180),
    shared only_declared_ports_are_asked(180),
    shared modes(180),
    shared too_little_to_judge_is_told_by_its_kind(300),
    shared two_hot_pods_are_a_skew(300),
    shared larger_pods_may_have_more(300),
    shared a_verdict_outlives_the_operator(300),
];

/// A window is 10 s; a verdict may take one to fill, two of warming up and three of evidence.
pub const JUDGED: Duration = Duration::from_secs(150);
/// Three rounds of scrapes.
const ROUNDS: Duration = Duration::from_secs(15);

/// The target of a client that takes all pods in turn.
pub fn even(bed: &Bed) -> String {
    format!("dns:///echo-headless.{}.svc.cluster.local:8080", bed.name())
}

fn cluster_ip(bed: &Bed) -> String {
    format!("passthrough:///echo.{}.svc.cluster.local:8080", bed.name())
}

/// What the status says of the load.
pub fn figures(backend: &GrpcBackend) -> BalanceStatus {
    let status = backend.status.clone().unwrap_or_default();
    status.balance.unwrap_or_default()
}

async fn a_pinned_client_makes_a_hot_pod(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "hot").await?;
    bed.echo(3).await?;
    bed.apply(&manifests::backend("echo")).await?;
    bed.client("even", &even(&bed), &["--rate=45"]).await?;
    bed.reason("echo", Balanced, "Balanced", JUDGED).await?;
    shows(&bed, "Balanced", 2.85..=3.0, 1.0..=1.2).await?;

    let victim = bed.pods("app=echo").await?.remove(0);
    let name = victim.name_any();
    let target = target(&victim)?;
    let pinned = bed.client("pinned", &target, &["--rate=90"]).await?;
    // 15, 15 and 105 requests a second.
    let backend = bed.reason("echo", Balanced, "HotPod", JUDGED).await?;
    shows(&bed, "HotPod", 1.3..=2.2, 1.9..=2.5).await?;
    let hottest = figures(&backend).hottest;
    ensure!(hottest.len() == 1 && hottest[0].pod == name, "{hottest:?}");
    let message = bed.message("echo", Balanced).await?;
    ensure!(message.contains(&name), "{message}");
    let hot = told(
        &bed,
        "evenkeel_pod_requests_per_second{",
        &format!("pod=\"{name}\""),
    )
    .await?;
    ensure!(
        (80.0..=130.0).contains(&hot),
        "{hot} of 105 requests a second"
    );
    describes(&bed, &name).await?;

    pinned.stop().await?;
    let backend = bed.reason("echo", Balanced, "Balanced", JUDGED).await?;
    shows(&bed, "Balanced", 2.85..=3.0, 1.0..=1.2).await?;
    ensure!(
        figures(&backend).hottest.is_empty(),
        "{:?}",
        figures(&backend)
    );
    // The verdict lasted for minutes, and was told once.
    let events = bed
        .kubectl(&["get", "events.events.k8s.io", "-o", "json"])
        .await?;
    let events: Value = serde_json::from_str(&events)?;
    let of = |reason: &str| -> Vec<&Value> {
        let all = events["items"].as_array().into_iter().flatten();
        all.filter(|event| event["reason"] == reason).collect()
    };
    let (hot, even) = (of("HotPod"), of("Balanced"));
    ensure!(
        hot.len() == 1 && hot[0]["type"] == "Warning" && hot[0]["series"].is_null(),
        "{hot:#?}"
    );
    ensure!(!even.is_empty(), "no event Balanced: {events:#}");
    ensure!(
        even.iter().all(|event| event["type"] == "Normal"),
        "{even:#?}"
    );
    let effective = told(&bed, "evenkeel_backend_effective_pods{", "name=\"echo\"").await?;
    ensure!((2.85..=3.0).contains(&effective), "{effective} of 3 pods");
    bed.kubectl(&["delete", "gb", "echo"]).await?;
    until("its series are gone", SOON, async || {
        let page = bed.metrics_page().await?;
        Ok((!page.contains("name=\"echo\"")).then_some(()))
    })
    .await
}

/// `kubectl describe` says it in words: what is wrong, which pod it is, and what to do.
async fn describes(bed: &Bed, pod: &str) -> Result<()> {
    until("kubectl describe says it", SOON, async || {
        let message = bed.message("echo", Balanced).await?;
        let text = bed.kubectl(&["describe", "gb", "echo"]).await?;
        let (fields, events) = text.split_once("Events:").context("no events")?;
        let says = |head: &str, rest: &str| {
            let mut lines = fields.lines().map(str::trim);
            lines.any(|line| line.strip_prefix(head).map(str::trim) == Some(rest))
        };
        for (head, rest) in [
            ("Verdict:", "HotPod"),
            ("Pod:", pod),
            ("Reason:", "HotPod"),
            ("Message:", &message),
            ("Summary:", "3/3"),
        ] {
            ensure!(says(head, rest), "no {head} {rest}: {text}");
        }
        let told = |line: &str| {
            ["Warning", "HotPod", pod]
                .iter()
                .all(|word| line.contains(word))
        };
        ensure!(events.lines().any(told), "{events}");
        Ok(Some(()))
    })
    .await
}

/// A figure on the operator's metrics page.
pub async fn told(bed: &Bed, family: &str, label: &str) -> Result<f64> {
    let page = bed.metrics_page().await?;
    let mut lines = page.lines();
    let line = lines.find(|line| line.starts_with(family) && line.contains(label));
    let figure = line.and_then(|line| line.rsplit_once(' '));
    let (_, figure) = figure.with_context(|| format!("no {family} with {label}: {page}"))?;
    Ok(figure.parse()?)
}

/// `kubectl get gb` shows it, once all pods are judged: a verdict may come while the last of them still warms up.
async fn shows(
    bed: &Bed,
    verdict: &str,
    effective: std::ops::RangeInclusive<f64>,
    peak: std::ops::RangeInclusive<f64>,
) -> Result<()> {
    until("kubectl get gb shows the figures", JUDGED, async || {
        let row = bed.row("echo").await?;
        let is = |column: &str, value: &str| row.get(column).is_some_and(|shown| shown == value);
        let within = |column: &str, range: &std::ops::RangeInclusive<f64>| {
            let figure = row.get(column).and_then(|shown| shown.parse::<f64>().ok());
            figure.is_some_and(|figure| range.contains(&figure))
        };
        ensure!(
            is("READY", "True")
                && is("BALANCE", verdict)
                && is("PODS", "3/3")
                && within("EFFECTIVE", &effective)
                && within("MAX/MEAN", &peak),
            "{row:?}"
        );
        Ok(Some(()))
    })
    .await
}

async fn new_pods_starve_without_an_age(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "starve").await?;
    bed.echo(2).await?;
    bed.apply(&manifests::backend("echo")).await?;
    bed.client("even", &even(&bed), &["--rate=30"]).await?;
    bed.reason("echo", Balanced, "Balanced", JUDGED).await?;
    let old = names(&bed).await?;
    bed.scale("echo", 4).await?;
    bed.rolled_out("echo").await?;
    let mut new = names(&bed).await?;
    new.retain(|name| !old.contains(name));

    bed.reason("echo", Balanced, "NewPodsStarved", JUDGED)
        .await?;
    // They may be judged one after the other.
    until("both are named", JUDGED, async || {
        let figures = figures(&bed.backend("echo").await?);
        let mut starved: Vec<_> = figures.starved.into_iter().map(|share| share.pod).collect();
        starved.sort();
        ensure!(starved == new, "starved {starved:?}, new {new:?}");
        ensure!(
            figures.starved_pods == Some(2),
            "{:?}",
            figures.starved_pods
        );
        Ok(Some(()))
    })
    .await?;
    let row = bed.row("echo").await?;
    ensure!(row["STARVED"] == "2" && row["READY"] == "True", "{row:?}");
    let message = bed.message("echo", Balanced).await?;
    ensure!(
        message.contains(&new[0]) && message.contains("spec.connectionAge"),
        "{message}"
    );
    Ok(())
}

async fn names(bed: &Bed) -> Result<Vec<String>> {
    let pods = bed.pods("app=echo").await?;
    let mut names: Vec<_> = pods
        .into_iter()
        .filter_map(|pod| pod.metadata.name)
        .collect();
    names.sort();
    Ok(names)
}

async fn one_connection_is_few_clients(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "few").await?;
    bed.echo(3).await?;
    bed.apply(&manifests::backend("echo")).await?;
    bed.client("one", &cluster_ip(&bed), &["--rate=30"]).await?;
    bed.reason("echo", Balanced, "FewClients", JUDGED).await?;
    let message = bed.message("echo", Balanced).await?;
    ensure!(message.contains("round_robin"), "{message}");
    // A skewed backend still serves.
    bed.reason("echo", Ready, "AllReady", SOON).await?;
    Ok(())
}

async fn too_little_to_judge_is_told_by_its_kind(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "little").await?;
    let mut server = manifests::server("echo", 2);
    // Otherwise a page shows nothing before the first call, and nobody knows what it would count.
    manifests::container(&mut server)["args"] = json!(["--initialize-metrics"]);
    bed.deploy(&server).await?;
    bed.apply(&manifests::backend("echo")).await?;
    bed.reason("echo", Balanced, "NoTraffic", JUDGED).await?;
    let slow = bed.client("slow", &even(&bed), &["--rate=1"]).await?;
    let words = ["too few requests to tell"];
    bed.says("echo", Balanced, "InsufficientData", &words, JUDGED)
        .await?;
    slow.stop().await?;
    let streams = [
        "--method=watch",
        "--stream-messages=0",
        "--deadline=0",
        "--max-in-flight=4",
    ];
    // No call of it ever ends.
    Client::launch(&bed, "streams", &even(&bed), "default", &streams).await?;
    let words = ["nothing new begins", "4 long streams are open"];
    bed.says("echo", Balanced, "StreamsOnly", &words, JUDGED)
        .await
}

/// A client for each pod, pinned to it, with so many calls a second.
async fn pinned(bed: &Bed, prefix: &str, pods: &[Pod], rates: &[u32]) -> Result<Vec<Client>> {
    let each = pods.iter().zip(rates).map(|(pod, rate)| async move {
        let target = target(pod)?;
        let name = format!("{prefix}-{}", pod.name_any());
        bed.client(&name, &target, &[&format!("--rate={rate}")])
            .await
    });
    try_join_all(each).await
}

/// Judged only when all clients run: if one of the two began sooner, its pod alone would be hot.
async fn two_hot_pods_are_a_skew(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "skew").await?;
    bed.echo(4).await?;
    let pods = bed.pods("app=echo").await?;
    let _clients = pinned(&bed, "to", &pods, &[40, 40, 8, 8]).await?;
    bed.apply(&manifests::backend("echo")).await?;
    let words = ["requests are uneven over 4 pods", "round_robin"];
    bed.says("echo", Balanced, "Skewed", &words, JUDGED).await?;
    let hottest = figures(&bed.backend("echo").await?).hottest;
    let mut hottest: Vec<String> = hottest.into_iter().map(|share| share.pod).collect();
    hottest.sort();
    let mut hot: Vec<String> = pods[..2].iter().map(Pod::name_any).collect();
    hot.sort();
    ensure!(hottest == hot, "named {hottest:?}, hot {hot:?}");
    Ok(())
}

/// As where weights go by the size of pods: what is uneven by itself is even by what they ask for, and the other way round it is neither.
async fn larger_pods_may_have_more(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "sizes").await?;
    for (name, cpu) in [("small", "40m"), ("large", "120m")] {
        let mut deployment = manifests::server(name, 1);
        let labels = json!({"app": "echo", "size": name});
        deployment["spec"]["selector"]["matchLabels"] = labels.clone();
        deployment["spec"]["template"]["metadata"]["labels"] = labels;
        manifests::container(&mut deployment)["resources"]["requests"]["cpu"] = json!(cpu);
        bed.deploy(&deployment).await?;
    }
    let mut pods = bed.pods("size=small").await?;
    pods.extend(bed.pods("size=large").await?);
    let fitting = pinned(&bed, "fit", &pods, &[15, 45]).await?;
    bed.apply(&manifests::backend("echo")).await?;
    let words = ["evenly over 2 pods", "CPU requests, because those differ"];
    bed.says("echo", Balanced, "Balanced", &words, JUDGED)
        .await?;
    for client in fitting {
        client.stop().await?;
    }
    let _clients = pinned(&bed, "misfit", &pods, &[45, 15]).await?;
    let small = pods[0].name_any();
    bed.says("echo", Balanced, "HotPod", &[&small], JUDGED)
        .await
}

/// A server whose metrics port is asked by nobody but the operator.
fn quiet_server(declared: &Value) -> Value {
    let mut server = manifests::server("echo", 2);
    let container = manifests::container(&mut server);
    container["ports"] = declared.clone();
    container["readinessProbe"] = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1});
    server
}

async fn only_declared_ports_are_asked(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "ports").await?;
    let undeclared = json!([{"name": "grpc", "containerPort": 8080}]);
    bed.deploy(&quiet_server(&undeclared)).await?;
    let dials = Dials::count(&bed).await?;
    bed.apply(&manifests::backend("echo")).await?;
    bed.reason("echo", MetricsAvailable, "NoMetricsPort", SOON)
        .await?;
    bed.reason("echo", Balanced, "NoMetrics", SOON).await?;
    let message = bed.message("echo", MetricsAvailable).await?;
    ensure!(message.contains("spec.balance.metrics.port"), "{message}");

    bed.patch(
        "gb/echo",
        &json!({"spec": {"balance": {"metrics": {"port": 9090}}}}),
    )
    .await?;
    bed.reason("echo", MetricsAvailable, "NoMetricsPort", SOON)
        .await?;
    tokio::time::sleep(ROUNDS).await;
    bed.reason("echo", MetricsAvailable, "NoMetricsPort", SOON)
        .await?;
    ensure!(
        dials.so_far().await? == 0,
        "a port that is not declared was dialled"
    );

    // The counter counts: the same port, once declared.
    let declared =
        json!([{"name": "grpc", "containerPort": 8080}, {"name": "stats", "containerPort": 9090}]);
    bed.deploy(&quiet_server(&declared)).await?;
    let dials = Dials::count(&bed).await?;
    until("the declared port is dialled", SOON, async || {
        Ok((dials.so_far().await? > 0).then_some(()))
    })
    .await?;
    bed.reason("echo", MetricsAvailable, "NoKnownMetric", SOON)
        .await?;
    bed.client("even", &even(&bed), &["--rate=30"]).await?;
    bed.reason("echo", MetricsAvailable, "Scraped", JUDGED)
        .await?;
    Ok(())
}

async fn modes(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "modes").await?;
    let ports = json!([{"name": "grpc", "containerPort": 8080}, {"name": "metrics", "containerPort": 9090}]);
    bed.deploy(&quiet_server(&ports)).await?;
    let mut backend = manifests::backend("echo");
    backend["spec"]["balance"]["mode"] = "Observe".into();
    let often = backend["spec"]["balance"].clone();
    backend["spec"]["balance"]["interval"] = "5m".into();
    backend["spec"]["balance"]["window"] = "10m".into();
    bed.apply(&backend).await?;
    bed.reason("echo", Ready, "AllReady", SOON).await?;
    // From now on they are read every 5 s, and not only when the 5 min are over.
    bed.change("echo", &json!({"balance": often})).await?;
    bed.client("one", &cluster_ip(&bed), &["--rate=30"]).await?;
    // As uneven as can be, and nothing is said of it.
    until("there are figures", JUDGED, async || {
        let figures = figures(&bed.backend("echo").await?);
        let peak = figures
            .max_over_mean
            .and_then(|figure| figure.parse::<f64>().ok());
        Ok(peak.filter(|peak| *peak > 1.9))
    })
    .await?;
    let observed = bed.reason("echo", Balanced, "Observed", SOON).await?;
    ensure!(
        figures(&observed).requests_per_second.is_some(),
        "{:?}",
        figures(&observed)
    );

    bed.patch(
        "gb/echo",
        &json!({"spec": {"balance": {"mode": "Disabled"}}}),
    )
    .await?;
    bed.reason("echo", MetricsAvailable, "Off", SOON).await?;
    let disabled = bed.reason("echo", Balanced, "Off", SOON).await?;
    ensure!(disabled.status.unwrap_or_default().balance.is_none());
    let dials = Dials::count(&bed).await?;
    tokio::time::sleep(ROUNDS).await;
    ensure!(
        dials.so_far().await? == 0,
        "pods are scraped though balance is Disabled"
    );

    bed.patch("gb/echo", &json!({"spec": {"balance": {"mode": "Judge"}}}))
        .await?;
    bed.reason("echo", Balanced, "FewClients", JUDGED).await?;
    ensure!(dials.so_far().await? > 0, "the counter does not count");
    Ok(())
}

async fn a_verdict_outlives_the_operator(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "outlive").await?;
    bed.echo(2).await?;
    bed.apply(&manifests::backend("echo")).await?;
    let one = bed.client("one", &cluster_ip(&bed), &["--rate=30"]).await?;
    let before = bed.reason("echo", Balanced, "FewClients", JUDGED).await?;
    let operator = bed.operator.as_ref().context("no operator")?;
    operator.process.signal(Signal::Kill)?;
    operator.process.wait(SOON).await?;
    let started = Timestamp::now();
    operator.process.start_again()?;
    // Every version of the object from here on, until well after the first full window.
    let seen = versions(&bed, Duration::from_secs(35)).await?;
    for version in &seen {
        ensure!(
            conditions(version) == conditions(&before),
            "the restart changed the conditions from\n{:#?}\nto\n{:#?}",
            conditions(&before),
            conditions(version),
        );
        ensure!(
            figures(version).max_over_mean.is_some(),
            "the figures went: {:?}",
            figures(version)
        );
    }
    let writes = bed.writes_and_events_since(started)?;
    ensure!(
        writes.is_empty(),
        "{} writes after the restart; the status was {:#?} and then {seen:#?}",
        writes.len(),
        before.status,
    );

    // It is not only kept: the new process judges.
    one.stop().await?;
    bed.client("even", &even(&bed), &["--rate=30"]).await?;
    bed.reason("echo", Balanced, "Balanced", JUDGED).await?;
    Ok(())
}
