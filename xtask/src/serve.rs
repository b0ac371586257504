//! `cargo xtask stack`: all parts, until Ctrl-C.

use std::path::Path;

use anyhow::{Context, Result};
use stack::{Addresses, Stack};

use crate::interrupt::unless_interrupted;
use crate::{artifacts, setup};

/// Starts the stack, tells its addresses, and ends with Ctrl-C.
pub(crate) async fn run(json: Option<&Path>) -> Result<()> {
    artifacts::build(&setup::to_run()?)?;
    unless_interrupted(async {
        let stack = Stack::builder().preferred_ports().start().await?;
        let addresses = stack.addresses();
        if let Some(file) = json {
            let text = serde_json::to_string_pretty(&addresses)?;
            std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
        }
        print(&addresses);
        std::future::pending::<Result<()>>().await
    })
    .await?;
    println!("Stopped");
    Ok(())
}

fn print(addresses: &Addresses) {
    println!("Live page      {}", addresses.edge);
    println!("Gateway        {}  token {}", addresses.gateway, addresses.gateway_token);
    println!("Redis          {}", addresses.redis);
    println!("Photo worker   {}", addresses.photo_worker);
    println!("Token          {}", addresses.token);
    println!("Metrics        {}/api/metrics  token {}", addresses.edge, addresses.metrics_token);
    println!("Ctrl-C stops everything.");
}
