//! What is to become of the two Services.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;

use crate::api::conditions::Statement;
use crate::api::{GrpcBackend, Reason, ServiceOptions, ServicePolicy};
use crate::child::{self, Child, Target};
use crate::names;
use crate::observed::Observed;

/// The two Services and those that are no longer asked for.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The Service with a virtual address.
    pub cluster_ip: Child<Service>,
    /// The headless Service.
    pub headless: Child<Service>,
    /// Services of ours under names that the spec gave up.
    pub given_up: Vec<Target>,
    /// What ServicesReady says if all of this succeeds.
    pub statement: Statement,
}

/// Which of the two.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Side {
    ClusterIp,
    Headless,
}

impl Side {
    pub(super) fn name(self, backend: &GrpcBackend) -> String {
        match self {
            Self::ClusterIp => names::cluster_ip_service(backend),
            Self::Headless => names::headless_service(backend),
        }
    }

    fn field(self) -> &'static str {
        match self {
            Self::ClusterIp => "spec.services.clusterIP",
            Self::Headless => "spec.services.headless",
        }
    }

    fn options(self, backend: &GrpcBackend) -> Option<&ServiceOptions> {
        let services = backend.spec.services.as_ref()?;
        match self {
            Self::ClusterIp => services.cluster_ip.as_ref(),
            Self::Headless => services.headless.as_ref(),
        }
    }

    fn policy(self, backend: &GrpcBackend) -> ServicePolicy {
        self.options(backend)
            .and_then(|options| options.policy)
            .unwrap_or_default()
    }
}

pub(super) fn wanted(backend: &GrpcBackend, side: Side) -> bool {
    side.policy(backend) != ServicePolicy::None
}

/// Decides on both.
pub fn plan(observed: &Observed) -> Pair {
    let backend = &observed.backend;
    if names::cluster_ip_service(backend) == names::headless_service(backend)
        && wanted(backend, Side::ClusterIp)
        && wanted(backend, Side::Headless)
    {
        return Pair {
            cluster_ip: Child::Leave,
            headless: Child::Leave,
            given_up: Vec::new(),
            statement: Statement::no(
                Reason::NameConflict,
                "spec.services.clusterIP.name and spec.services.headless.name are the same: one Service cannot be both; give each its own name",
            ),
        };
    }
    let (cluster_ip, first) = one(backend, Side::ClusterIp, observed.cluster_ip.as_ref());
    let (headless, second) = one(backend, Side::Headless, observed.headless.as_ref());
    Pair {
        given_up: given_up(observed),
        statement: worse(first, second),
        cluster_ip,
        headless,
    }
}

/// The first that does not hold; else `Created` before `Existing` before `NotRequested`.
fn worse(first: Statement, second: Statement) -> Statement {
    let rank = |statement: &Statement| match (statement.state, statement.reason) {
        (crate::api::conditions::State::True, Reason::Created) => 1,
        (crate::api::conditions::State::True, Reason::Existing) => 2,
        (crate::api::conditions::State::True, _) => 3,
        _ => 0,
    };
    let (leading, other) = if rank(&second) < rank(&first) {
        (second, first)
    } else {
        (first, second)
    };
    if rank(&leading) == 0 && rank(&other) != 0 || other.message.is_empty() {
        leading
    } else {
        Statement {
            message: format!("{}; {}", leading.message, other.message),
            ..leading
        }
    }
}

fn given_up(observed: &Observed) -> Vec<Target> {
    let backend = &observed.backend;
    let kept = [Side::ClusterIp, Side::Headless]
        .into_iter()
        .filter(|side| side.policy(backend) != ServicePolicy::None)
        .map(|side| side.name(backend))
        .collect::<Vec<_>>();
    observed
        .labelled_services
        .iter()
        .filter(|service| {
            child::is_controlled(*service, backend) && !kept.contains(&service.name_any())
        })
        .map(Target::of)
        .collect()
}

fn one(backend: &GrpcBackend, side: Side, live: Option<&Service>) -> (Child<Service>, Statement) {
    let name = side.name(backend);
    let ours = live.is_some_and(|live| child::is_ours(live, backend));
    match (side.policy(backend), live) {
        (ServicePolicy::None, _) => (Child::Leave, Statement::yes(Reason::NotRequested, "")),
        (ServicePolicy::UseExisting, None) => (
            Child::Leave,
            Statement::no(
                Reason::ServiceNotFound,
                format!(
                    "Service {name} does not exist, and {}.policy is UseExisting: create it, or set the policy to Manage",
                    side.field()
                ),
            ),
        ),
        (ServicePolicy::Manage, Some(live)) if ours && kind_differs(live, side) => (
            Child::Replace(Target::of(live)),
            Statement::yes(
                Reason::Created,
                format!("Service {name} is made anew, since its clusterIP cannot be changed"),
            ),
        ),
        (ServicePolicy::Manage, live) if live.is_none() || ours => (
            child::ensure(live, desired(backend, side)),
            Statement::yes(
                Reason::Created,
                format!("Service {name} is kept by the operator"),
            ),
        ),
        // Whoever says that it exists means to keep it.
        (_, Some(live)) if ours => (child::release(live, backend), existing(backend, side, live)),
        (_, Some(live)) => (Child::Leave, existing(backend, side, live)),
        (_, None) => (Child::Leave, Statement::yes(Reason::NotRequested, "")),
    }
}

