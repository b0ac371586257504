//! The scenarios, by name.

mod bytes;
mod cold_start;
mod commands;
mod freshness;
mod gateway_commands;
mod gateway_fanout;
mod growth;
mod hops;
mod idle;
mod messages;
mod money;
mod notify;
mod reads;
mod reads_ttl;
mod restart;
mod stalled;
mod viewer_minute;
mod whole_path;

use anyhow::Result;
pub(crate) use freshness::CUT;
pub(crate) use whole_path::{PROCESSORS, SATURATED};

use crate::Scale;
use crate::report::Scenario;
use crate::results::Record;

/// All of them, in the order in which they are run and reported.
pub(crate) const NAMES: &[&str] = &[
    "gateway-commands",
    "gateway-fanout",
    "edge-100-viewers",
    "edge-1000-viewers",
    "edge-5000-viewers",
    "edge-50-a-second",
    "edge-20-ms",
    "edge-80-ms",
    "edge-hops",
    "origin-100-viewers",
    "origin-1000-viewers",
    "edge-freshness-1000",
    "edge-freshness-5000",
    "origin-freshness-1000",
    "edge-idle",
    "edge-stalled",
    "origin-stalled",
    "edge-restart",
    "reads",
    "reads-ttl",
    "notify",
    "growth",
    "cold-start",
    "commands-a-batch",
    "bytes-a-batch",
    "message-sizes",
    "cpu-a-viewer-minute",
    "money",
];

/// Runs one. `before` are those that have run already, or the last ones written down, for those that reckon with others'
/// figures.
pub(crate) async fn run(name: &str, scale: Scale, before: &[Record]) -> Result<Scenario> {
    match name {
        "gateway-commands" => gateway_commands::run(name, scale).await,
        "gateway-fanout" => gateway_fanout::run(name, scale).await,
        "edge-hops" => hops::run(name, scale).await,
        "edge-freshness-1000" => freshness::run(name, freshness::EDGE_1000, scale).await,
        "edge-freshness-5000" => freshness::run(name, freshness::EDGE_5000, scale).await,
        "origin-freshness-1000" => freshness::run(name, freshness::ORIGIN_1000, scale).await,
        "edge-idle" => idle::run(name, scale).await,
        "edge-stalled" => stalled::edge(name, scale).await,
        "origin-stalled" => stalled::origin(name, scale).await,
        "edge-restart" => restart::run(name, scale).await,
        "reads" => reads::run(name, scale).await,
        "reads-ttl" => reads_ttl::run(name, scale).await,
        "notify" => notify::run(name, scale).await,
        "growth" => growth::run(name, scale).await,
        "cold-start" => cold_start::run(name, scale).await,
        "commands-a-batch" => commands::run(name, scale).await,
        "bytes-a-batch" => bytes::run(name, scale).await,
        "message-sizes" => messages::run(name, scale).await,
        "cpu-a-viewer-minute" => viewer_minute::run(name, scale).await,
        "money" => money::run(name, before),
        _ => {
            let before: Vec<Scenario> = before.iter().map(|record| record.scenario.clone()).collect();
            whole_path::run(name, scale, &before).await
        }
    }
}
