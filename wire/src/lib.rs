//! The contract between the parts of Batchcast: what a batch is, where a reader stands in it, and every byte that
//! crosses a boundary (Redis hash, channel message, server-sent event).
//!
//! In scope: batch state and its invariants, positions, changes, the receiving rules ([`Replica`]), channel messages,
//! server-sent events, key and channel names, access tokens and what they give a right to, limits, metric names,
//! `update.lua`, and `track.lua`, which counts where there is no database.
//! Out of scope: cryptography, sockets, clocks, runtimes, retries, HTTP status codes.
//!
//! The one idea: progress is versioned state, not a log. [`BatchState::changes_since`] a [`Position`] serves the first
//! event of a new viewer, every live event, a resumed stream and a viewer that fell behind alike.
//!
//! ```
//! use batchcast_wire::{BatchState, Position};
//!
//! let state = BatchState::from_json(
//!     br#"{"v":1,"batchId":"holiday","position":"7-42","status":"PROCESSING","updatedAt":"2026-11-22T23:10:30Z",
//!     "counts":{"total":2,"queued":1,"processing":0,"completed":1,"failed":0},
//!     "photos":[{"photoId":"beach","status":"COMPLETED","version":42}]}"#,
//! )?;
//! let seen: Position = "7-41".parse()?; // What a viewer says that comes back.
//! assert_eq!(state.changes_since(Some(seen)).photos.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod changes;
pub mod event;
pub mod id;
pub mod json;
pub mod keys;
pub mod limits;
pub mod message;
pub mod metrics;
pub mod position;
pub mod replica;
pub mod script;
pub mod seen;
pub mod state;
pub mod token;
pub mod trace;
pub mod track;
#[cfg(test)]
mod typescript;

pub use changes::Changes;
pub use id::{BatchId, IdError, PhotoId};
pub use json::Json;
pub use message::{Cause, Message};
pub use position::{Position, PositionError};
pub use replica::Replica;
pub use seen::Seen;
pub use state::{BatchState, BatchStatus, Counts, Delta, Head, Photo, PhotoStatus, StateError, Stored};
pub use trace::{TraceParent, TraceParentError};

/// The code in the README runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
