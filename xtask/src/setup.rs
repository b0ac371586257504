//! Installing what building and running need; quick when everything is there.
//!
//! Where something may not be installed (no root, no package manager) the error says exactly what to install.

mod node_packages;
mod python_packages;
mod rust_toolchain;
mod system_programs;
mod wasm_tools;

use anyhow::Result;

pub(crate) use wasm_tools::WasmTools;

/// What `build` needs.
pub(crate) fn to_build() -> Result<WasmTools> {
    rust_toolchain::ensure(&[])?;
    node_packages::ensure()?;
    wasm_tools::ensure()
}

/// What `demo` and `stack` need.
pub(crate) fn to_run() -> Result<WasmTools> {
    system_programs::ensure_redis()?;
    to_build()
}

/// What `bench` needs: Redis, and what is measured beside us.
pub(crate) fn to_bench() -> Result<()> {
    system_programs::ensure_redis()?;
    system_programs::ensure_peers()
}

/// What `test` needs: all of that, a browser, and the tools that check the code.
pub(crate) fn to_test() -> Result<WasmTools> {
    rust_toolchain::ensure(&["clippy", "rustfmt"])?;
    system_programs::ensure_redis()?;
    system_programs::ensure_chromium()?;
    node_packages::ensure()?;
    python_packages::ensure()?;
    wasm_tools::ensure()
}
