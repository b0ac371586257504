//! A TCP proxy on loopback that misbehaves on command, for the whole-system tests.
//!
//! It holds one [`Proxy`] before one upstream address: resets, half-open connections, frozen and slow networks,
//! connections cut inside an answer, servers that talk nonsense, and Redis pub/sub messages that are lost, doubled or
//! out of order. It refuses to know what it carries: TLS and HTTP are bytes, and of Redis it knows only where a reply
//! ends and whether it is a message.
//!
//! Faults combine: messages are disturbed first, then looked through for the needle of [`Proxy::cut_before`], then
//! delayed, then trickled. [`Proxy::heal`] ends them all.
//!
//! Why not a library: noxious, the one toxiproxy in Rust (last release 2021), and toxiproxy itself disturb chunks of
//! bytes, so neither can lose, double or reorder one pub/sub message, nor touch only some of a pool's connections.

mod connection;
mod counters;
mod history;
mod lane;
mod messages;
mod needle;
mod orders;
mod pace;
mod proxy;
mod pump;
mod resp;

pub use messages::{MessageFaults, PayloadTest};
pub use orders::Direction;
pub use proxy::Proxy;
