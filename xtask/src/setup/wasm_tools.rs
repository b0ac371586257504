//! `wasm-bindgen` and `worker-build`, kept per user, outside the project.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use stack::workspace;

use crate::command::{command, run};

/// Goes with the version of the `worker` crate.
const WORKER_BUILD_VERSION: &str = "0.8.7";

/// The installed tools.
pub(crate) struct WasmTools {
    pub(crate) wasm_bindgen: PathBuf,
    pub(crate) worker_build: PathBuf,
}

/// Installs each tool that is missing or of another version.
pub(super) fn ensure() -> Result<WasmTools> {
    let dir = cache_dir()?.join("batchcast/tools");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    // The command refuses a module made by any other version of the library.
    let lock_file = fs::read_to_string(workspace::root().join("Cargo.lock"))?;
    let wasm_bindgen_version = locked_version(&lock_file, "wasm-bindgen")?;
    Ok(WasmTools {
        wasm_bindgen: ensure_tool(&dir, "wasm-bindgen-cli", &wasm_bindgen_version, "wasm-bindgen")?,
        worker_build: ensure_tool(&dir, "worker-build", WORKER_BUILD_VERSION, "worker-build")?,
    })
}

fn ensure_tool(dir: &Path, package: &str, version: &str, program: &str) -> Result<PathBuf> {
    let file = dir.join("bin").join(program);
    let installed = fs::read_to_string(dir.join(".crates.toml")).unwrap_or_default();
    if file.is_file() && is_listed(&installed, package, version) {
        return Ok(file);
    }
    println!("Installing {package} {version} into {} (some minutes, once)", dir.display());
    // Not `--locked`: wasm-bindgen-cli does not build with its own lock file. The settings halve the time of building
    // tools that run for a moment.
    run(command("cargo")
        .args(["install", "--root"])
        .arg(dir)
        .args([package, "--version", version])
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"))?;
    Ok(file)
}

/// Whether Cargo's list of what it has installed names this version of the package.
fn is_listed(crates_toml: &str, package: &str, version: &str) -> bool {
    crates_toml.contains(&format!("\"{package} {version} ("))
}

fn locked_version(lock_file: &str, package: &str) -> Result<String> {
    let name_line = format!("name = \"{package}\"");
    let mut lines = lock_file.lines().skip_while(|line| *line != name_line).skip(1);
    let version = lines.next().and_then(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
    version.map(str::to_owned).with_context(|| format!("Cargo.lock does not name {package}"))
}

fn cache_dir() -> Result<PathBuf> {
    if let Some(dir) = env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()) {
        return Ok(dir.into());
    }
    let home = env::home_dir().context("no home folder: please set XDG_CACHE_HOME")?;
    Ok(home.join(".cache"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locked_version_is_that_of_the_package_of_exactly_this_name() {
        let lock_file = "[[package]]\nname = \"wasm-bindgen-macro\"\nversion = \"1.0.0\"\n\n[[package]]\nname = \"wasm-bindgen\"\nversion = \"0.2.130\"\n";
        assert_eq!(locked_version(lock_file, "wasm-bindgen").unwrap(), "0.2.130");
        assert!(locked_version(lock_file, "worker").is_err());
    }

    #[test]
    fn an_installed_package_of_another_version_does_not_count() {
        let list = "[v1]\n\"worker-build 0.8.70 (registry+x)\" = [\"worker-build\"]\n";
        assert!(is_listed(list, "worker-build", "0.8.70"));
        assert!(!is_listed(list, "worker-build", "0.8.7"));
    }
}
