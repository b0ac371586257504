//! The reference application: an ordinary small service that takes photos, analyses them and tells how far it is.
//!
//! In scope: what an application owns. Routes, rows in SQLite, files on disk, the analysis of one photo, the bounded
//! pool that runs it, and a `ProgressSource` for the publisher.
//! Out of scope: streams and cached reads (the edge's), talking to Redis (the publisher's), access control.

mod analysis;
mod capture;
pub mod config;
mod db;
mod deadlines;
mod files;
mod jobs;
mod metrics;
mod names;
mod problem;
mod progress;
mod routes;
mod service;
mod sharpness;
mod upload;

pub use config::{Config, ConfigError};
pub use db::{Db, DbError};
pub use files::MAX_FILE_BYTES;
pub use service::{Service, ServiceError};
