#![doc = include_str!("../README.md")]
//!
//! In scope: the forms of an address, users, certificates, clients of `redis` made of them.
//! Out of scope: keeping connections, retrying, reading the environment, what a command means.

mod address;
mod certificates;
mod client;
mod credentials;
#[cfg(feature = "sentinel")]
mod sentinel;

pub use address::{Address, AddressError, DEFAULT_PORT, DEFAULT_SENTINEL_PORT, Nodes};
#[cfg(feature = "tls")]
pub use certificates::install_provider;
pub use certificates::{CertificateError, Certificates};
pub use client::{Settings, client};
pub use credentials::Credentials;
#[cfg(feature = "sentinel")]
pub use sentinel::sentinel;
