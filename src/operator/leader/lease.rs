//! Holds the Lease. Whoever cannot renew it in time must end: see [`Leadership::lost`].

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::Term;
use super::decide::{self, DEADLINE, DURATION, Decision, LOOK, RETRY, decide, pause};
use super::term::Moment;
use crate::names;

/// For one request, and a renewal is one as a rule: after one without an answer there is time to read the Lease and to write it, if
/// answers come at once then.
const TIMEOUT: Duration = Duration::from_secs(3);
/// A renewal that is still under way can come between: the Lease is then read once more.
const RELEASES: usize = 3;

/// Where the Lease is, and who asks for it.
#[derive(Clone, Debug)]
pub struct LeaseSettings {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// This process.
    pub identity: String,
}

/// The Lease while it is held.
pub struct Leadership {
    holder: Holder,
    term: Term,
    renewal: JoinHandle<()>,
}

impl Leadership {
    /// For all that writes.
    pub fn term(&self) -> Term {
        self.term.clone()
    }

    /// Ends when the Lease could not be renewed in time: by then nothing is written any more.
    pub async fn lost(&mut self) {
        let _ = (&mut self.renewal).await;
    }

    /// Gives the Lease up, so that the next one need not wait for its end: when nothing of ours can arrive any more. Until then it
    /// is not renewed, which is time enough: as much as after a crash.
    pub async fn release(self) {
        self.renewal.abort();
        self.term.end();
        if let Some(silent) = self.term.silent_from() {
            tokio::time::sleep_until(silent).await;
        }
        if tokio::time::timeout(2 * TIMEOUT, self.holder.give_up())
            .await
            .is_err()
        {
            tracing::warn!(
                lease = self.holder.settings.name,
                "could not give the Lease up: it ends by itself"
            );
        }
    }
}

/// Waits until the Lease is ours, or until `stop`.
pub async fn acquire(
    client: Client,
    settings: LeaseSettings,
    stop: &CancellationToken,
) -> Option<Leadership> {
    let holder = Holder {
        api: Api::namespaced(client, &settings.namespace),
        settings,
    };
    let term = Term::default();
    let mut seen = Seen::default();
    let mut wait = Duration::ZERO;
    let taken = loop {
        tokio::select! {
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(wait) => {}
        }
        let begun = Moment::now();
        match holder.attempt(&mut seen).await {
            Ok(Some(taken)) => {
                term.renewed(begun);
                break taken;
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, lease = holder.settings.name, "could not take the Lease");
            }
        }
        wait = pause(seen.age(), begun.elapsed());
    };
    tracing::info!(
        lease = holder.settings.name,
        identity = holder.settings.identity,
        "this process is the leader"
    );
    let renewal = tokio::spawn(holder.clone().hold(term.clone(), taken));
    Some(Leadership {
        holder,
        term,
        renewal,
    })
}

#[derive(Clone)]
struct Holder {
    api: Api<Lease>,
    settings: LeaseSettings,
}

/// The Lease as it was first seen like this, by this process's own clock.
#[derive(Default)]
struct Seen {
    version: Option<String>,
    since: Option<Instant>,
    /// Whether another held it when it was last there.
    held: bool,
}

impl Seen {
    fn look(&mut self, lease: Option<&Lease>) {
        let version = lease.and_then(|lease| lease.metadata.resource_version.clone());
        if self.version != version || self.since.is_none() {
            self.version = version;
            self.since = Some(Instant::now());
        }
        if let Some(lease) = lease {
            self.held = holder(lease).is_some();
        }
    }

    fn age(&self) -> Duration {
        self.since.map(|since| since.elapsed()).unwrap_or_default()
    }
}

fn holder(lease: &Lease) -> Option<&String> {
    let holder = lease.spec.as_ref()?.holder_identity.as_ref();
    holder.filter(|name| !name.is_empty())
}

impl Holder {
    /// Takes the Lease where that is allowed, and returns it as it is then.
    async fn attempt(&self, seen: &mut Seen) -> anyhow::Result<Option<Lease>> {
        let lease = self.get().await?;
        seen.look(lease.as_ref());
        match self.decide(lease.as_ref(), seen) {
            Decision::Wait => Ok(None),
            Decision::Create => self.write(None, Some(&self.settings.identity)).await,
            Decision::Take => self.write(lease, Some(&self.settings.identity)).await,
        }
    }

