//! Two operators, of which one acts at a time: whatever happens to the one that does, the other takes over, and never do two write.
//!
//! The replicas have an identity each, so that the audit log tells them apart, and a way to the API server each, so that one
//! can be cut off. Bounds are stated in lease durations.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use evenkeel::api::ConditionType::{Balanced, Ready, ServicesReady};
use evenkeel::api::GrpcBackend;
use evenkeel_cluster::{AuditEvent, Endpoint, Fault, From, Identity, Proxy, Rule, Signal, until};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::bed::{Bed, Operator, SOON, start_operator_by};
use crate::manifests;
use crate::tests;
use crate::world::{OPERATORS, World};

tests![
    alone a_killed_leader_is_replaced(240),
    alone a_leader_that_ends_hands_over(150),
    alone a_leader_that_is_cut_off_stops_writing(200),
    alone a_frozen_leader_writes_nothing_when_it_wakes(200),
];

/// What the Lease says of itself.
const LEASE: Duration = Duration::from_secs(15);
/// A holder renews this often: so old its last renewal may be when it dies.
const RENEWAL: Duration = Duration::from_secs(3);
/// How often one that waits looks at it.
const LOOK: Duration = Duration::from_secs(1);
/// Seen unchanged for so long, it is taken: by then all that its holder sent has arrived or is dead.
const SAFE: Duration = Duration::from_secs(13);
/// Half a lease duration, for machines that are slow.
const MARGIN: Duration = Duration::from_millis(7500);
/// As many as have passes under way at once.
const BUSY: usize = 8;

/// A namespace with two operators.
struct Pair {
    bed: Bed,
    replicas: Vec<Replica>,
}

struct Replica {
    name: String,
    operator: Operator,
    proxy: Proxy,
}

/// One replica took over from another.
struct Takeover {
    /// When the last renewal of the one before reached the API server.
    renewed: Timestamp,
    /// When the other took the Lease.
    taken: Timestamp,
    /// For how long the one that waited was kept from looking, by a machine that is slow.
    starved: Duration,
}

impl Takeover {
    /// Not before the one before is surely silent, and within one lease duration, but for the time that nothing ran in.
    fn in_time(&self, fault: Timestamp) -> Result<()> {
        let (idle, waited) = (self.taken - self.renewed, self.taken - fault);
        let (idle, waited) = (Duration::try_from(idle)?, Duration::try_from(waited)?);
        let starved = self.starved;
        println!(
            "    taken {idle:.1?} after the last renewal, {waited:.1?} after the fault; {starved:.1?} of it starved"
        );
        ensure!(idle >= SAFE, "taken {idle:?} after the last renewal");
        ensure!(
            idle <= LEASE + starved,
            "taken {idle:?}, {starved:?} of it starved"
        );
        ensure!(starved <= MARGIN, "starved for {starved:?}");
        Ok(())
    }
}

/// By how much the looks since then were further apart than they are meant to be.
fn starved(looks: &[Timestamp], since: Timestamp) -> Result<Duration> {
    let pairs = looks.windows(2).filter(|pair| pair[1] > since);
    let late = pairs.map(|pair| Ok(Duration::try_from(pair[1] - pair[0])?.saturating_sub(LOOK)));
    late.sum()
}

impl Pair {
    /// Both run, and one of them leads.
    async fn new(world: &Arc<World>, prefix: &str) -> Result<Self> {
        world.prepare().await?;
        let bed = Bed::without_operator(world, prefix).await?;
        let mut pair = Self {
            bed,
            replicas: Vec::new(),
        };
        for suffix in ["a", "b"] {
            let replica = pair.replica(suffix).await?;
            pair.replicas.push(replica);
        }
        until("a leader", SOON, async || pair.holder().await).await?;
        Ok(pair)
    }

    async fn replica(&self, suffix: &str) -> Result<Replica> {
        let (cluster, namespace) = (&self.bed.world.cluster, self.bed.name());
        let name = format!("{namespace}-{suffix}");
        self.bed.grant_to(&name, &name, namespace).await?;
        let proxy = cluster
            .proxy(&Identity::service_account(OPERATORS, &name))
            .await?;
        let kubeconfig = cluster.kubeconfig_via(&proxy, namespace, From::Inside)?;
        let lease = format!("--lease-namespace={namespace}");
        let turns = ["--leader-election", &lease];
        let world = &self.bed.world;
        let operator = start_operator_by(world, &name, &[namespace], &turns, &kubeconfig).await?;
        Ok(Replica {
            name,
            operator,
            proxy,
        })
    }

    async fn holder(&self) -> Result<Option<String>> {
        let leases: Api<Lease> = self.bed.namespace.api();
        let lease = leases.get_opt("evenkeel").await?;
        let holder = lease.and_then(|lease| lease.spec?.holder_identity);
        Ok(holder.filter(|holder| !holder.is_empty()))
    }

    /// The one that leads, and the one that waits.
    async fn turns(&self) -> Result<(&Replica, &Replica)> {
        let holder = self.holder().await?;
        match self.replicas.as_slice() {
            [one, other] if holder.as_ref() == Some(&one.name) => Ok((one, other)),
            [one, other] if holder.as_ref() == Some(&other.name) => Ok((other, one)),
            _ => bail!("the Lease is held by {holder:?}"),
        }
    }

