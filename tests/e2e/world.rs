//! A cluster with the resource's definition and the test images; tests get their beds from it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context as _, Result};
use evenkeel_cluster::{Cluster, Options, images, until};
use std::time::Duration;

use crate::proof::Evidence;

/// Where the operators' ServiceAccounts are, so that they outlive a test's namespace as a real operator's does.
pub const OPERATORS: &str = "operators";

/// One cluster, ready for tests.
pub struct World {
    /// The cluster.
    pub cluster: Cluster,
    /// For the page that `make proof` writes.
    pub evidence: Evidence,
    ports: AtomicU16,
}

impl World {
    /// Starts a cluster; with `prepared`, the definition and the operators' namespace are there too.
    pub async fn start(name: &str, prepared: bool) -> Result<Self> {
        let world = Self::on(Options::named(name)).await?;
        if prepared {
            world.prepare().await?;
        }
        Ok(world)
    }

    /// Starts one that puts two endpoints at the most into an EndpointSlice, so that a few pods have several.
    pub async fn with_small_slices(name: &str) -> Result<Self> {
        Self::on(Options {
            max_endpoints_per_slice: Some(2),
            ..Options::named(name)
        })
        .await
    }

    async fn on(options: Options) -> Result<Self> {
        let cluster = Cluster::start(options).await?;
        let archives = tokio::task::spawn_blocking(images::workloads)
            .await?
            .context("building the gRPC workloads")?;
        for archive in archives {
            cluster.import_image(&archive).await?;
        }
        Ok(Self {
            cluster,
            evidence: Evidence::default(),
            ports: AtomicU16::new(20_000),
        })
    }

    /// The definition and the operators' namespace.
    pub async fn prepare(&self) -> Result<()> {
        let definition =
            std::fs::read_to_string(root().join("crds/grpcbackends.evenkeel.dev.yaml"))?;
        self.cluster.apply(&definition).await?;
        until(
            "the API server serves GrpcBackends",
            Duration::from_secs(20),
            async || {
                self.cluster
                    .kubectl(&["get", "grpcbackends", "-A"])
                    .await
                    .map(Some)
            },
        )
        .await?;
        self.cluster
            .kubectl(&["create", "namespace", OPERATORS])
            .await?;
        Ok(())
    }

    /// A port of the cluster's loopback that nothing else listens on.
    pub fn port(&self) -> u16 {
        self.ports.fetch_add(1, Ordering::SeqCst)
    }
}

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The operator under test.
pub fn operator_binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_evenkeel"))
}
