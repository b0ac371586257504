//! The gateway, started for a scenario.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use stack::{GatewaySettings, Part, ports};

use crate::requests::Connection;

/// What its callers show.
pub(crate) const TOKEN: &str = "bench-token";
/// The same as a header.
pub(crate) const AUTHORIZATION: &str = "authorization: Bearer bench-token\r\n";

/// A gateway in front of this Redis.
pub(crate) async fn start(dir: &Path, redis_url: &str) -> Result<Part> {
    Ok(start_with_admin(dir, redis_url).await?.0)
}

/// A gateway in front of this Redis, and the port at which it tells of itself.
pub(crate) async fn start_with_admin(dir: &Path, redis_url: &str) -> Result<(Part, u16)> {
    let admin_port = ports::free()?;
    let settings = GatewaySettings {
        port: ports::free()?,
        admin_port,
        redis_url: redis_url.to_owned(),
        token: TOKEN.to_owned(),
        env: BTreeMap::from([("LOG_LEVEL".to_owned(), "warn".to_owned())]),
    };
    let mut part = stack::gateway(dir, settings)?;
    part.start().await?;
    Ok((part, admin_port))
}

/// What the gateway with this admin port has counted under this name.
pub(crate) async fn counted(admin_port: u16, name: &str) -> Result<u64> {
    let request = "GET /metrics HTTP/1.1\r\nhost: bench\r\n\r\n";
    let mut connection = Connection::open(([127, 0, 0, 1], admin_port).into()).await?;
    let metrics = connection.ask(request.as_bytes()).await?;
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(value.with_context(|| format!("the gateway does not count {name}"))?.trim().parse()?)
}
