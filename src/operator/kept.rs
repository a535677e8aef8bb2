//! What the watches' copies keep of each object. They are of all that the watched namespaces have, whether a backend selects it or not, so
//! that what nobody looks at would be most of the operator's memory.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateTerminated, ContainerStatus, EnvVar, EnvVarSource,
    Pod, PodCondition, PodSpec, PodStatus, PodTemplateSpec, Probe, ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::ObjectMeta;

use crate::names;
use crate::observed::REVISION;

/// Of a Deployment only what finds it and says whether a rollout of ours is under way: a pass reads it live.
pub fn deployment(deployment: &mut Deployment) {
    of_workload(&mut deployment.metadata);
    if let Some(spec) = &mut deployment.spec {
        only_labels(&mut spec.template);
        spec.selector = LabelSelector::default();
    }
    if let Some(status) = &mut deployment.status {
        status.conditions = None;
    }
}

/// The same of a StatefulSet.
pub fn stateful_set(stateful_set: &mut StatefulSet) {
    of_workload(&mut stateful_set.metadata);
    if let Some(spec) = &mut stateful_set.spec {
        only_labels(&mut spec.template);
        spec.selector = LabelSelector::default();
        spec.volume_claim_templates = None;
    }
    if let Some(status) = &mut stateful_set.status {
        status.conditions = None;
    }
}

/// The same of a DaemonSet.
pub fn daemon_set(daemon_set: &mut DaemonSet) {
    of_workload(&mut daemon_set.metadata);
    if let Some(spec) = &mut daemon_set.spec {
        only_labels(&mut spec.template);
        spec.selector = LabelSelector::default();
    }
    if let Some(status) = &mut daemon_set.status {
        status.conditions = None;
    }
}

/// Our records, and of managedFields what a write of ours has left.
fn of_workload(metadata: &mut ObjectMeta) {
    if let Some(entries) = &mut metadata.managed_fields {
        entries.retain(|entry| entry.manager.as_deref() == Some(names::WORKLOAD_MANAGER));
    }
    annotations(metadata, |name| {
        name.starts_with(names::RECORD_PREFIX) || name == REVISION
    });
    metadata.labels = None;
    metadata.finalizers = None;
    metadata.owner_references = None;
}

fn annotations(metadata: &mut ObjectMeta, is_used: impl Fn(&str) -> bool) {
    if let Some(annotations) = &mut metadata.annotations {
        annotations.retain(|name, _| is_used(name));
    }
}

fn only_labels(template: &mut PodTemplateSpec) {
    let metadata = template.metadata.take();
    *template = PodTemplateSpec {
        metadata: metadata.map(|metadata| ObjectMeta {
            labels: metadata.labels,
            ..ObjectMeta::default()
        }),
        spec: None,
    };
}

/// Of a pod only what decisions are made from, since no pass reads it live. One that no backend selects may be selected later.
pub fn pod(pod: &mut Pod) {
    let metadata = &mut pod.metadata;
    metadata.managed_fields = None;
    metadata.generate_name = None;
    metadata.finalizers = None;
    annotations(metadata, |name| {
        [
            names::METRICS_PORT_ANNOTATION,
            names::METRICS_PATH_ANNOTATION,
            names::AMBIENT_ANNOTATION,
        ]
        .contains(&name)
    });
    pod.spec = pod.spec.take().map(spec);
    pod.status = pod.status.take().map(status);
}

fn spec(spec: PodSpec) -> PodSpec {
    // Native sidecars go on; the others have done what they were for.
    let init = spec.init_containers.into_iter().flatten();
    let sidecars: Vec<Container> = init
        .filter(|container| container.restart_policy.as_deref() == Some("Always"))
        .map(|container| Container {
            name: container.name,
            ports: container.ports,
            restart_policy: container.restart_policy,
            ..Container::default()
        })
        .collect();
    PodSpec {
        containers: spec.containers.into_iter().map(container).collect(),
        init_containers: (!sidecars.is_empty()).then_some(sidecars),
        host_network: spec.host_network,
        node_name: spec.node_name,
        service_account_name: spec.service_account_name,
        ..PodSpec::default()
    }
}

/// How it was started, since a rollout is over where pods run with what was set; of other parts whether there are any.
fn container(container: Container) -> Container {
    let variable = |variable: EnvVar| EnvVar {
        value_from: variable.value_from.map(|_| EnvVarSource::default()),
        ..variable
    };
    Container {
        name: container.name,
        command: container.command,
        args: container.args,
        env: container
            .env
            .map(|env| env.into_iter().map(variable).collect()),
        env_from: container.env_from,
        ports: container.ports,
        readiness_probe: container.readiness_probe.map(|_| Probe::default()),
        resources: container.resources.and_then(only_cpu),
        ..Container::default()
    }
}

