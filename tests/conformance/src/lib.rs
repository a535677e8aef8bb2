//! What gRPC clients of each language do when pods come and go, measured on a real cluster and kept.
//!
//! `plan` is the matrix of modes and events, `measure` makes figures of what was watched, `cell` keeps them as JSON. The
//! cluster, its clients and its faults are in tests/e2e/conformance.

pub mod cell;
pub mod measure;
pub mod plan;
pub mod versions;

pub use cell::{Cell, Run, Seen};
pub use plan::{Action, CLIENTS, Event, MODES, Mode, Via, cells};
