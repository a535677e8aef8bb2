//! A pipeline that applies again and again, as GitOps does every 20 s; here as soon as there is something to see.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::ConnectionAgeApplied;
use evenkeel_cluster::until;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::before::{arguments_of, bring, take_out, with_flag};
use super::{FLAG, LISTEN, Scene, backend_by_flag, server_with_arguments};
use crate::bed::{Bed, ROLLOUT, SOON};
use crate::manifests::{self, container, same};
use crate::tests;
use crate::world::World;

tests![
    shared variables_outlive_a_loop_of_applies(150),
    shared arguments_end_in_reverted_until_git_has_them(300),
    shared arguments_end_in_reverted_whoever_applies_them(300),
    shared a_loop_that_was_on_before_us_never_notices(150),
    shared a_loop_of_server_side_applies_gets_through(150),
];

/// After so long an apply that was refused is sent again, by whatever sends it.
const RETRIED: Duration = Duration::from_secs(3);

async fn variables_outlive_a_loop_of_applies(world: Arc<World>) -> Result<()> {
    let manifest = manifests::server("echo", 1);
    let backend = manifests::backend_with_age("echo", "30s");
    let scene = Scene::after(&world, "loop", &manifest, &backend).await?;
    let bed = &scene.bed;
    let template = bed.template("echo").await?;
    let revision = super::revision(bed).await?;
    let begun = Timestamp::now();
    for force in [false, true, false, true] {
        bed.apply(&manifest).await?;
        bed.server_side_apply("pipeline", force, &manifest).await?;
        bed.another_pass("echo").await?;
    }
    same(&bed.template("echo").await?, &template)?;
    ensure!(super::revision(bed).await? == revision, "a new revision");
    ensure!(bed.writes_to_workloads(begun)? == 0, "it was written");
    scene.applied().await?;
    scene.ends().await
}

/// A list of arguments is one value to `kubectl apply`: each takes ours out. Three answers, then the lines for Git; and with
/// them in Git there is peace.
async fn arguments_end_in_reverted_until_git_has_them(world: Arc<World>) -> Result<()> {
    let mut manifest = server_with_arguments();
    let scene = Scene::after(&world, "war", &manifest, &backend_by_flag("echo", "30s")).await?;
    let bed = &scene.bed;
    for attempt in 1..=3 {
        bed.apply(&manifest).await?;
        bed.set_again("echo", attempt).await?;
        scene.applied().await?;
    }
    bed.apply(&manifest).await?;
    let line = format!("{FLAG}=30s");
    let message = bed.gives_up().await?;
    let advice = format!("put into the manifest, in container server under args: [\"{line}\"]");
    ensure!(message.contains(&advice), "{message}");
    bed.rolled_out("echo").await?;
    let begun = Timestamp::now();
    bed.apply(&manifest).await?;
    bed.another_pass("echo").await?;
    same(&bed.template("echo").await?, &scene.template_before())?;
    ensure!(
        bed.writes_to_workloads(begun)? == 0,
        "it was written once more"
    );
    container(&mut manifest)["args"] = json!([LISTEN, line]);
    bed.apply(&manifest).await?;
    scene.applied().await?;
    bed.apply(&manifest).await?;
    bed.another_pass("echo").await?;
    scene.applied().await?;
    let mut expected = scene.template_before();
    expected["spec"]["containers"][0]["args"] = json!([LISTEN, line]);
    scene.ends_as(&expected).await
}

/// Whose apply takes the flag out, whichever it is, gets no error; and after three answers it has its way.
async fn arguments_end_in_reverted_whoever_applies_them(world: Arc<World>) -> Result<()> {
    const WAYS: [&str; 4] = [
        "server-side-apply",
        "forced-apply",
        "helm-apply",
        "helm-merge",
    ];
    let bed = Bed::new(&world, "wars").await?;
    for way in WAYS {
        let (without, _) = with_flag(way);
        bring(&bed, way, &(without.clone(), without))
            .await
            .context(way)?;
        bed.rolled_out(way).await?;
        bed.apply(&backend_by_flag(way, "30s")).await?;
    }
    for attempt in 1..=4 {
        for way in WAYS {
            bed.reason(way, ConnectionAgeApplied, "Applied", ROLLOUT)
                .await
                .with_context(|| format!("{way}, attempt {attempt}"))?;
            let args = arguments_of(&bed, way).await?;
            ensure!(
                args == json!([LISTEN, format!("{FLAG}=30s")]),
                "{way}: {args}"
            );
            take_out(&bed, way, &with_flag(way)).await.context(way)?;
        }
        for way in WAYS.iter().filter(|_| attempt < 4) {
            bed.set_again(way, attempt).await?;
        }
    }
    for way in WAYS {
        bed.reason(way, ConnectionAgeApplied, "Reverted", ROLLOUT)
            .await
            .context(way)?;
        let args = arguments_of(&bed, way).await?;
        ensure!(args == json!([LISTEN]), "{way}: {args}");
    }
    let mut ends = Vec::new();
    for way in WAYS {
        ends.push((format!("Deployment/{way}"), bed.template(way).await?));
    }
    bed.finish_with(ends).await
}

