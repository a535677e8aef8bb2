//! A workload that serves, of whichever kind: what the decisions need of it, and nothing that only one kind has.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Container, Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;

use super::Amount;

/// Counts the templates of a Deployment.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// Which template a ReplicaSet and its pods are of.
const TEMPLATE_HASH: &str = "pod-template-hash";

/// The kinds whose pods serve and whose template can be patched.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// Its pods are alike; ReplicaSets own them.
    Deployment,
    /// Its pods have a name and a place of their own.
    StatefulSet,
    /// One pod for each node.
    DaemonSet,
}

impl Kind {
    /// As manifests write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
        }
    }

    /// As kubectl takes it.
    pub const fn resource(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::StatefulSet => "statefulset",
            Self::DaemonSet => "daemonset",
        }
    }
}

/// What becomes of the pods when the template changes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Update {
    /// They are replaced, a few at a time.
    Rolling,
    /// They are all stopped first.
    Recreate,
    /// All but this many are replaced: the `partition` of a StatefulSet.
    AllBut(i32),
    /// They stay until somebody deletes them.
    OnDelete,
}

/// What the controller of the workload has got to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// The generation that it has seen.
    pub generation: Option<i64>,
    /// Pods that exist.
    pub existing: i32,
    /// Pods of the newest template.
    pub updated: i32,
    /// Pods that have been ready for long enough.
    pub available: i32,
    /// A rollout has made no progress in its time.
    pub deadline_exceeded: bool,
    /// What that time is: a Deployment's `progressDeadlineSeconds`, unless they are the most that there can be, which stands for no
    /// deadline. Zero: it has none.
    pub deadline: Duration,
}

/// A workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Its kind.
    pub kind: Kind,
    /// Name, annotations and so on.
    pub metadata: ObjectMeta,
    /// What its pods are made from.
    pub template: PodTemplateSpec,
    /// Pods asked for; of a DaemonSet the nodes that are to have one.
    pub replicas: i32,
    /// How pods follow the template.
    pub update: Update,
    /// Pods that a rollout may make beyond those asked for.
    pub surge: Amount,
    /// Pods that may be missing during a rollout.
    pub missing: Amount,
    /// How long a pod must be ready before the next is replaced.
    pub min_ready_seconds: i32,
    /// `spec.paused`, which only Deployments have.
    pub paused: bool,
    /// One pod after the other, each only when those before it are ready: the `podManagementPolicy` of most StatefulSets.
    pub ordered: bool,
    /// Where it stands.
    pub progress: Progress,
}

