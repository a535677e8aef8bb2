//! Set is not works: what the connections themselves say of the age.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use evenkeel::api::ConditionType::ConnectionAgeApplied;
use evenkeel::api::{ObservedAge, SetBy};
use evenkeel_cluster::until;
use serde_json::json;

use crate::bed::{Bed, ROLLOUT};
use crate::discovery::PATIENT;
use crate::manifests;
use crate::pods::left_of;
use crate::tests;
use crate::world::World;

tests![
    shared an_age_that_is_kept_and_one_that_is_not(240),
];

/// 3.3 ages of 10 s, twice, and a busy machine.
const COUNTED: Duration = Duration::from_mins(2);

/// Two servers under load: one takes the age, the other does not know the variable.
async fn an_age_that_is_kept_and_one_that_is_not(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "observed").await?;
    for name in ["kept", "ignored"] {
        bed.apply(&manifests::server(name, 1)).await?;
    }
    for (name, variable) in [
        ("kept", "MAX_CONNECTION_AGE"),
        ("ignored", "AGE_OF_ANOTHER_SERVER"),
    ] {
        bed.rolled_out(name).await?;
        let mut backend = manifests::backend(name);
        backend["spec"]["connectionAge"] =
            json!({"maxAge": "10s", "knob": {"env": {"maxAge": variable}}});
        bed.apply(&backend).await?;
    }
    let mut clients = Vec::new();
    for name in ["kept", "ignored"] {
        bed.reason(name, ConnectionAgeApplied, "Applied", ROLLOUT)
            .await?;
        left_of(&bed, name, 1).await?;
        let target = format!("dns:///{name}-headless.{}.svc:8080", bed.name());
        clients.push(
            bed.client(&format!("{name}-client"), &target, &[PATIENT])
                .await?,
        );
    }
    for (name, expected) in [
        ("kept", ObservedAge::AtAge),
        ("ignored", ObservedAge::Later),
    ] {
        let status = until("the connections have been counted", COUNTED, async || {
            let status = bed.backend(name).await?.status.unwrap_or_default();
            let seen = status.servers.first().and_then(|server| server.observed);
            let measured = seen.is_some_and(|seen| seen != ObservedAge::Measuring);
            Ok(measured.then_some(status))
        })
        .await?;
        let server = &status.servers[0];
        ensure!(server.observed == Some(expected), "{name}: {server:?}");
        ensure!(server.set_by == Some(SetBy::Evenkeel), "{name}: {server:?}");
        let contradicted = status.findings.iter().any(|finding| finding.id == "GB034");
        ensure!(
            contradicted == (expected == ObservedAge::Later),
            "{name}: {:?}",
            status.findings
        );
    }
    for client in clients {
        client.totals().await?.counts.no_errors()?;
    }
    bed.finish().await
}
