//! A real Kubernetes for tests and for the demo: one process tree in
//! namespaces of its own, built from package registries alone, that leaves
//! nothing behind however its starter ends.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! let cluster = evenkeel_cluster::Cluster::start(evenkeel_cluster::Options::named("example")).await?;
//! println!("{}", cluster.kubectl(&["get", "nodes"]).await?);
//! # Ok(()) }
//! ```
//! A program that starts clusters calls [`maybe_supervise`] first thing in
//! `main`, since the cluster's pid 1 is that program once more.
//!
//! Where things are: `plan` says what a cluster consists of, `cluster` and
//! `bring_up` start it; `registry` knows which ones run; `supervisor`, `setup` and `cgroup` run inside of its
//! namespaces, `control` and `forward` are the ways in; `access`, `namespace`,
//! `process`, `faults`, `proxy`, `audit` and `rights` are what tests do with it, `load`
//! reads what a gRPC client in it has seen;
//! `components`, `images`, `packages`, `prometheus`, `prometheus_operator`, `servers`, `proxies`, `examples` and `debian` build or
//! fetch what it needs, into `cache`.

mod access;
mod audit;
mod bring_up;
mod cache;
mod cgroup;
mod cluster;
mod components;
mod control;
mod debian;
pub mod examples;
mod faults;
mod forward;
pub mod images;
mod kubeconfig;
pub mod load;
mod namespace;
mod options;
mod packages;
mod paths;
mod pki;
mod plan;
mod process;
mod prometheus;
mod prometheus_operator;
pub mod proxies;
mod proxy;
mod registry;
mod requests;
mod rights;
pub mod servers;
mod setup;
mod supervisor;
mod wait;
mod wrapper;

pub use access::{From, Identity};
pub use audit::{Audit, AuditEvent};
pub use cgroup::cpu_of;
pub use cluster::Cluster;
pub use components::{
    Components, KUBERNETES_VERSION, build_go, build_helm, build_kube_score, build_workloads,
};
pub use control::ProcessState;
pub use faults::{Cut, Endpoint};
pub use namespace::{TestNamespace, grpc_backends};
pub use options::Options;
pub use packages::install_missing;
pub use paths::{cache_dir, source_dir};
pub use pki::Served;
pub use plan::Component;
pub use process::{Process, Signal};
pub use prometheus::{prometheus, promtool};
pub use prometheus_operator::monitoring_kinds;
pub use proxy::Proxy;
pub use requests::{Fault, Rule, Seen, Victim};
pub use rights::{Right, beyond, unused};
pub use wait::until;

use std::sync::atomic::{AtomicBool, Ordering};

/// The first argument that turns a program into a cluster's supervisor.
pub(crate) const SUPERVISE: &str = "supervise-evenkeel-cluster";
static CAN_SUPERVISE: AtomicBool = AtomicBool::new(false);

/// To be called first thing in `main` of every program that starts clusters:
/// returns at once, or, in the copy that was started as supervisor, never.
pub fn maybe_supervise() {
    CAN_SUPERVISE.store(true, Ordering::SeqCst);
    let arguments: Vec<String> = std::env::args().collect();
    let [_, first, state, cgroup] = arguments.as_slice() else {
        return;
    };
    if first != SUPERVISE {
        return;
    }
    if let Err(error) = supervisor::run(state.as_ref(), cgroup) {
        eprintln!("supervisor: {error:#}");
        std::process::exit(1);
    }
    std::process::exit(0);
}

pub(crate) fn can_supervise() -> bool {
    CAN_SUPERVISE.load(Ordering::SeqCst)
}
