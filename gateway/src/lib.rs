//! Redis over HTTP, in the words of Upstash's REST API, for any Redis that is reached over TCP.
//!
//! In scope: HTTP, authentication, one shared connection for commands, one for subscriptions, and who
//! hears which channel. Out of scope: what stands in keys and messages. Nothing here knows a batch.
//!
//! A request takes this way: [`server`] → `guard` (method, token) → `rest` or `subscribe` → [`upstream`] or
//! [`fanout`] → Redis. The protocol's bytes are `redis_rest`'s.

mod admin;
mod answer;
mod catalogue;
pub mod config;
mod connection;
pub mod fanout;
mod guard;
pub mod metrics;
mod rest;
pub mod server;
mod subscribe;
pub mod upstream;

pub use config::{Config, Secret};
pub use server::Gateway;
