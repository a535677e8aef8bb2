//! One writer at a time: a Lease that is held, renewed and given up.
//!
//! [`decide`] is pure; [`lease`] talks to the API server; [`Term`] says until when the Lease is surely ours, and [`Guard`] lets
//! no write out after that, and notes which were left without an answer.

mod decide;
mod guard;
mod lease;
mod term;

pub use decide::{FINISH, UNACKNOWLEDGED};
pub use guard::Guard;
pub use lease::{Leadership, LeaseSettings, acquire};
pub use term::Term;
