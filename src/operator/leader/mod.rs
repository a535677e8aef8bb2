//! One writer at a time: a Lease that is held, renewed and given up.
//!
//! [`decide`] is pure; [`lease`] talks to the API server.

mod decide;
mod lease;

pub use lease::{LeaseSettings, acquire};
