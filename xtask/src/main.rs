//! The project's commands: `cargo xtask demo`, `test`, `fuzz`, `faults`, `bench`, `stack` and `build`.
//!
//! In scope: installing what is missing, building all parts, and running them through the harness in `tests/`.
//! Out of scope: anything a program of ours would need in production.

mod artifacts;
mod bench;
mod command;
mod demo;
mod dependencies;
mod faults;
mod fuzz;
mod interrupt;
mod packages;
mod photos;
mod scene;
mod serve;
mod setup;
mod stamp;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Commands of the Batchcast project. Each installs what it needs, or says what you have to install.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Uploads a batch of photos to a fresh system and shows it live, here and at the printed address.
    Demo {
        /// Takes every file of this folder instead of making 24 photos.
        #[arg(long, value_name = "DIR")]
        photos: Option<PathBuf>,
    },
    /// Runs everything that CI runs: format, lints, documentation, builds, all tests.
    Test {
        /// Runs only the whole-system tests, with these arguments to them: `-- subscription --nocapture`.
        #[arg(last = true, value_name = "ARGS")]
        system_tests: Vec<String>,
    },
    /// Looks for bytes from outside that break what must hold for all of them.
    Fuzz(fuzz::Options),
    /// Runs the table of faults on real parts, and writes tests/FAULTS.md when it ran all of it.
    Faults {
        /// Numbers of rows, to run only these; `--list` shows them, `--at-once N` runs N at the same time.
        #[arg(allow_hyphen_values = true, trailing_var_arg = true, value_name = "ROWS")]
        args: Vec<String>,
    },
    /// Measures our parts beside what people would take instead, and writes bench/RESULTS.md. Bars that are missed are
    /// printed and no failure.
    Bench {
        /// `--quick` for a short look that writes nothing, `--only SCENARIO,…` for some, `--list` shows them.
        #[arg(allow_hyphen_values = true, trailing_var_arg = true, value_name = "ARGS")]
        args: Vec<String>,
    },
    /// Builds what is deployed, the Worker and the live page; `wrangler deploy` calls it.
    Build,
    /// Runs all parts until Ctrl-C.
    Stack {
        /// Writes the addresses and tokens to this file, as JSON.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    // Printed by us: `main` would add a backtrace, which hides the end of a log that an error may carry.
    run(Cli::parse().verb).await.unwrap_or_else(|error| {
        eprintln!("\nError: {error:#}");
        ExitCode::FAILURE
    })
}

async fn run(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Demo { photos } => demo::run(photos.as_deref()).await,
        Verb::Test { system_tests } => test::run_steps(&system_tests).map(|()| ExitCode::SUCCESS),
        Verb::Fuzz(options) => fuzz::run(&options),
        Verb::Faults { args } => faults::run_rows(&args),
        Verb::Bench { args } => bench::run_scenarios(&args),
        Verb::Build => artifacts::deployable().map(|()| ExitCode::SUCCESS),
        Verb::Stack { json } => serve::run(json.as_deref()).await.map(|()| ExitCode::SUCCESS),
    }
}
