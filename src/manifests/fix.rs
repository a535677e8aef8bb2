//! The GrpcBackend that would put things right.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource as _;
use serde_json::{Value, json};

use super::group::Backend;
use crate::api::{AgeMode, ConnectionAge, GoDuration, GrpcBackend, Knob};
use crate::findings::{self, Severity};
use crate::observed::{Observed, Workload};
use crate::presets;

/// As YAML, with comments where only the owner knows. The namespace is left out where nobody gave it: `is_given` says that it was
/// asked for.
pub fn fix(backend: &Backend, is_given: bool) -> String {
    let (observed, mut notes) = findings::mend(&backend.observed);
    let observed = &observed;
    let mut resource = observed.backend.clone();
    if let Some(age) = &mut resource.spec.connection_age {
        // What the rules of the age would say is settled.
        *age = findings::mended(age);
    } else {
        let (age, note) = age(observed);
        resource.spec.connection_age = age;
        notes.extend(note);
    }
    if in_args(observed, &resource) {
        notes.push(ARGS.into());
        if let Some(age) = &mut resource.spec.connection_age {
            age.mode = Some(AgeMode::Advise);
        }
    }
    resource.status = None;
    if !is_given && observed.named_namespace.is_none() {
        resource.metadata.namespace = None;
    }
    let mut text = String::new();
    if let Some(set) = &backend.set {
        text += &comment(&format!("For {set}."));
    }
    if let Some(how) = &backend.how {
        text += &comment(&format!("Guessed: {how}."));
    }
    for note in notes.iter().flat_map(|note| note.lines()) {
        text += &comment(note);
    }
    let is_owners = resource.spec.connection_age.is_none() && speaking(observed).is_some();
    for (rule, seen) in findings::ask(observed).found {
        let is_mended = MENDED.contains(&rule.id) && !(is_owners && AGELESS.contains(&rule.id));
        if is_mended || rule.severity >= Severity::Info {
            continue;
        }
        for seen in seen {
            let (file, line) = backend.locate(&seen.place);
            text += &comment(&format!(
                "Still to do: {} at {file}:{line}: {}.",
                rule.id, rule.title
            ));
        }
    }
    text + &findings::block(&bare(&resource))
}

/// A line of a comment, whatever names stand in it: one that ended in their midst would be read as a field.
fn comment(line: &str) -> String {
    let ends = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    format!("# {}\n", line.replace(ends, "\u{fffd}"))
}

/// What the resource settles: the twin, and the age, now or as the note says.
const MENDED: [&str; 7] = [
    "GB001", "GB021", "GB022", "GB024", "GB029", "GB071", "GB090",
];

/// What is left where an age is the owner's to set: it is 0, or only some of the workloads have one.
const AGELESS: [&str; 2] = ["GB021", "GB071"];

const AGE: &str = "The server program has to offer a knob for the connection age (evenkeel presets lists known servers). With it, add to spec:\n  \
    connectionAge: {maxAge: 5m, grace: 30s, knob: {env: {maxAge: MAX_CONNECTION_AGE, grace: MAX_CONNECTION_AGE_GRACE}}}";

const ARGS: &str = "The age is a flag, and your args are applied again and again: with mode Advise the status says which one to\nwrite into them, and nothing is patched.";

/// Whether the age would go into args that the manifests have.
fn in_args(observed: &Observed, resource: &GrpcBackend) -> bool {
    let observed = Observed {
        backend: resource.clone(),
        ..observed.clone()
    };
    let found = findings::ask(&observed).found;
    found.iter().any(|(rule, _)| rule.id == "GB090")
}

/// The age to set where none is, and what to say of it.
fn age(observed: &Observed) -> (Option<ConnectionAge>, Option<String>) {
    if let Some(server) = speaking(observed) {
        // Ours beside it would be refused.
        let note = format!(
            "The containers of {server} speak of a connection age already: see that it is 15m or less and not 0, and that other workloads have one; none is set here."
        );
        return (None, Some(note));
    }
    if let Some(server) = findings::ends_by_itself(observed) {
        let (name, default) = (&server.name, server.default.as_deref().unwrap_or_default());
        let note = format!(
            "The image looks like {name}, which ends connections by itself after {default}."
        );
        return (None, Some(note));
    }
    if let Some((preset, age)) = known_server(observed) {
        let note = format!("The image looks like {preset}: see evenkeel presets {preset}.");
        return (Some(age), Some(note));
    }
    let watches = observed.backend.spec.endpoint_watch.is_some();
    (None, (!watches).then(|| AGE.into()))
}

/// The workload whose owner has set an age himself, be it for ever.
fn speaking(observed: &Observed) -> Option<&Workload> {
    let mut servers = observed.serving_workloads();
    servers.find(|own| findings::speaks(own))
}

/// An image whose name is that of a preset with a knob.
fn known_server(observed: &Observed) -> Option<(&'static str, ConnectionAge)> {
    let servers = observed.serving_workloads();
    let server = servers
        .filter_map(|workload| observed.server(workload)?.image.as_deref())
        .flat_map(presets::of_image)
        .find(|server| server.knob.is_some())?;
    let knob = json!({"preset": server.name});
    let knob: Knob = serde_json::from_value(knob).ok()?;
    let age = ConnectionAge {
        max_age: GoDuration::new("5m"),
        knob,
        ..ConnectionAge::default()
    };
    Some((&server.name, age))
}

/// What kubectl keeps for itself.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Without what only a server writes. What the owner wrote stays: it would be taken away by applying this.
fn bare(resource: &GrpcBackend) -> Value {
    let own = &resource.metadata;
    let mut metadata = json!(ObjectMeta {
        name: own.name.clone(),
        generate_name: own.generate_name.clone().filter(|_| own.name.is_none()),
        namespace: own.namespace.clone(),
        labels: own.labels.clone(),
        annotations: own.annotations.clone(),
        ..ObjectMeta::default()
    });
    let annotations = metadata.get_mut("annotations");
    if let Some(annotations) = annotations.and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    json!({
        "apiVersion": GrpcBackend::api_version(&()),
        "kind": GrpcBackend::kind(&()),
        "metadata": metadata,
        "spec": resource.spec,
    })
}
