//! What the supervisor does to its fresh namespaces before anything starts:
//! private directories, a bridge as the node's network, forwarding.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The node's address inside the namespace, the same in every cluster.
pub(crate) const NODE_IP: &str = "192.168.77.1";

/// Where components write, and where two clusters must not meet.
const PRIVATE: [&str; 5] = [
    "/run",
    "/var/lib/kubelet",
    "/var/lib/cni",
    "/var/log/containers",
    "/opt",
];

pub(crate) fn prepare() -> Result<()> {
    for directory in PRIVATE
        .into_iter()
        .filter(|directory| !Path::new(directory).exists())
    {
        std::fs::create_dir_all(directory).with_context(|| format!("create {directory}"))?;
    }
    for directory in PRIVATE {
        run(&format!("mount -t tmpfs -o mode=0755 evenkeel {directory}"))?;
    }
    run("ip link set lo up")?;
    run("ip link add br0 type bridge")?;
    run(&format!("ip addr add {NODE_IP}/24 dev br0"))?;
    run("ip link set br0 up")?;
    // Only so that a Service address passes the route lookup before nftables
    // rewrites it: there is no way out.
    run("ip route add default dev br0")?;
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("enable forwarding")
}

fn run(line: &str) -> Result<()> {
    let mut words = line.split_whitespace();
    let program = words.next().context("an empty command")?;
    let output = Command::new(program)
        .args(words)
        .output()
        .with_context(|| format!("run {program}"))?;
    if !output.status.success() {
        bail!(
            "`{line}` failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
