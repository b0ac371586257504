//! Waiting for something to become true, with a guard instead of a guess.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// The usual guard of a wait. It is generous because it only decides how long a failure takes to be told.
pub const GUARD: Duration = Duration::from_secs(30);

const BETWEEN_CHECKS: Duration = Duration::from_millis(25);

/// Repeats `check` until it succeeds and returns its value.
///
/// # Errors
/// The last error of `check` when `guard` has passed.
pub async fn eventually<T>(guard: Duration, mut check: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let begun = Instant::now();
    loop {
        match check().await {
            Ok(value) => return Ok(value),
            Err(error) if begun.elapsed() > guard => return Err(error).context(format!("still so after {guard:?}")),
            Err(_) => tokio::time::sleep(BETWEEN_CHECKS).await,
        }
    }
}
