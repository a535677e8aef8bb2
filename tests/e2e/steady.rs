//! Where nothing happens nothing is written, whatever the requests do by chance.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use evenkeel::api::ConditionType::{self, ConnectionAgeApplied};
use evenkeel::api::{GrpcBackend, ObservedAge};
use evenkeel_cluster::{AuditEvent, until};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::bed::{Bed, Operator, condition};
use crate::client::Client;
use crate::discovery::PATIENT;
use crate::manifests;
use crate::tests;
use crate::world::World;

tests![shared twenty_backends_write_nothing(720)];

const BACKENDS: usize = 20;
const REPLICAS: usize = 2;
/// The backends up to this one that have an age are given it by the operator.
const OURS: usize = 3;
/// Requests a second: four for each pod, 40 a window.
const RATE: u64 = 160;
const WINDOW: Duration = Duration::from_secs(10);
const SPAN: Duration = Duration::from_mins(2);
/// How old figures become.
const REFRESH: Duration = Duration::from_mins(10);
/// Spans, of which one has to be even.
const ATTEMPTS: usize = 3;
/// 40 pods, beside other tests and, where this one is repeated, beside those of as many more of it.
const STARTED: Duration = Duration::from_mins(8);
/// 3.3 times the age and the grace, and a busy machine.
const COUNTED: Duration = Duration::from_mins(6);

async fn twenty_backends_write_nothing(world: Arc<World>) -> Result<()> {
    let mut bed = Bed::without_operator(&world, "steady").await?;
    let lease = format!("--lease-namespace={}", bed.name());
    bed.start_operator(&["--leader-election=true", &lease])
        .await?;
    let mut objects = vec![everybody()];
    for index in 0..BACKENDS {
        let name = format!("echo-{index}");
        let mut server = manifests::server(&name, u32::try_from(REPLICAS)?);
        server["spec"]["template"]["metadata"]["labels"]["tier"] = "all".into();
        // Pods that are asked four times a second; three of this test at a time have to fit on two cores.
        manifests::container(&mut server)["resources"]["requests"]["cpu"] = "10m".into();
        if index % 2 == 0 {
            objects.push(manifests::backend(&name));
        } else {
            // Connections come and go: that is no reason to write either.
            if index > OURS {
                set_age(&mut server);
            }
            objects.push(manifests::backend_with_age(&name, "30s"));
        }
        objects.push(server);
    }
    bed.apply(&json!({"apiVersion": "v1", "kind": "List", "items": objects}))
        .await?;
    for index in (1..=OURS).step_by(2) {
        applied(&bed, &format!("echo-{index}")).await?;
    }
    until("all pods are ready", STARTED, async || {
        let pods = bed.pods("tier=all").await?;
        let ready = pods.iter().filter(|pod| is_ready(pod)).count();
        ensure!(ready == BACKENDS * REPLICAS, "{ready} are");
        Ok(Some(()))
    })
    .await?;
    let client = client_of_all(&bed).await?;
    let mut attempt = 1;
    while !quiet_for_a_span(&bed, &client).await? {
        attempt += 1;
        ensure!(attempt <= ATTEMPTS, "the machine never ran evenly");
    }
    let list = backends(&bed).await?;
    let others: Vec<String> = list.iter().filter_map(not_balanced).collect();
    ensure!(others.is_empty(), "{others:?}");
    let shown = shown_balanced(&bed).await?;
    ensure!(shown == BACKENDS, "the operator's metrics show {shown}");
    Ok(())
}

/// Waits for the age that the operator has to set.
async fn applied(bed: &Bed, name: &str) -> Result<()> {
    until(&format!("{name} has its age"), STARTED, async || {
        keep_running(bed)?;
        let backend = bed.namespace.api::<GrpcBackend>().get(name).await?;
        let said = condition(&backend, ConnectionAgeApplied);
        let reason = said.map(|said| said.reason.as_str());
        ensure!(reason == Some("Applied"), "it says {reason:?}");
        Ok(Some(()))
    })
    .await
}

/// Whether the operator wrote nothing in a span of even traffic. A machine that stood still for seconds shows nothing, neither of
/// the traffic nor of an operator that lost its Lease or two pages in a row by it: that span does not count.
async fn quiet_for_a_span(bed: &Bed, client: &Client) -> Result<bool> {
    stable(bed).await?;
    let operator = bed.operator.as_ref().context("no operator")?;
    let since = Timestamp::now();
    let counts = client.during(SPAN).await?;
    let even = counts.replies.len() == BACKENDS * REPLICAS
        && counts.ok >= RATE * SPAN.as_secs() * 9 / 10
        && counts.late < RATE
        && counts.goaway_reasons.contains_key("max_age");
    let mut writes = bed.world.cluster.audit().writes_by(&operator.user, since)?;
    let all = writes.len();
    writes.retain(|write| write.resource != "leases");
    // Figures may have been lost with the traffic, and are written; nothing excuses a write to anything else.
    let other = |write: &&AuditEvent| write.subresource != "status" && write.resource != "events";
    let others: Vec<_> = writes.iter().filter(other).collect();
    ensure!(others.is_empty(), "{others:#?}");
    if !runs(operator)? || !even {
        println!("    the machine stood still: {counts:?}, and {writes:#?}");
        return Ok(false);
    }
    ensure!(all > writes.len(), "the Lease was not renewed in {SPAN:?}");
    println!(
        "    the operator with {BACKENDS} backends: {} kB resident",
        bed.resident().await?
    );
    ensure!(
        writes.is_empty(),
        "{} writes in {SPAN:?}: {writes:#?}",
        writes.len()
    );
    Ok(true)
}

