//! What a proxy between client and server costs: latency and CPU time, beside calls without one.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use evenkeel_cluster::cpu_of;
use k8s_openapi::api::core::v1::Pod;
use serde::Serialize;

use super::figures::{About, write};
use super::{ALL, HEADLESS, Kind, apply, headless};
use crate::bed::Bed;
use crate::manifests::{self, PORT};
use crate::tests;
use crate::world::World;

tests![proof costs(1500)];

/// Calls a second: few enough that nothing queues on two cores.
const RATE: u32 = 200;
/// What is measured, after a while in which connections are made.
const SPAN: Duration = Duration::from_secs(10);
const WARMING: Duration = Duration::from_secs(3);
const ROUNDS: usize = 7;
/// A stretch in which the machine carried less than that is made again.
const TRIES: usize = 5;

/// A way from the client to the servers.
struct Way {
    name: &'static str,
    target: String,
    /// Whose pods carry the calls between the two.
    proxy: Option<Kind>,
}

/// What one way cost in one round. CPU times are seconds for 10 000 calls.
#[derive(Serialize)]
struct Cost {
    p50_us: u64,
    p99_us: u64,
    client: f64,
    server: f64,
    proxy: f64,
    calls: u64,
}

/// All that the page shows.
#[derive(Serialize)]
struct Figures {
    #[serde(flatten)]
    about: About,
    rate: u32,
    seconds: u64,
    /// The machine's load average over a minute at the begin of each round: others' work is in it.
    loads: Vec<f64>,
    /// How many rounds there are to be: the page says so where there are fewer.
    planned: usize,
    rounds: Vec<BTreeMap<&'static str, Cost>>,
}

/// In rounds, so that what else the machine does hits all ways alike.
async fn costs(world: Arc<World>) -> Result<()> {
    let bed = Bed::without_operator(&world, "hop").await?;
    let ways = ways(&bed).await?;
    let mut figures = Figures {
        about: About::now(&ALL)?,
        rate: RATE,
        seconds: SPAN.as_secs(),
        loads: Vec::new(),
        planned: ROUNDS,
        rounds: Vec::new(),
    };
    for round in 0..ROUNDS {
        figures.loads.push(load()?);
        let mut costs = BTreeMap::new();
        for turn in 0..ways.len() {
            // Each is first once, and last.
            let way = &ways[(turn + round) % ways.len()];
            let cost = steady(&bed, way)
                .await
                .with_context(|| way.name.to_owned())?;
            println!(
                "    {}: p50 {} us, p99 {} us, CPU {:.2} + {:.2} + {:.2} s",
                way.name, cost.p50_us, cost.p99_us, cost.client, cost.server, cost.proxy
            );
            costs.insert(way.name, cost);
        }
        figures.rounds.push(costs);
        write("cost.json", &figures)?;
    }
    Ok(())
}

/// Two servers, and every way to them.
async fn ways(bed: &Bed) -> Result<Vec<Way>> {
    let mut echo = manifests::server("echo", 2);
    // What the probes take is no cost of calls.
    manifests::container(&mut echo)["readinessProbe"]["periodSeconds"] = 30.into();
    bed.deploy(&echo).await?;
    bed.apply(&manifests::service("echo")).await?;
    bed.apply(&headless("echo")).await?;
    let host = |service: &str| format!("{service}.{}.svc.cluster.local:{PORT}", bed.name());
    let mut ways = vec![
        Way {
            name: "direct",
            target: format!("dns:///{}", host(HEADLESS)),
            proxy: None,
        },
        Way {
            name: "clusterip",
            target: format!("passthrough:///{}", host("echo")),
            proxy: None,
        },
    ];
    for kind in [Kind::Envoy, Kind::Nginx, Kind::NginxVariable] {
        ways.push(Way {
            name: kind.name(),
            target: apply(bed, kind, HEADLESS, 1).await?,
            proxy: Some(kind),
        });
    }
    Ok(ways)
}

/// What a way costs, in a stretch in which the machine carried all calls.
async fn steady(bed: &Bed, way: &Way) -> Result<Cost> {
    let expected = u64::from(RATE) * SPAN.as_secs();
    for _ in 0..TRIES {
        let cost = cost(bed, way).await?;
        if cost.calls * 100 >= expected * 99 {
            return Ok(cost);
        }
        println!("    {}: {} calls of {expected}", way.name, cost.calls);
    }
    bail!("the machine is too busy to tell")
}

/// A client of its own for each stretch: the others are not there meanwhile.
async fn cost(bed: &Bed, way: &Way) -> Result<Cost> {
    let rate = format!("--rate={RATE}");
    let client = bed
        .client("client", &way.target, &[&rate, "--deadline=10s"])
        .await?;
    tokio::time::sleep(WARMING).await;
    let pods = Pods::find(bed, way).await?;
    let before = pods.cpu()?;
    let counts = client.during(SPAN).await?;
    let after = pods.cpu()?;
    client.stop().await?;
    bed.gone("pod/client").await?;
    ensure!(
        counts.errors.is_empty(),
        "calls failed: {:?}",
        counts.errors
    );
    let latency = counts.latency_us.context("the client says no latency")?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "some thousands, and the page shows two digits"
    )]
    let per_10_000 = |index: usize| {
        let used = after[index].saturating_sub(before[index]).as_secs_f64();
        (used / counts.ok as f64 * 1e8).round() / 1e4
    };
    Ok(Cost {
        p50_us: latency.p50,
        p99_us: latency.p99,
        client: per_10_000(0),
        server: per_10_000(1),
        proxy: per_10_000(2),
        calls: counts.ok,
    })
}

/// The pods that take part, by their uids: client, servers, proxies.
struct Pods([Vec<String>; 3]);

impl Pods {
    async fn find(bed: &Bed, way: &Way) -> Result<Self> {
        let uids = |pods: Vec<Pod>| -> Vec<String> {
            pods.into_iter()
                .filter_map(|pod| pod.metadata.uid)
                .collect()
        };
        let proxies = match way.proxy {
            Some(kind) => uids(bed.pods(&format!("app={}", kind.name())).await?),
            None => Vec::new(),
        };
        ensure!(
            proxies.is_empty() == way.proxy.is_none(),
            "no pod of the proxy"
        );
        let clients = uids(bed.pods("client=client").await?);
        Ok(Self([clients, uids(bed.pods("app=echo").await?), proxies]))
    }

    fn cpu(&self) -> Result<[Duration; 3]> {
        let mut used = [Duration::ZERO; 3];
        for (sum, uids) in used.iter_mut().zip(&self.0) {
            for uid in uids {
                *sum += cpu_of(uid)?;
            }
        }
        Ok(used)
    }
}

fn load() -> Result<f64> {
    let averages = fs::read_to_string("/proc/loadavg")?;
    let first = averages.split(' ').next().context("/proc/loadavg")?;
    Ok(first.parse()?)
}
