//! A door to the outside: everything that talks to a cluster.
//!
//! [`reconcile`] is the whole product on one screen; the other files are its steps and what drives it.

mod apply;
mod budget;
mod client;
mod context;
mod controller;
mod error;
mod events;
mod exchange;
mod http;
pub(crate) mod kept;
mod leader;
mod observe;
mod optional;
mod readable;
mod reconcile;
mod run;
mod sample;
mod servers;
mod telemetry;
mod traces;
mod watched;
mod workloads;

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use context::Settings;
pub use exchange::{Peer, exchange};
pub use leader::LeaseSettings;
pub use run::{Options, run};
pub use sample::{ACCEPT, Answer, Asked, Endpoint, PrometheusSettings, comparable, endpoint, read};
pub use traces::{Exporter, Layer as Traces, start as traces};

/// What the operator reads and writes in a namespace.
trait Namespaced:
    kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
{
}

impl<K> Namespaced for K where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
{
}
