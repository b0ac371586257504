//! The publisher against a real `redis-server`, started by each test on a free port and killed on drop.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail by panicking")]

mod command;
mod faults;
mod notify;
mod other_languages;
mod replies;
mod rights;
mod source;
mod states;
mod watching;

use std::time::Duration;

use stack::GUARD;

/// Waits for `future`, and fails loudly instead of hanging.
async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(value) = tokio::time::timeout(GUARD, future).await else { panic!("{what}: not within {GUARD:?}") };
    value
}

/// Looks again and again until `check` gives a value.
async fn eventually<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(value) = check().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(what, looking).await
}
