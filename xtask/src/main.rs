//! Generates what is committed but not written by hand, and runs what `make` offers.

mod api;
mod chart;
mod docs;
mod findings;
mod fuzz;
mod generate;
mod hops;
mod image;
mod krew;
mod others;
mod process;
mod reproduce;
mod sbom;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;

/// Tasks of this repository.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Task {
    /// Write the CustomResourceDefinition into crds/, the chart and config/.
    Crd {
        /// Write nothing; fail if a file differs.
        #[arg(long)]
        check: bool,
    },
    /// Write the kustomize roles from the chart's rules.
    Rbac {
        /// Write nothing; fail if a file differs.
        #[arg(long)]
        check: bool,
    },
    /// Write the pages, and parts of pages, that are made from the code's own tables and the chart's values.
    Docs {
        /// Write nothing; fail if a file differs.
        #[arg(long)]
        check: bool,
    },
    /// Run all tests, or some phases of them; the last line says how many passed and failed.
    Test(test::Options),
    /// Throw made-up input at the readers of metrics pages and of manifests.
    Fuzz(fuzz::Options),
    /// Build the static binary and the image dist/evenkeel.tar.
    Image,
    /// Build the image twice, in different places, and fail unless both are one and the same.
    Reproduce,
    /// Build the static binary and what `kubectl krew install` takes: an archive and its manifest in dist/.
    Krew,
    /// Write dist/evenkeel.cdx.json, the bill of materials of the binary.
    Sbom,
}

fn main() -> ExitCode {
    match run(Task::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    let root = root()?;
    match task {
        Task::Crd { check } => generate::settle(&generate::crd(&root)?, check)?,
        Task::Rbac { check } => generate::settle(&generate::rbac(&root)?, check)?,
        Task::Docs { check } => generate::settle(&docs::pages(&root)?, check)?,
        Task::Test(options) => return Ok(test::run(&root, &options)),
        Task::Fuzz(options) => fuzz::run(&root, &options)?,
        Task::Image => image::build(&root)?,
        Task::Reproduce => reproduce::check(&root)?,
        Task::Krew => krew::build(&root)?,
        Task::Sbom => sbom::write(&root)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The repository. Asked at run time, since clones may share a target directory.
fn root() -> Result<PathBuf> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").context("start me as: cargo xtask")?;
    let package = PathBuf::from(package);
    Ok(package.parent().context("xtask/ has no parent")?.into())
}
