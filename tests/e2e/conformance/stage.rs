//! Servers and clients of a mode, beside each other, and one run of an event.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use evenkeel::api::ConditionType::{ConnectionAgeApplied, EndpointWatchReady, ServicesReady};
use evenkeel_cluster::examples::ALL;
use evenkeel_cluster::until;
use evenkeel_conformance::measure::{Watched, busiest, hundredths, together};
use evenkeel_conformance::plan::{self, IDLE_CHANNELS};
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
use crate::pods::ip;
use crate::proxies;
use crate::world::World;

/// A machine that stands still for two seconds is no fault of theirs.
const PATIENT: &str = "--deadline=10s";
/// All calls of that time may hang.
const ROOM: &str = "--max-in-flight=4000";
/// A proxy deals out calls in turn: those of clients in step would always meet the same pods. Each makes so much more of them.
const OUT_OF_STEP: f64 = 0.02;
/// At these parts of a connection's age runs begin, one after the other.
const PARTS: [f64; 5] = [0.0, 0.4, 0.8, 0.2, 0.6];
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
    clients: Vec<Actor>,
    /// The addresses of the proxies.
    proxies: Vec<Ipv4Addr>,
}

struct Actor {
    client: plan::Client,
    rate: f64,
    load: Arc<Client>,
    address: Ipv4Addr,
}

impl Stage {
    /// Servers, the GrpcBackend, and clients that have their first reply.
    pub async fn set(
        world: &Arc<World>,
        mode: &'static Mode,
        event: &'static Event,
        clients: &[plan::Client],
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
        let started = clients.iter().zip(0_u32..).map(|(client, number)| {
            let (bed, target) = (&bed, &target);
            async move { Actor::start(bed, mode, event, *client, number, target).await }
        });
        let clients = try_join_all(started).await?;
        let proxies = match mode.via {
            Via::Proxy(name) => {
                let pods = bed.pods(&format!("app={name}")).await?;
                pods.iter().map(ip).collect::<Result<_>>()?
            }
            _ => Vec::new(),
        };
        Ok(Self {
            mode,
            bed,
            clients,
            proxies,
        })
    }

    /// As it is before a run of the event; `number` counts its runs.
    pub async fn reset(&self, event: &Event, number: usize) -> Result<()> {
        self.bed.scale("echo", event.pods).await?;
        settled(&self.bed, usize::try_from(event.pods)?).await?;
        if event.action == Action::Idle {
            // Channels connect with their first calls, one after the other: what counts is how it goes on.
            tokio::time::sleep(self.mode.between_calls() + BEFORE).await;
            return Ok(());
        }
        self.all_found(event).await?;
        if self.mode.via == Via::Headless {
            // What ended just now has clients look up once more, and they would find what comes next by accident.
            tokio::time::sleep(DEFERRED).await;
        }
        // Connections that began together end together. Runs at one point of their lives would be one run, however many.
        let age = Duration::from_secs(self.mode.age.unwrap_or(0));
        tokio::time::sleep(age.mul_f64(PARTS[number % PARTS.len()])).await;
        Ok(())
    }

    /// Waits until those that find all pods have found them: what comes then is not of what was before.
    async fn all_found(&self, event: &Event) -> Result<()> {
        self.count_anew().await?;
        for actor in &self.clients {
            let Some(limit) = self.mode.promise(actor.client) else {
                continue;
            };
            let what = format!("{} has replies of all pods", actor.client.id);
            until(&what, limit * 2, async || {
                let replies = actor.load.totals().await?.counts.replies;
                Ok((replies.len() >= usize::try_from(event.pods)?).then_some(()))
            })
            .await?;
        }
        Ok(())
    }

    /// What the clients have counted is of what was before.
    async fn count_anew(&self) -> Result<()> {
        for actor in &self.clients {
            until("a client counts anew", SOON, async || {
                actor.load.reset().await.map(Some)
            })
            .await?;
        }
        Ok(())
    }

    /// The pod that most clients call.
    async fn busiest(&self) -> Result<String> {
        let mut replies = Vec::new();
        for actor in &self.clients {
            let totals = until("a client tells its sums", SOON, async || {
                actor.load.totals().await.map(Some)
            });
            replies.push(totals.await?.counts.replies);
        }
        busiest(&replies).context("no pod has replied")
    }

    /// What pods' shares are taken of, for one of the clients: what it saw, or through a proxy all of them.
    fn shares(&self, watched: &[Watched], number: usize) -> Watched {
        match self.mode.via {
            Via::Proxy(_) => together(watched),
            _ => watched[number].clone(),
        }
    }

