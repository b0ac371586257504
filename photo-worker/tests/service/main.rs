//! The photo worker as its clients meet it: over HTTP, with a real `redis-server`, files and database in a folder of
//! the test's own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail by panicking")]

/// Whether rows are in Postgres (`on_postgres.rs`) or, as here, in SQLite.
const ON_POSTGRES: bool = false;

mod access;
mod bad_input;
mod batches;
mod issuer;
mod process;
mod restart;
mod sinks;
mod tokens;
mod trouble;
mod world;