/// A client of every pod. Without an age it looks the pods up once: where DNS did not know all of them yet, another one is
/// started.
async fn client_of_all(bed: &Bed) -> Result<Client> {
    let target = format!("dns:///all.{}.svc.cluster.local:8080", bed.name());
    let mut attempt = 0;
    until("a client reaches all pods", STARTED, async || {
        attempt += 1;
        let rate = format!("--rate={RATE}");
        let client = bed
            .client(&format!("even-{attempt}"), &target, &[&rate, PATIENT])
            .await?;
        match client.reaches(BACKENDS * REPLICAS).await {
            Ok(()) => Ok(Some(client)),
            Err(error) => {
                client.stop().await?;
                Err(error)
            }
        }
    })
    .await
}

/// The owner has set the age: it is as the backend wants it, and nothing needs to be rolled out.
fn set_age(server: &mut Value) {
    if let Some(env) = manifests::container(server)["env"].as_array_mut() {
        env.push(json!({"name": "MAX_CONNECTION_AGE", "value": "30s"}));
        env.push(json!({"name": "MAX_CONNECTION_AGE_GRACE", "value": "10s"}));
    }
}

/// One headless Service over all pods, so that one client loads every backend evenly.
fn everybody() -> Value {
    let mut service = manifests::service("all");
    service["spec"]["clusterIP"] = "None".into();
    service["spec"]["selector"] = json!({"tier": "all"});
    service
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

async fn backends(bed: &Bed) -> Result<Vec<GrpcBackend>> {
    let backends = bed.namespace.api::<GrpcBackend>();
    let list = backends.list(&ListParams::default()).await?.items;
    ensure!(list.len() == BACKENDS, "{} backends", list.len());
    Ok(list)
}

/// What is said of a backend's balance where that is not `Balanced`.
fn not_balanced(backend: &GrpcBackend) -> Option<String> {
    let name = backend.name_any();
    match condition(backend, ConditionType::Balanced) {
        Some(condition) if condition.reason == "Balanced" => None,
        Some(condition) => Some(format!(
            "{name}: {} {}",
            condition.reason, condition.message
        )),
        None => Some(format!("{name} has no verdict")),
    }
}

/// Where its connections have not been counted for long enough yet: what is said of the age is a verdict too.
fn still_measuring(backend: &GrpcBackend) -> Option<String> {
    let mut servers = backend.status.as_ref()?.servers.iter();
    let measuring = servers.any(|server| server.observed == Some(ObservedAge::Measuring));
    measuring.then(|| format!("{} counts its connections", backend.name_any()))
}

/// Where its figures will be ten minutes old within a span: they are written anew then, which is meant.
fn due(backend: &GrpcBackend) -> Option<String> {
    let evaluated = backend
        .status
        .as_ref()?
        .balance
        .as_ref()?
        .last_evaluated
        .as_ref()?;
    let latest = Timestamp::now() + SPAN + Duration::from_secs(30) - REFRESH;
    (evaluated.0 < latest).then(|| format!("{} is about to be written", backend.name_any()))
}

/// As a kubelet does: it ends where it could not renew its Lease in time, on a machine that starts 40 pods.
fn keep_running(bed: &Bed) -> Result<()> {
    let operator = bed.operator.as_ref().context("no operator")?;
    if runs(operator)? {
        Ok(())
    } else {
        operator.process.start_again()
    }
}

/// Whether the operator runs. Only for the loss of its Lease it may have ended.
fn runs(operator: &Operator) -> Result<bool> {
    if operator.process.is_running() {
        return Ok(true);
    }
    let log = operator.process.log_text()?;
    let last = log.lines().last().unwrap_or_default();
    ensure!(last.contains("the Lease is lost"), "it ended: {last}");
    Ok(false)
}

/// Waits until all verdicts have been `Balanced`, and those on the age said, for three windows.
async fn stable(bed: &Bed) -> Result<()> {
    let mut since = Timestamp::now();
    until("all verdicts are stable", COUNTED, async || {
        keep_running(bed)?;
        let reasons = [not_balanced, still_measuring, due];
        let list = backends(bed).await?;
        let mut others = reasons.iter().flat_map(|why| list.iter().filter_map(why));
        if let Some(other) = others.next() {
            since = Timestamp::now();
            bail!("{other}");
        }
        let lasted = Duration::try_from(Timestamp::now().duration_since(since)).unwrap_or_default();
        Ok((lasted >= 3 * WINDOW).then_some(()))
    })
    .await
}

/// How many backends the operator's own metrics show as balanced.
async fn shown_balanced(bed: &Bed) -> Result<usize> {
    let page = bed.metrics_page().await?;
    let balanced = |line: &&str| {
        line.starts_with("evenkeel_condition{")
            && line.contains("type=\"Balanced\"")
            && line.contains("reason=\"Balanced\"")
            && line.ends_with(" 1.0")
    };
    Ok(page.lines().filter(balanced).count())
}