/// What a pod is measured against; none where it requests no CPU.
fn only_cpu(resources: ResourceRequirements) -> Option<ResourceRequirements> {
    let cpu = resources.requests?.remove_entry("cpu")?;
    Some(ResourceRequirements {
        requests: Some([cpu].into()),
        ..ResourceRequirements::default()
    })
}

fn status(status: PodStatus) -> PodStatus {
    let conditions = status.conditions.into_iter().flatten();
    let ready = conditions.filter(|condition| condition.type_ == "Ready");
    let ready = ready.map(|condition| PodCondition {
        type_: condition.type_,
        status: condition.status,
        last_transition_time: condition.last_transition_time,
        ..PodCondition::default()
    });
    let containers = status.container_statuses;
    PodStatus {
        phase: status.phase,
        start_time: status.start_time,
        pod_ip: status.pod_ip,
        conditions: Some(ready.collect()),
        container_statuses: containers.map(|all| all.into_iter().map(container_status).collect()),
        ..PodStatus::default()
    }
}

/// How often it was started, and when.
fn container_status(status: ContainerStatus) -> ContainerStatus {
    ContainerStatus {
        name: status.name,
        restart_count: status.restart_count,
        state: status.state.map(times),
        last_state: status.last_state.map(times),
        ..ContainerStatus::default()
    }
}

