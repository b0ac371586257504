//! Publish the progress of batches through Redis, from the process that does the work.
//!
//! In scope: reading what changed from the application's database ([`ProgressSource`]), deciding when to publish it,
//! the connection to Redis, watching a batch natively, and the tokens that an application gives its users.
//! Out of scope: HTTP, counting photos, storing anything but progress.
//!
//! ```no_run
//! use std::time::{Duration, SystemTime};
//! use batchcast_publisher::{BatchId, Changes, Position, ProgressSource, Publisher, SourceError};
//!
//! struct Database; // The application's own: rows of batches and photos, each photo with its version.
//!
//! impl ProgressSource for Database {
//!     async fn changes(&self, id: &BatchId, since: Option<Position>) -> Result<Option<Changes>, SourceError> {
//!         # let _ = (id, since);
//!         Ok(None) // One consistent snapshot: the head, and the photos whose version is after `since`.
//!     }
//!     async fn unsettled(&self, since: SystemTime) -> Result<Vec<BatchId>, SourceError> {
//!         # let _ = since;
//!         Ok(Vec::new()) // Open batches, and those that ended after `since`.
//!     }
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let publisher = Publisher::builder("redis://localhost:6379").source(Database).connect().await?;
//! publisher.resync().await?; // What a crash kept from being told.
//! publisher.notify(&BatchId::new("batch-123")?); // After each commit; never blocks, never fails the job.
//! let undelivered = publisher.close(Duration::from_secs(5)).await;
//! # let _ = undelivered;
//! # Ok(())
//! # }
//! ```
//!
//! # Rights in Redis
//! A user that may do exactly what this library does, on keys and channels without a prefix:
//! ```text
//! ACL SETUSER publisher on >PASSWORD resetkeys ~batch:* resetchannels &batch:* -@all +evalsha +script|load
//!   +type +hmget +hset +hgetall +del +expire +publish +subscribe +ping
//! ```
//! With `KEY_PREFIX=eu:` it is `~eu:batch:* &eu:batch:*`. `+subscribe +ping` serve [`Publisher::watch`] only, `+hgetall`
//! also [`Publisher::cached`]. A database other than 0 in the URL needs `+select`.
//!
//! # Connections
//! One connection carries all writes and reads; each watch has one more for its subscription. RESP3 is spoken where the
//! server knows it: a lost connection is then noticed at once, also when there is nothing to send.

mod backoff;
mod builder;
mod edit;
mod error;
mod job;
mod link;
mod metrics;
mod policy;
mod publisher;
mod source;
mod store;
mod task;
pub mod token;
mod traced;
mod watch;

/// Public for the model test of the whole system (`tests/model`), not a stable interface.
#[doc(hidden)]
pub mod schedule;

pub use builder::{
    DEFAULT_COALESCE, DEFAULT_CONNECTION_TIMEOUT, DEFAULT_RESPONSE_TIMEOUT, DEFAULT_STATE_TTL, PublisherBuilder,
};
pub use edit::EditError;
pub use error::PublishError;
pub use metrics::{LAG_BUCKETS_MS, Lag, Metrics, names as metric_names};
pub use publisher::{Cached, Published, Publisher};
pub use source::{ProgressSource, SourceError};
pub use traced::Traced;
pub use wire::{
    BatchId, BatchState, BatchStatus, Changes, Counts, Head, Json, Photo, PhotoId, PhotoStatus, Position, TraceParent,
    TraceParentError,
};

/// The code in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
