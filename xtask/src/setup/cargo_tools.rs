//! Programs that `cargo install` builds, kept per user, outside the project, so that `cargo clean` costs no minutes.

use std::env;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::command::{command, run};

/// A program of a package of crates.io, in one version.
pub(super) struct Tool<'a> {
    pub(super) package: &'a str,
    pub(super) version: &'a str,
    pub(super) program: &'a str,
}

impl Tool<'_> {
    /// Installs it if it is missing or of another version.
    pub(super) fn ensure(&self) -> Result<PathBuf> {
        let Self { package, version, program } = self;
        let dir = cache_dir()?.join("batchcast/tools");
        let file = dir.join("bin").join(program);
        let installed = fs::read_to_string(dir.join(".crates.toml")).unwrap_or_default();
        if file.is_file() && is_listed(&installed, package, version) {
            return Ok(file);
        }
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        println!("Installing {package} {version} into {} (some minutes, once)", dir.display());
        // Not `--locked`: wasm-bindgen-cli does not build with its own lock file. The settings halve the time of
        // building tools that run for a moment.
        run(command("cargo")
            .args(["install", "--root"])
            .arg(&dir)
            .args([package, "--version", version])
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"))?;
        Ok(file)
    }
}

/// Whether Cargo's list of what it has installed names this version of the package.
fn is_listed(crates_toml: &str, package: &str, version: &str) -> bool {
    crates_toml.contains(&format!("\"{package} {version} ("))
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
    fn an_installed_package_of_another_version_does_not_count() {
        let list = "[v1]\n\"worker-build 0.8.70 (registry+x)\" = [\"worker-build\"]\n";
        assert!(is_listed(list, "worker-build", "0.8.70"));
        assert!(!is_listed(list, "worker-build", "0.8.7"));
    }
}