fn times(state: ContainerState) -> ContainerState {
    ContainerState {
        running: state.running,
        terminated: state.terminated.map(|ended| ContainerStateTerminated {
            started_at: ended.started_at,
            finished_at: ended.finished_at,
            ..ContainerStateTerminated::default()
        }),
        waiting: None,
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;
    use crate::connection_age::{owns_fields, started_by};
    use crate::observed::{Serves, Workload, labels};

    const RECORD: &str = r#"{"container":"srv","knob":"env","age":"1m","list":"env","before":"absent","entries":[{"name":"AGE","value":"1m"}],"generation":1,"revision":1}"#;

    /// One of each part that takes room, in a rollout that a write of ours began.
    fn workload(kind: &str, record: &str) -> Value {
        let entry = |manager: &str| json!({"manager": manager, "operation": "Update", "fieldsV1": {"f:spec": {}}});
        let strategy = json!({"type": "RollingUpdate"});
        json!({
            "apiVersion": "apps/v1", "kind": kind,
            "metadata": {
                "name": "a", "namespace": "ns", "uid": "u", "generation": 2, "resourceVersion": "7",
                "labels": {"team": "shop"}, "finalizers": ["f"],
                "ownerReferences": [{"apiVersion": "v1", "kind": "App", "name": "o", "uid": "o"}],
                "annotations": {
                    REVISION: "2",
                    names::record_annotation("echo"): record,
                    "kubectl.kubernetes.io/last-applied-configuration": "{}",
                },
                "managedFields": [entry("kubectl"), entry(names::WORKLOAD_MANAGER)],
            },
            "spec": {
                "replicas": 2, "selector": {"matchLabels": {"app": "echo"}},
                "strategy": strategy, "updateStrategy": strategy, "serviceName": "a",
                "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}],
                "template": {
                    "metadata": {"labels": {"app": "echo"}, "annotations": {"checksum": "c"}},
                    "spec": {"containers": [{"name": "srv", "image": "i"}]},
                },
            },
            "status": {
                "observedGeneration": 2, "replicas": 3, "updatedReplicas": 1, "availableReplicas": 2,
                "currentNumberScheduled": 3, "desiredNumberScheduled": 3, "updatedNumberScheduled": 1,
                "numberMisscheduled": 0, "numberReady": 2,
                "conditions": [{"type": "Progressing", "status": "True"}],
            },
        })
    }

    /// What finds it and what is said of its rollout are as before, and what takes room is gone.
    fn is_found_as_before<K>(kind: &str, strip: fn(&mut K))
    where
        K: Clone + DeserializeOwned + Serialize + kube::Resource<DynamicType = ()> + Serves,
        Workload: From<K>,
    {
        for record in [RECORD, "no record"] {
            let whole: K = serde_json::from_value(workload(kind, record)).unwrap();
            let mut kept = whole.clone();
            strip(&mut kept);
            let of = |object: &K| {
                let own = Workload::from(object.clone());
                let labels = object.template().and_then(labels).cloned();
                let metadata = object.meta();
                (
                    (metadata.name.clone(), metadata.namespace.clone()),
                    (metadata.uid.clone(), metadata.resource_version.clone()),
                    (labels, owns_fields(metadata)),
                    (own.is_replacing(), started_by(&own)),
                )
            };
            assert_eq!(of(&kept), of(&whole), "{kind}");
            let began = if record == RECORD {
                vec!["echo"]
            } else {
                vec![]
            };
            assert_eq!(
                of(&whole).3,
                (true, began.iter().map(|own| (*own).to_owned()).collect()),
                "{kind}"
            );
            let text = serde_json::to_string(&kept).unwrap();
            for gone in [
                "team",
                "finalizers",
                "ownerReferences",
                "last-applied",
                "kubectl",
                "checksum",
                "\"srv\",\"image",
                "matchLabels",
                "volumeClaimTemplates",
                "Progressing",
            ] {
                assert!(!text.contains(gone), "{kind} keeps {gone}: {text}");
            }
        }
    }

    #[test]
    fn workloads_are_found_as_before() {
        is_found_as_before("Deployment", deployment);
        is_found_as_before("StatefulSet", stateful_set);
        is_found_as_before("DaemonSet", daemon_set);
    }

    /// Exactly this is left of a pod with everything; that it is enough the tests of the decisions show, which are made from it.
    #[test]
    fn of_a_pod_what_decisions_are_made_from() {
        let time = "2026-01-01T00:00:00Z";
        let probe = json!({"grpc": {"port": 8080}});
        let mut whole: Pod = serde_json::from_value(json!({
            "metadata": {
                "name": "a-1", "generateName": "a-", "namespace": "ns", "uid": "u", "resourceVersion": "7",
                "labels": {"app": "echo"}, "creationTimestamp": time, "finalizers": ["f"],
                "annotations": {names::METRICS_PORT_ANNOTATION: "9090", "checksum": "c"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "a", "uid": "r"}],
                "managedFields": [{"manager": "kubelet"}],
            },
            "spec": {
                "serviceAccountName": "s", "serviceAccount": "s", "nodeName": "n", "hostNetwork": true,
                "schedulerName": "default-scheduler", "nodeSelector": {"zone": "z"},
                "volumes": [{"name": "v"}], "tolerations": [{"key": "t"}], "affinity": {},
                "initContainers": [
                    {"name": "migrate", "image": "i"},
                    {"name": "linkerd-proxy", "image": "i", "restartPolicy": "Always", "ports": [{"containerPort": 1}]},
                ],
                "containers": [{
                    "name": "srv", "image": "i", "command": ["srv"], "args": ["-v"],
                    "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                    "envFrom": [{"configMapRef": {"name": "c"}}],
                    "ports": [{"containerPort": 8080}], "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                    "readinessProbe": probe, "livenessProbe": probe, "startupProbe": probe,
                    "securityContext": {"runAsNonRoot": true}, "lifecycle": {},
                    "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2"}},
                }],
            },
            "status": {
                "phase": "Running", "startTime": time, "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}], "hostIP": "10.1.0.1",
                "qosClass": "Burstable",
                "conditions": [
                    {"type": "PodScheduled", "status": "True"},
                    {"type": "Ready", "status": "False", "lastTransitionTime": time, "reason": "r", "message": "m"},
                ],
                "initContainerStatuses": [{"name": "migrate", "image": "i", "imageID": "sha", "ready": true, "restartCount": 0}],
                "containerStatuses": [{
                    "name": "srv", "image": "i", "imageID": "sha", "containerID": "c", "ready": true, "restartCount": 3,
                    "state": {"running": {"startedAt": time}},
                    "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "startedAt": time, "finishedAt": time}},
                }],
            },
        }))
        .unwrap();
        pod(&mut whole);
        let kept: Pod = serde_json::from_value(json!({
            "metadata": {
                "name": "a-1", "namespace": "ns", "uid": "u", "resourceVersion": "7",
                "labels": {"app": "echo"}, "creationTimestamp": time,
                "annotations": {names::METRICS_PORT_ANNOTATION: "9090"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "a", "uid": "r"}],
            },
            "spec": {
                "serviceAccountName": "s", "nodeName": "n", "hostNetwork": true,
                "initContainers": [{"name": "linkerd-proxy", "restartPolicy": "Always", "ports": [{"containerPort": 1}]}],
                "containers": [{
                    "name": "srv", "command": ["srv"], "args": ["-v"],
                    "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {}}],
                    "envFrom": [{"configMapRef": {"name": "c"}}],
                    "ports": [{"containerPort": 8080}], "readinessProbe": {},
                    "resources": {"requests": {"cpu": "1"}},
                }],
            },
            "status": {
                "phase": "Running", "startTime": time, "podIP": "10.0.0.1",
                "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": time}],
                "containerStatuses": [{
                    "name": "srv", "image": "", "imageID": "", "ready": false, "restartCount": 3,
                    "state": {"running": {"startedAt": time}},
                    "lastState": {"terminated": {"exitCode": 0, "startedAt": time, "finishedAt": time}},
                }],
            },
        }))
        .unwrap();
        assert_eq!(whole, kept);
    }
}
