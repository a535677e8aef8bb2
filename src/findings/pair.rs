//! What the operator would say of the pair of Services.

use crate::api::Reason;
use crate::api::conditions::State;
use crate::observed::{Observed, Observer};
use crate::services;

use super::Seen;
use super::services::{headless_port_differs, headless_without_ports, selectors_differ};

/// GB008: a Service that is not the operator's has the name of one that it would make, and does not do what that would.
pub(super) fn name_is_taken(observed: &Observed) -> Option<Seen> {
    // The operator says it in ServicesReady, and rules that know what is wrong with the Service say it better.
    let elsewhere = observed.observer == Observer::Operator || observed.guessed;
    let better = [
        headless_port_differs,
        headless_without_ports,
        selectors_differ,
    ];
    if elsewhere || better.iter().any(|rule| rule(observed).is_some()) {
        return None;
    }
    let said = services::plan(observed).statement;
    let refused = said.state == State::False && said.reason == Reason::NameConflict;
    refused.then(|| {
        let message = format!(
            "the operator would refuse this GrpcBackend with NameConflict: {}",
            said.message
        );
        Seen::in_backend("spec.services", message)
    })
}
