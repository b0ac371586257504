//! The harness of the whole-system tests: starts the real parts of Batchcast on free ports and stops them on drop.
//!
//! In scope: starting, killing and restarting `redis-server`, Postgres, the gateway, the photo worker and the edge (the built
//! Worker in `wrangler dev` or in `workerd` alone); viewers of streams; a thin client of the HTTP routes; what the parts say about themselves.
//! Out of scope: building and installing, which is `cargo xtask`'s; batch semantics, which the tests state themselves.

mod api;
mod authority;
mod builder;
mod eventually;
pub mod machine;
mod observe;
mod part;
mod parts;
pub mod ports;
mod postgres_server;
mod process;
pub mod processor_time;
mod redis_server;
mod stack;
mod tab;
mod tabs;
mod viewer;
mod workerd;
pub mod workspace;
mod wrangler;

pub use api::{Api, Batch, Read};
pub use authority::{Authority, Certificate};
pub use builder::{Builder, Plan};
pub use eventually::{GUARD, eventually};
pub use part::Part;
pub use parts::{
    EdgeSettings, GatewaySettings, PhotoWorkerSettings, bare_edge, edge, gateway, photo_worker, redis_server,
};
pub use postgres_server::PostgresServer;
pub use redis_server::RedisServer;
pub use stack::{Addresses, Stack, lasting};
pub use tab::{Back, End, History, Named, Tab, TabBuilder};
pub use tabs::Tabs;
pub use viewer::{Seen, Viewer};