    /// Waits until the Lease is that replica's, and reads from the audit log when it came to it.
    async fn taken_over(&self, before: &Replica, after: &Replica) -> Result<Takeover> {
        until("the other takes over", 3 * LEASE, async || {
            let holder = self.holder().await?;
            Ok((holder.as_ref() == Some(&after.name)).then_some(()))
        })
        .await?;
        let leases = |replica: &Replica| -> Result<Vec<AuditEvent>> {
            let mut writes = self.writes(replica)?;
            writes.retain(|write| write.resource == "leases" && write.code < 300);
            Ok(writes)
        };
        let taken = leases(after)?.first().context("no write of it")?.time;
        let mut renewals = leases(before)?;
        renewals.retain(|renewal| renewal.time < taken);
        let renewed = renewals.last().context("no renewal")?.time;
        let audit = self.bed.world.cluster.audit();
        let asked = audit.requests_by(&after.operator.user, Timestamp::UNIX_EPOCH)?;
        let looks = asked.iter().filter(|request| {
            request.resource == "leases" && request.verb == "get" && request.time < taken
        });
        let mut looks: Vec<Timestamp> = looks.map(|look| look.time).collect();
        looks.push(taken);
        looks.sort_unstable();
        Ok(Takeover {
            renewed,
            taken,
            starved: starved(&looks, renewed)?,
        })
    }

    fn writes(&self, replica: &Replica) -> Result<Vec<AuditEvent>> {
        let audit = self.bed.world.cluster.audit();
        audit.writes_by(&replica.operator.user, Timestamp::UNIX_EPOCH)
    }

    /// Never two writers: whatever one wrote, also what was refused, came before the other took the Lease; and the other's
    /// came after it. Events count too.
    fn one_at_a_time(&self, before: &Replica, after: &Replica, taken: Timestamp) -> Result<()> {
        let work = |replica: &Replica| -> Result<Vec<AuditEvent>> {
            let mut writes = self.writes(replica)?;
            writes.retain(|write| write.resource != "leases");
            Ok(writes)
        };
        let (old, new) = (work(before)?, work(after)?);
        println!("    {} writes before, {} after", old.len(), new.len());
        ensure!(!old.is_empty() && !new.is_empty(), "one wrote nothing");
        let late: Vec<_> = old.iter().filter(|write| write.time >= taken).collect();
        ensure!(late.is_empty(), "written after {taken}: {late:#?}");
        let early: Vec<_> = new.iter().filter(|write| write.time < taken).collect();
        ensure!(early.is_empty(), "written before {taken}: {early:#?}");
        Ok(())
    }

    /// Backends to be kept busy with; without pods, which would only take time.
    async fn busy_backends(&self) -> Result<()> {
        for index in 0..BUSY {
            let name = format!("busy-{index}");
            self.bed.apply(&manifests::backend(&name)).await?;
        }
        for index in 0..BUSY {
            let name = format!("busy-{index}");
            self.bed
                .reason(&name, ServicesReady, "Created", SOON)
                .await?;
        }
        Ok(())
    }

    /// Changes what they ask for, over and over: the leader is always in the middle of something.
    async fn keep_busy(&self) -> Result<()> {
        let backends: Api<GrpcBackend> = self.bed.namespace.api();
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        for round in 0_usize.. {
            for index in 0..BUSY {
                ticks.tick().await;
                let label = json!({"round": round.to_string()});
                let spec = json!({"services": {"headless": {"labels": label}}});
                let patch = Patch::Merge(json!({ "spec": spec }));
                let name = format!("busy-{index}");
                backends
                    .patch(&name, &PatchParams::default(), &patch)
                    .await?;
            }
        }
        Ok(())
    }

    /// Does something while the backends change.
    async fn while_busy<T>(&self, task: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            done = task => done,
            ended = self.keep_busy() => Err(ended.err().context("it ended")?),
        }
    }

    /// Waits until a replica has carried out something new.
    async fn works(&self, replica: &Replica) -> Result<()> {
        let begun = Timestamp::now();
        until(&format!("{} works", replica.name), SOON, async || {
            let writes = self.writes(replica)?;
            let new = |write: &AuditEvent| {
                write.time > begun && write.resource == "services" && write.code < 300
            };
            Ok(writes.iter().any(new).then_some(()))
        })
        .await
    }
}

