//! The few programs that a cluster takes from the operating system.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A package, and how to tell that it is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Package {
    pub name: &'static str,
    /// Present when this file is.
    pub file: &'static str,
    pub why: &'static str,
}

const PACKAGES: [Package; 8] = [
    Package {
        name: "containerd",
        file: "/usr/bin/containerd",
        why: "runs the pods",
    },
    Package {
        name: "runc",
        file: "/usr/sbin/runc",
        why: "starts the containers",
    },
    Package {
        name: "containernetworking-plugins",
        file: "/usr/lib/cni/ptp",
        why: "gives pods an address",
    },
    Package {
        name: "nftables",
        file: "/usr/sbin/nft",
        why: "carries the Services",
    },
    Package {
        name: "iproute2",
        file: "/usr/sbin/ip",
        why: "sets up the node's network",
    },
    Package {
        name: "catatonit",
        file: "/usr/bin/catatonit",
        why: "is the pause container",
    },
    Package {
        name: "buildah",
        file: "/usr/bin/buildah",
        why: "builds images",
    },
    Package {
        name: "conntrack",
        file: "/usr/sbin/conntrack",
        why: "lets kube-proxy forget dead endpoints",
    },
];

/// Installs what a cluster needs and is missing, and says so; leaves alone what is there.
pub fn install_missing() -> Result<()> {
    install(&PACKAGES)
}

/// The same with any packages.
pub(crate) fn install(packages: &[Package]) -> Result<()> {
    let missing: Vec<&Package> = packages
        .iter()
        .filter(|package| !Path::new(package.file).exists())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    for package in &missing {
        eprintln!(
            "installing the Debian package {}: it {}",
            package.name, package.why
        );
    }
    let install = |names: &[&Package]| -> Result<bool> {
        let status = Command::new("apt-get")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(names.iter().map(|package| package.name))
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(std::io::stderr())
            .status()
            .context("apt-get is needed to install Debian packages")?;
        Ok(status.success())
    };
    // The lists may be stale or absent, which is found out by trying.
    let updated = || {
        Command::new("apt-get")
            .args(["update", "-qq"])
            .stdout(std::io::stderr())
            .status()
    };
    if install(&missing)? || (updated()?.success() && install(&missing)?) {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    bail!(
        "could not install {}: install them by hand (as root: apt-get install {})",
        names.join(", "),
        names.join(" ")
    )
}
