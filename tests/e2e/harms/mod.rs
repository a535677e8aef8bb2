//! What the findings predict comes true: for eleven rules the harm is measured with real clients on manifests of which
//! `evenkeel check` has said so before; then the manifests are mended as it says, and the harm is gone.
//!
//! Each scene has its manifests beside this file: `ID.yaml` as somebody might write them, and `ID.mended.yaml`. `make proof`
//! plays all of them and writes docs/harms.md; the quick ones are among the ordinary tests.

mod page;
mod scenes;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::ConnectionAgeApplied;
use evenkeel_cluster::{Identity, until};
use serde::Deserialize as _;
use serde_json::Value;

use crate::bed::{Bed, ROLLOUT, SOON};
use crate::findings::check;
use crate::world::{World, operator_binary, root};

pub use page::{Shown, write};
pub use scenes::TESTS;

/// Where the manifests are, in the repository.
const MANIFESTS: &str = "tests/e2e/harms";

/// For a hundred pods, or for two that take their time on a busy machine.
const UP: Duration = Duration::from_mins(4);

/// One rule, and what comes of not heeding it.
struct Scene {
    id: &'static str,
    /// What is done, and with which client.
    done: &'static str,
    /// What is counted, `{}` being the figure.
    figure: &'static str,
    /// The figure is this or more as the manifests were.
    harm: u64,
    /// And this or less once they are mended.
    mended: u64,
}

/// Which of a scene's manifests run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Are {
    AsFound,
    Mended,
}

impl Scene {
    /// Plays it twice; `measure` does what is done and counts.
    async fn play(
        &self,
        world: &Arc<World>,
        measure: impl AsyncFn(&Bed, Are) -> Result<u64>,
    ) -> Result<()> {
        let bed = Bed::new(world, &self.id.to_lowercase()).await?;
        let said = self.in_files(Are::AsFound)?;
        let (line, message) = said.with_context(|| format!("{} is not said", self.id))?;
        let still = self.in_files(Are::Mended)?;
        ensure!(still.is_none(), "said of the mended manifests: {still:?}");

        self.set_up(&bed, Are::AsFound).await?;
        let before = measure(&bed, Are::AsFound).await?;
        ensure!(
            before >= self.harm,
            "no harm: {}",
            page::says(self.figure, before)
        );
        self.set_up(&bed, Are::Mended).await?;
        let after = measure(&bed, Are::Mended).await?;
        ensure!(
            after <= self.mended,
            "not mended: {}",
            page::says(self.figure, after)
        );
        world.evidence.harm(Shown {
            id: self.id,
            done: self.done,
            figure: self.figure,
            line,
            message,
            before,
            after,
        });
        Ok(())
    }

    fn path(&self, are: Are) -> PathBuf {
        page::manifests(self.id, are)
    }

    /// What is said of the files alone: line and sentence of the finding.
    fn in_files(&self, are: Are) -> Result<Option<(u64, String)>> {
        let mut command = Command::new(operator_binary());
        command
            .args(["check", "--fail-on=never", "-o", "json", "-f"])
            .arg(self.path(are));
        let output = command.current_dir(root()).output()?;
        let seen = String::from_utf8(output.stdout)?;
        Ok(self.finding(&seen)?.map(|found| {
            let message = found["message"].as_str().unwrap_or_default();
            (found["line"].as_u64().unwrap_or(0), message.to_owned())
        }))
    }

    /// The finding in what `evenkeel check -o json` printed.
    fn finding(&self, seen: &str) -> Result<Option<Value>> {
        let seen: Value = serde_json::from_str(seen).with_context(|| seen.to_owned())?;
        let backends = seen["backends"].as_array().context("no backends")?;
        let mut found = backends
            .iter()
            .filter_map(|backend| backend["findings"].as_array())
            .flatten();
        Ok(found.find(|found| found["id"] == self.id).cloned())
    }

    /// Applies the manifests, and waits until they run and are spoken of as they should be: before any client comes.
    async fn set_up(&self, bed: &Bed, are: Are) -> Result<()> {
        let text = std::fs::read_to_string(self.path(are))?;
        bed.kubectl_with(&["apply", "-f", "-"], &text).await?;
        let backend = serde_yaml_ng::Deserializer::from_str(&text)
            .map(Value::deserialize)
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .find(|object| object["kind"] == "GrpcBackend");
        let ages = backend.as_ref().map(|own| &own["spec"]["connectionAge"]);
        if ages.is_some_and(Value::is_object) {
            bed.reason("echo", ConnectionAgeApplied, "Applied", ROLLOUT)
                .await?;
        }
        until("all pods are up", UP, async || {
            bed.rolled_out("echo").await.map(Some)
        })
        .await?;
        let what = format!("{} is said or not, as the manifests are", self.id);
        until(&what, SOON, async || {
            let said = match backend {
                Some(_) => self.in_status(bed).await?,
                None => self.in_cluster(bed).await?,
            };
            ensure!(said == (are == Are::AsFound), "said: {said}");
            Ok(Some(()))
        })
        .await
    }

    async fn in_status(&self, bed: &Bed) -> Result<bool> {
        let backend = bed.backend("echo").await?;
        let status = backend.status.context("no status")?;
        ensure!(
            status.observed_generation == backend.metadata.generation,
            "the status is of another spec"
        );
        Ok(status.findings.iter().any(|found| found.id == self.id))
    }

    async fn in_cluster(&self, bed: &Bed) -> Result<bool> {
        let seen = check(bed, &Identity::Admin, &["-o", "json"]).await?;
        Ok(self.finding(&seen)?.is_some())
    }
}
