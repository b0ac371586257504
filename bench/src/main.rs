//! Benchmarks of Batchcast's parts beside what people would take instead, in one run, as ratios: `cargo xtask bench`.
//!
//! In scope: the load, the peers, what is measured, the report. Out of scope: building and installing, which is
//! `cargo xtask`'s; starting our own parts, which is the harness's.
//!
//! Everything runs on loopback, is bounded in number and time, and is stopped when its scenario ends.

mod ages;
mod answer;
mod app;
mod distance;
mod document;
mod fleet;
mod gateway;
mod in_turn;
mod latest;
mod listeners;
mod marks;
mod micro;
mod node_peer;
mod noise;
mod peers;
mod plain_worker;
mod plot;
mod plots;
mod readme;
mod report;
mod requests;
mod results;
mod sample;
mod scenarios;
mod world;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;
use micro::Micro;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use noise::{Look, Noise};
use report::Scenario;
use results::Results;

/// Measures beside the peers, and writes bench/RESULTS.md, its plots, bench/results.json and the figures in README.md.
///
/// It succeeds when it could measure. Bars that are missed are printed and stand in RESULTS.md; they are no failure of
/// the command.
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Cli {
    /// Shorter and fewer runs, to see that all works; the figures are then not written down.
    #[arg(long)]
    quick: bool,
    /// Runs only these scenarios, by their names or what these begin with: `edge-,gateway-fanout`. What is written down
    /// of the others stays, each with the time and commit of its own run; `--list` shows them all.
    #[arg(long, value_name = "SCENARIOS", value_delimiter = ',')]
    only: Vec<String>,
    /// Lists the scenarios instead of running them.
    #[arg(long)]
    list: bool,
    /// Only writes anew what is made from bench/results.json.
    #[arg(long)]
    render: bool,
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
    raise_descriptor_limit();
    run(&Cli::parse()).await.unwrap_or_else(|error| {
        eprintln!("\nError: {error:#}");
        ExitCode::FAILURE
    })
}

/// Each viewer is a descriptor here, and up to two at the server, which inherits the limit. Where it can't be raised, the
/// opening of what is too many says so.
fn raise_descriptor_limit() {
    let raised =
        getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        eprintln!("The limit of open files stays as it is: {error}");
    }
}

async fn run(cli: &Cli) -> Result<ExitCode> {
    if cli.list {
        names().for_each(|name| println!("{name}"));
        return Ok(ExitCode::SUCCESS);
    }
    if cli.render {
        return Results::read()?.render().map(|()| ExitCode::SUCCESS);
    }
    let chosen = chosen(&cli.only)?;
    let (measured, machine) = results::surroundings();
    let mut results = match Results::of_machine(machine.clone()) {
        Ok(results) => results,
        Err(error) if !cli.quick && !cli.only.is_empty() => return Err(error.context("run all of it")),
        Err(error) => {
            println!("Not gone on with: {error:#}");
            Results::new(machine)
        }
    };
    let before = Look::now();
    println!("Noise: {}", before.text());
    let mut failed = Vec::new();
    for name in &chosen {
        println!("\n=== {name}");
        // One that fails takes nothing from the others.
        if let Err(error) = measure(name, cli.quick, &measured, &mut results).await {
            eprintln!("{name} could not be measured: {error:#}");
            failed.push(*name);
        } else if !cli.quick {
            // So that what interrupts a long run takes nothing from what was measured.
            results.save()?;
        }
    }
    let after = Look::now();
    println!("Noise: {}", after.text());
    results.conclude(Noise::new(&measured, before, after));
    if !cli.quick {
        results.save()?;
        Results::read()?.render()?;
    }
    tell_bars(&results.scenarios(), &chosen);
    ensure!(failed.is_empty(), "could not be measured: {}", failed.join(", "));
    Ok(ExitCode::SUCCESS)
}

async fn measure(name: &str, quick: bool, measured: &str, results: &mut Results) -> Result<()> {
    if name == Micro::NAME {
        results.micro = Some(Micro::run(measured, quick)?);
        return Ok(());
    }
    let scale = if quick { Scale { runs: 1, secs: 3 } } else { Scale { runs: 3, secs: 8 } };
    let scenario = scenarios::run(name, scale, &results.scenarios).await?;
    println!("\n{}", report::table(&scenario));
    results.put(measured, scenario);
    Ok(())
}

/// All that can be run.
fn names() -> impl Iterator<Item = &'static str> {
    scenarios::NAMES.iter().copied().chain([Micro::NAME])
}

/// Those of these names, or that begin so, in their own order; of no names: all.
fn chosen(only: &[String]) -> Result<Vec<&'static str>> {
    let meant =
        |name: &str, wanted: &String| name == wanted || (!names().any(|n| n == wanted) && name.starts_with(wanted));
    for wanted in only {
        ensure!(names().any(|name| meant(name, wanted)), "there is no scenario {wanted:?}; `--list` shows all");
    }
    Ok(names().filter(|name| only.is_empty() || only.iter().any(|wanted| meant(name, wanted))).collect())
}

/// Says which bars of those that were run are missed, and how many there are.
fn tell_bars(scenarios: &[Scenario], chosen: &[&str]) {
    let run: Vec<Scenario> = scenarios.iter().filter(|one| chosen.contains(&one.name.as_str())).cloned().collect();
    println!("\n{}", document::count(&run));
    for Scenario { name, bars, missing, .. } in &run {
        bars.iter().filter(|bar| !bar.is_met()).for_each(|bar| print!("{name} {}", bar.row()));
        missing.iter().for_each(|line| println!("{name}: not measured: {line}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(only: &[&str]) -> Vec<&'static str> {
        chosen(&only.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn scenarios_are_chosen_by_name_or_beginning() {
        assert_eq!(of(&[]).len(), scenarios::NAMES.len() + 1);
        assert_eq!(of(&["edge-100-viewers"]), ["edge-100-viewers"]);
        assert!(of(&["edge-100"]).starts_with(&["edge-100-viewers", "edge-1000-viewers"]));
        assert_eq!(of(&["micro-benchmarks", "gateway-"]), ["gateway-commands", "gateway-fanout", "micro-benchmarks"]);
        assert!(chosen(&["nothing".to_owned()]).is_err());
    }
}
