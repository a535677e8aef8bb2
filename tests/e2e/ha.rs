//! Two operators, of which one acts at a time: whatever happens to the one that does, the other takes over, and never do two write.
//!
//! The replicas have an identity each, so that the audit log tells them apart, and a way to the API server each, so that one
//! can be cut off. Bounds are stated in lease durations.

mod pair;
mod seen;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::{Balanced, Ready, ServicesReady};
use evenkeel_cluster::{Endpoint, Fault, From, Rule, Signal, until};
use jiff::Timestamp;

use self::pair::{LEASE, Pair, Replica, Takeover};
use crate::bed::{Bed, SOON};
use crate::client::Client;
use crate::manifests;
use crate::tests;
use crate::world::World;

tests![
    own a_killed_leader_is_replaced(300),
    own a_leader_that_ends_hands_over(240),
    own a_leader_that_ends_amid_long_passes_hands_over(150),
    own a_leader_that_is_cut_off_stops_writing(300),
    own a_frozen_leader_writes_nothing_when_it_wakes(300),
];

/// What was sent without an answer may arrive for so long.
const ARRIVES: Duration = Duration::from_secs(4);
/// Two windows and more, in which the new one judges for itself.
const JUDGED: Duration = Duration::from_secs(30);

/// A backend under load that has been judged, and what it says of itself.
struct Judged<'a> {
    bed: &'a Bed,
    client: Client,
    said: String,
}

impl<'a> Judged<'a> {
    async fn new(bed: &'a Bed) -> Result<Self> {
        bed.echo(3).await?;
        bed.apply(&manifests::backend("echo")).await?;
        let target = format!("dns:///echo-headless.{}.svc:8080", bed.name());
        bed.reason("echo", ServicesReady, "Created", SOON).await?;
        let client = bed.client("client", &target, &["--rate=60"]).await?;
        bed.reason("echo", Balanced, "Balanced", Duration::from_mins(1))
            .await?;
        bed.reason("echo", Ready, "AllReady", SOON).await?;
        let said = conditions(bed).await?;
        Ok(Self { bed, client, said })
    }

    /// Does something, and fails if anything else is said meanwhile, or until the new leader has judged for itself.
    async fn stands<T>(self, task: impl Future<Output = Result<T>>) -> Result<T> {
        let mut said = BTreeSet::new();
        let done = tokio::select! {
            done = task => done?,
            ended = watch(self.bed, &mut said) => return Err(ended.err().context("it ended")?),
        };
        if let Ok(ended) = tokio::time::timeout(JUDGED, watch(self.bed, &mut said)).await {
            ended?;
        }
        let before = self.said;
        ensure!(
            said == BTreeSet::from([before.clone()]),
            "before: {before}\nsince then: {said:#?}"
        );
        self.client.stop().await?;
        Ok(done)
    }
}

/// What the backend says of itself, with the times of all changes.
async fn conditions(bed: &Bed) -> Result<String> {
    let status = bed.backend("echo").await?.status.unwrap_or_default();
    let lines = status.conditions.iter().map(|condition| {
        let (kind, status) = (&condition.type_, &condition.status);
        let since = condition.last_transition_time.0;
        format!("{kind} {status} {} since {since}", condition.reason)
    });
    Ok(lines.collect::<Vec<_>>().join("; "))
}

/// Collects what it says, for as long as somebody waits.
async fn watch(bed: &Bed, said: &mut BTreeSet<String>) -> Result<()> {
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    loop {
        ticks.tick().await;
        // What is not answered in time is asked again.
        if let Ok(now) = conditions(bed).await {
            said.insert(now);
        }
    }
}

/// The worst that can happen to a process, with all hands full. Its backend is served on, and is said to be as it was.
async fn a_killed_leader_is_replaced(world: Arc<World>) -> Result<()> {
    let pair = Pair::new(&world, "killed").await?;
    let judged = Judged::new(&pair.bed).await?;
    pair.busy_backends().await?;
    let (leader, other) = pair.turns().await?;
    let killed = pair.while_busy(async {
        pair.works(leader).await?;
        strike(&pair, leader, other, Signal::Kill).await
    });
    let takeover = judged.stands(killed).await?;
    pair.one_at_a_time(leader, other, takeover.taken).await
}

/// As in every upgrade: nobody waits for the end of a Lease.
async fn a_leader_that_ends_hands_over(world: Arc<World>) -> Result<()> {
    let pair = Pair::new(&world, "ended").await?;
    let judged = Judged::new(&pair.bed).await?;
    pair.busy_backends().await?;
    let (leader, other) = pair.turns().await?;
    let ended = pair.while_busy(async {
        pair.works(leader).await?;
        end(&pair, leader, other).await
    });
    let takeover = judged.stands(ended).await?;
    pair.one_at_a_time(leader, other, takeover.taken).await
}

