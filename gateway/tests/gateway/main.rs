//! The gateway as its users see it: the built command, a real Redis, and HTTP in between.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "all of this is test code; a panic is how it fails")]

mod access;
mod commands;
mod connections;
mod cors;
mod faults;
mod lifecycle;
mod limits;
mod streams;
mod subscriptions;
mod support;
