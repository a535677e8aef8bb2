//! The pair of Services and the strings to dial them with. No client here.

mod dial;
mod pair;

pub use dial::{names, targets};
pub use pair::{Pair, plan};
