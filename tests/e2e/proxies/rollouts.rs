//! What becomes of calls through proxies while pods come and go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use evenkeel_cluster::load::ready_since;
use evenkeel_cluster::until;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use serde::Serialize;
use serde_json::{Value, json};

use super::figures::{About, read, write};
use super::{HEADLESS, Kind, apply, headless};
use crate::bed::{Bed, ROLLOUT};
use crate::client::Client;
use crate::manifests;
use crate::pods::{arrival, left, names, new_pods};
use crate::tests;
use crate::world::World;

tests![
    shared new_pods_are_found(240),
    proof naive_envoy_loses_calls(600),
    proof envoy_loses_no_call(600),
    proof naive_nginx_loses_calls(600),
    proof nginx_with_a_variable_loses_calls(600),
    proof nginx_loses_no_call(600),
];

/// The refresh of 5 s, an answer of DNS that is 5 s old, and a busy machine.
const FOUND: Duration = Duration::from_secs(5 + 5 + 20);
/// More than two refreshes: who has not noticed something by then does not look.
const NEVER: Duration = Duration::from_secs(15);
/// All pods serve, and Kubernetes has them as not Ready: so the node controller may have it after an outage of the API server, or a
/// readiness probe that asks what all of them share.
const NO_POD_READY: &str = "no pod Ready";
/// For so long, which is longer than a refresh and an old answer of DNS.
const UNREADY: Duration = Duration::from_secs(15);
/// For each call: a machine that stands still for some seconds is no fault of theirs.
const PATIENT: &str = "--deadline=15s";
/// Calls a second through each proxy.
const RATE: u32 = 200;

/// How servers come and go.
#[derive(Clone, Copy)]
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

async fn naive_envoy_loses_calls(world: Arc<World>) -> Result<()> {
    survive(&world, Kind::EnvoyNaive).await.map(drop)
}

async fn envoy_loses_no_call(world: Arc<World>) -> Result<()> {
    none_failed(&survive(&world, Kind::Envoy).await?)
}

async fn naive_nginx_loses_calls(world: Arc<World>) -> Result<()> {
    survive(&world, Kind::NginxNaive).await.map(drop)
}

async fn nginx_with_a_variable_loses_calls(world: Arc<World>) -> Result<()> {
    survive(&world, Kind::NginxVariable).await.map(drop)
}

async fn nginx_loses_no_call(world: Arc<World>) -> Result<()> {
    none_failed(&survive(&world, Kind::Nginx).await?)
}

/// One proxy through every way in which pods go, with servers of both kinds; kept for the page. Returns what was seen with servers by
/// the recipe. One after the other, since five times the rate is more than a small machine carries.
async fn survive(world: &Arc<World>, kind: Kind) -> Result<Row> {
    let at_once = Run::start(world, "survive", Servers::AtOnce, &[kind], RATE).await?;
    let row = at_once.all().await?;
    keep("at-once", kind, &row)?;
    drop(at_once);
    let patient = Run::start(world, "survive", Servers::Patient, &[kind], RATE).await?;
    let row = patient.all().await?;
    keep("patient", kind, &row)?;
    Ok(row)
}

/// None of those that a setting could save: where DNS names no pod, there is nowhere to go.
fn none_failed(row: &Row) -> Result<()> {
    let mut failed = row.failed.iter();
    let saved = failed.all(|(event, failed)| *failed == 0 || *event == NO_POD_READY);
    ensure!(saved, "{:?}", row.failed);
    Ok(())
}

/// Beside what other tests have kept, and maybe on another day.
fn keep(servers: &str, kind: Kind, row: &Row) -> Result<()> {
    let mut figures = read("survive.json")?;
    figures["rate"] = RATE.into();
    let kept = &mut figures["runs"][servers][kind.name()];
    *kept = serde_json::to_value(row)?;
    kept["about"] = serde_json::to_value(About::now(&[kind])?)?;
    write("survive.json", &figures)
}

impl Row {
    /// What failed since the last note.
    async fn note(&mut self, client: &Client, event: &'static str) -> Result<()> {
        // What the proxy does not know yet belongs to what was done.
        tokio::time::sleep(NEVER).await;
        let counts = client.totals().await?.counts;
        client.reset().await?;
        println!(
            "    {}: {event}: {} calls, failed {:?}",
            client.name(),
            counts.ok,
            counts.errors
        );
        let not_made = counts.dropped + counts.late;
        ensure!(
            not_made * 20 < counts.started.max(1),
            "{event}: {not_made} calls were not made: the machine is too busy to tell"
        );
        self.failed.insert(event, counts.errors.values().sum());
        self.calls += counts.started;
        Ok(())
    }
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

    /// Every event, one after the other, as the first client sees it.
    async fn all(&self) -> Result<Row> {
        let (bed, client) = (&self.bed, &self.clients[0]);
        let found = self.scale_up().await?.remove(0);
        let mut row = Row {
            found: found.iter().map(Duration::as_secs_f64).collect(),
            failed: BTreeMap::new(),
            calls: 0,
        };
        row.note(client, "scale-up").await?;
        bed.scale("echo", 2).await?;
        left(bed, 2).await?;
        row.note(client, "scale-down").await?;
        bed.kubectl(&["rollout", "restart", "deployment/echo"])
            .await?;
        until("all are replaced", ROLLOUT, async || {
            bed.rolled_out("echo").await.map(Some)
        })
        .await?;
        left(bed, 2).await?;
        row.note(client, "rolling update").await?;
        self.unready().await?;
        row.note(client, NO_POD_READY).await?;
        self.replace(client.name()).await?;
        row.note(client, "update of the proxy").await?;
        Ok(row)
    }

    async fn reset(&self) -> Result<()> {
        try_join_all(self.clients.iter().map(|client| client.reset())).await?;
        Ok(())
    }

    /// From two pods to four; how long each client took to hear from each new one, none where it never did.
    async fn scale_up(&self) -> Result<Vec<Vec<Duration>>> {
        let old = names(&self.bed.pods("app=echo").await?);
        self.bed.scale("echo", 4).await?;
        let pods = new_pods(&self.bed, &old, 2).await?;
        let looks = |client: &Client| client.name() != Kind::NginxNaive.name();
        let find = async |client: &Client| {
            let mut took = Vec::new();
            if looks(client) {
                for pod in &pods {
                    took.push(arrival(client, pod, FOUND).await?.took);
                }
            }
            anyhow::Ok(took)
        };
        let took = try_join_all(self.clients.iter().map(find)).await?;
        for client in self.clients.iter().filter(|client| !looks(client)) {
            tokio::time::sleep(NEVER).await;
            let replies = client.totals().await?.counts.replies;
            let stranger = replies.keys().find(|pod| !old.contains(pod));
            ensure!(stranger.is_none(), "nginx has found {stranger:?}");
        }
        Ok(took)
    }

    /// Marks all servers as not Ready. The kubelet, which knows better, says the contrary every ten seconds.
    async fn unready(&self) -> Result<()> {
        let pods = self.bed.namespace.api::<Pod>();
        let names = names(&self.bed.pods("app=echo").await?);
        let not_ready = Patch::Strategic(
            json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}),
        );
        let begun = Instant::now();
        while begun.elapsed() < UNREADY {
            for name in &names {
                pods.patch_status(name, &PatchParams::default(), &not_ready)
                    .await?;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        until("all are Ready again", ROLLOUT, async || {
            let ready = self.bed.pods("app=echo").await?;
            let ready = ready.iter().filter(|pod| ready_since(pod).is_some());
            Ok((ready.count() == names.len()).then_some(()))
        })
        .await
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
