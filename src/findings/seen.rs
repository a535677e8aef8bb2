//! What a rule saw, and where.

use std::fmt;

use super::snippet;
use crate::observed::{Observed, Workload};

/// What was seen, why it matters and what to do, with the place that it speaks of.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The sentence.
    pub message: String,
    /// The object and field.
    pub place: Place,
    /// What to write, as YAML to copy.
    pub remedy: String,
}

/// An object, and a field in it such as `spec.template.spec.containers[0]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// The object's kind.
    pub kind: &'static str,
    /// Its namespace, where it is not the backend's.
    pub namespace: Option<String>,
    /// Its name; none: the GrpcBackend itself.
    pub name: Option<String>,
    /// The field.
    pub path: String,
}

impl Seen {
    /// Seen in the GrpcBackend.
    pub fn in_backend(observed: &Observed, path: &str, message: String) -> Self {
        let mut seen = Self::at("GrpcBackend", &observed.name(), path.into(), message);
        seen.place.name = None;
        seen
    }

    /// Seen in a Service.
    pub fn in_service(name: &str, path: &str, message: String) -> Self {
        Self::at("Service", name, path.into(), message)
    }

    /// Seen in a workload.
    pub fn in_workload(workload: &Workload, path: impl Into<String>, message: String) -> Self {
        let kind = workload.kind.as_str();
        Self::at(kind, workload.name(), path.into(), message)
    }

    /// Seen in a container of a workload's pods.
    pub fn in_container(workload: &Workload, name: &str, field: &str, message: String) -> Self {
        let index = workload
            .containers()
            .iter()
            .position(|container| container.name == name);
        let path = format!(
            "spec.template.spec.containers[{}].{field}",
            index.unwrap_or(0)
        );
        Self::in_workload(workload, path, message)
    }

    /// Seen in an object of any kind.
    pub fn at(kind: &'static str, name: &str, path: String, message: String) -> Self {
        Self {
            message,
            remedy: snippet::head(kind, name),
            place: Place {
                kind,
                namespace: None,
                name: Some(name.to_owned()),
                path,
            },
        }
    }

    /// In an object of another namespace; said before what to write into it.
    #[must_use]
    pub fn of(mut self, namespace: Option<&str>) -> Self {
        if let (Some(namespace), Some(name)) = (namespace, &self.place.name) {
            self.remedy = snippet::head_in(self.place.kind, name, namespace);
            self.place.namespace = Some(namespace.to_owned());
        }
        self
    }

    /// What to write into the object: fields, from its top level on.
    #[must_use]
    pub fn instead(mut self, fields: &str) -> Self {
        self.remedy += fields.trim_end();
        self
    }

    /// What to write, where that is not in this object.
    #[must_use]
    pub fn write(mut self, text: &str) -> Self {
        text.trim_end().clone_into(&mut self.remedy);
        self
    }
}

/// As a person would call it: `Service a`, or `Deployment shop/a` where that is elsewhere.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind)?;
        let Some(name) = &self.name else {
            return Ok(());
        };
        match &self.namespace {
            Some(namespace) => write!(f, " {namespace}/{name}"),
            None => write!(f, " {name}"),
        }
    }
}
