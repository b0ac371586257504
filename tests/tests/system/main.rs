//! What the whole system promises, on real parts: `redis-server`, the gateway, the photo worker, the Worker in workerd,
//! a browser.
//!
//! Each test starts a stack of its own and awaits events; the names are the rules.

mod access;
mod bad_input;
mod bare;
mod browser;
mod budgets;
mod command;
mod feed;
mod guide;
mod monitoring;
mod on_premises;
mod openapi;
mod operation;
mod package;
mod photos;
mod quiet;
mod reads;
mod recovery;
mod stream;
mod subscription;
mod tracing;
