//! Sources in a real Postgres and in real files of SQLite: each test runs on both.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail by panicking")]

mod consistency;
mod own_tables;
mod publishing;
mod schema;
mod trouble;
mod world;
