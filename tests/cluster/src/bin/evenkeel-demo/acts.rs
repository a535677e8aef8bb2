//! The parts of the story, in its order.

use std::time::Duration;

use anyhow::Result;
use evenkeel_cluster::load::Load;
use jiff::Timestamp;

use crate::stage::Stage;
use crate::view::{State, View};

const SOON: Duration = Duration::from_mins(1);
/// Longer than the longest promise for an age of 30 s, which is 123 s, and a window.
const LATE: Duration = Duration::from_mins(3);

/// Images and chart.
pub async fn operator(stage: &mut Stage) -> Result<()> {
    stage.import_images().await?;
    stage.screen.step("The operator, from its Helm chart");
    stage.kubectl("create namespace evenkeel-system").await?;
    stage
        .kubectl("label namespace evenkeel-system pod-security.kubernetes.io/enforce=restricted")
        .await?;
    stage
        .helm("install evenkeel charts/evenkeel --namespace=evenkeel-system --wait --timeout=1m")
        .await?;
    stage
        .kubectl("--namespace=evenkeel-system get pods")
        .await
        .map(drop)
}

/// Without Evenkeel.
pub async fn pinned(stage: &mut Stage) -> Result<()> {
    stage
        .screen
        .step("A server and a Service, as every team has them");
    stage.apply("echo.yaml").await?;
    stage
        .kubectl("rollout status deployment/echo --timeout=1m")
        .await?;
    stage
        .screen
        .step("A client on the Service: one connection, so one pod has all");
    let client = stage
        .client("pinned", "passthrough:///echo.default.svc:8080", "")
        .await?;
    let one_has_all = |view: &View| view.busy() == 1 && view.ready().count() == 2;
    stage
        .watch(
            &client,
            "one of two pods has all requests",
            SOON,
            one_has_all,
        )
        .await?;
    stage.end(client).await
}

/// The smallest GrpcBackend.
pub async fn pair(stage: &mut Stage) -> Result<()> {
    stage
        .screen
        .step("A GrpcBackend, for now without a connection age");
    stage.apply("backend.yaml").await?;
    stage
        .kubectl("wait --for=condition=Ready gb/echo --timeout=30s")
        .await?;
    stage
        .kubectl("get services --selector=app.kubernetes.io/managed-by=evenkeel")
        .await?;
    stage.screen.say(
        "Only the headless twin is new: the team's own Service is used as it is, and stays theirs.",
    );
    let message =
        r#"get gb echo --output=jsonpath={.status.conditions[?(@.type=="ServicesReady")].message}"#;
    stage.kubectl(message).await.map(drop)
}

/// Balancing by DNS.
pub async fn even(stage: &mut Stage) -> Result<Load> {
    stage
        .screen
        .step("A client on the twin, with dns and round_robin: even");
    stage.screen.say("What to dial stands in the status:");
    let target = stage
        .kubectl("get gb echo --output=jsonpath={.status.targets[0].dns}")
        .await?;
    let client = stage.client("by-dns", &target, "").await?;
    let even = |view: &View| view.even() && view.verdict == "Balanced";
    stage
        .watch(
            &client,
            "an even spread, and the verdict Balanced",
            SOON,
            even,
        )
        .await?;
    Ok(client)
}

/// What goes wrong without an age.
pub async fn starved(stage: &mut Stage, client: &Load) -> Result<()> {
    stage
        .screen
        .step("Scale 2 → 4: the new pods get nothing, for ever");
    let since = Timestamp::now();
    stage.kubectl("scale deployment/echo --replicas=4").await?;
    let starved = |view: &View| view.verdict == "NewPodsStarved" && view.busy() == 2;
    stage
        .watch_since(since, client, "the verdict NewPodsStarved", LATE, starved)
        .await?;
    stage.kubectl("get gb").await?;
    stage
        .screen
        .say("The client looked the name up once, and its connections last: it never asks again.");
    Ok(())
}

/// The age goes in.
pub async fn aged(stage: &mut Stage, client: &Load) -> Result<()> {
    stage
        .screen
        .step("Add a connection age: servers end connections now and then");
    stage
        .screen
        .say("This sets two variables on the running Deployment, so its pods are replaced, once.");
    stage.apply("backend-with-age.yaml").await?;
    // All pods are new: for a moment none has been read.
    let settled = |view: &View| {
        view.age == "Applied" && view.pods.len() == 4 && view.even() && view.verdict != "NoMetrics"
    };
    stage
        .watch(client, "the age on four pods that all serve", LATE, settled)
        .await?;
    let variables =
        "get deployment echo --output=jsonpath={.spec.template.spec.containers[0].env[1:]}";
    stage.kubectl(variables).await.map(drop)
}

/// What it is good for.
pub async fn discovered(stage: &mut Stage, client: &Load) -> Result<()> {
    stage
        .screen
        .step("Back to 2, and again to 4: now they are found");
    stage.kubectl("scale deployment/echo --replicas=2").await?;
    stage
        .watch(client, "two pods", SOON, |view| {
            view.pods.len() == 2 && view.even()
        })
        .await?;
    let since = Timestamp::now();
    stage.kubectl("scale deployment/echo --replicas=4").await?;
    let found = |view: &View| view.pods.len() == 4 && view.busy() == 4;
    let view = stage
        .watch_since(since, client, "a request to each new pod", LATE, found)
        .await?;
    for pod in view.pods.iter().filter(|pod| pod.state == State::New) {
        let after = pod.first_after.unwrap_or_default();
        stage.screen.say(&format!(
            "{} had its first request {after:.0} s after it was ready.",
            pod.name
        ));
    }
    stage.screen.say("New pods are judged once they are as old as the promise (1.1 × age, resolvers' wait, DNS, and what Java keeps): until then WarmingUp.");
    let balanced = |view: &View| view.verdict == "Balanced" && view.judged == 4 && view.even();
    stage
        .watch_since(
            since,
            client,
            "the verdict Balanced on four pods",
            LATE,
            balanced,
        )
        .await?;
    stage.kubectl("get gb").await.map(drop)
}

/// Clients that need no age.
pub async fn watched(stage: &mut Stage) -> Result<()> {
    stage
        .screen
        .step("A client that watches endpoints instead of asking DNS (kuberesolver)");
    stage.apply("backend-with-watch.yaml").await?;
    stage
        .kubectl("wait --for=condition=EndpointWatchReady gb/echo --timeout=30s")
        .await?;
    stage
        .kubectl("get serviceaccounts,roles,rolebindings --selector=evenkeel.dev/backend=echo")
        .await?;
    let target = stage
        .kubectl("get gb echo --output=jsonpath={.status.targets[0].kubernetes}")
        .await?;
    let account = r#"--overrides={"spec":{"serviceAccountName":"echo-client"}}"#;
    let client = stage.client("watching", &target, account).await?;
    let even = |view: &View| view.even() && view.busy() == 4;
    stage
        .watch(&client, "an even spread over four pods", SOON, even)
        .await?;
    stage.screen.say("It hears of a new pod at once:");
    let since = Timestamp::now();
    stage.kubectl("scale deployment/echo --replicas=5").await?;
    let even = |view: &View| view.even() && view.busy() == 5;
    stage
        .watch_since(since, &client, "an even spread over five pods", SOON, even)
        .await
        .map(drop)
}

/// The figures.
pub async fn verdict(stage: &mut Stage) -> Result<()> {
    stage.screen.step("What whoever is on call reads");
    stage.kubectl("get gb --output=wide").await?;
    stage.kubectl("describe gb echo").await.map(drop)
}
