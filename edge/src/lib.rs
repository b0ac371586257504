//! The Worker: what stands between browsers and the batches in Redis.
//!
//! In scope: routes, who may see what, the hub Durable Object that runs rooms, the streams and requests around them.
//! Out of scope: decisions that `hub` or `wire` can make. The modules that build natively are plain and tested so; the
//! others exist only in wasm and move bytes.

pub mod access;
pub mod ask;
pub mod cors;
pub mod limit;
pub mod problem;
pub mod route;
pub mod settings;
pub mod size;

#[cfg(target_arch = "wasm32")]
mod clock;
#[cfg(target_arch = "wasm32")]
mod entry;
#[cfg(target_arch = "wasm32")]
mod guard;
#[cfg(target_arch = "wasm32")]
mod log;
#[cfg(target_arch = "wasm32")]
mod object;
#[cfg(target_arch = "wasm32")]
mod origin;
#[cfg(target_arch = "wasm32")]
mod panic;
#[cfg(target_arch = "wasm32")]
mod redis;
#[cfg(target_arch = "wasm32")]
mod reply;
#[cfg(target_arch = "wasm32")]
mod request;
#[cfg(target_arch = "wasm32")]
mod signature;
