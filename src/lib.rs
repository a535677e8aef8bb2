//! Evenkeel keeps gRPC backends evenly loaded by DNS-based client-side balancing, and proves it.
//!
//! ```text
//!   api ─────────── what a user writes and reads
//!   presets ─────── the knobs of real servers, as data
//!   source ──────── where such data was read
//!   columns ─────── tables for a terminal
//!   names ───────── every name that the operator gives
//!   observed ────── one backend's world as plain values
//!   manifests ───── the same world from files, line by line
//!      │
//!      ├─ services ─────── the pair of Services, the strings to dial
//!      ├─ connection_age ─ the age into somebody's workload, and out again
//!      ├─ endpoint_watch ─ ServiceAccount, Role, RoleBinding
//!      ├─ findings ─────── rules of hygiene
//!      │      └─ child ─── what is to become of an object of ours
//!      ├─ balance ──────── counters → rates → indices → verdict (knows no Kubernetes)
//!      ▼
//!   status ──────── all of that as what a user reads
//!
//!   operator, cli ─ the two doors to the outside: only they know a client, a clock or a file
//! ```

pub mod api;
pub mod balance;
pub mod child;
pub mod cli;
pub mod columns;
pub mod connection_age;
pub mod endpoint_watch;
pub mod findings;
pub mod manifests;
pub mod names;
pub mod observed;
pub mod operator;
pub mod presets;
pub mod services;
pub mod source;
pub mod status;
