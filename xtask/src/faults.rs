//! `cargo xtask faults`: the table of faults, which `tests/faults` holds and runs.

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::command::command;
use crate::{artifacts, setup};

/// Builds everything and runs the rows that `args` name, or all.
pub(crate) fn run_rows(args: &[String]) -> Result<ExitCode> {
    let tools = setup::to_run()?;
    artifacts::native()?;
    artifacts::worker(&tools)?;
    artifacts::worker_of_faults(&tools)?;
    let mut faults = command("cargo");
    faults.args(["run", "--quiet", "-p", "batchcast-faults", "--"]).args(args);
    let status = faults.status().context("cannot start cargo")?;
    // Rows that fail have been told already.
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