fn is_headless(service: &Service) -> bool {
    service
        .spec
        .as_ref()
        .and_then(|spec| spec.cluster_ip.as_deref())
        == Some("None")
}

fn kind_differs(live: &Service, side: Side) -> bool {
    is_headless(live) != (side == Side::Headless)
}

/// Whether somebody else's Service does what ours would do.
fn existing(backend: &GrpcBackend, side: Side, live: &Service) -> Statement {
    let name = side.name(backend);
    let field = side.field();
    // Under Manage the name is in the way; under UseExisting the user means this very Service.
    let reason = |precise| match side.policy(backend) {
        ServicePolicy::UseExisting => precise,
        _ => Reason::NameConflict,
    };
    let refuse = |precise, what: String| {
        Statement::no(
            reason(precise),
            format!(
                "Service {name} exists, is not ours and {what}. It is left alone: give another name in {field}.name, or change the Service"
            ),
        )
    };
    if kind_differs(live, side) {
        return refuse(
            Reason::NameConflict,
            if side == Side::Headless {
                "has a clusterIP, so that DNS does not give the pods' addresses"
            } else {
                "is headless"
            }
            .into(),
        );
    }
    let spec = live.spec.clone().unwrap_or_default();
    if spec.type_.as_deref() == Some("ExternalName") {
        return refuse(Reason::SelectorMismatch, "is of type ExternalName".into());
    }
    if spec.selector.unwrap_or_default() != backend.spec.selector {
        return refuse(
            Reason::SelectorMismatch,
            "its spec.selector is not spec.selector of this GrpcBackend".into(),
        );
    }
    let missing = backend.spec.ports.iter().find(|port| {
        let number = if side == Side::Headless {
            port.target()
        } else {
            port.port
        };
        !spec.ports.iter().flatten().any(|live| {
            live.port == number
                && live.protocol.as_deref().unwrap_or("TCP") == "TCP"
                && match &live.target_port {
                    None => live.port == port.target(),
                    Some(IntOrString::Int(target)) => {
                        *target == port.target() || side == Side::Headless
                    }
                    // A named port: which number it is stands in the pods.
                    Some(IntOrString::String(_)) => true,
                }
        })
    });
    if let Some(port) = missing {
        let number = if side == Side::Headless {
            port.target()
        } else {
            port.port
        };
        return refuse(
            Reason::PortMismatch,
            format!(
                "has no port {number} that leads to port {} of the pods (spec.ports[].port is the Service's, targetPort the pods')",
                port.target()
            ),
        );
    }
    Statement::yes(Reason::Existing, format!("Service {name} is used as it is"))
}

fn desired(backend: &GrpcBackend, side: Side) -> Service {
    let mut metadata = child::metadata(backend, side.name(backend));
    let options = side.options(backend).cloned().unwrap_or_default();
    let label = if side == Side::Headless {
        names::HEADLESS
    } else {
        names::CLUSTER_IP
    };
    let labels = metadata.labels.get_or_insert_default();
    // First theirs: what the operator sets itself stands, whatever an object from before the schema's rule says.
    let mut all: BTreeMap<_, _> = options.labels;
    all.append(labels);
    all.insert(names::SERVICE_LABEL.into(), label.into());
    metadata.labels = Some(all);
    metadata.annotations = (!options.annotations.is_empty()).then_some(options.annotations);
    let ports = backend
        .spec
        .ports
        .iter()
        .map(|port| ServicePort {
            name: Some(port.name.clone()),
            port: if side == Side::Headless {
                port.target()
            } else {
                port.port
            },
            target_port: Some(IntOrString::Int(port.target())),
            protocol: Some("TCP".into()),
            app_protocol: port.app_protocol().map(str::to_owned),
            ..ServicePort::default()
        })
        .collect();
    let headless = side == Side::Headless;
    Service {
        metadata,
        spec: Some(ServiceSpec {
            selector: Some(backend.spec.selector.clone()),
            ports: Some(ports),
            cluster_ip: headless.then(|| "None".into()),
            // Two families would give each pod two addresses, and it would be counted twice.
            ip_family_policy: headless.then(|| "SingleStack".into()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

#[cfg(test)]
mod tests;
