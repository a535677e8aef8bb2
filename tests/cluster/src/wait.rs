//! Waiting for a condition, with a deadline.

use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep, timeout_at};

/// How long until is asked again at first, and after a while: what answers at once is not waited for, and a hundred tests that wait
/// for minutes leave the API server something to do beside.
const PAUSES: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_millis(250);

/// Asks until `check` gives a value; `Ok(None)` and errors mean "not yet". Past the limit it fails with the last error.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    mut check: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let begun = Instant::now();
    let deadline = begun + limit;
    let mut last = String::new();
    loop {
        match timeout_at(deadline, check()).await {
            Ok(Ok(Some(value))) => return Ok(value),
            Ok(Err(error)) => last = format!(": {error:#}"),
            Err(_) if last.is_empty() => ": no answer".clone_into(&mut last),
            Ok(Ok(None)) | Err(_) => {}
        }
        if Instant::now() >= deadline {
            bail!("{what}: not within {limit:?}{last}");
        }
        sleep((begun.elapsed() / 10).clamp(*PAUSES.start(), *PAUSES.end())).await;
    }
}
