//! Rooms: one replica of a batch, its viewers, and the one subscription behind them.
//!
//! In scope: who gets which bytes when, resume, conflation, keep-alive, supervision of the upstream, when the hash is
//! read again, what a cached read may answer. All of it is plain state fed with inputs and the time.
//! Out of scope: sockets, wasm types, clocks. `now` comes in with every call; what is to be done goes out as data.

pub mod cache;
pub mod config;
pub mod counters;
pub mod metrics;
pub mod room;

mod audience;
mod io;
mod link;
mod reading;

pub use audience::FORGOTTEN_RETRY;
pub use cache::{Answer, CacheResult, Held, Source};
pub use config::{Config, ConfigError};
pub use counters::Counters;
pub use io::{Full, Input, Output, Unanswered, ViewerId, Visitor};
pub use metrics::ObjectCounters;
pub use room::Room;

/// A moment, or a span, in milliseconds. Moments count from the Unix epoch.
pub type Millis = u64;