    fn decide(&self, lease: Option<&Lease>, seen: &Seen) -> Decision {
        let holder = match lease.map(holder) {
            None if seen.held => decide::Holder::Deleted,
            None => decide::Holder::NoLease,
            Some(Some(name)) => decide::Holder::Is(name),
            Some(None) => decide::Holder::Nobody,
        };
        decide(&holder, &self.settings.identity, seen.age())
    }

    /// Returns when the Lease is lost, and at the end of the term at the latest, whatever a request waits for then.
    async fn hold(self, term: Term, taken: Lease) {
        tokio::select! {
            biased;
            () = term.over() => tracing::error!(
                lease = self.settings.name,
                "the Lease could not be renewed in {} s",
                DEADLINE.as_secs()
            ),
            () = self.renew(&term, taken) => {
                term.end();
                tracing::error!(
                    lease = self.settings.name,
                    "the Lease is gone, or another process holds it"
                );
            }
        }
    }

    /// Only what is still ours is renewed: what was free in between, even for a moment, may have had another holder.
    ///
    /// As a rule that takes one request: the Lease as the last write left it is written over, and nobody has touched it if that is
    /// taken. It is read only where that is not known.
    async fn renew(&self, term: &Term, taken: Lease) {
        let mut ticks = tokio::time::interval(RETRY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ours = Some(taken);
        loop {
            ticks.tick().await;
            let begun = Moment::now();
            let renewed = async {
                let lease = match ours.take() {
                    None => self.get().await?,
                    known => known,
                };
                if lease.as_ref().and_then(holder) == Some(&self.settings.identity) {
                    self.write(lease, Some(&self.settings.identity))
                        .await
                        .map(Some)
                } else {
                    Ok(None)
                }
            };
            match renewed.await {
                Ok(Some(Some(written))) => {
                    term.renewed(begun);
                    ours = Some(written);
                }
                // Somebody wrote between: the next look says who.
                Ok(Some(None)) => ticks.reset_immediately(),
                Ok(None) => return,
                Err(error) => {
                    let error: anyhow::Error = error;
                    tracing::warn!(%error, lease = self.settings.name, "could not renew the Lease");
                    // After one that failed at once too there is time for several more.
                    ticks.reset_after(LOOK.saturating_sub(begun.elapsed()));
                }
            }
        }
    }

    async fn give_up(&self) {
        for _ in 0..RELEASES {
            match self.get().await {
                Ok(Some(lease)) if holder(&lease) == Some(&self.settings.identity) => {
                    if let Ok(Some(_)) | Err(_) = self.write(Some(lease), None).await {
                        return;
                    }
                }
                _ => return,
            }
        }
    }

    async fn get(&self) -> anyhow::Result<Option<Lease>> {
        Ok(tokio::time::timeout(TIMEOUT, self.api.get_opt(&self.settings.name)).await??)
    }

    /// With the version that was read: of two that write at once, one is refused, and has nothing back.
    async fn write(
        &self,
        before: Option<Lease>,
        identity: Option<&String>,
    ) -> anyhow::Result<Option<Lease>> {
        let now = MicroTime(Timestamp::now());
        let params = PostParams {
            field_manager: Some(names::MANAGER.into()),
            ..PostParams::default()
        };
        let mut lease = before.unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name: Some(self.settings.name.clone()),
                ..ObjectMeta::default()
            },
            spec: None,
        });
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        // To be given up is no transition: the next holder counts.
        if identity.is_some() && spec.holder_identity.as_ref() != identity {
            let before = spec.lease_transitions;
            spec.lease_transitions = Some(before.map_or(0, |count| count.saturating_add(1)));
            spec.acquire_time = Some(now.clone());
        }
        spec.holder_identity = identity.cloned();
        spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
        spec.renew_time = Some(now);
        let written = async {
            if lease.metadata.resource_version.is_none() {
                self.api.create(&params, &lease).await
            } else {
                self.api.replace(&self.settings.name, &params, &lease).await
            }
        };
        match tokio::time::timeout(TIMEOUT, written).await? {
            Ok(written) => Ok(Some(written)),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
