//! What gRPC clients of each language do when pods come and go, measured on a real cluster and kept.
//!
//! `plan` is the matrix of modes and events, `measure` makes figures of what was watched, `cell` keeps them as JSON, and
//! `page` (with `summary`, `figures`, `promises`, `recipe` and `earlier`) makes docs/clients.md of them. `promises` also says
//! which were broken, `options` what is to be measured, and `tally` when to stop. The cluster, its clients and its faults are in tests/e2e/conformance.

pub mod cell;
mod earlier;
mod figures;
pub mod measure;
pub mod options;
pub mod page;
pub mod plan;
pub mod promises;
pub mod recipe;
mod summary;
pub mod tally;
pub mod versions;

pub use cell::{Cell, Run, Seen};
pub use plan::{Action, CLIENTS, Event, MODES, Mode, Via, cells};
