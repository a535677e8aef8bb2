//! A server's process that dies takes its counters with it: that is no trouble with the load, and none is told.

use std::ops::ControlFlow;
use std::sync::Arc;

use anyhow::{Result, ensure};
use evenkeel::api::ConditionType::{Balanced, MetricsAvailable};
use evenkeel::api::{ConditionType, GrpcBackend};
use evenkeel_cluster::until;
use serde_json::json;

use crate::balance::{JUDGED, even, figures};
use crate::bed::Bed;
use crate::discovery::PATIENT;
use crate::manifests;
use crate::pods::names;
use crate::tests;
use crate::versions::{conditions, each};
use crate::world::World;

tests![shared a_pod_that_restarts_is_no_trouble(300)];

const PODS: i32 = 3;
/// Of all pods in a second. More than half as much again is no count of requests.
const RATE: f64 = 45.0;

async fn a_pod_that_restarts_is_no_trouble(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "restart").await?;
    let mut server = manifests::server("echo", PODS.unsigned_abs());
    // Without an age, a client that looks up while the pod is away never comes back to it, and that is trouble indeed.
    manifests::container(&mut server)["args"] = json!(["--max-connection-age=5s"]);
    bed.deploy(&server).await?;
    bed.apply(&manifests::backend("echo")).await?;
    let rate = format!("--rate={RATE}");
    let flags = [rate.as_str(), "--dns-min-interval=1s", PATIENT];
    bed.client("even", &even(&bed), &flags).await?;
    until("all pods are judged as balanced", JUDGED, async || {
        let backend = bed.reason("echo", Balanced, "Balanced", JUDGED).await?;
        Ok((figures(&backend).pods == PODS).then_some(()))
    })
    .await?;

    let before = names(&bed.pods("app=echo").await?);
    let warned = warnings(&bed).await?;
    let crash = world
        .cluster
        .crash_container(bed.name(), &before[0], "server");
    let mut judged = Vec::new();
    let watch = each(&bed, |backend| {
        no_trouble(&backend)?;
        judged.push(figures(&backend).pods);
        // The one that died is new to its clients: it is left out until they can have found it again.
        let back = judged.contains(&(PODS - 1)) && judged.last() == Some(&PODS);
        Ok(if back {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    });
    let (crashed, watched) = tokio::join!(crash, tokio::time::timeout(JUDGED, watch));
    crashed?;
    match watched {
        Ok(ended) => ended?,
        Err(_) => anyhow::bail!("judged were {judged:?}, and not {PODS} again"),
    }
    let after = names(&bed.pods("app=echo").await?);
    ensure!(after == before, "{after:?}, before {before:?}");
    let now = warnings(&bed).await?;
    ensure!(now == warned, "{now}");
    Ok(())
}

/// What was warned of: before the restart only that there is no age.
async fn warnings(bed: &Bed) -> Result<String> {
    let ours = "--field-selector=type=Warning,involvedObject.kind=GrpcBackend";
    let each = "jsonpath={range .items[*]}{.metadata.name} {.message}{\"\\n\"}{end}";
    bed.kubectl(&["get", "events", ours, "-o", each]).await
}

/// No verdict of trouble in this version, and no figure that only a counter which begins anew would make.
fn no_trouble(backend: &GrpcBackend) -> Result<()> {
    for (kind, status, reason, _) in conditions(backend) {
        let of_load = [Balanced, MetricsAvailable].map(ConditionType::as_str);
        ensure!(
            status != "False" || !of_load.contains(&kind.as_str()),
            "{kind} says {reason}: {:#?}",
            backend.status
        );
    }
    let figures = figures(backend);
    let read = |figure: &Option<String>| figure.as_deref().map_or(Ok(1.0), str::parse::<f64>);
    let (rate, peak) = (
        read(&figures.requests_per_second)?,
        read(&figures.max_over_mean)?,
    );
    ensure!(rate < 1.5 * RATE && peak < 1.5, "{figures:?}");
    Ok(())
}
