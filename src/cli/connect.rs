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

/// Why the API server gave no answer: its own words, or those of what is innermost, since what is around it says only that there is
/// something within.
pub fn why(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 401 => {
            "the API server does not accept the credentials of the kubeconfig: log in again, or choose another context with --context".into()
        }
        kube::Error::Api(status) => status.message.clone(),
        error => {
            let mut why: &dyn std::error::Error = error;
            while let Some(within) = why.source() {
                why = within;
            }
            why.to_string()
        }
    }
}
