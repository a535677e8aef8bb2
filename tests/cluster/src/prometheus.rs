//! Prometheus and its checker of alert rules, from Debian's package: unpacked into the cache, so that nothing is installed, no service starts
//! and nobody has to be root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache::{self, Key, run};

const PACKAGE: &str = "prometheus";

/// The checker, which is fetched where it is not there.
pub fn promtool() -> Result<PathBuf> {
    programs().map(|directory| directory.join("promtool"))
}

/// The server.
pub fn prometheus() -> Result<PathBuf> {
    programs().map(|directory| directory.join("prometheus"))
}

fn programs() -> Result<PathBuf> {
    let key = Key::new().text(std::env::consts::ARCH);
    cache::get("prometheus", key, unpack)
}

fn unpack(directory: &Path) -> Result<()> {
    let download = || {
        let mut command = Command::new("apt-get");
        command.args(["download", "-qq", PACKAGE]);
        run(command.current_dir(directory))
    };
    // The lists may be stale or absent, which is found out by trying.
    if download().is_err() {
        run(Command::new("apt-get").args(["update", "-qq"]))?;
        download().context("download Debian's package prometheus")?;
    }
    let archive = fs::read_dir(directory)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get downloaded nothing")?;
    let whole = directory.join("package");
    run(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&whole))?;
    for program in ["prometheus", "promtool"] {
        fs::rename(whole.join("usr/bin").join(program), directory.join(program))?;
    }
    fs::remove_dir_all(whole)?;
    Ok(fs::remove_file(archive)?)
}
