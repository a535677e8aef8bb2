//! Autoscaling.

use crate::balance::bearable_subset;
use crate::observed::{Observed, is_serving};

use super::{Seen, age, is_ignored, said_before};

/// Fewer pods than this for a client are no balance: one of them going is a third of its calls.
const LEAST: u32 = 3;

/// GB071: what is added when load comes gets none of it.
pub(super) fn scales_into_nothing(observed: &Observed) -> Option<Seen> {
    // Who ignores that there is no age knows better.
    age::absent(observed).filter(|_| !is_ignored(observed, "GB021"))?;
    let scaler = observed
        .serving_workloads()
        .find_map(|workload| observed.autoscaler(workload))?;
    (scaler.max > scaler.min).then(|| {
        let message = format!(
            "{} {} scales {} {} from {} to {} pods, and nothing has clients look for new ones (GB021): pods that are added under load may get none of it, and the old ones stay as hot as they were. Set spec.connectionAge, or let clients watch endpoints",
            scaler.kind, scaler.name, scaler.target_kind, scaler.target_name, scaler.min, scaler.max
        );
        let seen = Seen::at(scaler.kind, &scaler.name, scaler.max_field().into(), message);
        seen.write(&age::usual(observed))
    })
}

/// GB043: every client has a connection to every pod, and nobody asked for so many.
pub(super) fn crowded(observed: &Observed) -> Option<Seen> {
    let seen = |message| Seen::in_backend(observed, "spec", message);
    let serving = observed.pods.iter().filter(|pod| is_serving(pod)).count();
    if serving == 0 {
        return None;
    }
    let Some(open) = observed.published.as_ref()?.crowd else {
        // After a restart of the operator what was said stands until it has been counted anew.
        return said_before(observed, "GB043").map(seen);
    };
    let pods = u32::try_from(serving).unwrap_or(u32::MAX);
    let subset = bearable_subset(pods, open);
    let (remedy, snippet) = if subset >= LEAST {
        (
            format!(
                "Have each client connect to a part of the pods: in Go (from 1.79) by the policy random_subsetting_experimental with subsetSize {subset} and round_robin as its childPolicy; or put a proxy between"
            ),
            format!(
                "# service config of a Go client that imports google.golang.org/grpc/balancer/randomsubsetting\nloadBalancingConfig:\n  - random_subsetting_experimental:\n      subsetSize: {subset}\n      childPolicy: [{{round_robin: {{}}}}]"
            ),
        )
    } else {
        let proxy = "# a proxy of examples/proxies between clients and pods, or one channel for all calls of a client";
        (
            "Put a proxy between, or have the clients share connections".to_owned(),
            proxy.to_owned(),
        )
    };
    (open > 0).then(|| {
        seen(format!(
            "a pod has {open} or more open connections: each client that balances by itself has one to each of the {pods} pods, and each takes memory on both sides and, with an age, a handshake again and again. {remedy}"
        ))
        .write(&snippet)
    })
}
