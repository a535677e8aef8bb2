//! What the operator would say of the pair of Services.

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

/// Another name for the half that has none of its own.
fn renamed(observed: &Observed) -> String {
    let without_cluster_ip = Observed {
        cluster_ip: None,
        ..observed.clone()
    };
    let name = observed.name();
    if is_refused(&services::plan(&without_cluster_ip).statement) {
        let name = snippet::word(&names::longer(&name, "-grpc-headless"));
        format!("services: {{headless: {{name: {name}}}}}   # a name that is free")
    } else {
        let name = snippet::word(&names::longer(&name, "-grpc"));
        format!("services: {{clusterIP: {{name: {name}}}}}   # a name that is free")
    }
}
