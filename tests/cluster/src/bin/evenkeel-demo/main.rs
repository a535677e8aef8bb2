//! The main job of Evenkeel on a real Kubernetes, told step by step: `make demo`.
//!
//! `main` is the story, `acts` its parts; `stage` is where it plays, `screen` how it is shown, `view` what is seen,
//! `bars` the picture.

mod acts;
mod bars;
mod screen;
mod stage;
mod view;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use evenkeel_cluster::Cluster;

use screen::Screen;
use stage::Stage;

/// Under this name a kept cluster is found by `make clean-cluster`.
const KEPT: &str = "demo";

#[derive(Parser)]
#[command(about = "The main job of Evenkeel on a real Kubernetes, told step by step")]
struct Arguments {
    /// Leave the cluster running at the end
    #[arg(long)]
    keep: bool,
    /// Only build the story's server and client as image archives there, to play it on another cluster
    #[arg(long, value_name = "DIRECTORY")]
    images: Option<PathBuf>,
}

fn main() -> ExitCode {
    evenkeel_cluster::maybe_supervise();
    let arguments = Arguments::parse();
    if let Some(directory) = arguments.images {
        return ended(images(&directory));
    }
    let Ok(runtime) = tokio::runtime::Runtime::new() else {
        eprintln!("cannot start threads");
        return ExitCode::FAILURE;
    };
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = demo(arguments.keep) => outcome,
            // The cluster ends with this process.
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted: everything is ended")),
        }
    });
    runtime.shutdown_background();
    ended(outcome)
}

fn ended(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\n{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn images(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)?;
    let archives = evenkeel_cluster::images::workloads()?;
    for (archive, name) in archives.iter().zip(["demo-server.tar", "demo-client.tar"]) {
        let copy = directory.join(name);
        fs::copy(archive, &copy).with_context(|| format!("write {}", copy.display()))?;
        println!("{}", copy.display());
    }
    Ok(())
}

async fn demo(keep: bool) -> Result<()> {
    if let Some(state) = Cluster::kept(KEPT)?.filter(|_| keep) {
        bail!(
            "a demo is kept already: use it with {}/kubectl, or end it with make clean-cluster, then run this again. \
             (Without KEEP=1 a demo runs beside it.)",
            state.display()
        );
    }
    std::env::set_current_dir(stage::repository()?)?;
    eprintln!("Building what is missing: about 15 minutes the first time, seconds later.");
    let built = tokio::task::spawn_blocking(stage::build).await??;
    let mut stage = Stage::set(built, Screen::new()).await?;
    if let Err(error) = story(&mut stage).await {
        let logs = stage.cluster.logs_dir().display();
        return Err(error.context(format!(
            "the demo did not get to its end; the logs are in {logs}"
        )));
    }
    farewell(&mut stage, keep).await
}

async fn story(stage: &mut Stage) -> Result<()> {
    acts::operator(stage).await?;
    acts::pinned(stage).await?;
    acts::pair(stage).await?;
    let client = acts::even(stage).await?;
    acts::starved(stage, &client).await?;
    acts::aged(stage, &client).await?;
    acts::discovered(stage, &client).await?;
    stage.end(client).await?;
    acts::watched(stage).await?;
    acts::verdict(stage).await
}

async fn farewell(stage: &mut Stage, keep: bool) -> Result<()> {
    stage.screen.step("The end");
    if !keep {
        stage
            .screen
            .say("The cluster is taken down. To look around in it: make demo KEEP=1");
        return Ok(());
    }
    let kubectl = stage.cluster.kubectl_wrapper().await?;
    stage.cluster.keep(KEPT)?;
    stage.screen.say(&format!(
        "The cluster is kept. Use it with: {} get gb -o wide",
        kubectl.display()
    ));
    stage.screen.say("End it with: make clean-cluster");
    Ok(())
}
