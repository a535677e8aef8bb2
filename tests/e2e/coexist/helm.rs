//! `helm upgrade` and `helm rollback`, by server-side apply as Helm 4 does it, and by the three-way merge of Helm 3.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::ConnectionAgeApplied;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{AGE, add_variable};
use crate::bed::{Bed, ROLLOUT};
use crate::manifests::{self, container};
use crate::tests;
use crate::world::World;

tests![
    shared upgrades_by_server_side_apply_go_on(200),
    shared upgrades_by_three_way_merge_go_on(200),
];

async fn upgrades_by_server_side_apply_go_on(world: Arc<World>) -> Result<()> {
    upgrades_go_on(&world, "helm-ssa", "true").await
}

async fn upgrades_by_three_way_merge_go_on(world: Arc<World>) -> Result<()> {
    upgrades_go_on(&world, "helm-merge", "false").await
}

/// Something else changes; the variable comes into the chart, and goes again by a rollback; each time pods are replaced only for what changed.
async fn upgrades_go_on(world: &Arc<World>, prefix: &str, server_side: &str) -> Result<()> {
    let bed = Bed::new(world, prefix).await?;
    let chart = Chart::new(&bed, "echo", server_side)?;
    let mut manifest = manifests::server("echo", 1);
    chart.bring("install", &manifest).await?;
    bed.rolled_out("echo").await?;
    let mut before = bed.template("echo").await?;
    bed.apply(&manifests::backend_with_age("echo", "30s"))
        .await?;
    bed.reason("echo", ConnectionAgeApplied, "Applied", ROLLOUT)
        .await?;

    let begun = Timestamp::now();
    chart.bring("upgrade", &manifest).await?;
    let other = json!({"name": "OTHER", "value": "1"});
    add_variable(container(&mut manifest), &other);
    chart.bring("upgrade", &manifest).await?;
    bed.rolled_out("echo").await?;
    bed.another_pass("echo").await?;
    bed.reason("echo", ConnectionAgeApplied, "Applied", ROLLOUT)
        .await?;
    bed.has_age("deployment/echo", "server", Some("30s"))
        .await?;
    ensure!(bed.writes_to_workloads(begun)? == 0, "it was written again");

    let mut theirs = manifest.clone();
    add_variable(
        container(&mut theirs),
        &json!({"name": AGE, "value": "45s"}),
    );
    chart.bring("upgrade", &theirs).await?;
    bed.reason("echo", ConnectionAgeApplied, "FieldConflict", ROLLOUT)
        .await?;
    bed.rolled_out("echo").await?;
    chart.helm(&["rollback", "echo"]).await?;
    bed.reason("echo", ConnectionAgeApplied, "Applied", ROLLOUT)
        .await?;
    bed.rolled_out("echo").await?;
    bed.has_age("deployment/echo", "server", Some("30s"))
        .await?;
    add_variable(&mut before["spec"]["containers"][0], &other);
    bed.finish_as("echo", &before).await
}

/// A chart of one template, in a directory of its own.
pub struct Chart<'a> {
    bed: &'a Bed,
    release: String,
    directory: PathBuf,
    server_side: String,
}

impl<'a> Chart<'a> {
    pub fn new(bed: &'a Bed, release: &str, server_side: &str) -> Result<Self> {
        let directory = format!("chart-{}-{release}", bed.name());
        let directory = bed.world.cluster.state_dir().join(directory);
        std::fs::create_dir_all(directory.join("templates"))?;
        std::fs::write(
            directory.join("Chart.yaml"),
            "apiVersion: v2\nname: echo\nversion: 0.1.0\n",
        )?;
        Ok(Self {
            bed,
            release: release.into(),
            directory,
            server_side: format!("--server-side={server_side}"),
        })
    }

    /// `helm install` or `helm upgrade`.
    pub async fn bring(&self, verb: &str, manifest: &Value) -> Result<()> {
        let template = self.directory.join("templates/deployment.json");
        std::fs::write(template, manifest.to_string())?;
        let chart = self.directory.display().to_string();
        self.helm(&[verb, &self.release, &chart]).await
    }

    async fn helm(&self, arguments: &[&str]) -> Result<()> {
        let further = ["-n", self.bed.name(), "--timeout=60s", &self.server_side];
        self.bed
            .world
            .cluster
            .helm(&[arguments, &further].concat())
            .await
            .map(drop)
            .with_context(|| format!("helm {}", arguments.join(" ")))
    }
}
