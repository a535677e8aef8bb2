//! The plugin for kubectl: an archive, and the manifest with its checksum.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::image;
use crate::process::{must, output};

const ARCHIVE: &str = "evenkeel-linux-amd64.tar.gz";
/// What stands in the manifest in place of a checksum.
const UNKNOWN: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Builds `dist/evenkeel-linux-amd64.tar.gz` and `dist/krew/evenkeel.yaml`.
pub fn build(root: &Path) -> Result<()> {
    let dist = root.join("dist");
    let krew = dist.join("krew");
    fs::create_dir_all(&krew)?;
    fs::copy(image::static_binary(root)?, dist.join("evenkeel"))
        .context("cannot copy the binary to dist/evenkeel")?;
    fs::copy(root.join("LICENSE"), dist.join("LICENSE"))?;
    // Neither times nor users are in it: the same binary is the same archive.
    must(
        Command::new("tar")
            .current_dir(&dist)
            .args([
                "--create",
                "--sort=name",
                "--mtime=@0",
                "--owner=0",
                "--group=0",
            ])
            .args(["--numeric-owner", "--use-compress-program=gzip -n"])
            .args(["--file", ARCHIVE, "evenkeel", "LICENSE"]),
    )?;
    let said = output(Command::new("sha256sum").current_dir(&dist).arg(ARCHIVE))?;
    let sum = said.split(' ').next().context("sha256sum says nothing")?;
    let source = root.join("config/krew/evenkeel.yaml");
    let manifest =
        fs::read_to_string(&source).with_context(|| format!("cannot read {}", source.display()))?;
    if !manifest.contains(UNKNOWN) {
        bail!("{} has no place for the checksum", source.display());
    }
    fs::write(krew.join("evenkeel.yaml"), manifest.replace(UNKNOWN, sum))?;
    println!(
        "try it: kubectl krew install --manifest=dist/krew/evenkeel.yaml --archive=dist/{ARCHIVE}"
    );
    Ok(())
}
