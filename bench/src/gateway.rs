//! The gateway, started for a scenario.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use stack::{GatewaySettings, Part, ports};

use crate::requests::Connection;

/// What its callers show.
pub(crate) const TOKEN: &str = "bench-token";
/// The same as a header.
pub(crate) const AUTHORIZATION: &str = "authorization: Bearer bench-token\r\n";

/// The count of subscribers that it has closed because they were read too slowly; for [`figure`].
pub(crate) const SLOW_CLOSED: &str = "slow_closed_total";

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

/// One of a gateway's own counts (`batchcast_gateway_…`), with those of all its labels added up; 0 where none is told.
pub(crate) async fn figure(gateway: &Part, name: &str) -> Result<u64> {
    let admin = gateway.health_url().and_then(|url| url.strip_suffix("/healthz")).context("no admin address")?;
    let address = admin.strip_prefix("http://").context("no http address")?.parse()?;
    let mut connection = Connection::open(address).await?;
    Ok(sum(connection.ask(b"GET /metrics HTTP/1.1\r\nhost: bench\r\n\r\n").await?, name))
}

/// The sum of a figure in Prometheus' text format.
fn sum(metrics: &str, name: &str) -> u64 {
    let name = format!("batchcast_gateway_{name}");
    let value = |line: &str| {
        let rest = line.strip_prefix(&name)?;
        let rest = rest.strip_prefix('{').map_or(Some(rest), |labels| Some(labels.split_once('}')?.1))?;
        rest.strip_prefix(' ')?.trim().parse::<u64>().ok()
    };
    metrics.lines().filter_map(value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_that_of_all_labels_and_of_no_other_name() {
        let text = "# HELP batchcast_gateway_a A.\nbatchcast_gateway_a{b=\"1\"} 2\nbatchcast_gateway_a{b=\"2\"} 3\n\
                    batchcast_gateway_a_b 9\nbatchcast_gateway_c 7\n";
        assert_eq!((sum(text, "a"), sum(text, "c"), sum(text, "d")), (5, 7, 0));
    }
}
