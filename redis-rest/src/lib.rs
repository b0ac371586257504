//! The Redis-over-HTTP protocol, as Upstash's REST API speaks it, for both sides of the wire.
//!
//! In scope: request bodies ([`request`], [`path`]), which commands may travel ([`refusal`]), replies as
//! JSON, base64 and RESP2 ([`reply`], [`resp2`]), the frames of a subscription ([`subscribe`]) and an
//! incremental decoder of `text/event-stream` ([`event_stream`]).
//! Out of scope: sockets, runtimes, HTTP status codes, authentication, what a command means. Everything
//! here is bytes in and values out, and compiles for `wasm32-unknown-unknown`.
//!
//! ```
//! use batchcast_redis_rest::{Encoding, Reply, request};
//!
//! // What a client sends, what a server reads, and its answer on the way back.
//! let body = request::command(["INCR", "visits"]);
//! assert_eq!(request::parse_command(body.as_bytes())?, [&b"INCR"[..], b"visits"]);
//! let answer = Reply::Int(8).to_body(Encoding::Plain);
//! assert_eq!(Reply::from_body(answer.as_bytes(), Encoding::Plain)?.as_int(), Some(8));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod event_stream;
mod json;
pub mod path;
pub mod refusal;
pub mod reply;
pub mod request;
pub mod resp2;
pub mod subscribe;

pub use reply::{Encoding, Reply};
pub use subscribe::Frame;

/// One command: its name, then its arguments, as the bytes Redis gets.
pub type Args = Vec<Vec<u8>>;

/// The code in the README runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
