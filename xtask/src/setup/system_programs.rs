//! Programs of the operating system: `redis-server`, Postgres for the tests of what keeps rows in it, Chromium for those
//! of the live page, Prometheus for those of `deploy/`, and peers for benchmarks.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Result, bail};
use nix::unistd::geteuid;
use stack::workspace;

use crate::command::{command, run};

/// Installs Python's package manager if it is missing.
pub(super) fn ensure_pip() -> Result<()> {
    let there =
        command("python3").args(["-m", "pip", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if there.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    install("python3-pip")
}

/// The module of nginx that is measured beside us, where Debian puts it.
const NCHAN: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";

/// Installs `redis-server` if it is missing.
pub(super) fn ensure_redis() -> Result<()> {
    if workspace::find_program("redis-server").is_some() {
        return Ok(());
    }
    install("redis-server")
}

/// Installs Postgres if it is missing. The tests start servers of their own; the one that Debian sets up with the package
/// is not used.
pub(super) fn ensure_postgres() -> Result<()> {
    if workspace::postgres_programs().is_some() {
        return Ok(());
    }
    install("postgresql")
}

/// Installs Chromium if no browser of its family is there.
pub(super) fn ensure_chromium() -> Result<()> {
    if workspace::chromium().is_ok() {
        return Ok(());
    }
    install("chromium")
}

/// Installs Prometheus with its `promtool` if either is missing.
pub(super) fn ensure_prometheus() -> Result<()> {
    if ["prometheus", "promtool"].iter().all(|program| workspace::find_program(program).is_some()) {
        return Ok(());
    }
    install("prometheus")
}

/// Installs what is measured beside us, if any of it is missing. Where it may not be, we are measured without it.
pub(super) fn ensure_peers() {
    let is_there = |program| workspace::find_program(program).is_some();
    let peers = [
        ("webdis", is_there("webdis")),
        ("nginx", is_there("nginx")),
        ("libnginx-mod-nchan", Path::new(NCHAN).is_file()),
    ];
    for (package, _) in peers.into_iter().filter(|(_, is_there)| !is_there) {
        if let Err(error) = install(package) {
            println!("Not measured beside us: {error:#}");
        }
    }
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
