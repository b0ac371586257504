//! The rules of `deny.toml` for what we depend on, by `cargo deny`.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::command::{command, run, succeeds_within};
use crate::setup;
use crate::test::Outcome;

/// How long the database of advisories may take to come, some 10 MB the first time.
const FETCH_LIMIT: Duration = Duration::from_secs(30);

/// Checks licences, sources, and what may not be there, or not twice.
pub(crate) fn check() -> Result<()> {
    run(deny()?.args(["check", "licenses", "bans", "sources"]))
}

/// Looks for known vulnerabilities. Their database lies on GitHub, which can't be reached from everywhere, so that it
/// is fetched apart: `cargo deny` ends alike when it can't be and when it has found something.
pub(crate) fn advisories() -> Result<Outcome> {
    if !succeeds_within(FETCH_LIMIT, deny()?.args(["fetch", "db"]))? {
        return Ok(Outcome::NotRun("the database of advisories could not be fetched; see above"));
    }
    run(deny()?.args(["--offline", "check", "advisories"]))?;
    Ok(Outcome::Passed)
}

fn deny() -> Result<Command> {
    Ok(command(setup::cargo_deny()?))
}
