//! Child processes whose output is shown while it is read.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result, bail};

/// Runs a command to its end, hands each line of its standard output to `line`, and leaves its standard error alone.
pub fn each_line(command: &mut Command, mut line: impl FnMut(&str)) -> Result<ExitStatus> {
    let name = command.get_program().display().to_string();
    let mut child = command
        .stdout(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {name}: is it installed and in PATH?"))?;
    let output = child.stdout.take().context("no standard output")?;
    for bytes in BufReader::new(output).split(b'\n') {
        line(&String::from_utf8_lossy(&bytes?));
    }
    child
        .wait()
        .with_context(|| format!("cannot wait for {name}"))
}

/// Cargo in the repository, as if somebody had started it by hand. What it says of a package to the programs that it runs is left out: a
/// crate that looks at that when it is built (ring) was built anew, and all that needs it, as often as the clone or the way in was another.
pub fn cargo(root: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_MANIFEST_") || text.starts_with("CARGO_PKG_") {
            cargo.env_remove(&name);
        }
    }
    cargo.current_dir(root);
    cargo
}

/// Runs a command that must succeed; all of its output is shown.
pub fn must(command: &mut Command) -> Result<()> {
    let status = each_line(command, |line| println!("{line}"))?;
    if !status.success() {
        bail!("{} ended with {status}", command.get_program().display());
    }
    Ok(())
}

/// The standard output of a command that must succeed.
pub fn output(command: &mut Command) -> Result<String> {
    let mut text = String::new();
    let status = each_line(command, |line| {
        text += line;
        text.push('\n');
    })?;
    if !status.success() {
        bail!("{} ended with {status}", command.get_program().display());
    }
    Ok(text)
}
