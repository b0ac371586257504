//! The npm packages of `package-lock.json`: wrangler, esbuild, wasm-opt, and a Node.js new enough for wrangler.

use anyhow::{Context, Result};
use stack::workspace;

use crate::command::{command, run};
use crate::stamp::Stamp;

/// Runs `npm ci` when `node_modules` was not installed from the present lock file.
pub(super) fn ensure() -> Result<()> {
    let root = workspace::root();
    let stamp = Stamp::new(root.join("node_modules/.batchcast-lock"), &[root.join("package-lock.json")])?;
    if stamp.is_current() {
        return Ok(());
    }
    workspace::find_program("npm").context("npm is missing: please install Node.js 20 or newer, with npm")?;
    println!("Installing the npm packages");
    // Only errors: npm would warn that the Node.js it runs on is too old for what runs on the one it installs.
    run(command("npm").args(["ci", "--loglevel=error"]))?;
    stamp.set()
}
