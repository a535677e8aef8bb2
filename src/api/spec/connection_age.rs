//! `spec.connectionAge`: how long a connection may live, and how the server is told.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{DurationFormat, GoDuration};

/// The maximum connection age of the servers.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.knob.switch) || duration(self.knob.switch.implies) == duration(self.maxAge)").message("knob.switch.implies must equal maxAge: the switch stands for that age and no other"))]
pub struct ConnectionAge {
    /// `Enforce` (default) sets the age on the workloads, which replaces their pods once; `Advise` writes nothing and says what it would write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<AgeMode>,

    /// After this time a server asks its client to connect anew: 1s to 24h. Under 30s gains nothing, since clients' resolvers wait 30 seconds.
    #[x_kube(validation = Rule::new("self.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$') && duration(self) >= duration('1s') && duration(self) <= duration('24h')").message("a duration from 1s to 24h, such as 30s, 5m or 1m30s"))]
    pub max_age: GoDuration,

    /// How long running requests may then go on before the connection is cut: 1s to 24h. Absent: the server's own default, often for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$') && duration(self) >= duration('1s') && duration(self) <= duration('24h')").message("a duration from 1s to 24h, such as 30s, 5m or 1m30s"))]
    pub grace: Option<GoDuration>,

    /// The Deployments, StatefulSets and DaemonSets to set it on, by name, at most 16; default: every one whose pods carry the selector's labels and declare the port. A name means each of the three kinds that has it. A Deployment with `strategy: Recreate` is touched only if it is named here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub workloads: Vec<String>,

    /// The server's container, where several declare the port; at most 63 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container: Option<String>,

    /// How the server program takes the age. No gRPC library reads a variable for this by itself: the program has to offer a knob.
    pub knob: Knob,

    /// `Restore` (default) takes the age back when it is no longer asked for, which replaces the pods once; `Leave` leaves it and only forgets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_remove: Option<OnRemove>,
}

/// Whether the age is written.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum AgeMode {
    /// Set on the workloads.
    #[default]
    Enforce,
    /// Only said.
    Advise,
}

/// What becomes of the age when it is no longer asked for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum OnRemove {
    /// Taken back.
    #[default]
    Restore,
    /// Left as it is.
    Leave,
}

/// Exactly one way in which the server program takes the age.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.env) ? 1 : 0) + (has(self.flags) ? 1 : 0) + (has(self.switch) ? 1 : 0) == 1").message("knob takes exactly one of env, flags and switch"))]
pub struct Knob {
    /// Environment variables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<EnvKnob>,
    /// Flags with a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flags: Option<FlagsKnob>,
    /// A flag without a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switch: Option<SwitchKnob>,
}

/// Environment variables that the server program reads.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.grace) || self.grace != self.maxAge").message("env.grace and env.maxAge name the same variable"))]
pub struct EnvKnob {
    /// The variable for the age, at most 128 characters.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z_][A-Za-z0-9_]*$')").message("the name of a variable is letters, digits and '_', not starting with a digit"))]
    #[x_kube(validation = Rule::new("!self.startsWith('LD_') && !self.startsWith('KUBERNETES_') && self != 'PATH'").message("LD_…, KUBERNETES_… and PATH are not for a connection age"))]
    pub max_age: String,

    /// The variable for the grace, at most 128 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z_][A-Za-z0-9_]*$')").message("the name of a variable is letters, digits and '_', not starting with a digit"))]
    #[x_kube(validation = Rule::new("!self.startsWith('LD_') && !self.startsWith('KUBERNETES_') && self != 'PATH'").message("LD_…, KUBERNETES_… and PATH are not for a connection age"))]
    pub grace: Option<String>,

    /// The form that the server wants; default `GoDuration`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<DurationFormat>,
}

/// Flags with a value that the server program takes.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.grace) || self.grace != self.maxAge").message("flags.grace and flags.maxAge name the same flag"))]
pub struct FlagsKnob {
    /// The flag for the age with its dashes, such as `--max-connection-age`.
    #[schemars(length(min = 2, max = 103))]
    #[x_kube(validation = Rule::new("self.matches('^--?[A-Za-z][A-Za-z0-9._-]{0,100}$')").message("a flag is one or two dashes, a letter, then letters, digits, '.', '_' and '-'"))]
    pub max_age: String,

    /// The flag for the grace with its dashes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 103))]
    #[x_kube(validation = Rule::new("self.matches('^--?[A-Za-z][A-Za-z0-9._-]{0,100}$')").message("a flag is one or two dashes, a letter, then letters, digits, '.', '_' and '-'"))]
    pub grace: Option<String>,

    /// `Equals` (default): `--flag=value` as one argument; `Separate`: flag and value as two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub style: Option<FlagStyle>,

    /// The form that the server wants; default `GoDuration`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<DurationFormat>,
}

/// How a flag and its value are written.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum FlagStyle {
    /// `--flag=value`.
    #[default]
    Equals,
    /// `--flag`, `value`.
    Separate,
}

/// A flag without a value that the server program takes.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SwitchKnob {
    /// The flag with its dashes; its name must contain "age".
    #[schemars(length(min = 2, max = 103))]
    #[x_kube(validation = Rule::new("self.matches('^--?[A-Za-z][A-Za-z0-9._-]{0,100}$')").message("a flag is one or two dashes, a letter, then letters, digits, '.', '_' and '-'"))]
    #[x_kube(validation = Rule::new("self.matches('[Aa][Gg][Ee]')").message("a switch must have \"age\" in its name, so that a GrpcBackend cannot switch on anything else"))]
    pub flag: String,

    /// The age that the switch stands for: 1s to 24h.
    #[x_kube(validation = Rule::new("self.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$') && duration(self) >= duration('1s') && duration(self) <= duration('24h')").message("a duration from 1s to 24h, such as 30s, 5m or 1m30s"))]
    pub implies: GoDuration,
}
