//! Installing what building and running need; quick when everything is there.
//!
//! Where something may not be installed (no root, no package manager) the error says exactly what to install.

mod cargo_tools;
mod node_packages;
mod python_packages;
mod rust_toolchain;
mod system_programs;
mod wasm_tools;

use std::path::PathBuf;

use anyhow::Result;

use cargo_tools::Tool;

pub(crate) use rust_toolchain::{NIGHTLY, has_nightly};
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

/// What `bench` needs: all of that, and, as far as it may be installed, what is measured beside us.
pub(crate) fn to_bench() -> Result<WasmTools> {
    system_programs::ensure_peers();
    to_run()
}

/// What `test` needs: all of that, Postgres, a browser, Prometheus, and the tools that check the code.
pub(crate) fn to_test() -> Result<WasmTools> {
    rust_toolchain::ensure(&["clippy", "rustfmt"])?;
    system_programs::ensure_redis()?;
    system_programs::ensure_postgres()?;
    system_programs::ensure_chromium()?;
    system_programs::ensure_prometheus()?;
    node_packages::ensure()?;
    python_packages::ensure()?;
    wasm_tools::ensure()
}

/// What `fuzz` needs: a toolchain that can build the fuzzer, and `cargo fuzz`, which is returned.
pub(crate) fn to_fuzz() -> Result<PathBuf> {
    rust_toolchain::ensure_nightly()?;
    Tool { package: "cargo-fuzz", version: "0.13.2", program: "cargo-fuzz" }.ensure()
}

/// What looks after the dependencies: `cargo deny`, which is returned.
pub(crate) fn cargo_deny() -> Result<PathBuf> {
    Tool { package: "cargo-deny", version: "0.20.2", program: "cargo-deny" }.ensure()
}

/// What compiles feature by feature: `cargo hack`, which is returned.
pub(crate) fn cargo_hack() -> Result<PathBuf> {
    Tool { package: "cargo-hack", version: "0.6.46", program: "cargo-hack" }.ensure()
}
