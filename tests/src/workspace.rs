//! Where things lie: the workspace, what `cargo xtask` has built, and the programs it has installed.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The top-level folder of the workspace.
#[must_use]
pub fn root() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests)
}

/// Cargo's folder for native builds.
#[must_use]
pub fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// A native binary of ours, from `BATCHCAST_BIN_DIR` or else from Cargo's dev profile.
///
/// # Errors
/// When it has not been built.
pub fn binary(name: &str) -> Result<PathBuf> {
    let dir = env::var_os("BATCHCAST_BIN_DIR").map_or_else(|| target_dir().join("debug"), PathBuf::from);
    present(dir.join(name))
}

/// A file or folder of the workspace that a build or an installation leaves there.
///
/// # Errors
/// When it is not there.
pub fn built(path: &str) -> Result<PathBuf> {
    present(root().join(path))
}

/// The Node.js that wrangler needs; the one on the `PATH` may be older.
///
/// # Errors
/// When the npm packages are not installed.
pub fn node() -> Result<PathBuf> {
    built("node_modules/node/bin/node")
}

/// Where the packages of `tests/clients/requirements.txt` are installed.
#[must_use]
pub fn python_packages() -> PathBuf {
    root().join(".python")
}

/// The native `workerd` that the npm package brings: its own command is a script around it.
///
/// # Errors
/// When the npm packages are not installed, or have none for this machine.
pub fn workerd() -> Result<PathBuf> {
    let arch = if env::consts::ARCH == "aarch64" { "arm64" } else { "64" };
    let system = if env::consts::OS == "macos" { "darwin" } else { env::consts::OS };
    built(&format!("node_modules/@cloudflare/workerd-{system}-{arch}/bin/workerd"))
}

/// A Chromium for tests of the live page, from `CHROMIUM` or else from the `PATH`.
///
/// # Errors
/// When there is none.
pub fn chromium() -> Result<PathBuf> {
    if let Some(path) = env::var_os("CHROMIUM") {
        return present(path.into());
    }
    ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find_map(find_program)
        .context("no Chromium on the PATH: `cargo xtask test` installs it or says how to")
}

/// Looks a program up on the `PATH`.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Where Debian keeps Postgres' programs: `initdb` and `postgres` are not on the PATH there. The newest version.
const POSTGRES: &str = "/usr/lib/postgresql";

/// The folder of Postgres' programs, if it is installed.
#[must_use]
pub fn postgres_programs() -> Option<PathBuf> {
    let of_debian = std::fs::read_dir(POSTGRES).into_iter().flatten().flatten();
    let versions = of_debian.filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path())));
    let newest = versions.max().map(|(_, path)| path.join("bin")).filter(|dir| dir.join("initdb").is_file());
    newest.or_else(|| Some(find_program("initdb")?.parent()?.to_owned()))
}

fn present(path: PathBuf) -> Result<PathBuf> {
    ensure!(path.exists(), "{} is missing: `cargo xtask test` provides it", path.display());
    Ok(path)
}
