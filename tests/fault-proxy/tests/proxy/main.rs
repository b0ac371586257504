//! Each fault on real sockets: a client, the proxy, and a server that is played by the test.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail by panicking")]

mod bytes;
mod ends;
mod messages;
mod plumbing;
