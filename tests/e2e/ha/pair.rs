//! Two operators in one namespace, and what is known of who acts.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use evenkeel::api::ConditionType::ServicesReady;
use evenkeel::api::GrpcBackend;
use evenkeel_cluster::{AuditEvent, From, Identity, Proxy, until};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::seen::{self, Watch};
use crate::bed::{Bed, Operator, SOON, start_operator_by};
use crate::manifests;
use crate::world::{OPERATORS, World};

/// What the Lease says of itself.
pub const LEASE: Duration = Duration::from_secs(15);
/// How often one that waits looks at it.
const LOOK: Duration = Duration::from_secs(1);
/// Seen unchanged for so long, it is taken: by then all that its holder sent has arrived or is dead.
const SAFE: Duration = Duration::from_secs(13);
/// A look of the test's that is no later than this was not kept from it.
const PROMPT: Duration = Duration::from_millis(500);
/// A run in which it was kept from looking for longer, half a lease duration, shows nothing.
const MARGIN: Duration = Duration::from_millis(7500);
/// The API server's word for a request whose sender is gone.
const GIVEN_UP: u16 = 504;
/// As many as have passes under way at once.
const BUSY: usize = 8;

/// A namespace with two operators.
pub struct Pair {
    pub bed: Bed,
    replicas: Vec<Replica>,
    watch: Watch,
}

pub struct Replica {
    pub name: String,
    pub operator: Operator,
    pub proxy: Proxy,
}

/// One replica took over from another.
pub struct Takeover {
    /// When the last renewal of the one before reached the API server.
    pub renewed: Timestamp,
    /// When the other took the Lease.
    pub taken: Timestamp,
    /// For how long the test itself was kept from looking at the Lease, by a machine that is slow.
    starved: Duration,
}

impl Takeover {
    /// Not before the one before is surely silent, and within one lease duration, but for the time that nothing ran in.
    pub fn in_time(&self, fault: Timestamp) -> Result<()> {
        let (idle, waited) = (self.taken - self.renewed, self.taken - fault);
        let (idle, waited) = (Duration::try_from(idle)?, Duration::try_from(waited)?);
        let starved = self.starved;
        println!(
            "    taken {idle:.1?} after the last renewal, {waited:.1?} after the fault; {starved:.1?} of it starved"
        );
        ensure!(idle >= SAFE, "taken {idle:?} after the last renewal");
        self.within(LEASE, idle)
    }

    /// At the next look after it was given up, as far as anything ran; what was under way when it was asked to end is carried out
    /// before.
    pub fn at_once(&self, asked: Timestamp) -> Result<()> {
        let (idle, waited) = (self.taken - self.renewed, self.taken - asked);
        let (idle, waited) = (Duration::try_from(idle)?, Duration::try_from(waited)?);
        println!("    taken {waited:.1?} after the signal, {idle:.1?} after the release");
        self.within(2 * LOOK, idle)?;
        self.within(LEASE / 2, waited)
    }

    fn within(&self, bound: Duration, idle: Duration) -> Result<()> {
        let starved = self.starved;
        ensure!(starved <= MARGIN, "starved for {starved:?}");
        ensure!(
            idle <= bound + starved,
            "taken after {idle:?}, {starved:?} of it starved: {bound:?} is the bound"
        );
        Ok(())
    }
}

/// By how much looks between then and then were further apart than they are meant to be: nothing on a machine that has time for them.
fn starved(looks: &[Timestamp], since: Timestamp, until: Timestamp) -> Result<Duration> {
    let within = looks.iter().filter(|look| (since..until).contains(*look));
    let looks: Vec<_> = [&since].into_iter().chain(within).chain([&until]).collect();
    let pairs = looks.windows(2);
    let late = pairs.map(|pair| Ok(Duration::try_from(*pair[1] - *pair[0])?.saturating_sub(LOOK)));
    let late = late.collect::<Result<Vec<_>>>()?.into_iter();
    Ok(late.filter(|late| *late > PROMPT).sum())
}

