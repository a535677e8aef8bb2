//! What a rule saw, and where.

use std::fmt;

use crate::observed::Workload;

/// What was seen, why it matters and what to do, with the place that it speaks of.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The sentence.
    pub message: String,
    /// The object and field.
    pub place: Place,
}

/// An object, and a field in it such as `spec.template.spec.containers[0]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// The object's kind.
    pub kind: &'static str,
    /// Its name; none: the GrpcBackend itself.
    pub name: Option<String>,
    /// The field.
    pub path: String,
}

impl Seen {
    /// Seen in the GrpcBackend.
    pub fn in_backend(path: &str, message: String) -> Self {
        Self::at("GrpcBackend", None, path.into(), message)
    }

    /// Seen in a Service.
    pub fn in_service(name: &str, path: &str, message: String) -> Self {
        Self::at("Service", Some(name), path.into(), message)
    }

    /// Seen in a workload.
    pub fn in_workload(workload: &Workload, path: impl Into<String>, message: String) -> Self {
        Self::at(
            workload.kind.as_str(),
            Some(workload.name()),
            path.into(),
            message,
        )
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
    pub fn at(kind: &'static str, name: Option<&str>, path: String, message: String) -> Self {
        let name = name.map(str::to_owned);
        Self {
            message,
            place: Place { kind, name, path },
        }
    }
}

/// As a person would call it: `Service a`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind)?;
        self.name.iter().try_for_each(|name| write!(f, " {name}"))
    }
}