impl Workload {
    /// Pods that are replaced at the same time where there are so many.
    pub fn at_once(&self, pods: i64) -> i64 {
        self.surge.of(pods).saturating_add(self.missing.of(pods))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Its containers.
    pub fn containers(&self) -> &[Container] {
        let spec = self.template.spec.as_ref();
        spec.map_or(&[], |pod| &pod.containers)
    }

    /// The ConfigMaps that its pods mount or have variables of.
    pub fn config_maps(&self) -> impl Iterator<Item = &str> {
        let pods = self.template.spec.iter();
        let mounted = pods
            .flat_map(|pod| pod.volumes.iter().flatten())
            .flat_map(|volume| {
                let projected = volume.projected.iter();
                let parts = projected.flat_map(|own| own.sources.iter().flatten());
                let parts = parts.filter_map(|own| Some(own.config_map.as_ref()?.name.as_str()));
                let whole = volume.config_map.iter().map(|own| own.name.as_str());
                whole.chain(parts)
            });
        let variables = self.containers().iter().flat_map(|own| {
            let all = own.env_from.iter().flatten();
            let all = all.filter_map(|own| Some(own.config_map_ref.as_ref()?.name.as_str()));
            let each = own.env.iter().flatten().filter_map(|own| {
                let from = own.value_from.as_ref()?.config_map_key_ref.as_ref()?;
                Some(from.name.as_str())
            });
            all.chain(each)
        });
        mounted.chain(variables)
    }

    /// An annotation of the workload itself.
    pub fn annotation(&self, key: &str) -> Option<&String> {
        self.metadata.annotations.as_ref()?.get(key)
    }

    /// Whether its pods carry all of `selector`.
    pub fn is_selected(&self, selector: &BTreeMap<String, String>) -> bool {
        labels(&self.template).is_some_and(|labels| super::selects(selector, labels))
    }

    /// Whether its controller has seen the last change.
    pub fn is_seen(&self) -> bool {
        self.progress.generation >= self.metadata.generation
    }

    /// Whether pods are being replaced, or made: nothing should come in between.
    pub fn is_rolling(&self) -> bool {
        let settled = self.settled();
        !self.is_seen()
            || self.update != Update::OnDelete
                && (settled < self.replicas || self.progress.existing > settled)
    }

    /// Whether pods are being replaced by ones of another template. Scaling is no rollout.
    pub fn is_replacing(&self) -> bool {
        !self.is_seen()
            || self.update != Update::OnDelete && self.settled() < self.progress.existing
    }

    /// Pods that a rollout leaves as they are from here on.
    fn settled(&self) -> i32 {
        let kept = match self.update {
            Update::AllBut(kept) => kept.min(self.replicas),
            Update::Rolling | Update::Recreate | Update::OnDelete => 0,
        };
        self.progress.updated.saturating_add(kept)
    }

    /// Counts changes: of a Deployment those of its template, of the others those of their spec.
    pub fn revision(&self) -> i64 {
        match self.kind {
            Kind::Deployment => self
                .annotation(REVISION)
                .and_then(|revision| revision.parse().ok())
                .unwrap_or(0),
            Kind::StatefulSet | Kind::DaemonSet => self.metadata.generation.unwrap_or(0),
        }
    }

    /// Tells one template from another, whatever else is changed: the same text for the same template, by FNV-1a, which is the
    /// same in every version of the operator.
    pub fn fingerprint(&self) -> String {
        let text = serde_json::to_vec(&self.template).unwrap_or_default();
        let hash = text.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        format!("{hash:016x}")
    }

    /// Whether a program sets its replicas by the `scale` subresource, as autoscalers of every kind do; `kubectl scale` is a
    /// person's. It can be told without a right to read autoscalers.
    pub fn is_scaled(&self) -> bool {
        let mut entries = self.metadata.managed_fields.iter().flatten();
        entries.any(|entry| {
            let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
            entry.subresource.as_deref() == Some("scale")
                && fields.is_some_and(|fields| !fields["f:spec"]["f:replicas"].is_null())
                && !entry
                    .manager
                    .as_deref()
                    .is_some_and(|own| own.starts_with("kubectl"))
        })
    }

    /// Whether a pod is one of its own.
    pub fn owns(&self, pod: &Pod) -> bool {
        if self.kind != Kind::Deployment {
            let uid = self.metadata.uid.as_ref();
            return pod
                .owner_references()
                .iter()
                .any(|owner| Some(&owner.uid) == uid);
        }
        // They belong to a ReplicaSet that is named after the Deployment and the hash of the template.
        let Some(hash) = pod.labels().get(TEMPLATE_HASH) else {
            return false;
        };
        let replica_set = format!("{}-{hash}", self.name());
        pod.owner_references()
            .iter()
            .any(|owner| owner.kind == "ReplicaSet" && owner.name == replica_set)
    }
}

/// As a person would call it: `StatefulSet db`.
impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.name())
    }
}

/// An object with pods made from a template.
pub trait Serves {
    /// What its pods are made from.
    fn template(&self) -> Option<&PodTemplateSpec>;
}

impl Serves for Deployment {
    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref().map(|spec| &spec.template)
    }
}

impl Serves for StatefulSet {
    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref().map(|spec| &spec.template)
    }
}

impl Serves for DaemonSet {
    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref().map(|spec| &spec.template)
    }
}

/// The labels of the pods.
pub fn labels(template: &PodTemplateSpec) -> Option<&BTreeMap<String, String>> {
    template.metadata.as_ref()?.labels.as_ref()
}

