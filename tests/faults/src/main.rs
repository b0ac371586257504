//! Runs the table of faults on real parts and writes down what came of it: `cargo xtask faults`.
//!
//! In scope: the rows, in the modules of [`rows`]; running them; the report, `tests/FAULTS.md`.
//! Out of scope: building and installing, which is `cargo xtask`'s; starting parts, which is the harness's.

mod context;
mod feed;
mod figures;
mod report;
mod row;
mod rows;
mod runner;
mod uploads;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Parser;
use row::Row;
use stack::workspace;

/// Runs rows of the table of faults.
#[derive(Parser)]
#[command(name = "cargo xtask faults", bin_name = "cargo xtask faults")]
struct Cli {
    /// Runs only the rows with these numbers, and leaves tests/FAULTS.md as it is.
    rows: Vec<u8>,
    /// Runs so many rows at the same time, except those that have to run alone; figures of time then say less.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    at_once: u8,
    /// Lists the rows instead of running them.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    run(&Cli::parse()).unwrap_or_else(|error| {
        eprintln!("\nError: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(cli: &Cli) -> Result<ExitCode> {
    let rows = selected(rows::all(), &cli.rows)?;
    if cli.list {
        rows.iter().for_each(|row| println!("{:2}  {} | {}", row.number, row.fault, row.must_hold));
        return Ok(ExitCode::SUCCESS);
    }
    let begun = Instant::now();
    let outcomes = runner::run(&rows, cli.at_once.into());
    println!("\n{}", report::table(&outcomes));
    if cli.rows.is_empty() {
        let file = workspace::root().join("tests/FAULTS.md");
        std::fs::write(&file, report::document(&outcomes, begun.elapsed()))?;
        println!("Written to {}", file.display());
    }
    let failed = outcomes.iter().filter(|outcome| outcome.result.is_err()).count();
    println!("{} of {} rows hold, in {:.0} s", outcomes.len() - failed, outcomes.len(), begun.elapsed().as_secs_f64());
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The rows with these numbers; all of them when there are none.
fn selected(rows: Vec<Row>, numbers: &[u8]) -> Result<Vec<Row>> {
    for number in numbers {
        ensure!(rows.iter().any(|row| row.number == *number), "there is no row {number}; `--list` shows all");
    }
    Ok(rows.into_iter().filter(|row| numbers.is_empty() || numbers.contains(&row.number)).collect())
}
