//! Is the load even? Exposition text → counters → rates → indices → verdict.
//!
//! ```text
//! metrics page ── exposition ──▶ Page: the sums of every family that `families` knows
//!                                           │ choice: by which family the backend is judged
//!                                           ▼
//!                               Counters (one per pod and scrape)
//!                                           ▼
//!   judge ── pod, window ──▶ requests of each pod in the window
//!     │                                     │
//!     │     chance: what noise alone gives  ▼
//!     │              └──────▶ indices ──▶ verdict: what these counts say
//!     │                                     │
//!     └── evidence: does it last? ◀── detector: one window, and the sum of three
//!                  │
//!                  ▼
//!     report ──▶ publish: what the status shows, and when it changes
//! ```
//!
//! Everything here is a function of its arguments: time is passed in, and nothing knows of Kubernetes.

// A test may fail by panicking; the product may not.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod arrivals;
pub mod bar;
pub mod chance;
pub mod choice;
mod departed;
pub mod detector;
pub mod dispersion;
pub mod evidence;
pub mod exposition;
pub mod families;
pub mod indices;
pub mod judge;
mod pod;
pub mod publish;
pub mod reconnects;
pub mod report;
pub mod round;
mod time;
pub mod turnover;
pub mod verdict;
pub mod window;

#[cfg(test)]
mod simulation;
pub use choice::Choice;
pub use exposition::{Counters, Family, Limits, Page, ReadError};
pub use families::MeterId;
pub use judge::Judge;
pub use publish::{Counts, Published, PublishedDiscovery, PublishedShare, publish};
pub use reconnects::{bearable_age, bearable_subset};
pub use report::{Discovery, MetricsReason, MetricsState, PodLoad, PodStanding, Report, Share};
pub use round::{Mode, Round, Scrape, ScrapeError, Settings, Target};
pub use turnover::Turnover;
pub use verdict::{Thresholds, Verdict};
