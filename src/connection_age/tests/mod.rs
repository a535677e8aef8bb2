//! A small world of plain objects: a backend, its Deployments and their pods, and what becomes of them when a plan is carried out.

#![allow(clippy::unwrap_used)]

mod attempts;
mod confirm;
mod conflicts;
mod failures;
mod hidden;
mod injection;
mod kinds;
mod lent;
mod list_flag;
mod places;
mod presets;
mod properties;
mod records;
mod removal;
mod reverts;
mod timing;
mod trial;
mod turns;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::{Change, Permit, Plan, Step, confirmed, plan, release};
use crate::api::conditions::State;
use crate::api::{GrpcBackend, GrpcBackendStatus};
use crate::names;
use crate::observed::{Observed, Workload};

/// No rollout may start.
const FULL: Permit = Permit {
    rollout: false,
    ..FREE
};
const FREE: Permit = Permit {
    rollout: true,
    deadline: std::time::Duration::from_mins(10),
};

fn now() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

fn after(minutes: i64) -> Timestamp {
    now() + SignedDuration::from_mins(minutes)
}

/// The knob of most tests.
fn env_age() -> Value {
    json!({"maxAge": "1m", "grace": "30s", "knob": {"env": {"maxAge": "AGE", "grace": "GRACE"}}})
}

fn flag_age() -> Value {
    json!({"maxAge": "1m", "knob": {"flags": {"maxAge": "--max-age"}}})
}

fn switch_age() -> Value {
    json!({"maxAge": "1m", "knob": {"switch": {"flag": "-age", "implies": "1m"}}})
}

fn backend(name: &str, created: &str, age: Option<Value>) -> GrpcBackend {
    let mut spec = json!({"selector": {"app": "echo"}, "ports": [{"port": 8081}]});
    if let Some(age) = age {
        spec["connectionAge"] = age;
    }
    serde_json::from_value(json!({
        "apiVersion": "evenkeel.dev/v1alpha1", "kind": "GrpcBackend",
        "metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}"), "generation": 1, "creationTimestamp": created},
        "spec": spec,
    }))
    .unwrap()
}

/// A Deployment with one container `srv` that declares 8081, at rest.
fn deployment(name: &str, container: &Value) -> Value {
    let mut srv = json!({"name": "srv", "image": "i", "ports": [{"containerPort": 8081}]});
    for (key, value) in container.as_object().unwrap() {
        srv[key] = value.clone();
    }
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": name, "namespace": "ns", "uid": format!("uid-{name}"), "generation": 1, "resourceVersion": "1",
            "annotations": {"deployment.kubernetes.io/revision": "1"}
        },
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": "echo"}},
            "template": {"metadata": {"labels": {"app": "echo"}}, "spec": {"containers": [srv]}}
        },
        "status": {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2, "readyReplicas": 2}
    })
}

/// As the watch's copy has it.
fn kept(pod: &Value) -> Pod {
    let mut pod = serde_json::from_value(pod.clone()).unwrap();
    crate::operator::kept::pod(&mut pod);
    pod
}

/// The cluster, as far as it matters here.
#[derive(Clone)]
struct World {
    backend: GrpcBackend,
    siblings: Vec<GrpcBackend>,
    deployments: Vec<Value>,
    pods: Vec<Value>,
    namespace_terminating: bool,
}

impl World {
    fn new(age: Option<Value>, deployments: Vec<Value>) -> Self {
        let mut world = Self {
            backend: backend("echo", "2026-01-01T00:00:00Z", age),
            siblings: Vec::new(),
            deployments,
            pods: Vec::new(),
            namespace_terminating: false,
        };
        world.roll();
        world
    }

    /// One Deployment `a` whose container has these fields.
    fn with(age: Value, container: &Value) -> Self {
        Self::new(Some(age), vec![deployment("a", container)])
    }

