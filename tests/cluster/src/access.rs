//! Ways in: kubeconfigs and clients for any identity, kubectl, helm, images.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::kubeconfig::{Credential, INSIDE, kubeconfig};
use crate::plan::Plan;
use crate::proxy::Proxy;

const COMMAND_LIMIT: Duration = Duration::from_mins(3);

/// Whom the API server shall see.
#[derive(Clone, Debug)]
pub enum Identity {
    /// Group `system:masters`: nothing is refused.
    Admin,
    /// A client certificate for a user in at most two groups.
    User {
        /// The user's name.
        name: String,
        /// Its groups.
        groups: Vec<String>,
    },
    /// A token of a ServiceAccount, good for a day.
    ServiceAccount {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl Identity {
    /// A user without groups.
    pub fn user(name: &str) -> Self {
        Self::User {
            name: name.to_owned(),
            groups: Vec::new(),
        }
    }

    /// A ServiceAccount.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        Self::ServiceAccount {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The name under which the audit log knows it.
    pub fn username(&self) -> String {
        match self {
            Self::Admin => "evenkeel-admin".to_owned(),
            Self::User { name, .. } => name.clone(),
            Self::ServiceAccount { namespace, name } => {
                format!("system:serviceaccount:{namespace}:{name}")
            }
        }
    }
}

/// From where a kubeconfig is to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// By processes of the host, such as the test itself.
    Host,
    /// By processes inside, such as those of [`Cluster::spawn`].
    Inside,
}

impl Cluster {
    /// A client with all rights.
    pub async fn client(&self) -> Result<Client> {
        self.client_as(&Identity::Admin).await
    }

    /// A client that is seen as somebody else.
    pub async fn client_as(&self, identity: &Identity) -> Result<Client> {
        client_from(&self.kubeconfig_host_text(identity).await?).await
    }

    pub(crate) async fn kubeconfig_host_text(&self, identity: &Identity) -> Result<String> {
        self.kubeconfig_text(identity, &format!("https://{}", self.api), "default")
            .await
    }

    /// Writes a kubeconfig file and returns its path.
    pub async fn kubeconfig_for(&self, identity: &Identity, from: From) -> Result<PathBuf> {
        self.kubeconfig_in("default", identity, from).await
    }

    /// The same with another default namespace.
    pub async fn kubeconfig_in(
        &self,
        namespace: &str,
        identity: &Identity,
        from: From,
    ) -> Result<PathBuf> {
        let server = match from {
            From::Host => format!("https://{}", self.api),
            From::Inside => INSIDE.to_owned(),
        };
        self.write_kubeconfig(&self.kubeconfig_text(identity, &server, namespace).await?)
    }

    /// A kubeconfig that leads through a proxy, which says who is asking.
    pub fn kubeconfig_via(&self, proxy: &Proxy, namespace: &str, from: From) -> Result<PathBuf> {
        let ca = self.pki.file("ca.crt");
        self.write_kubeconfig(&kubeconfig(
            &proxy.url(from),
            ca.as_ref(),
            &Credential::None,
            namespace,
        ))
    }

    fn write_kubeconfig(&self, text: &str) -> Result<PathBuf> {
        let path = self.state.join(format!(
            "kubeconfig-{}-{}",
            std::process::id(),
            self.next_serial()
        ));
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    async fn kubeconfig_text(
        &self,
        identity: &Identity,
        server: &str,
        namespace: &str,
    ) -> Result<String> {
        let credential = match identity {
            Identity::Admin => {
                let groups = ["system:masters".to_owned()];
                Credential::Certificate(self.pki.client(&identity.username(), &groups)?)
            }
            Identity::User { name, groups } => {
                Credential::Certificate(self.pki.client(name, groups)?)
            }
            Identity::ServiceAccount { namespace, name } => {
                Credential::Token(self.token(namespace, name).await?)
            }
        };
        Ok(kubeconfig(
            server,
            self.pki.file("ca.crt").as_ref(),
            &credential,
            namespace,
        ))
    }

    /// A token of a ServiceAccount, good for a day.
    pub async fn token(&self, namespace: &str, name: &str) -> Result<String> {
        let client = Box::pin(self.client()).await?;
        let accounts: Api<ServiceAccount> = Api::namespaced(client, namespace);
        let spec = TokenRequestSpec {
            expiration_seconds: Some(86_400),
            ..TokenRequestSpec::default()
        };
        let request = TokenRequest {
            spec,
            ..TokenRequest::default()
        };
        let issued = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await?;
        Ok(issued.status.context("no token was issued")?.token)
    }

    /// Runs kubectl as administrator; fails with what it said when it fails.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl_with(&Identity::Admin, arguments, "").await
    }

