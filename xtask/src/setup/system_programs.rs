//! Programs of the operating system: `redis-server`, and Chromium for the tests of the live page.

use anyhow::{Result, bail};
use nix::unistd::geteuid;
use stack::workspace;

use crate::command::{command, run};

/// Installs `redis-server` if it is missing.
pub(super) fn ensure_redis() -> Result<()> {
    if workspace::find_program("redis-server").is_some() {
        return Ok(());
    }
    install("redis-server")
}

/// Installs Chromium if no browser of its family is there.
pub(super) fn ensure_chromium() -> Result<()> {
    if workspace::chromium().is_ok() {
        return Ok(());
    }
    install("chromium")
}

fn install(package: &str) -> Result<()> {
    if workspace::find_program("apt-get").is_none() {
        bail!("{package} is missing: please install it with your package manager, so that it is on the PATH");
    }
    if !geteuid().is_root() {
        bail!("{package} is missing: please run `sudo apt-get install --no-install-recommends {package}`");
    }
    println!("Installing {package} with apt-get");
    run(apt_get().arg("update"))?;
    run(apt_get().args(["install", "--yes", "--no-install-recommends", package]))
}

fn apt_get() -> std::process::Command {
    let mut apt_get = command("apt-get");
    apt_get.env("DEBIAN_FRONTEND", "noninteractive").arg("--quiet");
    apt_get
}
