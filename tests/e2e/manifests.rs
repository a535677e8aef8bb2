//! The objects that users write in these tests.

use anyhow::{Result, ensure};
use kube::api::DynamicObject;
use serde_json::{Value, json};

use evenkeel_cluster::images;

/// The pods' gRPC port.
pub const PORT: i32 = 8080;

/// A Deployment of the test server with the label `app: NAME`, without an age.
pub fn server(name: &str, replicas: u32) -> Value {
    let pod = json!({
        "terminationGracePeriodSeconds": 30,
        "containers": [{
            "name": "server",
            "image": images::SERVER,
            "imagePullPolicy": "Never",
            "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}],
            "ports": [{"name": "grpc", "containerPort": PORT}, {"name": "metrics", "containerPort": 9090}],
            // One that stands still with its machine for some seconds is not to be taken out.
            "readinessProbe": {"httpGet": {"path": "/readyz", "port": 9090}, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 6},
            // Without a share of its own a pod gets what all others leave, and its calls fail on a busy machine.
            "resources": {"requests": {"cpu": "20m"}},
        }],
    });
    deployment(name, replicas, &pod)
}

/// A Deployment of pods with the label `app: NAME`.
pub fn deployment(name: &str, replicas: u32, pod: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
        },
    })
}

/// The same as a workload of any kind.
pub fn server_of_kind(kind: &str, name: &str, pods: usize) -> Value {
    let mut server = server(name, u32::try_from(pods).unwrap_or(1));
    make_kind(&mut server, kind);
    server
}

/// Makes another kind of a Deployment, also of one without pods.
pub fn make_kind(server: &mut Value, kind: &str) {
    server["kind"] = json!(kind);
    match kind {
        "StatefulSet" => server["spec"]["serviceName"] = server["metadata"]["name"].clone(),
        "DaemonSet" => {
            let pods = server["spec"]
                .as_object_mut()
                .and_then(|spec| spec.remove("replicas"));
            if pods == Some(json!(0)) {
                server["spec"]["template"]["spec"]["nodeSelector"] = json!({"no-node": "has-this"});
            }
        }
        _ => {}
    }
}

/// The server's container in a workload.
pub fn container(deployment: &mut Value) -> &mut Value {
    &mut deployment["spec"]["template"]["spec"]["containers"][0]
}

/// The smallest GrpcBackend for [`server`], sampled as quickly as the API allows.
pub fn backend(name: &str) -> Value {
    json!({
        "apiVersion": "evenkeel.dev/v1alpha1",
        "kind": "GrpcBackend",
        "metadata": {"name": name},
        "spec": {
            "selector": {"app": name},
            "ports": [{"port": PORT}],
            "balance": {"interval": "5s", "window": "10s"},
        },
    })
}

/// The same with an age by variable.
pub fn backend_with_age(name: &str, age: &str) -> Value {
    let mut backend = backend(name);
    backend["spec"]["connectionAge"] = json!({
        "maxAge": age,
        "grace": "10s",
        "knob": {"env": {"maxAge": "MAX_CONNECTION_AGE", "grace": "MAX_CONNECTION_AGE_GRACE"}},
    });
    backend
}

/// A ClusterIP Service for [`server`].
pub fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"name": "grpc", "port": PORT, "targetPort": PORT}]},
    })
}

/// On a GrpcBackend while an age is, or may be, set on a workload.
pub const FINALIZER: &str = "evenkeel.dev/connection-age";
/// What the names of all records begin with.
pub const RECORDS: &str = "connection-age.evenkeel.dev/";

/// Fails where an object's owner would meet us as a field manager.
pub fn none_of_our_fields(object: &DynamicObject) -> Result<()> {
    let mut managers = object.metadata.managed_fields.iter().flatten();
    let ours = managers.find(|entry| {
        let manager = entry.manager.as_deref();
        manager.is_some_and(|manager| manager.starts_with("evenkeel"))
    });
    ensure!(ours.is_none(), "our ownership stays: {ours:?}");
    Ok(())
}

/// Fails with the difference.
pub fn same(is: &Value, should_be: &Value) -> Result<()> {
    let difference = json_patch::diff(should_be, is);
    ensure!(difference.is_empty(), "it differs by {difference}");
    Ok(())
}
