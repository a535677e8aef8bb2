//! `spec.balance.metrics.https`: how metrics are asked for over TLS.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Metrics over TLS. The token stands in here, so that none can be asked for where it would be sent in the clear.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricsHttps {
    /// The authority that the pods' certificates must come from, and no other.
    pub ca: CertificateAuthority,

    /// The name that the certificates must be for, at most 253 characters, such as `rng.demo.svc`. Default: the pod's address, which few certificates have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?$')").message("the name in a certificate is letters, digits, '-' and '.', without port and without '*'"))]
    pub server_name: Option<String>,

    /// The key of a Secret of this namespace whose value is sent as bearer token. It goes to pods of the selector alone, and only once the certificate is verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer_token: Option<KeyReference>,
}

/// Where the certificate of an authority is: PEM, at most 64 KiB. The operator may read neither kind unless a Role of yours lets it; docs/metrics.md has one.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.secret) != has(self.configMap)").message("ca is either in a secret or in a configMap: give exactly one of the two"))]
pub struct CertificateAuthority {
    /// A key of a ConfigMap of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<KeyReference>,

    /// A key of a Secret of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<KeyReference>,
}

/// A key of an object of the GrpcBackend's own namespace.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyReference {
    /// The object's name, at most 253 characters.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')").message("the name of a Secret or ConfigMap is lower case letters, digits, '-' and '.'"))]
    pub name: String,

    /// The key in it, at most 253 characters, such as `ca.crt`.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[-._A-Za-z0-9]+$')").message("a key is letters, digits, '-', '_' and '.'"))]
    pub key: String,
}
