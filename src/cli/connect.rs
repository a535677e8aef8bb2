//! Finds the cluster as kubectl does.

use anyhow::Context as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// A client of the kubeconfig's context (none: its current one), and that context's namespace.
pub async fn connect(context: Option<&str>) -> anyhow::Result<(Client, String)> {
    let config = match context {
        None => Config::infer()
            .await
            .context("no cluster is known: set KUBECONFIG as for kubectl")?,
        Some(context) => {
            let options = KubeConfigOptions {
                context: Some(context.to_owned()),
                ..KubeConfigOptions::default()
            };
            Config::from_custom_kubeconfig(Kubeconfig::read()?, &options).await?
        }
    };
    let namespace = config.default_namespace.clone();
    Ok((Client::try_from(config)?, namespace))
}
