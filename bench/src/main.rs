//! Benchmarks of Batchcast's parts beside what people would take instead, in one run, as ratios: `cargo xtask bench`.
//!
//! In scope: the load, the peers, what is measured, the report. Out of scope: building and installing, which is
//! `cargo xtask`'s; starting our own parts, which is the harness's.
//!
//! Everything runs on loopback, is bounded in number and time, and is stopped when its scenario ends.

mod app;
mod cpu;
mod gateway;
mod latest;
mod listeners;
mod marks;
mod node_peer;
mod peers;
mod report;
mod requests;
mod sample;
mod scenarios;
mod world;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;
use report::Scenario;
use stack::workspace;

/// Measures beside the peers and writes bench/RESULTS.md and bench/results.json.
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Cli {
    /// Shorter and fewer runs, to see that all works; the figures are then not written down.
    #[arg(long)]
    quick: bool,
    /// Runs only the scenario of this name, and writes nothing down; `--list` shows them.
    #[arg(long, value_name = "SCENARIO")]
    only: Option<String>,
    /// Lists the scenarios instead of running them.
    #[arg(long)]
    list: bool,
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Scale {
    /// How often each side is measured, one after the other.
    runs: usize,
    /// The length of one measurement.
    secs: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    run(&Cli::parse()).await.unwrap_or_else(|error| {
        eprintln!("\nError: {error:#}");
        ExitCode::FAILURE
    })
}

async fn run(cli: &Cli) -> Result<ExitCode> {
    if cli.list {
        scenarios::NAMES.iter().for_each(|name| println!("{name}"));
        return Ok(ExitCode::SUCCESS);
    }
    let scale = if cli.quick { Scale { runs: 1, secs: 3 } } else { Scale { runs: 3, secs: 8 } };
    let wanted = |name: &&&str| cli.only.as_deref().is_none_or(|only| only == **name);
    let names: Vec<&str> = scenarios::NAMES.iter().filter(wanted).copied().collect();
    ensure!(!names.is_empty(), "there is no such scenario; `--list` shows all");
    let mut results: Vec<Scenario> = Vec::new();
    for name in names {
        println!("\n=== {name}");
        let scenario = scenarios::run(name, scale, &results).await?;
        println!("\n{}", report::table(&scenario));
        results.push(scenario);
    }
    if !cli.quick && cli.only.is_none() {
        let dir = workspace::root().join("bench");
        std::fs::write(dir.join("RESULTS.md"), report::document(&results))?;
        std::fs::write(dir.join("results.json"), report::json(&results)? + "\n")?;
        println!("Written to {}", dir.join("RESULTS.md").display());
    }
    let met = results.iter().flat_map(|scenario| &scenario.bars).all(report::Bar::is_met);
    println!("{}", if met { "All bars are met" } else { "Not all bars are met" });
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
