//! Kubeconfig files: who talks to which address of the API server.

use std::path::Path;

use serde_json::{Value, json};

use crate::pki::CertFiles;

/// The API server's address for processes inside of the cluster's namespaces.
pub(crate) const INSIDE: &str = "https://127.0.0.1:6443";

/// By what a client proves who it is.
pub(crate) enum Credential {
    Certificate(CertFiles),
    Token(String),
    None,
}

pub(crate) fn kubeconfig(
    server: &str,
    ca: &Path,
    credential: &Credential,
    namespace: &str,
) -> String {
    let user = match credential {
        Credential::Certificate(files) => {
            json!({"client-certificate": files.crt, "client-key": files.key})
        }
        Credential::Token(token) => json!({"token": token}),
        Credential::None => json!({}),
    };
    let mut cluster = json!({"server": server});
    if server.starts_with("https:") {
        cluster["certificate-authority"] = Value::String(ca.display().to_string());
    }
    // JSON is YAML, too.
    let document = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "evenkeel",
        "clusters": [{"name": "evenkeel", "cluster": cluster}],
        "users": [{"name": "user", "user": user}],
        "contexts": [{"name": "evenkeel", "context":
            {"cluster": "evenkeel", "user": "user", "namespace": namespace}}],
    });
    format!("{document:#}\n")
}
