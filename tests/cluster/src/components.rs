//! Builds the cluster's programs from their Go modules.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cache::{self, Key};
use crate::paths::source_dir;

/// The version of Kubernetes that is built.
pub const KUBERNETES_VERSION: &str = "v1.36.3";
/// The names under which the one Kubernetes binary is started.
const KUBERNETES_LINKS: [&str; 7] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
];

/// Where the built programs are.
#[derive(Clone, Debug)]
pub struct Components {
    kubernetes: PathBuf,
    coredns: PathBuf,
    helm: PathBuf,
}

impl Components {
    /// Builds what is missing and shows progress on standard error.
    pub fn build() -> Result<Self> {
        let flags = kubernetes_flags();
        let kubernetes = build_module("kubernetes", &flags, "kubernetes", ".")?;
        Ok(Self {
            kubernetes,
            coredns: build_component("coredns", "coredns", ".")?,
            helm: build_helm_directory()?,
        })
    }

    /// The program of a Kubernetes component, of etcd, or kubectl.
    pub fn kubernetes(&self, name: &str) -> PathBuf {
        self.kubernetes.join(name)
    }

    /// The DNS server.
    pub fn coredns(&self) -> PathBuf {
        self.coredns.join("coredns")
    }

    /// The package manager's program.
    pub fn helm(&self) -> PathBuf {
        self.helm.join("helm")
    }
}

/// Charts and clients ask the server for its version, which is linked in.
fn kubernetes_flags() -> Vec<String> {
    let (major, minor) = ("1", "36");
    let stamps = [
        "k8s.io/component-base/version",
        "k8s.io/client-go/pkg/version",
    ]
    .map(|package| {
        format!(
            "-X {package}.gitVersion={KUBERNETES_VERSION} -X {package}.gitMajor={major} \
             -X {package}.gitMinor={minor} -X {package}.gitTreeState=clean"
        )
    });
    vec![
        "-tags=selinux,notest,grpcnotrace".to_owned(),
        format!("-ldflags=-s -w {}", stamps.join(" ")),
    ]
}

/// Builds Helm alone, for what needs no cluster: the program.
pub fn build_helm() -> Result<PathBuf> {
    build_helm_directory().map(|directory| directory.join("helm"))
}

/// Builds the checker of manifests that the chart is held to: the program.
pub fn build_kube_score() -> Result<PathBuf> {
    let (name, package) = ("kube-score", "github.com/zegl/kube-score/cmd/kube-score");
    build_component(name, name, package).map(|directory| directory.join(name))
}

fn build_helm_directory() -> Result<PathBuf> {
    build_component("helm", "helm", "helm.sh/helm/v4/cmd/helm")
}

/// Builds a program that needs nothing linked in, without its symbols: the directory that it is in.
pub(crate) fn build_component(name: &str, output: &str, package: &str) -> Result<PathBuf> {
    build_module(name, &["-ldflags=-s -w".to_owned()], output, package)
}

fn build_module(name: &str, flags: &[String], output: &str, package: &str) -> Result<PathBuf> {
    let module = source_dir().join("components").join(name);
    let build = GoBuild {
        name,
        module: &module,
        flags,
        packages: &[(output, package)],
    };
    build.run(|directory| {
        if name == "kubernetes" {
            for link in KUBERNETES_LINKS {
                symlink(output, directory.join(link))?;
            }
        }
        Ok(())
    })
}

/// Builds the gRPC server and client of `tests/cluster/workloads`; the programs
/// `server` and `client` are in the directory returned, static.
pub fn build_workloads() -> Result<PathBuf> {
    build_go(
        "workloads",
        &source_dir().join("workloads"),
        &[("server", "./cmd/server"), ("client", "./cmd/client")],
    )
}

/// Builds static programs of any Go module: pairs of a file name and a package.
pub fn build_go(name: &str, module: &Path, packages: &[(&str, &str)]) -> Result<PathBuf> {
    GoBuild {
        name,
        module,
        flags: &[],
        packages,
    }
    .run(|_| Ok(()))
}

struct GoBuild<'a> {
    name: &'a str,
    module: &'a Path,
    flags: &'a [String],
    packages: &'a [(&'a str, &'a str)],
}

impl GoBuild<'_> {
    fn run(&self, finish: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let mut key = Key::new().text(&go_version()?);
        for text in self
            .flags
            .iter()
            .map(String::as_str)
            .chain(self.packages.iter().flat_map(|(a, b)| [*a, *b]))
        {
            key = key.text(text);
        }
        cache::get(self.name, key.tree(self.module)?, |directory| {
            for (output, package) in self.packages {
                self.compile(&directory.join(output), package)?;
            }
            finish(directory)
        })
    }

    fn compile(&self, output: &Path, package: &str) -> Result<()> {
        eprintln!(
            "building {} {package}: minutes when cold, seconds when the Go build cache is warm",
            self.name
        );
        let mut child = Command::new("go")
            .args([
                "build",
                "-v",
                "-trimpath",
                "-buildvcs=false",
                "-mod=readonly",
            ])
            .args(self.flags)
            .arg("-o")
            .arg(output)
            .arg(package)
            .current_dir(self.module)
            .envs([
                ("CGO_ENABLED", "0"),
                ("GOWORK", "off"),
                ("GOTOOLCHAIN", "local"),
                ("GOFLAGS", ""),
            ])
            .stderr(Stdio::piped())
            .spawn()
            .context("the Go toolchain is needed: is `go` on the PATH?")?;
        let complaints = follow(self.name, child.stderr.take().context("no standard error")?);
        if !child.wait()?.success() {
            bail!(
                "go build {package} in {} failed:\n{complaints}",
                self.module.display()
            );
        }
        Ok(())
    }
}

/// Counts the packages that go through the compiler; returns everything else
/// that was said.
fn follow(name: &str, stderr: impl std::io::Read) -> String {
    let (mut compiled, mut other, mut shown) = (0, Vec::new(), Instant::now());
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        if line.contains(' ') || line.starts_with('#') {
            other.push(line);
        } else {
            compiled += 1;
        }
        if shown.elapsed() > Duration::from_secs(5) {
            eprintln!("  {name}: {compiled} packages compiled");
            shown = Instant::now();
        }
    }
    let start = other.len().saturating_sub(40);
    other[start..].join("\n")
}

fn go_version() -> Result<String> {
    let output = Command::new("go")
        .arg("version")
        .env("GOTOOLCHAIN", "local")
        .output()
        .context("the Go toolchain is needed: is `go` on the PATH?")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