impl Pair {
    /// Both run, and one of them leads.
    pub async fn new(world: &Arc<World>, prefix: &str) -> Result<Self> {
        world.prepare().await?;
        let bed = Bed::without_operator(world, prefix).await?;
        let mut pair = Self {
            watch: Watch::begin(&bed.namespace, LOOK),
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
    pub async fn turns(&self) -> Result<(&Replica, &Replica)> {
        let holder = self.holder().await?;
        match self.replicas.as_slice() {
            [one, other] if holder.as_ref() == Some(&one.name) => Ok((one, other)),
            [one, other] if holder.as_ref() == Some(&other.name) => Ok((other, one)),
            _ => bail!("the Lease is held by {holder:?}"),
        }
    }

    /// Waits until the Lease is that replica's, and reads from the audit log when it came to it.
    pub async fn taken_over(&self, before: &Replica, after: &Replica) -> Result<Takeover> {
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
        Ok(Takeover {
            renewed,
            taken,
            starved: starved(&self.watch.looks(), renewed, taken)?,
        })
    }

    fn writes(&self, replica: &Replica) -> Result<Vec<AuditEvent>> {
        let audit = self.bed.world.cluster.audit();
        audit.writes_by(&replica.operator.user, Timestamp::UNIX_EPOCH)
    }

    /// Never two writers: whatever one wrote, also what was refused, came before the other took the Lease; and the other's
    /// came after it. Events count too. Left out is what the API server gave up, since its sender had ended, if nothing came of it: a process
    /// that is stopped in the middle of sending goes on when it wakes.
    pub async fn one_at_a_time(
        &self,
        before: &Replica,
        after: &Replica,
        taken: Timestamp,
    ) -> Result<()> {
        let work = |replica: &Replica| -> Result<Vec<AuditEvent>> {
            let mut writes = self.writes(replica)?;
            writes.retain(|write| write.resource != "leases");
            Ok(writes)
        };
        let (old, new) = (work(before)?, work(after)?);
        println!("    {} writes before, {} after", old.len(), new.len());
        ensure!(!old.is_empty() && !new.is_empty(), "one wrote nothing");
        let late = old.iter().filter(|write| write.time >= taken);
        let (given_up, late): (Vec<_>, Vec<_>) = late.partition(|write| write.code == GIVEN_UP);
        ensure!(late.is_empty(), "written after {taken}: {late:#?}");
        let early: Vec<_> = new.iter().filter(|write| write.time < taken).collect();
        ensure!(early.is_empty(), "written before {taken}: {early:#?}");
        self.came_to_nothing(&given_up).await
    }

    /// Of every object no more versions were stored than were asked for by writes that were answered, or given up by somebody else. All
    /// are counted each time: a count that is tried only when a write is given up would be tried hardly ever.
    async fn came_to_nothing(&self, given_up: &[&AuditEvent]) -> Result<()> {
        let (audit, namespace) = (self.bed.world.cluster.audit(), self.bed.name());
        for write in given_up {
            println!("    given up after it: {} {}", write.verb, write.uri);
            ensure!(
                seen::RESOURCES.contains(&write.resource.as_str()),
                "not watched: {write:#?}"
            );
        }
        let stored = self.watch.stored();
        // What was stored has its line in the log with its answer, which may be on its way.
        until("each version was asked for", SOON, async || {
            let mut asked = audit.requests(Timestamp::UNIX_EPOCH)?;
            asked.retain(|write| {
                let answered = write.code < 300 || write.code == GIVEN_UP;
                let counts = answered && !given_up.contains(&write);
                write.is_write() && write.namespace == namespace && counts
            });
            for ((resource, name), versions) in &stored {
                let of = |write: &&AuditEvent| write.resource == *resource && write.name == *name;
                let asked = asked.iter().filter(of).count();
                ensure!(
                    *versions <= asked,
                    "{versions} versions of {resource}/{name}, {asked} writes"
                );
            }
            Ok(Some(()))
        })
        .await?;
        println!(
            "    {} versions, each asked for",
            stored.values().sum::<usize>()
        );
        Ok(())
    }

    /// Backends to be kept busy with; without pods, which would only take time.
    pub async fn busy_backends(&self) -> Result<()> {
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
        let mut refused = 0;
        for round in 0_usize.. {
            for index in 0..BUSY {
                ticks.tick().await;
                let label = json!({"round": round.to_string()});
                let spec = json!({"services": {"headless": {"labels": label}}});
                let patch = Patch::Merge(json!({ "spec": spec }));
                let name = format!("busy-{index}");
                match backends.patch(&name, &PatchParams::default(), &patch).await {
                    Ok(_) => refused = 0,
                    // One that a busy machine did not answer in time is followed by others.
                    Err(_) if refused < BUSY => refused += 1,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Does something while the backends change.
    pub async fn while_busy<T>(&self, task: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            done = task => done,
            ended = self.keep_busy() => Err(ended.err().context("it ended")?),
        }
    }

    /// Waits until a replica has carried out something new.
    pub async fn works(&self, replica: &Replica) -> Result<()> {
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
