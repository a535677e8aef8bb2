//! `spec.endpointWatch`: who may watch endpoints.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Access to endpoints for clients that watch them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointWatch {
    /// The ServiceAccount of clients in this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<ServiceAccountOptions>,

    /// Further clients that get access, at most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub clients: Vec<WatchClient>,
}

/// A ServiceAccount for watching clients.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccountOptions {
    /// Whether the operator creates it; default false: it is only given access.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub create: bool,

    /// Its name, at most 253 characters; default: the name of the GrpcBackend with `-client`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')").message("a ServiceAccount's name is lower case letters, digits, '-' and '.'"))]
    pub name: Option<String>,
}

/// A client's ServiceAccount.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchClient {
    /// Its namespace; default: that of the GrpcBackend. Others must be admitted by the operator's settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message("a namespace's name is lower case letters, digits and '-'"))]
    pub namespace: Option<String>,

    /// Its name, at most 253 characters.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')").message("a ServiceAccount's name is lower case letters, digits, '-' and '.'"))]
    pub service_account: String,
}
