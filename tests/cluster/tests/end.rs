//! How a cluster ends, and that nothing is left of it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use evenkeel_cluster::{Cluster, Options, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const BINARY: &str = env!("CARGO_BIN_EXE_evenkeel-cluster");
const LIMIT: Duration = Duration::from_secs(30);

/// With kill -9 nobody can tidy up, and still nothing is left.
#[tokio::test]
async fn nothing_is_left_of_a_cluster_whose_starter_is_killed() -> Result<()> {
    nothing_is_left_after("killed", Signal::SIGKILL).await
}

#[tokio::test]
async fn nothing_is_left_of_a_cluster_after_ctrl_c() -> Result<()> {
    nothing_is_left_after("interrupted", Signal::SIGINT).await
}

async fn nothing_is_left_after(name: &str, signal: Signal) -> Result<()> {
    let name = own(name);
    let mut starter = Starter::run(&name)?;
    kill(Pid::from_raw(starter.child.id().try_into()?), signal)?;
    starter.child.wait()?;
    nothing_is_left(&name, &starter.state).await
}

/// It outlives who started it, and another one that comes and goes beside it.
#[tokio::test]
async fn a_kept_cluster_runs_until_it_is_ended() -> Result<()> {
    let (kept, beside) = (own("kept"), own("beside"));
    let _ended = Ended(&kept);
    let (name, kept) = (beside.as_str(), ["--name", kept.as_str()]);
    let printed = told(&[&kept[..], &["up"]].concat())?;
    let state = state_of(&printed)?;
    let other = Cluster::start(Options {
        supervisor: Some(BINARY.into()),
        ..Options::named(name)
    });
    let other = other.await?;
    let its = other.state_dir().to_owned();
    ensure!(its != state, "both are at {}", its.display());
    drop(other);
    nothing_is_left(name, &its).await?;
    let nodes = [&kept[..], &["kubectl", "--", "get", "nodes", "-o", "name"]].concat();
    ensure!(told(&nodes)?.starts_with("node/"), "it has no node");
    ensure!(told(&[&kept[..], &["down"]].concat())?.trim() == "ended");
    nothing_is_left(kept[1], &state).await?;
    ensure!(told(&[&kept[..], &["down"]].concat())?.trim() == "there was none");
    Ok(())
}

/// Nothing ends a supervisor's cluster but itself; the next start clears away what it left.
#[tokio::test]
async fn a_cluster_starts_where_the_supervisor_of_one_was_killed() -> Result<()> {
    let (name, next) = (own("orphaned"), own("after-it"));
    let (name, next) = (name.as_str(), next.as_str());
    let mut starter = Starter::run(name)?;
    let supervisor = processes(&[&format!(
        "supervise-evenkeel-cluster\0{}\0",
        starter.state.display()
    )])?;
    for pid in supervisor {
        // The program that entered the namespaces may be gone with it.
        let _ = kill(pid, Signal::SIGKILL);
    }
    kill(
        Pid::from_raw(starter.child.id().try_into()?),
        Signal::SIGKILL,
    )?;
    starter.child.wait()?;
    let cluster = Cluster::start(Options {
        supervisor: Some(BINARY.into()),
        ..Options::named(next)
    });
    let cluster = cluster.await?;
    nothing_is_left(name, &starter.state).await?;
    let state = cluster.state_dir().to_owned();
    cluster.kubectl(&["get", "nodes"]).await?;
    drop(cluster);
    nothing_is_left(next, &state).await
}

/// A cluster's name that no other run of the tests has, beside this one or before it.
fn own(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

/// A kept cluster that must not outlive a test that fails.
struct Ended<'a>(&'a str);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let _ = told(&["--name", self.0, "down"]);
    }
}

/// Who runs a cluster as long as itself. It must not outlive a test that fails.
struct Starter {
    child: Child,
    state: PathBuf,
}

impl Starter {
    fn run(name: &str) -> Result<Self> {
        let mut child = Command::new(BINARY)
            .args(["--name", name, "run"])
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take();
        let mut starter = Self {
            child,
            state: PathBuf::new(),
        };
        let mut line = String::new();
        BufReader::new(output.context("stdout")?).read_line(&mut line)?;
        starter.state = state_of(&line)?;
        let kubectl = Command::new(starter.state.join("kubectl"))
            .args(["get", "nodes"])
            .stdout(Stdio::null())
            .status()?;
        ensure!(kubectl.success(), "kubectl fails");
        ensure!(
            processes_of(&starter.state)?.len() > 8,
            "its processes are not found"
        );
        Ok(starter)
    }
}

impl Drop for Starter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The state directory, by what a cluster that runs prints of itself.
fn state_of(printed: &str) -> Result<PathBuf> {
    let kubectl = printed
        .trim()
        .strip_prefix("kubectl: ")
        .with_context(|| format!("it did not start: {printed}"))?;
    let state = Path::new(kubectl).parent();
    state.map(Path::to_owned).context("no state directory")
}

fn told(arguments: &[&str]) -> Result<String> {
    let output = Command::new(BINARY).args(arguments).output()?;
    ensure!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Waits until neither processes, cgroups, mounts nor files are there. Another cluster may have the number by then.
async fn nothing_is_left(name: &str, state: &Path) -> Result<()> {
    let index = state.file_name().context("index")?.to_string_lossy();
    let begin = Instant::now();
    until("its end", LIMIT, async || {
        let record = std::fs::read_to_string(state.join("cluster.json")).unwrap_or_default();
        if !record.is_empty() && !record.contains(&format!("\"{name}\"")) {
            return Ok(Some(()));
        }
        // Of version 1 there are several hierarchies, of version 2 one.
        let hierarchies = Path::new("/sys/fs/cgroup");
        let each = std::fs::read_dir(hierarchies)?.flatten();
        let cgroups = each
            .map(|entry| entry.path())
            .chain([hierarchies.to_owned()])
            .filter(|hierarchy| hierarchy.join(format!("evenkeel-{index}")).exists())
            .count();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        let mounts = mounts.contains(&state.display().to_string());
        let left = (processes_of(state)?.len(), cgroups, mounts, state.exists());
        ensure!(
            left == (0, 0, false, false),
            "processes, cgroups, mounts, state: {left:?}"
        );
        Ok(Some(()))
    })
    .await?;
    eprintln!(
        "nothing was left of {name} {:?} after its end",
        begin.elapsed()
    );
    Ok(())
}

/// Every process of a cluster but etcd has the state directory, or a file of
/// it, on its command line.
fn processes_of(state: &Path) -> Result<Vec<Pid>> {
    let state = state.display();
    processes(&[&format!("{state}/"), &format!("{state}\0")])
}

fn processes(needles: &[&str]) -> Result<Vec<Pid>> {
    let found = std::fs::read_dir("/proc")?.flatten().filter_map(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).into_owned();
        let is_one = needles.iter().any(|needle| line.contains(needle));
        let pid = entry.file_name().to_str()?.parse().ok()?;
        is_one.then(|| Pid::from_raw(pid))
    });
    Ok(found.collect())
}
