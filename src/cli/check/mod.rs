//! `evenkeel check`: the rules of hygiene on manifests, with no cluster, or on what runs in one.

mod cluster;
mod read;
mod report;
mod sarif;
mod text;

#[cfg(test)]
mod fix_tests;
#[cfg(test)]
mod read_tests;
#[cfg(test)]
mod refused_tests;
#[cfg(test)]
mod remedy_tests;
#[cfg(test)]
mod sets_tests;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::{ArgGroup, Args, ValueEnum};

use crate::findings::{CATALOGUE, Severity};
use crate::manifests::{self, Backend, Limits, Objects};

use super::connect::connect;
use super::print;
use report::Report;

/// Checks manifests (-f), or what runs in a cluster (--cluster), for what makes balancing fail.
///
/// Nothing has to be installed, and nothing is written. Directories that have the same object otherwise, as for several environments, are looked
/// at one by one. Exits 1 if it finds something as bad as --fail-on says, 2 if something cannot be read.
#[derive(Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(true).args(["paths", "files", "cluster"]))]
pub struct Check {
    /// A file, a directory with all below it, or - for standard input.
    #[arg(value_name = "FILE")]
    paths: Vec<String>,
    /// The same; may be given more than once.
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<String>,
    /// Look at what runs, with the kubeconfig's rights; what may not be listed is said and left out.
    #[arg(long, conflicts_with_all = ["paths", "files"])]
    cluster: bool,
    /// With --cluster the namespace to look at (default: that of the kubeconfig's context); with -f the one of objects that name none (default: default).
    #[arg(short, long)]
    namespace: Option<String>,
    /// With --cluster: all namespaces.
    #[arg(short = 'A', long, requires = "cluster", conflicts_with_all = ["namespace", "paths", "files"])]
    all_namespaces: bool,
    /// With --cluster: the kubeconfig's context to use.
    #[arg(long, requires = "cluster", conflicts_with_all = ["paths", "files"])]
    context: Option<String>,
    /// How it is printed.
    #[arg(short, long, value_enum, default_value_t = Output::Text, conflicts_with = "fix")]
    output: Output,
    /// From which severity on the exit status is 1.
    #[arg(long, value_enum, default_value_t = FailOn::Error)]
    fail_on: FailOn,
    /// Findings that are known and not to be said, such as GB007,GB033; a GrpcBackend has spec.ignoreFindings for its own.
    #[arg(long, value_delimiter = ',', value_name = "ID", value_parser = known)]
    ignore: Vec<String>,
    /// Prints, in place of the findings, the GrpcBackends that would put things right.
    #[arg(long)]
    fix: bool,
}

/// An id that there is: one that is mistyped would ignore nothing, and nobody would notice.
fn known(id: &str) -> Result<String, String> {
    let id = id.trim().to_uppercase();
    if CATALOGUE.iter().any(|rule| rule.id == id) {
        return Ok(id);
    }
    Err("there is no such finding: docs/findings has them all".into())
}

/// Code scanning drops what has no file.
const NO_LINES: &str = "-o sarif is for code scanning, which wants the lines of files, and what runs in a cluster has none: use -o json with --cluster, or -f";

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// Everything, for programs.
    Json,
    /// For code scanning: SARIF 2.1.0.
    Sarif,
    /// For GitHub Actions: annotations of the lines.
    Github,
}

#[derive(Clone, Copy, ValueEnum)]
enum FailOn {
    Error,
    Warning,
    Info,
    Never,
}

impl FailOn {
    fn fails(self, severity: Severity) -> bool {
        match self {
            Self::Error => severity <= Severity::Error,
            Self::Warning => severity <= Severity::Warning,
            Self::Info => true,
            Self::Never => false,
        }
    }
}

impl Check {
    /// Checks, prints, and says by the exit status how it went.
    pub fn main(self) -> anyhow::Result<ExitCode> {
        if self.cluster && matches!(self.output, Output::Sarif) {
            eprintln!("Error: {NO_LINES}");
            return Ok(ExitCode::from(2));
        }
        let objects = match self.objects() {
            Ok(objects) => objects,
            Err(error) => {
                // What lies deeper is said by these already.
                let why: Vec<String> = error.chain().take(2).map(ToString::to_string).collect();
                eprintln!("Error: {}", why.join(": "));
                return Ok(ExitCode::from(2));
            }
        };
        let backends = manifests::backends(&objects);
        let report = Report::new(&objects, &backends).without(&self.ignore);
        for fault in &report.faults {
            eprintln!("{}", text::printable(&fault.to_string()));
        }
        let hints = [hint(&objects), manifests::apart(&objects)];
        for hint in hints.into_iter().flatten() {
            eprintln!("{}", text::printable(&hint));
        }
        print(&self.text(&report, &backends)?)?;
        Ok(self.status(&report))
    }

    fn objects(&self) -> anyhow::Result<Objects> {
        if !self.cluster {
            let namespace = self.namespace.as_deref().unwrap_or("default");
            let names = [self.paths.as_slice(), &self.files].concat();
            return Ok(read::all(&names, namespace, &Limits::default()));
        }
        let listed = async {
            let (client, own) = connect(self.context.as_deref()).await?;
            let namespace = self.namespace.as_deref().unwrap_or(&own);
            cluster::all(&client, (!self.all_namespaces).then_some(namespace)).await
        };
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(listed)
    }

    fn text(&self, report: &Report, backends: &[Backend]) -> anyhow::Result<String> {
        if self.fix {
            let is_given = self.cluster || self.namespace.is_some();
            let fixes = backends.iter().filter(|own| !own.is_left_out);
            let fixes: Vec<String> = fixes.map(|own| manifests::fix(own, is_given)).collect();
            if backends.is_empty() && report.faults.is_empty() {
                eprint!("{}", text::NONE);
            }
            return Ok(fixes.join("---\n"));
        }
        Ok(match self.output {
            Output::Text => text::people(report),
            Output::Json => serde_json::to_string_pretty(report)? + "\n",
            Output::Sarif => serde_json::to_string_pretty(&sarif::log(report))? + "\n",
            Output::Github => text::github(report),
        })
    }

    fn status(&self, report: &Report) -> ExitCode {
        if !report.faults.is_empty() {
            return ExitCode::from(2);
        }
        let fails = report
            .findings()
            .any(|found| self.fail_on.fails(found.rule.severity));
        ExitCode::from(u8::from(fails))
    }
}

/// What kustomize is there to put together is not the same before that.
fn hint(objects: &Objects) -> Option<String> {
    let last = objects.kustomized.last()?;
    Some(format!(
        "{last} has a kustomization: what comes of it is looked at by kustomize build {last} | evenkeel check -"
    ))
}