    /// Runs kubectl as anybody, with something to read on standard input.
    pub async fn kubectl_with(
        &self,
        identity: &Identity,
        arguments: &[&str],
        input: &str,
    ) -> Result<String> {
        let output = self.kubectl_output(identity, arguments, input).await?;
        succeed("kubectl", arguments, &output)
    }

    /// Runs kubectl and returns whatever came of it.
    pub async fn kubectl_output(
        &self,
        identity: &Identity,
        arguments: &[&str],
        input: &str,
    ) -> Result<Output> {
        run(self.kubectl_command(identity, arguments).await?, input).await
    }

    /// Runs `kubectl edit` as administrator with a command in the editor's place, which gets the file's name.
    pub async fn kubectl_edit(&self, editor: &str, arguments: &[&str]) -> Result<String> {
        let arguments = [&["edit"], arguments].concat();
        let mut command = self.kubectl_command(&Identity::Admin, &arguments).await?;
        command.env("KUBE_EDITOR", editor);
        succeed("kubectl", &arguments, &run(command, "").await?)
    }

    async fn kubectl_command(&self, identity: &Identity, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(self.components.kubernetes("kubectl"));
        command
            .arg("--cache-dir")
            .arg(self.state.join("kubectl-cache"))
            .args(arguments);
        command.env("KUBECONFIG", self.command_kubeconfig(identity).await?);
        Ok(command)
    }

    /// `kubectl apply`, as an owner does it: with client-side merge.
    pub async fn apply(&self, yaml: &str) -> Result<String> {
        self.kubectl_with(&Identity::Admin, &["apply", "-f", "-"], yaml)
            .await
    }

    /// Runs Helm as administrator.
    pub async fn helm(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(self.components.helm());
        command.args(arguments).env(
            "KUBECONFIG",
            self.command_kubeconfig(&Identity::Admin).await?,
        );
        for (variable, directory) in [
            ("HELM_CACHE_HOME", "cache"),
            ("HELM_CONFIG_HOME", "config"),
            ("HELM_DATA_HOME", "data"),
        ] {
            command.env(variable, self.state.join("helm").join(directory));
        }
        succeed("helm", arguments, &run(command, "").await?)
    }

    /// The administrator's is written once, since it is asked for most.
    async fn command_kubeconfig(&self, identity: &Identity) -> Result<PathBuf> {
        if !matches!(identity, Identity::Admin) {
            return self.kubeconfig_for(identity, From::Host).await;
        }
        let path = self.state.join(format!(
            "admin-{}-{}.kubeconfig",
            std::process::id(),
            self.api.port()
        ));
        if !path.exists() {
            let written = self.kubeconfig_for(identity, From::Host).await?;
            tokio::fs::rename(written, &path).await?;
        }
        Ok(path)
    }

    /// Makes the images of an OCI archive available to pods that do not pull.
    pub async fn import_image(&self, archive: &Path) -> Result<()> {
        self.ctr(&["images", "import", &archive.display().to_string()])
            .await
            .map(drop)
    }

    /// containerd's own client, in the namespace of the pods.
    pub(crate) async fn ctr(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("ctr");
        command
            .arg("--address")
            .arg(Plan::containerd_socket(&self.state))
            .args(["--namespace", "k8s.io"]);
        command.args(arguments);
        succeed("ctr", arguments, &run(command, "").await?)
    }
}

async fn run(mut command: Command, input: &str) -> Result<Output> {
    let program = command.as_std().get_program().display().to_string();
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command
        .spawn()
        .with_context(|| format!("start {program}"))?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    let input = input.to_owned();
    // In a task of its own: both sides would wait for each other when a pipe
    // is full. That the program may not read it all is no error.
    let feed = tokio::spawn(async move { stdin.write_all(input.as_bytes()).await });
    let output = timeout(COMMAND_LIMIT, child.wait_with_output())
        .await
        .with_context(|| format!("{program} did not end within {COMMAND_LIMIT:?}"))?;
    let _ = feed.await;
    Ok(output?)
}

fn succeed(program: &str, arguments: &[&str], output: &Output) -> Result<String> {
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{program} {} ({}): {}",
            arguments.join(" "),
            output.status,
            said.trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

pub(crate) async fn client_from(kubeconfig: &str) -> Result<Client> {
    let context = KubeConfigOptions::default();
    let config =
        Config::from_custom_kubeconfig(Kubeconfig::from_yaml(kubeconfig)?, &context).await?;
    Client::try_from(config).context("make a client")
}
