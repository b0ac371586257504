//! The reference application: an ordinary small service that takes photos, analyses them and tells how far it is.
//!
//! In scope: what an application owns. Routes, rows in SQLite or Postgres, files on disk, the analysis of one photo, the bounded
//! pool that runs it, who may do what to a batch, and a `ProgressSource` for the publisher.
//! Out of scope: streams and cached reads (the edge's), talking to Redis and the signatures of tokens (the publisher's),
//! accounts and logins.

mod access;
mod analysis;
mod capture;
pub mod config;
mod db;
mod deadlines;
mod files;
#[doc(hidden)]
pub mod fuzzing;
mod issuer;
mod jobs;
mod metrics;
mod names;
mod problem;
mod progress;
mod redact;
mod routes;
mod service;
mod sharpness;
mod trace;
mod upload;

pub use config::{Config, ConfigError};
pub use db::{Db, DbError};
pub use issuer::IssuerError;
pub use service::{Service, ServiceError};
