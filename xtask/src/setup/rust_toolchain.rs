//! The wasm target and the components of the toolchain that `rust-toolchain.toml` names.

use std::path::Path;

use anyhow::{Context, Result};

use crate::command::{command, output, run};

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
