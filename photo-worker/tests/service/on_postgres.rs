//! The same tests as in `main.rs`, with rows in a real Postgres.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail by panicking")]

/// Whether rows are in Postgres or, as in `main.rs`, in SQLite.
const ON_POSTGRES: bool = true;

mod access;
mod answers;
mod bad_input;
mod batches;
mod issuer;
mod process;
mod restart;
mod several;
mod tokens;
mod trouble;
mod world;
