//! The reader's files as they are in the operator.

pub mod exposition;
pub mod families;