/// It is on when the first write comes, and does not rest: a variable is set once, arguments until we give up.
async fn a_loop_that_was_on_before_us_never_notices(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "on-before").await?;
    let mut arguments = manifests::server("arguments", 0);
    container(&mut arguments)["args"] = json!([LISTEN]);
    let manifests = [manifests::server("variables", 0), arguments];
    let all = json!({"apiVersion": "v1", "kind": "List", "items": manifests});
    bed.apply(&all).await?;
    let begun = Timestamp::now();
    let refused = async {
        loop {
            match bed.apply(&all).await {
                Ok(_) => sleep(Duration::from_millis(500)).await,
                Err(error) => break error,
            }
        }
    };
    let story = async {
        bed.apply(&backend_by_flag("arguments", "30s")).await?;
        bed.apply(&manifests::backend_with_age("variables", "30s"))
            .await?;
        for (name, reason) in [("arguments", "Reverted"), ("variables", "Applied")] {
            bed.reason(name, ConnectionAgeApplied, reason, ROLLOUT)
                .await?;
            bed.another_pass(name).await?;
        }
        bed.reason("variables", ConnectionAgeApplied, "Applied", SOON)
            .await
    };
    tokio::select! {
        error = refused => return Err(error),
        told = story => drop(told?),
    }
    let writes = bed.workloads_written(begun)?;
    for (name, times) in [("variables", 1), ("arguments", 4)] {
        // Each time the value, and that its fields are nobody's. Refused is what the loop came before.
        let taken = writes
            .iter()
            .filter(|own| own.name == name && own.code < 300);
        let count = taken.count();
        ensure!(
            count <= 2 * times,
            "{name} was written {count} times: {writes:#?}"
        );
    }
    let reverts = bed.reverts("arguments").await?;
    ensure!(reverts == 3, "{reverts} answers");
    bed.finish().await
}

/// The same by server-side apply without force, of workloads with pods. Between a write of ours and its release it may conflict over
/// arguments; whoever tries again a moment later gets through, and over variables there never is a conflict.
async fn a_loop_of_server_side_applies_gets_through(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "unforced").await?;
    let mut arguments = manifests::server("arguments", 1);
    container(&mut arguments)["args"] = json!([LISTEN]);
    let variables = manifests::server("variables", 1);
    let apply = async |manifest: &Value| bed.server_side_apply("pipeline", false, manifest).await;
    for manifest in [&variables, &arguments] {
        apply(manifest).await?;
    }
    for name in ["arguments", "variables"] {
        bed.rolled_out(name).await?;
    }
    let refused = async {
        loop {
            if let Err(error) = apply(&variables).await {
                return error;
            }
            let gets_through = until("an apply of arguments", RETRIED, async || {
                apply(&arguments).await.map(Some)
            });
            if let Err(error) = gets_through.await {
                return error;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let story = async {
        bed.apply(&backend_by_flag("arguments", "30s")).await?;
        bed.apply(&manifests::backend_with_age("variables", "30s"))
            .await?;
        bed.reason("arguments", ConnectionAgeApplied, "Reverted", ROLLOUT)
            .await?;
        bed.reason("variables", ConnectionAgeApplied, "Applied", ROLLOUT)
            .await
    };
    tokio::select! {
        error = refused => return Err(error),
        told = story => drop(told?),
    }
    let reverts = bed.reverts("arguments").await?;
    ensure!(reverts == 3, "{reverts} answers");
    bed.finish().await
}
