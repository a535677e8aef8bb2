//! What a user writes and reads: the `GrpcBackend` resource.
//!
//! The types here are the API; what they mean is decided elsewhere. Every rule that a user can break is in the schema
//! ([`crd()`]), so that `kubectl apply` refuses it with a sentence in the user's words.

pub mod conditions;
pub mod duration;
mod schema;
mod spec;
mod status;

pub use conditions::{ConditionType, Reason};
pub use duration::{DurationFormat, GoDuration};
pub use schema::crd;
pub use spec::*;
pub use status::*;

/// The API group of every resource and annotation.
pub const GROUP: &str = "evenkeel.dev";
/// The served and stored version.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` as it stands in a manifest.
pub const API_VERSION: &str = "evenkeel.dev/v1alpha1";
