//! What a process holds and uses, by /proc.

use std::time::Duration;

use anyhow::{Context as _, Result};
use evenkeel_cluster::Cluster;

/// Ticks a second in /proc, on every Linux.
const TICKS: f64 = 100.0;

/// What is resident, in MB.
pub struct Held {
    /// All of it.
    pub all: f64,
    /// Of the program's file, read again whenever it was given up.
    pub mapped: f64,
}

impl Held {
    /// By the process of this number.
    pub fn by(pid: u32) -> Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
            .with_context(|| format!("process {pid} is gone"))?;
        let megabytes = |name: &str| -> Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let text = line.with_context(|| format!("no {name}"))?;
            let kibibytes: f64 = text.trim().trim_end_matches(" kB").parse()?;
            Ok(kibibytes * 1024.0 / 1e6)
        };
        let all = megabytes("VmRSS:")?;
        let mapped = all - megabytes("RssAnon:")?;
        Ok(Self { all, mapped })
    }
}

/// Processor time that a process has used.
#[derive(Clone, Copy)]
pub struct Used {
    /// All of it.
    pub all: Duration,
    /// The kernel's part for it.
    pub kernel: Duration,
}

impl Used {
    /// So far, by the process of this number.
    pub fn by(pid: u32) -> Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .with_context(|| format!("process {pid} is gone"))?;
        // Behind the name, which may have blanks and braces.
        let (_, rest) = stat.rsplit_once(')').context("/proc/PID/stat")?;
        let mut times = rest.split_whitespace().skip(11);
        let mut ticks = || -> Result<f64> { Ok(times.next().context("/proc/PID/stat")?.parse()?) };
        let (user, kernel) = (ticks()? / TICKS, ticks()? / TICKS);
        Ok(Self {
            all: Duration::from_secs_f64(user + kernel),
            kernel: Duration::from_secs_f64(kernel),
        })
    }

    /// Since then.
    pub fn since(self, before: Self) -> Self {
        Self {
            all: self.all.saturating_sub(before.all),
            kernel: self.kernel.saturating_sub(before.kernel),
        }
    }
}

/// The host's number of the one process of which a file in /proc says this.
pub fn pid_by(file: &str, said: &str) -> Result<u32> {
    std::fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .find(|pid| {
            std::fs::read(format!("/proc/{pid}/{file}"))
                .is_ok_and(|text| String::from_utf8_lossy(&text).contains(said))
        })
        .with_context(|| format!("no process has {said} in its {file}"))
}

/// The one process in the operator's container: its cgroup has the container's id.
pub async fn operator_pid(cluster: &Cluster) -> Result<u32> {
    let container = cluster
        .kubectl(&[
            "--namespace=evenkeel-system",
            "get",
            "pods",
            "--output=jsonpath={.items[0].status.containerStatuses[0].containerID}",
        ])
        .await?;
    let id = container
        .rsplit('/')
        .next()
        .filter(|id| id.len() > 32)
        .context("the operator has no container")?;
    pid_by("cgroup", id)
}
