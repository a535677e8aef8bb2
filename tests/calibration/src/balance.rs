//! The part of the product's room `balance` that decides: from counts to what is said.

#[path = "../../../src/balance/bar.rs"]
pub mod bar;
#[path = "../../../src/balance/chance.rs"]
pub mod chance;
#[path = "../../../src/balance/detector.rs"]
pub mod detector;
#[path = "../../../src/balance/dispersion.rs"]
pub mod dispersion;
#[path = "../../../src/balance/evidence.rs"]
pub mod evidence;
#[path = "../../../src/balance/indices.rs"]
pub mod indices;
#[path = "../../../src/balance/time.rs"]
mod time;
#[path = "../../../src/balance/verdict.rs"]
pub mod verdict;