/// The worst that can happen to a process. Its backend is served on, and is said to be as it was.
async fn a_killed_leader_is_replaced(world: Arc<World>) -> Result<()> {
    let pair = Pair::new(&world, "killed").await?;
    let bed = &pair.bed;
    bed.echo(3).await?;
    bed.apply(&manifests::backend("echo")).await?;
    let target = format!("dns:///echo-headless.{}.svc:8080", bed.name());
    bed.reason("echo", ServicesReady, "Created", SOON).await?;
    let client = bed.client("client", &target, &["--rate=60"]).await?;
    bed.reason("echo", Balanced, "Balanced", Duration::from_mins(1))
        .await?;
    bed.reason("echo", Ready, "AllReady", SOON).await?;
    let before = conditions(bed).await?;
    let (leader, other) = pair.turns().await?;
    let killed = Timestamp::now();
    leader.operator.process.signal(Signal::Kill)?;
    let mut said = BTreeSet::new();
    let takeover = tokio::select! {
        takeover = pair.taken_over(leader, other) => takeover?,
        ended = watch(bed, &mut said) => return ended,
    };
    takeover.in_time(killed)?;
    // Two windows and more, in which the new one judges for itself.
    let judged = Duration::from_secs(30);
    if let Ok(ended) = tokio::time::timeout(judged, watch(bed, &mut said)).await {
        return ended;
    }
    ensure!(
        said == BTreeSet::from([before.clone()]),
        "before: {before}\nsince then: {said:#?}"
    );
    client.stop().await?;
    bed.change(
        "echo",
        &json!({"services": {"headless": {"labels": {"new": "one"}}}}),
    )
    .await?;
    bed.reason("echo", ServicesReady, "Created", SOON).await?;
    pair.one_at_a_time(leader, other, takeover.taken)
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
        said.insert(conditions(bed).await?);
    }
}

/// As in every upgrade: nobody waits for the end of a Lease.
async fn a_leader_that_ends_hands_over(world: Arc<World>) -> Result<()> {
    let pair = Pair::new(&world, "ended").await?;
    pair.busy_backends().await?;
    let (leader, other) = pair.turns().await?;
    let (asked, takeover) = pair
        .while_busy(async {
            pair.works(leader).await?;
            let asked = Timestamp::now();
            leader.operator.process.signal(Signal::Term)?;
            let takeover = pair.taken_over(leader, other).await?;
            pair.works(other).await?;
            Ok((asked, takeover))
        })
        .await?;
    let state = leader.operator.process.wait(SOON).await?;
    ensure!(state.success, "it ended with {:?}", state.exit);
    let (waited, idle) = (takeover.taken - asked, takeover.taken - takeover.renewed);
    let (waited, idle) = (Duration::try_from(waited)?, Duration::try_from(idle)?);
    println!("    taken {waited:.1?} after the signal, {idle:.1?} after the release");
    ensure!(idle <= RENEWAL, "taken {idle:?} after it was given up");
    ensure!(waited <= LEASE / 2, "taken {waited:?} after the signal");
    pair.one_at_a_time(leader, other, takeover.taken)
}

/// It does not know that it is cut off; its requests are under way for ever, and arrive when the cut heals unless it gives
/// them up.
async fn a_leader_that_is_cut_off_stops_writing(world: Arc<World>) -> Result<()> {
    let pair = Pair::new(&world, "cut").await?;
    pair.busy_backends().await?;
    let (leader, other) = pair.turns().await?;
    let way: SocketAddr = leader
        .proxy
        .url(From::Inside)
        .trim_start_matches("http://")
        .parse()?;
    let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
    let takeover = pair
        .while_busy(async {
            pair.works(leader).await?;
            let fault = Timestamp::now();
            let cut = world
                .cluster
                .cut(Endpoint::from(way), Endpoint::from(loopback))
                .await?;
            let takeover = pair.taken_over(leader, other).await?;
            let runs = leader.operator.process.is_running();
            ensure!(!runs, "the one that was cut off goes on");
            takeover.in_time(fault)?;
            cut.heal().await?;
            pair.works(other).await?;
            Ok(takeover)
        })
        .await?;
    // The kernel sends again after at most as long as it has been trying already.
    tokio::time::sleep(2 * LEASE).await;
    pair.one_at_a_time(leader, other, takeover.taken)
}

/// A process on a node that stands still finds much to do when it goes on, and has decided much already. Its Lease is gone;
/// and to ask for it takes longer than to write.
async fn a_frozen_leader_writes_nothing_when_it_wakes(world: Arc<World>) -> Result<()> {
    let pair = Pair::new(&world, "frozen").await?;
    pair.busy_backends().await?;
    let (leader, other) = pair.turns().await?;
    let slow = |seen: &evenkeel_cluster::Seen| seen.resource == "leases";
    let takeover = pair
        .while_busy(async {
            pair.works(leader).await?;
            let fault = Timestamp::now();
            leader.operator.process.signal(Signal::Stop)?;
            let takeover = pair.taken_over(leader, other).await?;
            takeover.in_time(fault)?;
            pair.works(other).await?;
            leader
                .proxy
                .add(Rule::new(slow, Fault::Delay(Duration::from_secs(2))));
            leader.operator.process.signal(Signal::Cont)?;
            let state = leader.operator.process.wait(LEASE).await?;
            ensure!(!state.success, "it ended with {:?}", state.exit);
            pair.works(other).await?;
            Ok(takeover)
        })
        .await?;
    let log = leader.operator.process.log_text()?;
    ensure!(
        log.contains("the Lease is lost"),
        "it does not say why it ended"
    );
    pair.one_at_a_time(leader, other, takeover.taken)
}
