//! Holds the Lease. Whoever cannot renew it in time must end: see [`Leadership::lost`].

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::decide::{self, DEADLINE, DURATION, Decision, RETRY, decide};
use crate::names;

/// For one request, so that several tries fit before the deadline.
const TIMEOUT: Duration = Duration::from_secs(3);

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
    renewal: JoinHandle<()>,
}

impl Leadership {
    /// Ends when the Lease could not be renewed in time: by then nothing may be written any more.
    pub async fn lost(&mut self) {
        let _ = (&mut self.renewal).await;
    }

    /// Gives the Lease up, so that the next one need not wait for its end.
    pub async fn release(self) {
        self.renewal.abort();
        if let Ok(Some(lease)) = self.holder.get().await
            && holder(&lease) == Some(&self.holder.settings.identity)
        {
            let _ = self.holder.write(Some(lease), None).await;
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
    let mut seen = Seen::default();
    let mut ticks = tokio::time::interval(RETRY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return None,
            _ = ticks.tick() => {}
        }
        match holder.attempt(&mut seen).await {
            Ok(true) => break,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, lease = holder.settings.name, "could not take the Lease");
            }
        }
    }
    tracing::info!(
        lease = holder.settings.name,
        identity = holder.settings.identity,
        "this process is the leader"
    );
    let renewal = tokio::spawn(holder.clone().renew());
    Some(Leadership { holder, renewal })
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
}

impl Seen {
    fn unchanged(&mut self, lease: Option<&Lease>) -> Duration {
        let version = lease.and_then(|lease| lease.metadata.resource_version.clone());
        if self.version != version || self.since.is_none() {
            self.version = version;
            self.since = Some(Instant::now());
        }
        self.since.map(|since| since.elapsed()).unwrap_or_default()
    }
}

fn holder(lease: &Lease) -> Option<&String> {
    lease.spec.as_ref()?.holder_identity.as_ref()
}

impl Holder {
    /// Whether the Lease is ours now.
    async fn attempt(&self, seen: &mut Seen) -> anyhow::Result<bool> {
        let lease = self.get().await?;
        let unchanged = seen.unchanged(lease.as_ref());
        let holder = match lease.as_ref().map(holder) {
            None => decide::Holder::NoLease,
            Some(Some(name)) if !name.is_empty() => decide::Holder::Is(name),
            Some(_) => decide::Holder::Nobody,
        };
        match decide(&holder, &self.settings.identity, unchanged) {
            Decision::Wait => Ok(false),
            Decision::Create => self.write(None, Some(&self.settings.identity)).await,
            Decision::Take | Decision::Renew => {
                self.write(lease, Some(&self.settings.identity)).await
            }
        }
    }

    /// Returns when the Lease is lost.
    async fn renew(self) {
        let mut renewed = Instant::now();
        let mut ticks = tokio::time::interval(RETRY);
        let mut seen = Seen::default();
        while renewed.elapsed() < DEADLINE {
            ticks.tick().await;
            let begun = Instant::now();
            match self.attempt(&mut seen).await {
                // From the beginning of the request: the answer may have been long on its way.
                Ok(true) => renewed = begun,
                Ok(false) => {
                    tracing::error!(
                        lease = self.settings.name,
                        "another process holds the Lease"
                    );
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, lease = self.settings.name, "could not renew the Lease");
                }
            }
        }
        tracing::error!(
            lease = self.settings.name,
            "the Lease could not be renewed in {} s",
            DEADLINE.as_secs()
        );
    }

    async fn get(&self) -> anyhow::Result<Option<Lease>> {
        Ok(tokio::time::timeout(TIMEOUT, self.api.get_opt(&self.settings.name)).await??)
    }

    /// With the version that was read: of two that write at once, one is refused.
    async fn write(
        &self,
        before: Option<Lease>,
        identity: Option<&String>,
    ) -> anyhow::Result<bool> {
        let now = MicroTime(Timestamp::now());
        let params = PostParams {
            field_manager: Some(names::MANAGER.into()),
            ..PostParams::default()
        };
        let fresh = before.is_none();
        let mut lease = before.unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name: Some(self.settings.name.clone()),
                ..ObjectMeta::default()
            },
            spec: None,
        });
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        if spec.holder_identity.as_ref() != identity {
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
            spec.acquire_time = Some(now.clone());
        }
        spec.holder_identity = identity.cloned();
        spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
        spec.renew_time = Some(now);
        let written = async {
            if fresh {
                self.api.create(&params, &lease).await
            } else {
                self.api.replace(&self.settings.name, &params, &lease).await
            }
        };
        match tokio::time::timeout(TIMEOUT, written).await? {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