/// Each of its writes takes longer than the whole end may. What it had begun never arrives.
async fn a_leader_that_ends_amid_long_passes_hands_over(world: Arc<World>) -> Result<()> {
    let pair = Pair::new(&world, "slow").await?;
    pair.busy_backends().await?;
    let (leader, other) = pair.turns().await?;
    let write = |seen: &evenkeel_cluster::Seen| seen.resource == "services" && seen.is_write();
    let takeover = pair
        .while_busy(async {
            pair.works(leader).await?;
            let slow = Rule::new(write, Fault::Delay(2 * LEASE));
            leader.proxy.add(slow);
            let before = leader.proxy.count(write);
            until("a write under way", SOON, async || {
                Ok((leader.proxy.count(write) > before).then_some(()))
            })
            .await?;
            let asked = Timestamp::now();
            let takeover = end(&pair, leader, other).await?;
            let waited = Duration::try_from(takeover.taken - asked)?;
            ensure!(waited >= ARRIVES, "taken {waited:?} after the signal");
            // It would have arrived by then.
            tokio::time::sleep(2 * LEASE).await;
            Ok(takeover)
        })
        .await?;
    pair.one_at_a_time(leader, other, takeover.taken).await
}

/// Has the leader do nothing more from one moment to the next, and waits until the other works in its place.
async fn strike(
    pair: &Pair,
    leader: &Replica,
    other: &Replica,
    signal: Signal,
) -> Result<Takeover> {
    let struck = Timestamp::now();
    leader.operator.process.signal(signal)?;
    let takeover = pair.taken_over(leader, other).await?;
    takeover.in_time(struck)?;
    pair.works(other).await?;
    Ok(takeover)
}

/// Asks the leader to end, and waits until the other works in its place.
async fn end(pair: &Pair, leader: &Replica, other: &Replica) -> Result<Takeover> {
    let asked = Timestamp::now();
    leader.operator.process.signal(Signal::Term)?;
    let takeover = pair.taken_over(leader, other).await?;
    pair.works(other).await?;
    let state = leader.operator.process.wait(SOON).await?;
    ensure!(state.success, "it ended with {:?}", state.exit);
    takeover.at_once(asked)?;
    Ok(takeover)
}

/// It does not know that it is cut off; its requests are under way for ever, and arrive when the cut heals unless it gives
/// them up.
async fn a_leader_that_is_cut_off_stops_writing(world: Arc<World>) -> Result<()> {
    let pair = Pair::new(&world, "cut").await?;
    let judged = Judged::new(&pair.bed).await?;
    pair.busy_backends().await?;
    let (leader, other) = pair.turns().await?;
    let way: SocketAddr = leader
        .proxy
        .url(From::Inside)
        .trim_start_matches("http://")
        .parse()?;
    let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
    let cut = Box::pin(pair.while_busy(async {
        pair.works(leader).await?;
        let fault = Timestamp::now();
        let cut = world
            .cluster
            .cut(Endpoint::from(way), Endpoint::from(loopback))
            .await?;
        let takeover = pair.taken_over(leader, other).await?;
        let ended = leader.operator.process.wait(LEASE).await;
        ended.context("the one that was cut off goes on")?;
        takeover.in_time(fault)?;
        cut.heal().await?;
        pair.works(other).await?;
        Ok(takeover)
    }));
    let takeover = judged
        .stands(async {
            let takeover = cut.await?;
            // The kernel sends again after at most as long as it has been trying already.
            tokio::time::sleep(2 * LEASE).await;
            Ok(takeover)
        })
        .await?;
    pair.one_at_a_time(leader, other, takeover.taken).await
}

/// A process on a node that stands still finds much to do when it goes on, and has decided much already. Its Lease is gone;
/// and to ask for it takes longer than to write.
async fn a_frozen_leader_writes_nothing_when_it_wakes(world: Arc<World>) -> Result<()> {
    let pair = Pair::new(&world, "frozen").await?;
    let judged = Judged::new(&pair.bed).await?;
    pair.busy_backends().await?;
    let (leader, other) = pair.turns().await?;
    let slow = |seen: &evenkeel_cluster::Seen| seen.resource == "leases";
    let frozen = pair.while_busy(async {
        pair.works(leader).await?;
        let takeover = strike(&pair, leader, other, Signal::Stop).await?;
        leader
            .proxy
            .add(Rule::new(slow, Fault::Delay(Duration::from_secs(2))));
        leader.operator.process.signal(Signal::Cont)?;
        let state = leader.operator.process.wait(LEASE).await?;
        ensure!(!state.success, "it ended with {:?}", state.exit);
        pair.works(other).await?;
        Ok(takeover)
    });
    let takeover = judged.stands(frozen).await?;
    let log = leader.operator.process.log_text()?;
    ensure!(
        log.contains("the Lease is lost"),
        "it does not say why it ended"
    );
    pair.one_at_a_time(leader, other, takeover.taken).await
}
