//! Servers and clients of a mode, beside each other, and one run of an event.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use evenkeel::api::ConditionType::{ConnectionAgeApplied, EndpointWatchReady, ServicesReady};
use evenkeel_cluster::examples::ALL;
use evenkeel_cluster::until;
use evenkeel_conformance::measure::hundredths;
use evenkeel_conformance::recipe::Recipe;
use evenkeel_conformance::{Action, Event, Mode, Run, Seen, Via};
use futures::future::try_join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::events::{happen, settled};
use super::node::{self, Dns};
use super::watch::{Pods, Sums, since};
use crate::bed::{Bed, ROLLOUT, SOON};
use crate::client::Client;
use crate::manifests;
use crate::proxies;
use crate::world::World;

/// Calls a second of each client, and where the recipe is tried.
const RATE: f64 = 50.0;
const RECIPE_RATE: f64 = 200.0;
/// Channels of a client that is idle, used in turn, so that there are enough calls.
const IDLE_CHANNELS: u32 = 8;
/// A machine that stands still for two seconds is no fault of theirs.
const PATIENT: &str = "--deadline=10s";
/// So long a client without a promise is watched; who finds nothing until then will not by itself.
const IN_VAIN: Duration = Duration::from_mins(1);
/// So late a look-up can follow the end of a connection: resolvers wait 30 s after the one before.
const DEFERRED: Duration = Duration::from_secs(32);
/// By the recipe a rollout takes a minute and the pods' own time.
const APPLIED: Duration = Duration::from_mins(5);
/// Steady before something happens.
const BEFORE: Duration = Duration::from_secs(2);

/// A mode, set up.
pub struct Stage {
    mode: &'static Mode,
    bed: Bed,
    rate: f64,
    clients: Vec<Actor>,
}

struct Actor {
    client: evenkeel_conformance::plan::Client,
    load: Arc<Client>,
    address: Ipv4Addr,
}

impl Stage {
    /// Servers, the GrpcBackend, and clients that have their first reply.
    pub async fn set(
        world: &Arc<World>,
        mode: &'static Mode,
        event: &'static Event,
    ) -> Result<Self> {
        let bed = Bed::new(world, "cell").await?;
        bed.deploy(&server(mode, event)).await?;
        let backend = backend(mode);
        bed.apply(&backend).await?;
        if mode.age.is_some() {
            bed.reason("echo", ConnectionAgeApplied, "Applied", APPLIED)
                .await?;
        }
        settled(&bed, usize::try_from(event.pods)?).await?;
        let target = target(&bed, mode).await?;
        let rate = rate(mode, event);
        let flags = flags(mode, event, rate);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let started = mode.clients().map(|client| {
            let (bed, target, flags) = (&bed, &target, &flags);
            async move { Actor::start(bed, mode, client, target, flags).await }
        });
        let clients = try_join_all(started).await?;
        let stage = Self {
            mode,
            bed,
            rate,
            clients,
        };
        stage.all_found(event).await?;
        Ok(stage)
    }

    /// As it was before the event.
    pub async fn reset(&self, event: &Event) -> Result<()> {
        self.bed.scale("echo", event.pods).await?;
        settled(&self.bed, usize::try_from(event.pods)?).await?;
        if self.mode.via == Via::Headless && self.mode.age.is_none() {
            // What ended just now has clients look up once more, and they would find what comes next by accident.
            tokio::time::sleep(DEFERRED).await;
        }
        self.all_found(event).await
    }

    /// Waits until those that find all pods have found them: what comes then is not of what was before.
    async fn all_found(&self, event: &Event) -> Result<()> {
        if event.action == Action::Idle {
            return Ok(());
        }
        for actor in &self.clients {
            let Some(limit) = self.mode.promise(actor.client) else {
                continue;
            };
            actor.load.reset().await?;
            let what = format!("{} has replies of all pods", actor.client.id);
            until(&what, limit * 2, async || {
                let replies = actor.load.totals().await?.counts.replies;
                Ok((replies.len() == usize::try_from(event.pods)?).then_some(()))
            })
            .await?;
        }
        Ok(())
    }

    /// Once through the event.
    pub async fn run(&self, event: &Event) -> Result<Run> {
        let cluster = &self.bed.world.cluster;
        let begun = Timestamp::now();
        let pods = Pods::watch(self.bed.namespace.api(), begun);
        let addresses: Vec<_> = self.clients.iter().map(|actor| actor.address).collect();
        let dns = Dns::count(cluster, &addresses).await?;
        let queries = node::queries(cluster).await?;
        for actor in &self.clients {
            actor.load.reset().await?;
        }
        let sums: Vec<Sums> = self
            .clients
            .iter()
            .map(|actor| Sums::watch(&actor.load, begun))
            .collect();
        until("the watch knows all pods", SOON, async || {
            let known = pods.lives().len() >= usize::try_from(event.pods)?;
            Ok(known.then_some(()))
        })
        .await?;
        tokio::time::sleep(BEFORE).await;
        pods.begin();
        happen(&self.bed, event.action, self.idle()).await?;
        self.watch(&pods, &sums, event).await;

        let (lives, watched) = (pods.lives(), since(begun, Timestamp::now()));
        let a_minute = |count: f64| hundredths(count * 60.0 / watched);
        let packets = dns.so_far(cluster).await?;
        dns.end(cluster).await?;
        // A server that died counts from the beginning.
        let asked = node::queries(cluster).await?;
        let asked = if asked < queries {
            asked
        } else {
            asked - queries
        };
        let open = node::connections(cluster).await?;
        let serving = self.bed.pods("app=echo").await?.len().max(1);
        let mut clients = BTreeMap::new();
        for ((actor, sums), packets) in self.clients.iter().zip(&sums).zip(packets) {
            let open = open.get(&actor.address).copied().unwrap_or(0);
            let seen = Seen {
                connections_per_pod: hundredths(count(open) / count(serving as u64)),
                dns_per_minute: a_minute(count(packets)),
                ..sums.watched().seen(&lives)
            };
            clients.insert(actor.client.id.to_owned(), seen);
        }
        Ok(Run {
            at: begun,
            took: 0.0,
            watched: watched.round(),
            rate: self.rate,
            load: load(),
            dns_per_minute: Some(a_minute(asked)),
            clients,
        })
    }