    fn observed(&self) -> Observed {
        Observed {
            backend: self.backend.clone(),
            siblings: self.siblings.clone(),
            workloads: self.deployments.iter().map(workload).collect(),
            pods: self.pods.iter().map(kept).collect(),
            namespace_terminating: self.namespace_terminating,
            ..Observed::default()
        }
    }

    fn plan(&self) -> Plan {
        self.plan_at(now())
    }

    fn plan_at(&self, at: Timestamp) -> Plan {
        plan(&self.observed(), FREE, at)
    }

    fn changes(&self) -> Vec<Change> {
        self.plan().steps.iter().map(|step| step.change).collect()
    }

    fn reason(&self) -> &'static str {
        self.plan().statement.reason.as_str()
    }

    fn age(&mut self, age: Option<Value>) -> &mut Self {
        let name = self.backend.metadata.name.clone().unwrap();
        let generation = self.backend.metadata.generation.unwrap();
        let deletion = self.backend.metadata.deletion_timestamp.clone();
        let finalizers = self.backend.metadata.finalizers.take();
        let status = self.backend.status.take();
        self.backend = backend(&name, "2026-01-01T00:00:00Z", age);
        self.backend.metadata.generation = Some(generation + 1);
        self.backend.metadata.deletion_timestamp = deletion;
        self.backend.metadata.finalizers = finalizers;
        self.backend.status = status;
        self
    }

    fn delete(&mut self) -> &mut Self {
        self.backend.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
        self
    }

    /// Sends the plan's patches as the API server would take them; returns what was done.
    fn apply_at(&mut self, at: Timestamp) -> Vec<Change> {
        let mut plan = self.tell_at(at);
        for step in &plan.steps.clone() {
            let target = self
                .deployments
                .iter_mut()
                .find(|d| {
                    d["kind"] == step.kind.as_str() && d["metadata"]["name"] == step.name.as_str()
                })
                .unwrap();
            let before = target["spec"].clone();
            json_patch::patch(target, &step.patch.0).unwrap();
            let changed = before != target["spec"];
            assert_eq!(changed, step.starts_rollout, "{step:?}");
            if changed {
                bump(target);
            }
            if step.change != Change::Release {
                target["metadata"]["managedFields"] = json!([{
                    "manager": names::WORKLOAD_MANAGER, "operation": "Update", "apiVersion": "apps/v1"
                }]);
                let seen = workload(target);
                let released = release(&seen.metadata, seen.containers()).unwrap();
                json_patch::patch(target, &released.0).unwrap();
            }
            plan.arrived(step);
        }
        self.backend.status.as_mut().unwrap().servers = plan.servers;
        plan.steps.iter().map(|step| step.change).collect()
    }

    /// A pass that ends with its status: nothing is done.
    fn tell_at(&mut self, at: Timestamp) -> Plan {
        let plan = self.plan_at(at);
        self.backend.metadata.finalizers = plan.holds.then(|| vec![names::FINALIZER.into()]);
        self.backend.status = Some(GrpcBackendStatus {
            observed_generation: self.backend.metadata.generation,
            servers: plan.servers.clone(),
            ..GrpcBackendStatus::default()
        });
        plan
    }

    /// Applies, lets every rollout end, and looks once more as the end of a rollout makes it.
    fn settle_at(&mut self, at: Timestamp) -> Vec<Change> {
        let done = self.apply_at(at);
        self.roll();
        self.tell_at(at);
        done
    }

    fn settle(&mut self) -> Vec<Change> {
        self.settle_at(now())
    }

    /// All pods are replaced by ones of the current template.
    fn roll(&mut self) {
        self.pods.clear();
        for deployment in &mut self.deployments {
            deployment["status"]["observedGeneration"] =
                deployment["metadata"]["generation"].clone();
            for replica in 0..2 {
                self.pods.push(pod(deployment, replica));
            }
        }
    }

    fn container(&mut self, deployment: usize) -> &mut Value {
        &mut self.deployments[deployment]["spec"]["template"]["spec"]["containers"][0]
    }

    /// The owner changes the container, and the rollout of that ends.
    fn owner(&mut self, change: impl FnOnce(&mut Value)) -> &mut Self {
        change(self.container(0));
        bump(&mut self.deployments[0]);
        self.roll();
        self
    }

    fn record(&self) -> Option<Value> {
        let text =
            self.deployments[0]["metadata"]["annotations"]["connection-age.evenkeel.dev/echo"]
                .as_str()?;
        serde_json::from_str(text).ok()
    }
}

