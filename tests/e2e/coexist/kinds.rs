//! The owners of StatefulSets and DaemonSets win as those of Deployments do. Without pods: what they would show other tests do.

use std::sync::Arc;

use anyhow::{Result, ensure};
use evenkeel::api::ConditionType::ConnectionAgeApplied;
use jiff::Timestamp;
use serde_json::json;

use super::{AGE, FLAG, LISTEN, add_variable, backend_by_flag};
use crate::bed::{Bed, SOON};
use crate::manifests::{self, container, make_kind, same};
use crate::tests;
use crate::world::World;

tests![
    shared the_owner_of_a_stateful_set_wins_too(300),
    shared the_owner_of_a_daemon_set_wins_too(300),
];

async fn the_owner_of_a_stateful_set_wins_too(world: Arc<World>) -> Result<()> {
    the_owner_wins(Bed::new(&world, "their-set").await?, "StatefulSet").await
}

async fn the_owner_of_a_daemon_set_wins_too(world: Arc<World>) -> Result<()> {
    the_owner_wins(Bed::new(&world, "their-daemons").await?, "DaemonSet").await
}

async fn the_owner_wins(bed: Bed, kind: &str) -> Result<()> {
    variables(&bed, kind).await?;
    arguments(&bed, kind).await?;
    bed.finish().await
}

async fn variables(bed: &Bed, kind: &str) -> Result<()> {
    let mut manifest = manifests::server("variables", 0);
    make_kind(&mut manifest, kind);
    let object = format!("{}/variables", kind.to_lowercase());
    bed.apply(&manifest).await?;
    bed.apply(&manifests::backend_with_age("variables", "30s"))
        .await?;
    says(bed, "variables", "Applied").await?;
    let with_age = bed.template_of(&object).await?;

    let begun = Timestamp::now();
    bed.apply(&manifest).await?;
    for force in [false, true] {
        bed.server_side_apply("pipeline", force, &manifest).await?;
    }
    bed.another_pass_over(&object).await?;
    same(&bed.template_of(&object).await?, &with_age)?;
    ensure!(bed.writes_to_workloads(begun)? == 0, "it was written");

    let mut theirs = manifest.clone();
    add_variable(
        container(&mut theirs),
        &json!({"name": AGE, "value": "45s"}),
    );
    bed.apply(&theirs).await?;
    says(bed, "variables", "FieldConflict").await?;
    bed.apply(&manifest).await?;
    says(bed, "variables", "Applied").await?;
    same(&bed.template_of(&object).await?, &with_age)?;

    let begun = Timestamp::now();
    bed.kubectl(&["rollout", "undo", &object]).await?;
    says(bed, "variables", "WaitingForRollout").await?;
    let message = bed.message("variables", ConnectionAgeApplied).await?;
    let holds = message.contains("set again 10 minutes after that");
    ensure!(holds, "{message}");
    bed.another_pass_over(&object).await?;
    bed.has_age(&object, "server", None).await?;
    ensure!(bed.writes_to_workloads(begun)? == 0, "it was written");
    Ok(())
}

async fn arguments(bed: &Bed, kind: &str) -> Result<()> {
    let mut manifest = manifests::server("arguments", 0);
    container(&mut manifest)["args"] = json!([LISTEN]);
    make_kind(&mut manifest, kind);
    let object = format!("{}/arguments", kind.to_lowercase());
    bed.apply(&manifest).await?;
    bed.apply(&backend_by_flag("arguments", "30s")).await?;
    for attempt in 1..=4 {
        says(bed, "arguments", "Applied").await?;
        let args = bed.template_of(&object).await?["spec"]["containers"][0]["args"].take();
        let set = json!([LISTEN, format!("{FLAG}=30s")]);
        ensure!(args == set, "attempt {attempt}: {args}");
        bed.apply(&manifest).await?;
        if attempt < 4 {
            bed.set_again("arguments", attempt).await?;
        }
    }
    says(bed, "arguments", "Reverted").await
}

async fn says(bed: &Bed, backend: &str, reason: &str) -> Result<()> {
    bed.reason(backend, ConnectionAgeApplied, reason, SOON)
        .await
        .map(drop)
}
