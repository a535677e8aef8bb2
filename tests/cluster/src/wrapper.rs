//! The script with which a person uses kubectl on a running cluster.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::access::{From, Identity};
use crate::cluster::Cluster;

impl Cluster {
    /// Writes a script that is `kubectl` with all rights on this cluster, for
    /// as long as it runs. Only for the process that started the cluster.
    pub async fn kubectl_wrapper(&self) -> Result<PathBuf> {
        let kubeconfig = self.kubeconfig_for(&Identity::Admin, From::Inside).await?;
        let script = format!(
            "#!/bin/sh\n# kubectl for this cluster, run in its network.\n\
             exec nsenter --target {pid} --net -- env KUBECONFIG={kubeconfig} {kubectl} \"$@\"\n",
            pid = self.supervisor_pid()?,
            kubeconfig = kubeconfig.display(),
            kubectl = self.components.kubernetes("kubectl").display(),
        );
        let path = self.state.join("kubectl");
        std::fs::write(&path, script)?;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700))
            .context("make the script executable")?;
        Ok(path)
    }
}
