//! Starts, uses and ends a kept cluster from the command line.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::{Parser, Subcommand};
use evenkeel_cluster::{Cluster, Components, From, Identity, Options};

#[derive(Parser)]
#[command(about = "A real Kubernetes in namespaces of its own")]
struct Arguments {
    /// The cluster's name
    #[arg(long, global = true, default_value = "dev")]
    name: String,
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Build what is missing
    Build,
    /// Start a cluster and keep it
    Up,
    /// Start a cluster until Ctrl-C
    Run,
    /// End the kept cluster
    Down,
    /// Print where things are
    Env,
    /// Run kubectl
    #[command(trailing_var_arg = true, allow_hyphen_values = true)]
    Kubectl {
        /// What to hand on
        arguments: Vec<String>,
    },
    /// Run Helm
    #[command(trailing_var_arg = true, allow_hyphen_values = true)]
    Helm {
        /// What to hand on
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    evenkeel_cluster::maybe_supervise();
    let outcome = tokio::runtime::Runtime::new()
        .map_err(Into::into)
        .and_then(|runtime| {
            let arguments = Arguments::parse();
            runtime.block_on(act(arguments))
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn act(Arguments { name, command }: Arguments) -> Result<()> {
    match command {
        Action::Build => {
            evenkeel_cluster::install_missing()?;
            let components = Components::build()?;
            println!("{}", components.kubernetes("kubectl").display());
        }
        Action::Up => {
            let cluster = start(Options {
                keep: true,
                ..Options::named(&name)
            })
            .await?;
            println!("kubectl: {}", cluster.kubectl_wrapper().await?.display());
        }
        Action::Run => {
            let cluster = start(Options::named(&name)).await?;
            println!("kubectl: {}", cluster.kubectl_wrapper().await?.display());
            tokio::signal::ctrl_c().await?;
        }
        Action::Down => {
            let found = Cluster::stop_kept(&name)?;
            println!("{}", if found { "ended" } else { "there was none" });
        }
        Action::Env => {
            let cluster = Cluster::attach(&name).await?;
            println!(
                "STATE={}\nLOGS={}",
                cluster.state_dir().display(),
                cluster.logs_dir().display()
            );
            println!(
                "KUBECONFIG={}",
                cluster
                    .kubeconfig_for(&Identity::Admin, From::Inside)
                    .await?
                    .display()
            );
        }
        Action::Kubectl { arguments } => {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            print!(
                "{}",
                Cluster::attach(&name).await?.kubectl(&arguments).await?
            );
        }
        Action::Helm { arguments } => {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            print!("{}", Cluster::attach(&name).await?.helm(&arguments).await?);
        }
    }
    Ok(())
}

async fn start(options: Options) -> Result<Cluster> {
    evenkeel_cluster::install_missing()?;
    Components::build()?;
    let begin = Instant::now();
    let cluster = Cluster::start(options).await?;
    eprintln!(
        "ready after {:.1} s; logs in {}",
        begin.elapsed().as_secs_f64(),
        cluster.logs_dir().display()
    );
    Ok(cluster)
}