impl From<Deployment> for Workload {
    fn from(object: Deployment) -> Self {
        let spec = object.spec.unwrap_or_default();
        let status = object.status.unwrap_or_default();
        let replicas = spec.replicas.unwrap_or(1);
        let strategy = spec.strategy.unwrap_or_default();
        let rolling = strategy.rolling_update.unwrap_or_default();
        let surge = Amount::new(&rolling.max_surge.unwrap_or_else(Amount::quarter), true);
        let missing = Amount::new(
            &rolling.max_unavailable.unwrap_or_else(Amount::quarter),
            false,
        );
        let stuck = status.conditions.iter().flatten().any(|condition| {
            condition.type_ == "Progressing"
                && condition.status == "False"
                && condition.reason.as_deref() == Some("ProgressDeadlineExceeded")
        });
        Self {
            kind: Kind::Deployment,
            metadata: object.metadata,
            template: spec.template,
            replicas,
            update: match strategy.type_.as_deref() {
                Some("Recreate") => Update::Recreate,
                _ => Update::Rolling,
            },
            surge,
            missing,
            min_ready_seconds: spec.min_ready_seconds.unwrap_or(0),
            paused: spec.paused == Some(true),
            ordered: false,
            progress: Progress {
                generation: status.observed_generation,
                existing: status.replicas.unwrap_or(0),
                updated: status.updated_replicas.unwrap_or(0),
                available: status.available_replicas.unwrap_or(0),
                deadline_exceeded: stuck,
                deadline: spec
                    .progress_deadline_seconds
                    .filter(|seconds| *seconds != i32::MAX)
                    .map_or(Duration::ZERO, |own| {
                        Duration::from_secs(own.unsigned_abs().into())
                    }),
            },
        }
    }
}

impl From<StatefulSet> for Workload {
    fn from(object: StatefulSet) -> Self {
        let spec = object.spec.unwrap_or_default();
        let status = object.status.unwrap_or_default();
        let strategy = spec.update_strategy.unwrap_or_default();
        let rolling = strategy.rolling_update.unwrap_or_default();
        let replicas = spec.replicas.unwrap_or(1);
        Self {
            kind: Kind::StatefulSet,
            metadata: object.metadata,
            template: spec.template,
            replicas,
            update: match (strategy.type_.as_deref(), rolling.partition) {
                (Some("OnDelete"), _) => Update::OnDelete,
                (_, Some(kept)) if kept > 0 => Update::AllBut(kept),
                _ => Update::Rolling,
            },
            surge: Amount::Pods(0),
            missing: rolling
                .max_unavailable
                .map_or(Amount::Pods(1), |most| Amount::new(&most, false)),
            min_ready_seconds: spec.min_ready_seconds.unwrap_or(0),
            paused: false,
            ordered: spec.pod_management_policy.as_deref() != Some("Parallel"),
            progress: Progress {
                generation: status.observed_generation,
                existing: status.replicas,
                updated: status.updated_replicas.unwrap_or(0),
                available: status.available_replicas.unwrap_or(0),
                deadline_exceeded: false,
                deadline: Duration::ZERO,
            },
        }
    }
}

impl From<DaemonSet> for Workload {
    fn from(object: DaemonSet) -> Self {
        let spec = object.spec.unwrap_or_default();
        let status = object.status.unwrap_or_default();
        let strategy = spec.update_strategy.unwrap_or_default();
        let rolling = strategy.rolling_update.unwrap_or_default();
        let replicas = status.desired_number_scheduled;
        let most = |value: Option<IntOrString>, default| {
            value.map_or(Amount::Pods(default), |most| Amount::new(&most, true))
        };
        Self {
            kind: Kind::DaemonSet,
            metadata: object.metadata,
            template: spec.template,
            replicas,
            update: match strategy.type_.as_deref() {
                Some("OnDelete") => Update::OnDelete,
                _ => Update::Rolling,
            },
            surge: most(rolling.max_surge, 0),
            missing: most(rolling.max_unavailable, 1),
            min_ready_seconds: spec.min_ready_seconds.unwrap_or(0),
            paused: false,
            ordered: false,
            progress: Progress {
                generation: status.observed_generation,
                existing: status.current_number_scheduled,
                updated: status.updated_number_scheduled.unwrap_or(0),
                available: status.number_available.unwrap_or(0),
                deadline_exceeded: false,
                deadline: Duration::ZERO,
            },
        }
    }
}
