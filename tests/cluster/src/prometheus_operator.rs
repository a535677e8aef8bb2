//! The kinds of the Prometheus operator as its own module defines them, so that what is made of them is tried against the real ones.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::paths::source_dir;

const MODULE: &str = "github.com/prometheus-operator/prometheus-operator";
const KINDS: [&str; 2] = ["servicemonitors", "prometheusrules"];

/// The files with the definitions of ServiceMonitor and PrometheusRule; downloaded where they are not there.
pub fn monitoring_kinds() -> Result<[PathBuf; 2]> {
    // The version, and the sum of what comes, are those of go.mod and go.sum there.
    let output = Command::new("go")
        .args(["mod", "download", "-json", MODULE])
        .current_dir(source_dir().join("components/prometheus-operator"))
        .envs([("GOWORK", "off"), ("GOTOOLCHAIN", "local"), ("GOFLAGS", "")])
        .output()
        .context("the Go toolchain is needed: is `go` on the PATH?")?;
    ensure!(
        output.status.success(),
        "go mod download {MODULE}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let Module { dir } = serde_json::from_slice(&output.stdout)?;
    let directory = dir.join("example/prometheus-operator-crd");
    Ok(KINDS.map(|kind| directory.join(format!("monitoring.coreos.com_{kind}.yaml"))))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Module {
    dir: PathBuf,
}
