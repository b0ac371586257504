//! The scenarios, by name.

mod gateway_commands;
mod gateway_fanout;
mod whole_path;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, bail};
use stack::{GatewaySettings, Part, gateway, ports};

use crate::Scale;
use crate::report::Scenario;
use whole_path::Class;

/// All of them.
pub(crate) const NAMES: [&str; 5] =
    ["gateway-commands", "gateway-fanout", "edge-100-viewers", "edge-1000-viewers", "origin-1000-viewers"];

const TOKEN: &str = "bench-token";
const AUTHORIZATION: &str = "authorization: Bearer bench-token\r\n";

pub(crate) async fn run(name: &str, scale: Scale) -> Result<Scenario> {
    match name {
        "gateway-commands" => gateway_commands::run(scale).await,
        "gateway-fanout" => gateway_fanout::run(scale).await,
        "edge-100-viewers" => whole_path::run(NAMES[2], Class::Edge, 100, scale).await,
        "edge-1000-viewers" => whole_path::run(NAMES[3], Class::Edge, 1_000, scale).await,
        "origin-1000-viewers" => whole_path::run(NAMES[4], Class::Origin, 1_000, scale).await,
        _ => bail!("there is no scenario {name}"),
    }
}

/// A gateway in front of this Redis.
async fn start_gateway(dir: &Path, redis_url: &str) -> Result<Part> {
    let settings = GatewaySettings {
        port: ports::free()?,
        admin_port: ports::free()?,
        redis_url: redis_url.to_owned(),
        token: TOKEN.to_owned(),
        env: BTreeMap::from([("LOG_LEVEL".to_owned(), "warn".to_owned())]),
    };
    let mut part = gateway(dir, settings)?;
    part.start().await?;
    Ok(part)
}
