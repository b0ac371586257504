//! `wasm-bindgen` and `worker-build`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use stack::workspace;

use super::cargo_tools::Tool;

/// Goes with the version of the `worker` crate.
const WORKER_BUILD_VERSION: &str = "0.8.7";

/// The installed tools.
pub(crate) struct WasmTools {
    pub(crate) wasm_bindgen: PathBuf,
    pub(crate) worker_build: PathBuf,
}

/// Installs each tool that is missing or of another version.
pub(super) fn ensure() -> Result<WasmTools> {
    // The command refuses a module made by any other version of the library.
    let lock_file = fs::read_to_string(workspace::root().join("Cargo.lock"))?;
    let version = &locked_version(&lock_file, "wasm-bindgen")?;
    let worker_build = Tool { package: "worker-build", version: WORKER_BUILD_VERSION, program: "worker-build" };
    Ok(WasmTools {
        wasm_bindgen: Tool { package: "wasm-bindgen-cli", version, program: "wasm-bindgen" }.ensure()?,
        worker_build: worker_build.ensure()?,
    })
}

fn locked_version(lock_file: &str, package: &str) -> Result<String> {
    let name_line = format!("name = \"{package}\"");
    let mut lines = lock_file.lines().skip_while(|line| *line != name_line).skip(1);
    let version = lines.next().and_then(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
    version.map(str::to_owned).with_context(|| format!("Cargo.lock does not name {package}"))
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
}
