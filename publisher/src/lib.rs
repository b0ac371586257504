//! Publish the progress of batches through Redis, from the process that does the work.
//!
//! In scope: reading what changed from the application's database ([`ProgressSource`]), deciding when to publish it,
//! the connection to Redis, watching a batch natively, counting a batch in Redis where there is no database
//! ([`Tracker`]), telling sinks of a batch's end, and the tokens that an application gives its users.
//! Out of scope: serving HTTP, counting photos in this process, storing anything but progress.
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
//! # Rows in Postgres or SQLite
//! With the feature `postgres` or `sqlite` there is `SqlSource`, a [`ProgressSource`] from rows: in a default schema, which
//! it also moves on, or in the application's own tables by its own queries.
//!
//! # Without a database
//! [`Publisher::tracker`] declares a batch that a script in Redis counts, once a photo, whoever reports it and however
//! often; [`Tracker`] says what that promises and what it does not.
//!
//! # Sinks
//! Others than readers are told of a batch's end by a [`Sink`], given to [`PublisherBuilder::sink`]: the latest state, at
//! least once, never an older one after a newer one, by one of several workers, and after a restart by
//! [`Publisher::resync`] if not before. The feature `webhook` has `Webhook` (Standard Webhooks), the feature `slack` has
//! `Slack`.
//!
//! # Rights in Redis
//! A user that may do exactly what this library does, on keys and channels without a prefix:
//! ```text
//! ACL SETUSER publisher on >PASSWORD resetkeys ~batch:* resetchannels &batch:* -@all +evalsha +script|load
//!   +type +hmget +hset +hgetall +del +expire +publish +subscribe +ping +get +set
//! ```
//! With `KEY_PREFIX=eu:` it is `~eu:batch:* &eu:batch:*`. `+subscribe +ping` serve [`Publisher::watch`] only, `+hgetall`
//! also [`Publisher::cached`] and [`Tracker::reopen`], `+get +set` [sinks](Sink) only. A database other than 0 in
//! the URL needs `+select`.
//! Behind sentinels the user also needs `+role`, and in a cluster, on each of its nodes, `+cluster|slots +asking`.
//!
//! The sentinels know other users than Redis; this one is enough there:
//! ```text
//! ACL SETUSER watcher on >PASSWORD resetkeys resetchannels -@all +role +sentinel|masters
//! ```
//!
//! # Addresses
//! | form | what it is | feature |
//! |---|---|---|
//! | `redis://[user:password@]host[:port][/database]` | one server | |
//! | `rediss://…` | the same by TLS | `tls` (default) |
//! | `unix:///path?db=0&user=…&pass=…` | the same by a Unix socket | |
//! | `redis-sentinel://[user:password@]host[:port],…[/database]#NAME` | the master that these sentinels name | `sentinel` |
//! | `redis-cluster://[user:password@]host[:port],…` | a cluster, found through any of these nodes | `cluster` |
//! | `https://HOST[:PORT]` (or `http://`) | Redis over HTTP, in the words of Upstash's REST API | `rest` |
//!
//! `rediss-sentinel://` and `rediss-cluster://` are by TLS, too. User and password are percent-encoded. Certificates of an
//! authority of your own, a certificate to show, and the user at the sentinels are [`RedisSettings`]. The cryptography is
//! rustls with `ring`; where the process has chosen no provider, the first connection by TLS chooses that one.
//!
//! Nothing but the commands in the rules above is sent, beside the greeting of a connection (`HELLO`, or `AUTH` and
//! `SELECT`; `CLIENT SETINFO`, whose refusal is ignored). So other servers that have these, in RESP3 or RESP2, will do;
//! it is meant to include Valkey, and tested with Redis 7.0 only.
//!
//! # Connections
//! One connection carries all writes and reads (in a cluster: one a master); each watch has one more for its
//! subscription. RESP3 is spoken where the server knows it: a lost connection is then noticed at once, also when there is
//! nothing to send. A connection may take [`DEFAULT_CONNECTION_TIMEOUT`] to be made, the sentinels' answers included, and
//! an answer [`DEFAULT_RESPONSE_TIMEOUT`]; a silent one is given up by TCP keep-alive after 30 s. There is no pool and no
//! retry below the schedule, which waits up to 5 s between attempts.
//!
//! Over HTTP each command is a request (with [`RedisSettings::rest_token`]) and each watch an event stream, for workers
//! that may not open TCP. A request that fails counts as a lost connection; where the server behind it fails over between
//! two requests, nobody tells: the loss is noticed with the batch's next update. The rights are those of the rule above.
//!
//! # Failovers
//! A replica that becomes the master may lack what the old one has acknowledged. So whenever a connection is lost, a
//! server says that it is no master, or sentinels or a cluster's map name one no more (they are asked each second for a
//! minute after a write), what was sent lately is verified against the source, and sent again where it is missing.

mod backoff;
mod builder;
mod edit;
mod error;
mod job;
mod link;
mod metrics;
mod policy;
#[cfg(feature = "_post")]
mod post;
mod publisher;
mod redis_settings;
mod sink;
mod source;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod sql;
mod store;
mod task;
#[cfg(feature = "_post")]
mod tls;
pub mod token;
mod traced;
mod track;
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
pub use redis_settings::{RedisSettings, Tls};
pub use sink::{Event, Interest, Pace, Sink, SinkMetrics, Undelivered};
#[cfg(feature = "webhook")]
pub use sink::{SecretError, Webhook, WebhookBuilder, WebhookSecrets};
#[cfg(feature = "slack")]
pub use sink::{Slack, SlackBuilder};
pub use source::{ProgressSource, SourceError};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use sql::{DEFAULT_CONNECTIONS, DEFAULT_STATEMENT_TIMEOUT, Queries, SqlError, SqlSource, SqlSourceBuilder};
pub use traced::Traced;
pub use track::{DEFAULT_PATIENCE, Outcome, TrackError, Tracked, TrackedPhoto, Tracker, TrackerBuilder};
pub use wire::{
    BatchId, BatchState, BatchStatus, Changes, Counts, Head, Json, Photo, PhotoId, PhotoStatus, Position, TraceParent,
    TraceParentError,
};

/// The code in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
