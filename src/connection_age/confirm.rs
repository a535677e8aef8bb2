//! What the connections themselves say of the age: set is not works.

use std::collections::BTreeMap;

use crate::api::{BalanceMode, ObservedAge, Server};
use crate::balance::Turnover;
use crate::observed::Observed;

/// The rows, each with what was seen at its pods. What was seen before stands until something else is.
pub fn confirmed(observed: &Observed, servers: Vec<Server>, before: &[Server]) -> Vec<Server> {
    let balance = observed.backend.spec.balance.as_ref();
    let unread = balance.and_then(|balance| balance.mode) == Some(BalanceMode::Disabled);
    let confirm = |mut server: Server| {
        let same = |old: &&Server| {
            (&old.kind, &old.name, &old.running) == (&server.kind, &server.name, &server.running)
        };
        let before = before.iter().find(same).and_then(|old| old.observed);
        server.observed = server.running.as_ref().and_then(|_| {
            let published = observed.published.as_ref();
            let seen = published.map(|published| of(observed, &server, &published.turnover));
            let seen = if unread {
                Some(ObservedAge::NotMeasurable)
            } else {
                seen
            };
            match (seen, before) {
                (None | Some(ObservedAge::Measuring), Some(before)) => Some(before),
                (seen, _) => seen,
            }
        });
        server
    };
    servers.into_iter().map(confirm).collect()
}

/// The worst of the pods; those that know nothing yet leave the word to the others.
fn of(observed: &Observed, server: &Server, turnover: &BTreeMap<String, Turnover>) -> ObservedAge {
    let workload = observed
        .workloads
        .iter()
        .find(|workload| workload.kind.as_str() == server.kind && workload.name() == server.name);
    let pods = observed
        .pods
        .iter()
        .filter(|pod| workload.is_some_and(|workload| workload.owns(pod)));
    pods.filter_map(|pod| pod.metadata.name.as_ref())
        .map(
            |name| match turnover.get(name).copied().unwrap_or_default() {
                Turnover::Later => ObservedAge::Later,
                Turnover::Sooner => ObservedAge::Unclear,
                Turnover::AtAge => ObservedAge::AtAge,
                Turnover::Measuring => ObservedAge::Measuring,
                Turnover::Unknown => ObservedAge::NotMeasurable,
            },
        )
        .min()
        .unwrap_or(ObservedAge::Measuring)
}
