//! `cargo xtask bench`: the benchmarks, which `bench` holds and runs.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use stack::workspace;

use crate::command::{command, run};
use crate::{artifacts, setup};

/// What measures nothing, and so needs nothing of what is measured.
const TELLING: [&str; 3] = ["--list", "--render", "--help"];

/// Builds what is measured as it is deployed, and runs the scenarios that `args` name, or all.
pub(crate) fn run_scenarios(args: &[String]) -> Result<ExitCode> {
    let mut packages = vec!["batchcast-bench"];
    if !args.iter().any(|arg| TELLING.contains(&arg.as_str())) {
        artifacts::worker(&setup::to_bench()?)?;
        packages.extend(["batchcast-gateway", "batchcast-photo-worker"]);
    }
    run(command("cargo").args(["build", "--release"]).args(packages.into_iter().flat_map(|name| ["-p", name])))?;
    let release = workspace::target_dir().join("release");
    let mut bench = command(release.join("batchcast-bench"));
    bench.args(args).env("BATCHCAST_BIN_DIR", &release);
    let status = bench.status().context("cannot start the benchmarks")?;
    // What could not be measured has been told already.
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
