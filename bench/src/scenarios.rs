//! The scenarios, by name.

mod gateway_commands;
mod gateway_fanout;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, bail};
use stack::{GatewaySettings, Part, gateway, ports};

use crate::Scale;
use crate::report::Scenario;

/// All of them.
pub(crate) const NAMES: [&str; 2] = ["gateway-commands", "gateway-fanout"];

const TOKEN: &str = "bench-token";
const AUTHORIZATION: &str = "authorization: Bearer bench-token\r\n";

pub(crate) async fn run(name: &str, scale: Scale) -> Result<Scenario> {
    match name {
        "gateway-commands" => gateway_commands::run(scale).await,
        "gateway-fanout" => gateway_fanout::run(scale).await,
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
