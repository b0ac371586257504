//! The wasm target and the components of the toolchain that `rust-toolchain.toml` names, and a nightly one beside it.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};

use crate::command::{command, output, run};

/// The toolchain that the fuzzer is built with: what it puts into our code is not on stable.
pub(crate) const NIGHTLY: &str = "nightly";

const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// Adds the wasm target and `components` with rustup where they are missing.
pub(super) fn ensure(components: &[&str]) -> Result<()> {
    let sysroot = output(command("rustc").args(["--print", "sysroot"]))?;
    let sysroot = Path::new(sysroot.trim());
    if !sysroot.join("lib/rustlib").join(WASM_TARGET).is_dir() {
        add("target", WASM_TARGET)?;
    }
    for component in components {
        if !sysroot.join("bin").join(program_of(component)).is_file() {
            add("component", component)?;
        }
    }
    Ok(())
}

fn program_of(component: &str) -> &str {
    if component == "clippy" { "cargo-clippy" } else { component }
}

fn add(kind: &str, name: &str) -> Result<()> {
    println!("Installing the Rust {kind} {name}");
    run(command("rustup").args([kind, "add", name]))
        .with_context(|| format!("please add the {kind} {name} to your Rust toolchain"))
}

/// Installs the nightly toolchain if it is missing.
pub(super) fn ensure_nightly() -> Result<()> {
    if has_nightly() {
        return Ok(());
    }
    println!("Installing the nightly Rust toolchain");
    run(command("rustup").args(["toolchain", "install", NIGHTLY, "--profile", "minimal"]))
        .context("please install the nightly toolchain: `rustup toolchain install nightly`")
}

/// Whether the nightly toolchain is there.
pub(crate) fn has_nightly() -> bool {
    let mut rustc = command("rustup");
    rustc.args(["run", NIGHTLY, "rustc", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    rustc.status().is_ok_and(|status| status.success())
}
