//! The other door: the command line.

mod check;
mod connect;
pub(crate) mod log;
mod presets;
mod probe;
mod run;
mod top;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use run::{Flag, flags};

/// Keeps gRPC backends evenly loaded by DNS-based client-side balancing, and proves it.
#[derive(Parser)]
#[command(name = "evenkeel", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the operator.
    Run(Box<run::Run>),
    /// Prints the CustomResourceDefinition.
    Crd,
    Presets(presets::Presets),
    Check(check::Check),
    Probe(probe::Probe),
    Top(top::Top),
}

/// Reads the command line and does what it says.
pub fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Run(run) => run.main()?,
        Command::Crd => {
            print(&serde_yaml_ng::to_string(&crate::api::crd())?)?;
        }
        Command::Presets(presets) => presets.main()?,
        Command::Check(check) => return check.main(),
        Command::Probe(probe) => probe.main()?,
        Command::Top(top) => top.main()?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A reader that has seen enough, such as head, is no fault of ours.
fn print(text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
