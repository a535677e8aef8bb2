//! The pair of Services, and how clients spread over it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::{Balanced, Ready, ServicesReady};
use serde_json::{Value, json};

use crate::bed::{Bed, SOON};
use crate::discovery::{PATIENT, endpoints};
use crate::manifests;
use crate::pods::names;
use crate::tests;
use crate::world::World;

tests![shared services_and_endpoints(120), shared round_robin_is_even_and_cluster_ip_is_not(150)];

async fn services_and_endpoints(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "pair").await?;
    bed.echo(3).await?;
    let pods = names(&bed.pods("app=echo").await?);
    bed.apply(&port_80()).await?;
    let backend = bed.reason("echo", ServicesReady, "Created", SOON).await?;
    bed.reason("echo", Ready, "AllReady", SOON).await?;
    // Nobody stands before the pods of the headless one: its port is theirs.
    for (service, port) in [("echo", 80), ("echo-headless", 8080)] {
        let ports = bed.kubectl(&["get", "service", service, "-o", "jsonpath={.spec.ports[0].name} {.spec.ports[0].port} {.spec.ports[0].targetPort} {.spec.ports[0].appProtocol}"]).await?;
        ensure!(
            ports == format!("grpc {port} 8080 kubernetes.io/h2c"),
            "{service}: {ports}"
        );
        evenkeel_cluster::until("three endpoints", SOON, async || {
            Ok((endpoints(&bed, service).await? == pods).then_some(()))
        })
        .await?;
    }
    let target = backend.status.context("no status")?.targets.remove(0);
    let expected = [
        format!("dns:///echo-headless.{}.svc:8080", bed.name()),
        format!("echo.{}.svc:80", bed.name()),
    ];
    let told = [target.dns, target.cluster_ip].map(Option::unwrap_or_default);
    ensure!(told == expected, "{told:?}");
    Ok(())
}

/// The port that callers of the ClusterIP Service use, which is not the pods'.
fn port_80() -> Value {
    let mut backend = manifests::backend("echo");
    backend["spec"]["ports"] = json!([{"port": 80, "targetPort": 8080}]);
    backend
}

async fn round_robin_is_even_and_cluster_ip_is_not(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "spread").await?;
    bed.echo(3).await?;
    bed.apply(&port_80()).await?;
    let backend = bed.reason("echo", ServicesReady, "Created", SOON).await?;
    // What the status says is what clients dial.
    let target = backend.status.context("no status")?.targets.remove(0);
    let dns = target.dns.context("no dns target")?;
    let cluster_ip = target.cluster_ip.context("no clusterIP target")?;
    let one = bed
        .client(
            "one",
            &format!("passthrough:///{cluster_ip}"),
            &["--rate=50", PATIENT],
        )
        .await?;
    let counts = one.during(Duration::from_secs(8)).await?;
    ensure!(
        counts.replies.len() == 1,
        "a ClusterIP client reached {:?}",
        counts.replies
    );
    counts.no_errors()?;
    one.stop().await?;
    let even = bed.client("even", &dns, &["--rate=100", PATIENT]).await?;
    even.reaches(3).await?;
    // In which a pod that stands still for a second at either end is no tenth.
    let counts = even.during(Duration::from_secs(20)).await?;
    counts.no_errors()?;
    ensure!(
        counts.replies.len() == 3,
        "round_robin reached {:?}",
        counts.replies
    );
    for (pod, replies) in &counts.replies {
        // Within 10 % of the mean, in whole numbers: 9/10 <= 3 r / ok <= 11/10.
        let (scaled, ok) = (30 * replies, counts.ok);
        ensure!(
            (9 * ok..=11 * ok).contains(&scaled),
            "{pod} has {replies} of {ok}: {:?}",
            counts.replies
        );
    }
    bed.reason("echo", Balanced, "Balanced", Duration::from_mins(1))
        .await?;
    Ok(())
}