/// Two backends on one Deployment.
fn two(first: Value, second: Value, container: &Value) -> (World, World) {
    let mut older = World::new(Some(first), vec![deployment("a", container)]);
    let mut younger = older.clone();
    younger.backend = backend("late", "2026-01-01T06:00:00Z", Some(second));
    older.siblings = vec![younger.backend.clone()];
    younger.siblings = vec![older.backend.clone()];
    (older, younger)
}

/// Both set their age; whichever leaves first, in the end everything is as it was.
fn leave_in_any_order((older, younger): &(World, World), both: &Value) {
    for first_goes_first in [true, false] {
        let (mut older, mut younger) = (older.clone(), younger.clone());
        let before = older.deployments[0]["spec"].clone();
        older.settle();
        younger.deployments = older.deployments.clone();
        younger.roll();
        younger.settle();
        assert_eq!(&younger.container(0)["args"], both);
        let deployments = younger.deployments.clone();
        let (mut first, mut last) = if first_goes_first {
            (older, younger)
        } else {
            (younger, older)
        };
        first.deployments = deployments;
        first.delete().settle();
        last.deployments = first.deployments;
        last.roll();
        last.delete().settle();
        assert_eq!(last.deployments[0]["spec"], before);
    }
}

fn workload(value: &Value) -> Workload {
    fn typed<K: serde::de::DeserializeOwned + Into<Workload>>(value: &Value) -> Workload {
        serde_json::from_value::<K>(value.clone()).unwrap().into()
    }
    match value["kind"].as_str().unwrap() {
        "StatefulSet" => typed::<StatefulSet>(value),
        "DaemonSet" => typed::<DaemonSet>(value),
        _ => typed::<Deployment>(value),
    }
}

/// What the API server and the controller count when a template changes.
fn bump(deployment: &mut Value) {
    let generation = deployment["metadata"]["generation"].as_i64().unwrap() + 1;
    deployment["metadata"]["generation"] = generation.into();
    deployment["metadata"]["resourceVersion"] = generation.to_string().into();
    deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] =
        generation.to_string().into();
}

fn pod(deployment: &Value, replica: usize) -> Value {
    let name = deployment["metadata"]["name"].as_str().unwrap();
    let kind = deployment["kind"].as_str().unwrap();
    let (pod, owner) = if kind == "Deployment" {
        (
            format!("{name}-h-{replica}"),
            json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{name}-h"), "uid": "u", "controller": true}),
        )
    } else {
        (
            format!("{name}-{replica}"),
            json!({"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": deployment["metadata"]["uid"], "controller": true}),
        )
    };
    json!({
        "metadata": {
            "name": pod, "labels": {"app": "echo", "pod-template-hash": "h"}, "ownerReferences": [owner],
        },
        "spec": deployment["spec"]["template"]["spec"],
        "status": {"conditions": [{"type": "Ready", "status": "True"}]}
    })
}

/// The state that goes with each reason is part of the contract.
fn says(plan: &Plan, state: State, reason: &str, words: &[&str]) {
    assert_eq!(
        plan.statement.reason.as_str(),
        reason,
        "{}",
        plan.statement.message
    );
    assert_eq!(plan.statement.state, state);
    for word in words {
        assert!(
            plan.statement.message.contains(word),
            "{word}: {}",
            plan.statement.message
        );
    }
}
