//! What the operator would say of the pair of Services.

use kube::ResourceExt as _;

use crate::api::Reason;
use crate::api::conditions::{State, Statement};
use crate::names;
use crate::observed::{Observed, Observer};
use crate::services;

use super::services::{headless_port_differs, headless_without_ports, selectors_differ};
use super::{Seen, snippet};

/// GB008: a Service that is not the operator's has the name of one that it would make, and does not do what that would.
pub(super) fn name_is_taken(observed: &Observed) -> Option<Seen> {
    // The operator says it in ServicesReady, and rules that know what is wrong with the Service say it better.
    let elsewhere = observed.observer == Observer::Operator || observed.guessed;
    let better: [fn(&Observed) -> Vec<Seen>; 3] = [
        headless_port_differs,
        |observed| headless_without_ports(observed).into_iter().collect(),
        selectors_differ,
    ];
    if elsewhere || better.iter().any(|rule| !rule(observed).is_empty()) {
        return None;
    }
    let said = services::plan(observed).statement;
    is_refused(&said).then(|| {
        let message = format!(
            "the operator would refuse this GrpcBackend with NameConflict: {}",
            said.message
        );
        Seen::in_backend(observed, "spec.services", message)
            .instead(&snippet::spec(&renamed(observed)))
    })
}

fn is_refused(said: &Statement) -> bool {
    said.state == State::False && said.reason == Reason::NameConflict
}

/// Whether it is the headless half that has no name of its own.
fn is_headless_taken(observed: &Observed) -> bool {
    let without_cluster_ip = Observed {
        cluster_ip: None,
        ..observed.clone()
    };
    is_refused(&services::plan(&without_cluster_ip).statement)
}

/// Gives other names to the halves that have none of their own, and says which were taken.
pub(super) fn rename(world: &mut Observed) -> Vec<String> {
    let mut taken = Vec::new();
    for _ in 0..2 {
        if name_is_taken(world).is_none() {
            break;
        }
        let (is_headless, name) = (is_headless_taken(world), world.name());
        let services = &mut world.backend.spec.services;
        let services = services.get_or_insert_default();
        let (half, standing, ending) = if is_headless {
            (
                &mut services.headless,
                &mut world.headless,
                "-grpc-headless",
            )
        } else {
            (&mut services.cluster_ip, &mut world.cluster_ip, "-grpc")
        };
        half.get_or_insert_default().name = Some(names::longer(&name, ending));
        taken.extend(standing.take().map(|own| own.name_any()));
    }
    taken
}

/// Another name for the half that has none of its own.
fn renamed(observed: &Observed) -> String {
    let name = observed.name();
    if is_headless_taken(observed) {
        let name = snippet::word(&names::longer(&name, "-grpc-headless"));
        format!("services: {{headless: {{name: {name}}}}}   # a name that is free")
    } else {
        let name = snippet::word(&names::longer(&name, "-grpc"));
        format!("services: {{clusterIP: {{name: {name}}}}}   # a name that is free")
    }
}
