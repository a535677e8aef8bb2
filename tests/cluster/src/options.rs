//! What a test may choose about its cluster.

use std::path::PathBuf;

/// Settings of one cluster; `Options::default()` is good for most.
#[derive(Clone, Debug)]
pub struct Options {
    /// Appears in directory names; a kept cluster is found by it.
    pub name: String,
    /// Whether it outlives the process that started it
    /// ([`crate::Cluster::stop_kept`] ends it).
    pub keep: bool,
    /// Splits EndpointSlices early (Kubernetes' default: 100).
    pub max_endpoints_per_slice: Option<u32>,
    /// Pods that fit on the node.
    pub max_pods: u32,
    /// Further flags of the API server.
    pub api_server_flags: Vec<String>,
    /// Further flags of the controller manager.
    pub controller_manager_flags: Vec<String>,
    /// The program to run as supervisor. Default: `EVENKEEL_CLUSTER_BIN`, else
    /// the running program, if it called [`crate::maybe_supervise`] first.
    pub supervisor: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "test".to_owned(),
            keep: false,
            max_endpoints_per_slice: None,
            max_pods: 200,
            api_server_flags: Vec::new(),
            controller_manager_flags: Vec::new(),
            supervisor: None,
        }
    }
}

impl Options {
    /// The defaults under a name of their own.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }
}
