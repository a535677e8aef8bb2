//! What becomes of calls through proxies while pods come and go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel_cluster::until;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use serde::Serialize;
use serde_json::{Value, json};

use super::figures::{About, write};
use super::{ALL, HEADLESS, Kind, apply, headless};
use crate::bed::{Bed, ROLLOUT};
use crate::client::Client;
use crate::manifests;
use crate::pods::{arrival, left, names, new_pods};
use crate::tests;
use crate::world::World;

tests![
    shared new_pods_are_found(240),
    proof calls_survive(1500),
];

/// The refresh of 5 s, an answer of DNS that is 5 s old, and a busy machine.
const FOUND: Duration = Duration::from_secs(5 + 5 + 10);
/// Two refreshes more: who has not found a pod by then looks no more.
const NEVER: Duration = Duration::from_secs(10);
/// For each call: a machine that stands still for some seconds is no fault of theirs.
const PATIENT: &str = "--deadline=15s";
/// Calls a second through each proxy.
const RATE: u32 = 200;

/// How servers come and go.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Servers {
    /// They end their connections as soon as they are asked to go, and the next pod goes as soon as one is there.
    AtOnce,
    /// They serve on, and the next one waits, until proxies have looked up the name again: the recipe.
    Patient,
}

impl Servers {
    fn deployment(self) -> Value {
        let mut echo = manifests::server("echo", 2);
        let container = manifests::container(&mut echo);
        match self {
            Self::AtOnce => container["args"] = json!(["--drain=0s"]),
            Self::Patient => {
                container["args"] = json!(["--drain=15s"]);
                echo["spec"]["minReadySeconds"] = 15.into();
                echo["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 45.into();
            }
        }
        echo["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
        echo
    }
}

/// What became of the calls of one client.
#[derive(Serialize)]
struct Row {
    /// Seconds from Ready to the first reply of each new pod; none: never.
    found: Vec<f64>,
    /// Calls that failed, by what was done.
    failed: BTreeMap<&'static str, u64>,
    calls: u64,
}

/// All that the page shows.
#[derive(Serialize)]
struct Figures {
    #[serde(flatten)]
    about: About,
    rate: u32,
    runs: BTreeMap<Servers, BTreeMap<String, Row>>,
}

/// Envoy and nginx of the examples find new pods and lose no call when some go; nginx that looks the name up once never does.
async fn new_pods_are_found(world: Arc<World>) -> Result<()> {
    let kinds = [
        Kind::Envoy,
        Kind::Nginx,
        Kind::NginxVariable,
        Kind::NginxNaive,
    ];
    let run = Run::start(&world, "proxies", Servers::Patient, &kinds, 50).await?;
    for (client, took) in run.clients.iter().zip(run.scale_up().await?) {
        let name = client.name();
        println!("    {name}: {took:.1?} from Ready to the first reply");
        let looks = name != Kind::NginxNaive.name();
        ensure!(took.is_empty() != looks, "{name}: {took:?}");
    }
    run.bed.scale("echo", 2).await?;
    left(&run.bed, 2).await?;
    for client in &run.clients {
        let counts = client.totals().await?.counts;
        println!("    {}: failed: {:?}", client.name(), counts.errors);
        if [Kind::Envoy.name(), Kind::Nginx.name()].contains(&client.name()) {
            ensure!(
                counts.errors.is_empty(),
                "{}: {:?}",
                client.name(),
                client.failures().await?
            );
        }
    }
    Ok(())
}

/// All of them beside each other, through every way in which pods go.
async fn calls_survive(world: Arc<World>) -> Result<()> {
    let mut runs = BTreeMap::new();
    for servers in [Servers::AtOnce, Servers::Patient] {
        println!("    servers: {servers:?}");
        let run = Run::start(&world, "survive", servers, &ALL, RATE).await?;
        runs.insert(servers, run.all().await?);
    }
    let good = [Kind::Envoy, Kind::Nginx].map(Kind::name);
    for (name, row) in &runs[&Servers::Patient] {
        let failed: u64 = row.failed.values().sum();
        ensure!(
            failed == 0 || !good.contains(&name.as_str()),
            "{name}: {:?}",
            row.failed
        );
    }
    let figures = Figures {
        about: About::now()?,
        rate: RATE,
        runs,
    };
    write("survive.json", &figures)
}

/// Servers, and a client through each proxy.
struct Run {
    bed: Bed,
    clients: Vec<Client>,
}

impl Run {
    async fn start(
        world: &Arc<World>,
        prefix: &str,
        servers: Servers,
        kinds: &[Kind],
        rate: u32,
    ) -> Result<Self> {
        let bed = Bed::without_operator(world, prefix).await?;
        bed.deploy(&servers.deployment()).await?;
        bed.apply(&headless("echo")).await?;
        let rate = format!("--rate={rate}");
        let start = async |kind: &Kind| {
            let target = apply(&bed, *kind, HEADLESS, 1).await?;
            let flags = [&rate, PATIENT];
            let client = bed.client(kind.name(), &target, &flags).await;
            client.with_context(|| kind.name())
        };
        let clients = try_join_all(kinds.iter().map(start)).await?;
        let run = Self { bed, clients };
        run.reset().await?;
        Ok(run)
    }

    /// Every event, one after the other.
    async fn all(&self) -> Result<BTreeMap<String, Row>> {
        let bed = &self.bed;
        let mut rows = BTreeMap::new();
        for (client, found) in self.clients.iter().zip(self.scale_up().await?) {
            let row = Row {
                found: found.iter().map(Duration::as_secs_f64).collect(),
                failed: BTreeMap::new(),
                calls: 0,
            };
            rows.insert(client.name().to_owned(), row);
        }
        self.note("scale-up", &mut rows).await?;
        bed.scale("echo", 2).await?;
        left(bed, 2).await?;
        self.note("scale-down", &mut rows).await?;
        bed.kubectl(&["rollout", "restart", "deployment/echo"])
            .await?;
        until("all are replaced", ROLLOUT, async || {
            bed.rolled_out("echo").await.map(Some)
        })
        .await?;
        left(bed, 2).await?;
        self.note("rolling update", &mut rows).await?;
        let proxies = self
            .clients
            .iter()
            .map(|client| self.replace(client.name()));
        try_join_all(proxies).await?;
        self.note("update of the proxy", &mut rows).await?;
        Ok(rows)
    }

    async fn reset(&self) -> Result<()> {
        try_join_all(self.clients.iter().map(|client| client.reset())).await?;
        Ok(())
    }

    /// What failed since the last note.
    async fn note(&self, event: &'static str, rows: &mut BTreeMap<String, Row>) -> Result<()> {
        for client in &self.clients {
            let counts = client.totals().await?.counts;
            println!(
                "    {event}: {}: {} calls, failed {:?}, dropped {}",
                client.name(),
                counts.ok,
                counts.errors,
                counts.dropped
            );
            let row = rows.get_mut(client.name()).context("no such client")?;
            row.failed.insert(event, counts.errors.values().sum());
            row.calls += counts.started;
        }
        self.reset().await
    }

    /// From two pods to four; how long each client took to hear from each new one, none where it never did.
    async fn scale_up(&self) -> Result<Vec<Vec<Duration>>> {
        let old = names(&self.bed.pods("app=echo").await?);
        self.bed.scale("echo", 4).await?;
        let pods = new_pods(&self.bed, &old, 2).await?;
        let find = async |client: &Client| {
            let mut took = Vec::new();
            if client.name() == Kind::NginxNaive.name() {
                tokio::time::sleep(FOUND + NEVER).await;
                let replies = client.totals().await?.counts.replies;
                let stranger = replies.keys().find(|pod| !old.contains(pod));
                ensure!(stranger.is_none(), "nginx has found {stranger:?}");
                return Ok(took);
            }
            for pod in &pods {
                took.push(arrival(client, pod, FOUND).await?.took);
            }
            anyhow::Ok(took)
        };
        try_join_all(self.clients.iter().map(find)).await
    }

    /// Replaces a proxy's pods, and waits until the old ones are gone.
    async fn replace(&self, name: &str) -> Result<()> {
        let deployment = format!("deployment/{name}");
        self.bed
            .kubectl(&["rollout", "restart", &deployment])
            .await?;
        self.bed.rolled_out(name).await?;
        let label = ListParams::default().labels(&format!("app={name}"));
        let pods = self.bed.namespace.api::<Pod>();
        until(&format!("one pod of {name} is left"), ROLLOUT, async || {
            Ok((pods.list(&label).await?.items.len() == 1).then_some(()))
        })
        .await
    }
}
