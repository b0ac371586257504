//! What others get of us: the crates as they are published, and each of their features on its own.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use stack::workspace;

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
    // A folder of its own: what is forgotten there, nobody else has to build again.
    let target = workspace::target_dir().join("published");
    forget_published(&target)?;
    // A tree that is being worked on may be tested, too.
    let mut publish = command("cargo");
    publish.args(["publish", "--dry-run", "--allow-dirty"]).args(selected()).env("CARGO_TARGET_DIR", target);
    run(&mut publish)
}

/// Cargo takes a crate of one version for the same for ever: those that it packed here before, unpacked as from a
/// registry, and what it built of them, it would use again, whatever has changed since.
fn forget_published(target: &Path) -> Result<()> {
    let sources = cargo_home()?.join("registry/src");
    // Registries in a folder, which have no host, are called by a hash alone.
    for registry in entries(&sources)?.iter().filter(|path| name(path).starts_with('-')) {
        forget(registry)?;
    }
    forget(&target.join("debug/.fingerprint"))
}

/// Removes what belongs to the published crates from a folder.
fn forget(dir: &Path) -> Result<()> {
    let is_published = |path: &Path| PUBLISHED.iter().any(|package| name(path).starts_with(package));
    for path in entries(dir)?.iter().filter(|path| is_published(path)) {
        fs::remove_dir_all(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

/// What is in a folder; nothing, where there is none.
fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let Ok(entries) = fs::read_dir(dir) else { return Ok(Vec::new()) };
    entries.map(|entry| Ok(entry?.path())).collect()
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn cargo_home() -> Result<PathBuf> {
    let set = env::var_os("CARGO_HOME").map(PathBuf::from);
    set.or_else(|| Some(env::home_dir()?.join(".cargo"))).context("neither CARGO_HOME nor a home directory is known")
}

fn selected() -> impl Iterator<Item = String> {
    PUBLISHED.into_iter().map(|package| format!("--package={package}"))
}
