//! The publisher against a real `redis-server`, started by each test on a free port and killed on drop.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail by panicking")]

#[cfg(feature = "cluster")]
mod cluster;
mod examples;
#[cfg(any(feature = "cluster", feature = "sentinel"))]
mod failover;
mod faults;
mod notify;
mod other_languages;
mod policy;
mod replies;
#[cfg(feature = "rest")]
mod rest;
mod rights;
#[cfg(feature = "sentinel")]
mod sentinel;
mod sinks;
mod sockets;
mod source;
mod states;
#[cfg(feature = "tls")]
mod tls;
mod tracker;
mod tracker_faults;
mod tracker_model;
mod tracker_workers;
mod watching;

use anyhow::Context as _;
use batchcast_publisher::{Publisher, RedisSettings};
use futures::StreamExt as _;
use stack::GUARD;

use crate::states::{EPOCH, batch, changes, state};

/// A batch is deleted, published and watched there.
async fn assert_works(redis: impl Into<RedisSettings>) {
    let (publisher, id) = (Publisher::builder(redis).connect().await.unwrap(), batch("a"));
    publisher.invalidate(&id).await.unwrap();
    publisher.publish(changes(&state(&id, EPOCH, 1, 3), None)).await.unwrap();
    let mut states = publisher.watch(&id);
    assert_eq!(within("a state", states.next()).await, Some(state(&id, EPOCH, 1, 3)));
}

/// Waits for `future`, and fails loudly instead of hanging.
async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(value) = tokio::time::timeout(GUARD, future).await else { panic!("{what}: not within {GUARD:?}") };
    value
}

/// Looks again and again until `check` gives a value.
async fn eventually<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let check = async || check().await.context("not so yet");
    within(what, stack::eventually(GUARD, check)).await.unwrap()
}
