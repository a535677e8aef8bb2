//! How often the verdict on balance errs, by simulation of the product's own detector, beside rules that others use.
//!
//! The detector's sources are compiled here once more, because millions of windows need an optimised build and the
//! product's dependencies do not. `tests/errors.rs` holds what is promised; the program writes the tables of
//! `docs/verdict.md`, and the test compares them.

pub mod balance;
pub mod chance;
pub mod fleet;
pub mod page;
pub mod rules;
pub mod study;
