//! What others get of us: the crates as they are published, and each of their features on its own.

use anyhow::Result;

use crate::command::{command, run};
use crate::setup;

/// The crates that are published, each before those that use it.
const PUBLISHED: [&str; 4] =
    ["batchcast-wire", "batchcast-redis-rest", "batchcast-redis-address", "batchcast-publisher"];

/// That each feature compiles without the others, and each crate without any: users choose, our own builds do not.
pub(crate) fn check_features() -> Result<()> {
    let mut hack = command(setup::cargo_hack()?);
    run(hack.args(["hack", "check", "--each-feature"]).args(selected()))
}

/// That what would be published is complete: it is packed and built as it would be by whoever downloads it.
pub(crate) fn check_published() -> Result<()> {
    // A tree that is being worked on may be tested, too.
    run(command("cargo").args(["publish", "--dry-run", "--allow-dirty"]).args(selected()))
}

fn selected() -> impl Iterator<Item = String> {
    PUBLISHED.into_iter().map(|package| format!("--package={package}"))
}
