//! `spec.connectionAge`: how long a connection may live, and how the server is told.

use std::borrow::Cow;
use std::fmt;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::api::{DurationFormat, GoDuration};

/// The maximum connection age of the servers.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.knob.switch) || duration(self.knob.switch.implies) == duration(self.maxAge)").message("knob.switch.implies must equal maxAge: the switch stands for that age and no other"))]
#[x_kube(validation = Rule::new("![self.knob.?env.format, self.knob.?flags.format, self.knob.?listFlag.format].exists(format, format.orValue('') == 'Seconds') || [self.?maxAge, self.?grace].all(age, duration(age.orValue('0s')).getMilliseconds() % 1000 == 0)").message("format Seconds takes whole seconds only: write maxAge and grace so, or take format Milliseconds if the server does"))]
pub struct ConnectionAge {
    /// `Enforce` (default) sets the age on the workloads, which replaces their pods once; `Advise` writes nothing and says what it would write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<AgeMode>,

    /// After this time a server asks its client to connect anew: 1s to 24h. Under 30s gains next to nothing, since the resolvers of most clients wait 30 seconds (15 in .NET).
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
#[x_kube(validation = Rule::new("[has(self.preset), has(self.env), has(self.flags), has(self.listFlag), has(self.switch)].exists_one(given, given)").message("knob takes exactly one of preset, env, flags, listFlag and switch"))]
pub struct Knob {
    /// The name of a well-known server, whose knob is known: `evenkeel presets` and docs/presets.md list them. What a preset stands for never changes. There is no default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// Environment variables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<EnvKnob>,
    /// Flags with a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flags: Option<FlagsKnob>,
    /// Keys in the value of one flag, which is a list such as `--flag=key=value,key=value`. Other keys stay as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list_flag: Option<ListFlagKnob>,
    /// A flag without a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switch: Option<SwitchKnob>,
}

/// The name of a server in the registry.
///
/// Any text can be read: a resource that was stored by a version which knows more names must not stop this one.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Preset(String);

impl Preset {
    /// The name as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for Preset {
    fn schema_name() -> Cow<'static, str> {
        "Preset".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = crate::presets::names().collect();
        json_schema!({ "type": "string", "enum": names })
    }
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
#[x_kube(validation = Rule::new("!has(self.grace) || (self.grace.startsWith('--') ? self.grace : '-' + self.grace).replace('_', '-') != (self.maxAge.startsWith('--') ? self.maxAge : '-' + self.maxAge).replace('_', '-')").message("flags.grace and flags.maxAge name the same flag"))]
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

/// Keys that the server program takes in the value of one flag.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.grace) || self.grace != self.maxAge").message("listFlag.grace and listFlag.maxAge name the same key"))]
pub struct ListFlagKnob {
    /// The flag with its dashes, such as `--grpc_channel_arguments`. Its value is a list of `key=value`, separated by commas.
    #[schemars(length(min = 2, max = 103))]
    #[x_kube(validation = Rule::new("self.matches('^--?[A-Za-z][A-Za-z0-9._-]{0,100}$')").message("a flag is one or two dashes, a letter, then letters, digits, '.', '_' and '-'"))]
    pub flag: String,

    /// The key for the age, such as `grpc.max_connection_age_ms`; at most 101 characters.
    #[schemars(length(min = 1, max = 101))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z][A-Za-z0-9._-]{0,100}$')").message("a key is a letter, then letters, digits, '.', '_' and '-'"))]
    pub max_age: String,

    /// The key for the grace; at most 101 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 101))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z][A-Za-z0-9._-]{0,100}$')").message("a key is a letter, then letters, digits, '.', '_' and '-'"))]
    pub grace: Option<String>,

    /// Where the flag is not given yet: `Equals` (default) writes `--flag=key=value` as one argument, `Separate` writes two.
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
