//! What the connection age does for clients: new pods are found in time, and going ones cost no call.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use evenkeel::api::ConditionType::{Balanced, ConnectionAgeApplied, ServicesReady};
use evenkeel_cluster::until;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::json;

use crate::bed::{Bed, ROLLOUT, SOON};
use crate::client::Client;
use crate::manifests;
use crate::tests;
use crate::world::World;

tests![
    shared new_pods_serve_within_the_promise(300),
    shared a_replaced_pod_serves_within_the_promise(240),
    shared two_versions_under_one_selector(240),
];

/// What is promised for an age of 30 s: 1.1 times the age, the wait of resolvers, and the longest usual TTL.
const PROMISE: Duration = Duration::from_secs(33 + 30 + 30);

async fn new_pods_serve_within_the_promise(world: Arc<World>) -> Result<()> {
    let (bed, client) = aged_with_client(&world, "discover").await?;
    let old = names(&bed.pods("app=echo").await?);
    bed.kubectl(&["scale", "deployment", "echo", "--replicas=4"])
        .await?;
    bed.rolled_out("echo").await?;
    let new: Vec<Pod> = bed.pods("app=echo").await?;
    let new: Vec<Pod> = new
        .into_iter()
        .filter(|pod| !old.contains(&pod.name_any()))
        .collect();
    ensure!(new.len() == 2, "{} new pods", new.len());
    for pod in &new {
        serves_in_time(&client, pod).await?;
    }
    client.reset().await?;
    bed.kubectl(&["scale", "deployment", "echo", "--replicas=2"])
        .await?;
    until(
        "only two pods are left, the going ones too",
        ROLLOUT,
        async || {
            let all: kube::Api<Pod> = bed.namespace.api();
            let count = all
                .list(&ListParams::default().labels("app=echo"))
                .await?
                .items
                .len();
            Ok((count == 2).then_some(()))
        },
    )
    .await?;
    // Another look-up and another age, so that a dead address would be dialled.
    let seen = client.totals().await?.counts.ok;
    until("the client goes on for a while", SOON, async || {
        Ok((client.totals().await?.counts.ok > seen + 300).then_some(()))
    })
    .await?;
    no_errors(&bed, &client).await
}

async fn a_replaced_pod_serves_within_the_promise(world: Arc<World>) -> Result<()> {
    let (bed, client) = aged_with_client(&world, "replace").await?;
    let old = names(&bed.pods("app=echo").await?);
    bed.kubectl(&["delete", "pod", &old[0], "--wait=false"])
        .await?;
    let new = until("the pod is replaced", ROLLOUT, async || {
        let pods = bed.pods("app=echo").await?;
        Ok(pods
            .into_iter()
            .find(|pod| !old.contains(&pod.name_any()) && ready_since(pod).is_some()))
    })
    .await?;
    serves_in_time(&client, &new).await?;
    no_errors(&bed, &client).await
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
    let client = bed
        .client("client", &headless(&bed), &["--rate=100"])
        .await?;
    let balanced = bed
        .reason("echo", Balanced, "Balanced", Duration::from_secs(90))
        .await?;
    let judged = balanced
        .status
        .and_then(|status| status.balance)
        .context("no figures")?;
    ensure!(judged.pods == 4, "{judged:?}");
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
    no_errors(&bed, &client).await
}

/// The second Deployment is patched only after the first one's rollout has ended.
async fn one_after_the_other(bed: &Bed, begun: Timestamp) -> Result<()> {
    let writes = bed.writes_since(begun)?;
    let first_write = |name: &str| {
        let mut patches = writes
            .iter()
            .filter(|write| write.resource == "deployments" && write.name == name);
        patches
            .next()
            .map(|write| write.time)
            .with_context(|| format!("{name} was not patched"))
    };
    let (v1, v2) = (first_write("v1")?, first_write("v2")?);
    let conditions = bed
        .deployment("v1")
        .await?
        .status
        .and_then(|status| status.conditions)
        .unwrap_or_default();
    let progressing = conditions
        .into_iter()
        .find(|condition| condition.type_ == "Progressing")
        .context("no condition Progressing")?;
    ensure!(
        progressing.reason.as_deref() == Some("NewReplicaSetAvailable"),
        "{progressing:?}"
    );
    let ended = progressing.last_update_time.context("no time")?.0;
    ensure!(
        v1 < v2 && ended <= v2,
        "v1 was patched at {v1} and done at {ended}, v2 was patched at {v2}"
    );
    Ok(())
}

/// Two servers with an age of 30 s, and a client that balances by DNS.
async fn aged_with_client(world: &Arc<World>, prefix: &str) -> Result<(Bed, Client)> {
    let bed = Bed::new(world, prefix).await?;
    bed.echo(2).await?;
    bed.apply(&manifests::backend_with_age("echo", "30s"))
        .await?;
    bed.reason("echo", ConnectionAgeApplied, "Applied", ROLLOUT)
        .await?;
    bed.rolled_out("echo").await?;
    let client = bed
        .client("client", &headless(&bed), &["--rate=50"])
        .await?;
    Ok((bed, client))
}

/// From Ready to the first reply at the client.
async fn serves_in_time(client: &Client, pod: &Pod) -> Result<()> {
    let name = pod.name_any();
    let ready = ready_since(pod).with_context(|| format!("{name} is not ready"))?;
    // A second more, since Ready is kept in whole seconds.
    let first = until(
        &format!("{name} serves"),
        PROMISE + Duration::from_secs(1),
        async || Ok(client.totals().await?.first_replies.get(&name).copied()),
    )
    .await?;
    let took = first.duration_since(ready);
    println!(
        "    {name} served {:.1} s after it was ready, {} s are promised",
        took.as_secs_f64(),
        PROMISE.as_secs()
    );
    ensure!(
        took.as_secs_f64() <= PROMISE.as_secs_f64() + 1.0,
        "{name} took {took:#}"
    );
    Ok(())
}

fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions
        .iter()
        .find(|condition| condition.type_ == "Ready" && condition.status == "True")?;
    Some(ready.last_transition_time.as_ref()?.0)
}

fn headless(bed: &Bed) -> String {
    format!("dns:///echo-headless.{}.svc.cluster.local:8080", bed.name())
}

fn names(pods: &[Pod]) -> Vec<String> {
    let mut names: Vec<String> = pods.iter().map(kube::ResourceExt::name_any).collect();
    names.sort();
    names
}

/// The pods behind a Service, ready ones alone.
async fn endpoints(bed: &Bed, service: &str) -> Result<Vec<String>> {
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
    let Err(error) = client.totals().await?.counts.no_errors() else {
        return Ok(());
    };
    let log = bed.kubectl(&["logs", "client"]).await?;
    let told = |line: &&str| {
        line.contains("\"error\"")
            || line.contains("\"goaway\"")
            || line.contains("\"first_reply\"")
    };
    let told: Vec<&str> = log.lines().filter(told).collect();
    Err(error.context(told.join("\n")))
}
