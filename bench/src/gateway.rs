//! The gateway, started for a scenario.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use stack::{GatewaySettings, Part, ports};

/// What its callers show.
pub(crate) const TOKEN: &str = "bench-token";
/// The same as a header.
pub(crate) const AUTHORIZATION: &str = "authorization: Bearer bench-token\r\n";

/// A gateway in front of this Redis.
pub(crate) async fn start(dir: &Path, redis_url: &str) -> Result<Part> {
    let settings = GatewaySettings {
        port: ports::free()?,
        admin_port: ports::free()?,
        redis_url: redis_url.to_owned(),
        token: TOKEN.to_owned(),
        env: BTreeMap::from([("LOG_LEVEL".to_owned(), "warn".to_owned())]),
    };
    let mut part = stack::gateway(dir, settings)?;
    part.start().await?;
    Ok(part)
}
