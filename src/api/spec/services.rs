//! `spec.services`: the pair.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::labels;

/// The pair of Services.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[self.?clusterIP.policy, self.?headless.policy].exists(policy, policy.orValue('') == 'None') || ![self.?clusterIP.name, self.?headless.name].all(name, name.hasValue()) || self.clusterIP.name != self.headless.name").message("clusterIP.name and headless.name are the same: the two Services need two names"))]
pub struct Services {
    /// The Service with a virtual address, for meshed clients, health checks and HTTP; default name: that of the GrpcBackend.
    #[serde(default, rename = "clusterIP", skip_serializing_if = "Option::is_none")]
    pub cluster_ip: Option<ServiceOptions>,

    /// The headless Service, for clients that balance by DNS; default name: that of the GrpcBackend with `-headless`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headless: Option<ServiceOptions>,
}

/// One Service of the pair.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceOptions {
    /// Name of the Service, at most 63 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message("a Service's name is lower case letters, digits and '-', starting with a letter"))]
    pub name: Option<String>,

    /// `Manage` (default) creates and keeps it (a Service of that name that fits is used as it is); `UseExisting` never creates it; `None` leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<ServicePolicy>,

    /// Further labels of the Service, at most 32.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 63}))]
    #[x_kube(validation = Rule::new("self.all(k, k != 'app.kubernetes.io/managed-by' && !k.startsWith('evenkeel.dev/'))").message("the labels app.kubernetes.io/managed-by and evenkeel.dev/… are set by the operator"))]
    #[x_kube(validation = labels::names())]
    #[x_kube(validation = labels::values())]
    pub labels: BTreeMap<String, String>,

    /// Further annotations of the Service, at most 32 of at most 1024 characters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 1024}))]
    #[x_kube(validation = Rule::new(labels::NAMES).message("the name of an annotation has at most 317 characters"))]
    pub annotations: BTreeMap<String, String>,
}

/// What is done about a Service.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum ServicePolicy {
    /// Created and kept; one of that name that fits is used as it is.
    #[default]
    Manage,
    /// Used as it is, never created.
    UseExisting,
    /// Not wanted.
    None,
}