    /// Once through the event.
    pub async fn run(&self, event: &Event) -> Result<Run> {
        let cluster = &self.bed.world.cluster;
        let begun = Timestamp::now();
        let pods = Pods::watch(self.bed.namespace.api(), begun);
        let mut addresses: Vec<_> = self.clients.iter().map(|actor| actor.address).collect();
        addresses.extend(&self.proxies);
        let dns = Dns::count(cluster, self.bed.name(), &addresses).await?;
        let queries = node::queries(cluster).await?;
        self.count_anew().await?;
        let sums: Vec<Sums> = self
            .clients
            .iter()
            .map(|actor| Sums::watch(&actor.load, begun, self.mode.under_way(actor.rate)))
            .collect();
        until("the watch knows all pods", SOON, async || {
            let known = pods.lives().len() >= usize::try_from(event.pods)?;
            Ok(known.then_some(()))
        })
        .await?;
        tokio::time::sleep(BEFORE).await;
        pods.begin();
        let victim = match event.action {
            Action::Kill | Action::Evict => self.busiest().await?,
            _ => String::new(),
        };
        happen(&self.bed, event, &victim, self.idle()).await?;
        // What it does not know yet, nobody would be waited for to find.
        until("the watch knows the new pods", SOON, async || {
            let lives = pods.lives();
            let came = lives.iter().filter(|pod| pod.came().is_some()).count();
            Ok((came >= usize::try_from(event.new_pods())?).then_some(()))
        })
        .await?;
        self.watch(&pods, &sums, event).await;

        let (lives, seen) = (pods.lives(), watched(&sums));
        let length = since(begun, Timestamp::now());
        // Each count is of the time until it was read, which takes seconds on a busy machine.
        let a_minute = |count: f64| hundredths(count * 60.0 / since(begun, Timestamp::now()));
        let packets = dns.so_far(cluster).await?;
        let packets: Vec<f64> = packets
            .into_iter()
            .map(|sum| a_minute(count(sum)))
            .collect();
        let asked = node::queries(cluster).await?;
        // A server that died counts from the beginning, and of what it had counted nobody knows.
        let asked = (event.action != Action::DnsDown).then(|| a_minute(asked - queries));
        let open = node::connections(cluster).await?;
        let serving = until("the servers are listed", SOON, async || {
            self.bed.pods("app=echo").await.map(Some)
        })
        .await?;
        let serving = serving.len().max(1);
        // What is left of it goes with the cluster.
        let _ = dns.end(cluster).await;
        let open_of = |address: &Ipv4Addr| open.get(address).copied().unwrap_or(0);
        // Servers have connections with whoever is nearest to them.
        let of_proxies: u64 = self.proxies.iter().map(open_of).sum();
        let (own, of_others) = packets.split_at(self.clients.len().min(packets.len()));
        let others: f64 = of_others.iter().sum();
        let mut clients = BTreeMap::new();
        for (number, (actor, packets)) in self.clients.iter().zip(own).enumerate() {
            let open = match self.mode.via {
                Via::Proxy(_) => of_proxies,
                _ => open_of(&actor.address),
            };
            let shares = self.shares(&seen, number);
            let seen = Seen {
                connections_per_pod: hundredths(count(open) / count(serving as u64)),
                dns_per_minute: hundredths(packets + others),
                ..seen[number].seen(&lives, &shares)
            };
            clients.insert(actor.client.id.to_owned(), seen);
        }
        Ok(Run {
            at: begun,
            took: 0.0,
            watched: length.round(),
            rate: self.mode.rate(event),
            load: load(),
            dns_per_minute: asked,
            clients,
            ..Run::default()
        })
    }

    /// Until each client has found what it will, and for the event's tail.
    async fn watch(&self, pods: &Pods, sums: &[Sums], event: &Event) {
        let begun = Instant::now();
        for (number, actor) in self.clients.iter().enumerate() {
            let limit = self.mode.patience(event, actor.client);
            let rest = limit.saturating_sub(begun.elapsed());
            // Who finds nothing shows so in the figures.
            let _ = until("all pods have their share", rest, async || {
                let seen = watched(sums);
                let shares = self.shares(&seen, number);
                Ok(seen[number].found_all(&pods.lives(), &shares).then_some(()))
            })
            .await;
        }
        tokio::time::sleep(Duration::from_secs(event.tail)).await;
    }

    /// Three times longer than a connection is idle between two calls.
    fn idle(&self) -> Duration {
        self.mode.between_calls() * 3
    }
}

fn watched(sums: &[Sums]) -> Vec<Watched> {
    sums.iter().map(Sums::watched).collect()
}

impl Actor {
    async fn start(
        bed: &Bed,
        mode: &Mode,
        event: &Event,
        client: plan::Client,
        number: u32,
        target: &str,
    ) -> Result<Self> {
        let faster = match mode.via {
            Via::Proxy(_) => OUT_OF_STEP * f64::from(number),
            _ => 0.0,
        };
        let rate = mode.rate(event) * (1.0 + faster);
        let flags = flags(mode, event, rate);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let account = match mode.via {
            Via::Watch => "echo-client",
            _ => "default",
        };
        let example = ALL.into_iter().find(|example| example.name == client.id);
        let example = example.with_context(|| format!("no example in {}", client.id))?;
        let load = Client::example(bed, example, target, account, &flags).await?;
        // All start at once, one of them with a machine of its own.
        until("its first reply", ROLLOUT * 3, async || {
            load.serves().await.map(Some)
        })
        .await?;
        let pod = bed.namespace.api::<Pod>().get(load.name()).await?;
        Ok(Self {
            client,
            rate,
            address: ip(&pod)?,
            load: Arc::new(load),
        })
    }
}

/// The usual one, which serves on for 5 s at SIGTERM; by the recipe it has nothing but what that says.
fn server(mode: &Mode, event: &Event) -> Value {
    let mut server = manifests::server("echo", event.pods);
    if mode.recipe {
        manifests::container(&mut server)["args"] = json!(["--drain=0s"]);
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

/// The example's, two of them; its image is there.
async fn proxy(bed: &Bed, name: &str) -> Result<String> {
    let kind = proxies::ALL.into_iter().find(|kind| kind.name() == name);
    let kind = kind.with_context(|| format!("no proxy {name}"))?;
    let target = proxies::place(bed, kind, proxies::HEADLESS, 2).await?;
    // Only Go knows passthrough.
    Ok(target.replace("passthrough:///", "dns:///"))
}

fn flags(mode: &Mode, event: &Event, rate: f64) -> Vec<String> {
    let mut flags = vec![format!("--rate={rate:.3}"), PATIENT.into(), ROOM.into()];
    if event.action == Action::Idle {
        flags.push(format!("--connections={IDLE_CHANNELS}"));
    }
    if mode.retry {
        flags.push("--retry".into());
    }
    flags
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
