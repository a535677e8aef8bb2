//! Where the story plays: a cluster, and a screen on which everything that is done to it can be read.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use evenkeel_cluster::load::Load;
use evenkeel_cluster::{Cluster, Components, Options, images, install_missing, source_dir};
use jiff::Timestamp;
use kube::Api;
use tokio::time::{MissedTickBehavior, interval};

use crate::bars;
use crate::screen::Screen;
use crate::view::{Observer, View};

/// Time between two frames.
const REFRESH: Duration = Duration::from_secs(1);
/// Bars are drawn from the traffic of this time, so nothing is concluded sooner.
const LEAST: Duration = Duration::from_secs(5);

/// A cluster and a screen.
pub struct Stage {
    /// The cluster; it ends with this.
    pub cluster: Cluster,
    /// The screen.
    pub screen: Screen,
    images: Vec<PathBuf>,
}

/// What is built outside of the cluster.
pub struct Built(Vec<PathBuf>);

/// Builds what is missing; compilers show their progress on standard error.
pub fn build() -> Result<Built> {
    install_missing()?;
    Components::build()?;
    let mut images = images::workloads()?.to_vec();
    images.push(images::operator()?);
    Ok(Built(images))
}

/// The repository, from which the commands of the story are meant to be typed.
pub fn repository() -> Result<PathBuf> {
    source_dir()
        .join("../..")
        .canonicalize()
        .context("the repository is not where this was built")
}

impl Stage {
    /// Starts the cluster and imports the images.
    pub async fn set(built: Built, mut screen: Screen) -> Result<Self> {
        screen.step("A real Kubernetes, in namespaces of its own");
        let begun = Instant::now();
        let name = format!("demo-{}", std::process::id());
        let cluster = Cluster::start(Options::named(&name)).await?;
        screen.say(&format!(
            "The node is ready after {:.1} s.",
            begun.elapsed().as_secs_f64()
        ));
        Ok(Self {
            cluster,
            screen,
            images: built.0,
        })
    }

    /// Puts the images where pods find them.
    pub async fn import_images(&self) -> Result<()> {
        for image in &self.images {
            self.cluster.import_image(image).await?;
        }
        Ok(())
    }

    /// Shows a kubectl command (words without spaces in them), runs it, and shows what it says.
    pub async fn kubectl(&mut self, line: &str) -> Result<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.screen.command("kubectl", &words);
        let said = self.cluster.kubectl(&words).await?;
        self.screen.output(&said);
        Ok(said.trim().to_owned())
    }

    /// The same with Helm. Its notes are for people who install it, not for a story.
    pub async fn helm(&mut self, line: &str) -> Result<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.screen.command("helm", &words);
        let said = self.cluster.helm(&words).await?;
        self.screen
            .output(said.split("\nNOTES:").next().unwrap_or_default());
        Ok(())
    }

    /// Applies a file of `examples/demo`, showing what is in it.
    pub async fn apply(&mut self, file: &str) -> Result<()> {
        let path = Path::new("examples/demo").join(file);
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        self.screen
            .command("kubectl", &["apply", "-f", &path.display().to_string()]);
        self.screen.file(&text);
        let said = self.cluster.apply(&text).await?;
        self.screen.output(&said);
        Ok(())
    }

    /// Starts a gRPC client as a pod.
    pub async fn client(&mut self, name: &str, target: &str, further: &str) -> Result<Load> {
        let (image, port) = (images::CLIENT, Load::PORT);
        let run = format!(
            "run {name} --image={image} --image-pull-policy=Never {further} -- --target={target} --rate=50 --http=:{port}"
        );
        self.kubectl(&run).await?;
        let pods = Api::default_namespaced(self.cluster.client().await?);
        let load = Load::find(&self.cluster, &pods, name).await?;
        load.serves().await?;
        Ok(load)
    }

    /// Ends a client.
    pub async fn end(&mut self, load: Load) -> Result<()> {
        self.kubectl(&format!("delete pod {} --now", load.name()))
            .await
            .map(drop)
    }

    /// Shows the bars until something holds, which is named in case that it never does.
    pub async fn watch(
        &mut self,
        load: &Load,
        what: &str,
        limit: Duration,
        holds: impl Fn(&View) -> bool,
    ) -> Result<View> {
        self.watch_since(Timestamp::now(), load, what, limit, holds)
            .await
    }

    /// The same, with pods that became ready since then shown as new.
    pub async fn watch_since(
        &mut self,
        since: Timestamp,
        load: &Load,
        what: &str,
        limit: Duration,
        holds: impl Fn(&View) -> bool,
    ) -> Result<View> {
        let mut observer = Observer::new(self.cluster.client().await?, since);
        let (begun, mut ticks) = (Instant::now(), interval(REFRESH));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut trouble = String::new();
        loop {
            ticks.tick().await;
            let late = begun.elapsed() > limit;
            match observer.look(Some(load)).await {
                Ok(view) => {
                    let lines = picture(&view, begun.elapsed());
                    if begun.elapsed() >= LEAST && holds(&view) {
                        self.screen.settle(&lines);
                        return Ok(view);
                    }
                    if late {
                        self.screen.settle(&lines);
                    }
                    self.screen.frame(&lines);
                }
                Err(error) => trouble = format!(": {error:#}"),
            }
            if late {
                bail!("{what}: not within {} s{trouble}", limit.as_secs());
            }
        }
    }
}

fn picture(view: &View, after: Duration) -> Vec<String> {
    let mut lines = bars::lines(&view.pods);
    let seconds = after.as_secs();
    let verdict = match view.verdict.as_str() {
        "" => String::new(),
        verdict => format!(" · verdict {verdict} ({} pods judged)", view.judged),
    };
    let failed = match view.failed {
        0 => String::new(),
        failed => format!(" · {failed} failed calls"),
    };
    let foot = format!("after {seconds} s{verdict}{failed}");
    lines.push(foot);
    lines
}