    /// Until each client has found what it will, and for the event's tail.
    async fn watch(&self, pods: &Pods, sums: &[Sums], event: &Event) {
        let begun = Instant::now();
        for (actor, sums) in self.clients.iter().zip(sums) {
            let limit = self.mode.promise(actor.client).unwrap_or(IN_VAIN);
            let rest = limit.saturating_sub(begun.elapsed());
            // Who finds nothing shows so in the figures.
            let _ = until("all pods have their share", rest, async || {
                Ok(sums.watched().found_all(&pods.lives()).then_some(()))
            })
            .await;
        }
        tokio::time::sleep(Duration::from_secs(event.tail)).await;
    }

    /// Three times longer than a connection is idle between two calls.
    fn idle(&self) -> Duration {
        between_calls(self.mode) * 3
    }
}

impl Actor {
    async fn start(
        bed: &Bed,
        mode: &Mode,
        client: evenkeel_conformance::plan::Client,
        target: &str,
        flags: &[&str],
    ) -> Result<Self> {
        let account = match mode.via {
            Via::Watch => "echo-client",
            _ => "default",
        };
        let example = ALL.into_iter().find(|example| example.name == client.id);
        let example = example.with_context(|| format!("no example in {}", client.id))?;
        let load = Client::example(bed, example, target, account, flags).await?;
        // All start at once, one of them with a machine of its own.
        until("its first reply", ROLLOUT * 3, async || {
            load.serves().await.map(Some)
        })
        .await?;
        let pod = bed.namespace.api::<Pod>().get(load.name()).await?;
        let address = pod.status.and_then(|status| status.pod_ip);
        Ok(Self {
            client,
            address: address.context("no address")?.parse()?,
            load: Arc::new(load),
        })
    }
}

/// The usual one: it serves on for 5 s at SIGTERM.
fn server(mode: &Mode, event: &Event) -> Value {
    let mut server = manifests::server("echo", event.pods);
    if mode.recipe {
        Recipe::of(event.pods).set(&mut server);
    }
    server
}

fn backend(mode: &Mode) -> Value {
    let mut backend = match mode.age {
        Some(age) => manifests::backend_with_age("echo", &format!("{age}s")),
        None => manifests::backend("echo"),
    };
    if mode.via == Via::Watch {
        backend["spec"]["endpointWatch"] = json!({"serviceAccount": {"create": true}});
    }
    backend
}

/// What the status tells clients to dial.
async fn target(bed: &Bed, mode: &Mode) -> Result<String> {
    let backend = bed.reason("echo", ServicesReady, "Created", SOON).await?;
    let targets = backend.status.unwrap_or_default().targets;
    let target = targets.into_iter().next().context("no targets")?;
    let told = match mode.via {
        Via::ClusterIp => target.cluster_ip,
        Via::Headless => target.dns,
        Via::Watch => {
            bed.reason("echo", EndpointWatchReady, "Bound", SOON)
                .await?;
            target.kubernetes
        }
        Via::Proxy(name) => Some(proxy(bed, name).await?),
    };
    told.context("no target of this kind")
}

/// The example's, two of them.
async fn proxy(bed: &Bed, name: &str) -> Result<String> {
    let kind = proxies::ALL.into_iter().find(|kind| kind.name() == name);
    let kind = kind.with_context(|| format!("no proxy {name}"))?;
    let target = proxies::apply(bed, kind, proxies::HEADLESS, 2).await?;
    // Only Go knows passthrough.
    Ok(target.replace("passthrough:///", "dns:///"))
}

fn rate(mode: &Mode, event: &Event) -> f64 {
    if event.action == Action::Idle {
        f64::from(IDLE_CHANNELS) / between_calls(mode).as_secs_f64()
    } else if mode.recipe {
        RECIPE_RATE
    } else {
        RATE
    }
}

fn flags(mode: &Mode, event: &Event, rate: f64) -> Vec<String> {
    let mut flags = vec![format!("--rate={rate}"), PATIENT.to_owned()];
    if event.action == Action::Idle {
        flags.push(format!("--connections={IDLE_CHANNELS}"));
    }
    if mode.recipe {
        flags.push("--retry".into());
    }
    flags
}

/// Of one idle channel: longer than the age with its spread.
fn between_calls(mode: &Mode) -> Duration {
    Duration::from_secs(mode.age.unwrap_or(30)) * 4 / 3
}

/// Of the last minute.
fn load() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

#[expect(clippy::cast_precision_loss, reason = "some connections")]
fn count(number: u64) -> f64 {
    number as f64
}
