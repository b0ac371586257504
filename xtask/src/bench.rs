//! `cargo xtask bench`: the benchmarks, which `bench` holds and runs.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use stack::workspace;

use crate::command::{command, run};
use crate::{artifacts, setup};

/// Builds what is measured as it is deployed, and runs the scenarios that `args` name, or all.
pub(crate) fn run_scenarios(args: &[String]) -> Result<ExitCode> {
    artifacts::worker(&setup::to_bench()?)?;
    let packages = ["batchcast-gateway", "batchcast-photo-worker", "batchcast-bench"].map(|name| ["-p", name]);
    run(command("cargo").args(["build", "--release"]).args(packages.as_flattened()))?;
    let release = workspace::target_dir().join("release");
    let mut bench = command(release.join("batchcast-bench"));
    bench.args(args).env("BATCHCAST_BIN_DIR", &release);
    let status = bench.status().context("cannot start the benchmarks")?;
    // Bars that are missed have been told already.
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
