//! Manifests as the world that rules speak of: text to objects with file and line, objects to backends.
//!
//! ```text
//! bytes ─ yaml ─▶ documents with lines ─ objects ─▶ what is known of them ─ sets ─▶ environments ─ group ─▶ one Observed for each backend
//! ```
//!
//! Where a GrpcBackend is written, it is the backend. Where none is, one is guessed (`guess` says how). What is listed from a
//! cluster goes the same way, without lines ([`Objects::of_cluster`], [`Node::of`]).

mod fix;
mod group;
mod guess;
mod items;
mod node;
mod objects;
mod peers;
mod refused;
mod rules;
mod scalar;
mod sets;
mod yaml;

#[cfg(test)]
mod tests;

pub use fix::fix;
pub use group::{Backend, apart, backends};
pub use node::{Content, Node};
pub use objects::{Fault, LINK, OTHER, Objects, Placed, Source, Unlisted};
pub use sets::{Repeated, Sets};
pub use yaml::{Limits, Unreadable, read};
