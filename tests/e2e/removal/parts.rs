//! What the cases are made of: lists of a container, and knobs.

use serde_json::{Value, json};

use crate::manifests;

/// The server without pods and without lists in its container, but for these.
pub fn server_with(name: &str, lists: Value) -> Value {
    let mut server = manifests::server(name, 0);
    if let (Some(container), Value::Object(lists)) =
        (manifests::container(&mut server).as_object_mut(), lists)
    {
        container.remove("env");
        container.extend(lists);
    }
    server
}

pub fn args() -> Value {
    json!({"args": ["--drain=0s"]})
}

pub fn command() -> Value {
    json!({"command": ["/server", "--drain=0s"]})
}

pub fn theirs() -> Value {
    json!([{"name": "VERSION", "value": "theirs"}, {"name": "MAX_CONNECTION_AGE_SECONDS", "value": ""}])
}

pub fn env() -> Value {
    manifests::backend_with_age("any", "30s")["spec"]["connectionAge"].take()
}

pub fn flags() -> Value {
    json!({"maxAge": "30s", "knob": {"flags": {"maxAge": "--max-connection-age"}}})
}

pub fn separate() -> Value {
    let mut age = flags();
    age["knob"]["flags"]["style"] = json!("Separate");
    age
}

pub fn switch() -> Value {
    json!({"maxAge": "30s", "knob": {"switch": {"flag": "--short-connection-age", "implies": "30s"}}})
}

/// A flag whose value is a list, by preset.
pub fn list() -> Value {
    json!({"maxAge": "30s", "knob": {"preset": "TensorFlowServing"}})
}

/// Arguments with a list that is theirs.
pub fn merged() -> Value {
    json!({"args": ["--grpc_channel_arguments=b=2,a=1", "--drain=0s"]})
}

/// The same in two words.
pub fn apart() -> Value {
    json!({"args": ["--grpc_channel_arguments", "a=1", "--drain=0s"]})
}

pub fn leave(age: Value) -> Value {
    with(age, "onRemove", "Leave")
}

pub fn with(mut age: Value, field: &str, value: impl serde::Serialize) -> Value {
    age[field] = json!(value);
    age
}

pub fn spec(app: &str, age: Value) -> Value {
    let mut spec = manifests::backend(app)["spec"].take();
    spec["balance"] = json!({"mode": "Disabled"});
    spec["connectionAge"] = age;
    spec
}
