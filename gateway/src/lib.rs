//! Redis over HTTP, in the words of Upstash's REST API, for any Redis.
//!
//! In scope: HTTP, TLS, tokens, one shared connection for commands and one for subscriptions a user, and who
//! hears which channel. Out of scope: what stands in keys and messages. Nothing here knows a batch.
//!
//! A request takes this way: `listener` (socket, TLS, HTTP) → `service` (method, token, route) → `upstream` or `fanout` →
//! `target` (Redis, Sentinel, Cluster). The protocol's bytes are `redis_rest`'s.

mod access;
mod admin;
mod answer;
mod app;
mod body;
mod catalogue;
mod clean;
pub mod config;
mod connection;
mod cors;
mod dialect;
mod fanout;
mod handover;
mod listener;
mod metrics;
mod monitor;
mod seats;
mod server;
mod service;
mod socket;
mod target;
mod tls;
mod upstream;

pub use config::{Config, Secret};
pub use server::{Gateway, StartError};
pub use tls::TlsError;
