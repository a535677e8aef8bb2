//! Waiting for a condition, with a deadline.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep, timeout_at};

/// Asks every 50 ms until `check` gives a value; `Ok(None)` and errors mean
/// "not yet". Past the limit it fails with the last error.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    mut check: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
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
        sleep(Duration::from_millis(50)).await;
    }
}
