//! Spans of time.

use std::time::Duration;

use jiff::Timestamp;

/// How long `to` is after `from`; zero if it is not.
pub(super) fn elapsed(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}
