//! Building what runs: the native binaries, the Worker, the live page and its package.

use std::fs;
use std::io::copy;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use stack::workspace;

use crate::command::{command, path_with, run};
use crate::setup::WasmTools;
use crate::stamp::Stamp;

/// What builds the `batchcast` command: the library alone does without.
pub(crate) const COMMAND: [&str; 2] = ["--features", "batchcast-publisher/cli"];

/// All that the library can have, for lints, documentation and tests.
pub(crate) const FEATURES: [&str; 2] = [
    "--features",
    "batchcast-publisher/cli,batchcast-publisher/postgres,batchcast-publisher/slack,batchcast-publisher/sqlite,\
     batchcast-publisher/webhook",
];

/// The gzipped size that the Worker's module is to stay under.
const MOST_WASM_BYTES: u64 = 300 * 1024;

/// The Worker's module, in the folder that it is built into.
const MODULE: &str = "index_bg.wasm";

/// What the Worker is built from, beside its tools.
const WORKER_INPUTS: [&str; 12] = [
    "edge/src",
    "edge/Cargo.toml",
    "hub/src",
    "hub/Cargo.toml",
    "redis-rest/src",
    "redis-rest/Cargo.toml",
    "wire/src",
    "wire/Cargo.toml",
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
    "package-lock.json",
];

/// Sets up and builds what is deployed: the Worker and the live page.
pub(crate) fn deployable() -> Result<()> {
    let tools = crate::setup::to_build()?;
    worker(&tools)?;
    page()
}

/// Builds all of it.
pub(crate) fn build(tools: &WasmTools) -> Result<()> {
    native()?;
    worker(tools)?;
    page()
}

/// Builds gateway, photo worker and the `batchcast` command.
pub(crate) fn native() -> Result<()> {
    let packages = ["-p", "batchcast-gateway", "-p", "batchcast-photo-worker", "-p", "batchcast-publisher"];
    run(command("cargo").args(["build", "--bins"]).args(packages).args(COMMAND))
}

/// Builds the Worker into `edge/build` unless it is there already, and prints the size of its module.
pub(crate) fn worker(tools: &WasmTools) -> Result<()> {
    let build = workspace::root().join("edge/build");
    worker_in(&build, &[], tools)?;
    let bytes = gzipped_bytes(&build.join(MODULE))?;
    let verdict = if bytes <= MOST_WASM_BYTES { "within" } else { "OVER" };
    println!("The Worker's module: {} KiB gzipped, {verdict} the {} KiB", bytes / 1024, MOST_WASM_BYTES / 1024);
    Ok(())
}

/// Refuses a module that has grown too large: small still counts when an isolate starts.
pub(crate) fn check_worker_size() -> Result<()> {
    let bytes = gzipped_bytes(&workspace::root().join("edge/build").join(MODULE))?;
    ensure!(bytes <= MOST_WASM_BYTES, "the Worker's module has {bytes} bytes gzipped; the limit is {MOST_WASM_BYTES}");
    Ok(())
}

/// Builds the Worker that panics when it is told to, for the table of faults.
pub(crate) fn worker_of_faults(tools: &WasmTools) -> Result<()> {
    worker_in(&workspace::target_dir().join("edge-faults"), &["--features", "faults"], tools)
}

/// Builds the Worker into `build` unless it is there already.
fn worker_in(build: &Path, features: &[&str], tools: &WasmTools) -> Result<()> {
    let root = workspace::root();
    let inputs = WORKER_INPUTS.map(|input| root.join(input));
    let stamp = Stamp::new(build.join(".inputs"), &inputs)?;
    if stamp.is_current_for(&build.join(MODULE)) {
        return Ok(());
    }
    build_worker(build, features, tools)?;
    stamp.set()
}

fn build_worker(build: &Path, features: &[&str], tools: &WasmTools) -> Result<()> {
    let bin = workspace::built("node_modules/.bin")?;
    let node = workspace::node()?;
    let node_dir = node.parent().context("node has no folder")?;
    run(command(&tools.worker_build)
        .args(["--profile", "edge", "--out-dir"])
        .arg(build)
        .args(features)
        .current_dir(workspace::root().join("edge"))
        // Given, they are not downloaded.
        .env("WASM_BINDGEN_BIN", &tools.wasm_bindgen)
        .env("WASM_OPT_BIN", bin.join("wasm-opt"))
        .env("ESBUILD_BIN", bin.join("esbuild"))
        .env("PATH", path_with(node_dir)?)
        .env("CARGO_TARGET_DIR", worker_target_dir()))?;
    // worker-build keeps the names of functions, a fifth of the module; only a stack trace would show them.
    let module = build.join(MODULE);
    run(command(bin.join("wasm-opt")).arg(&module).arg("--strip-debug").arg("-o").arg(&module))
}

/// Cargo's folder for the Worker. It is its own because worker-build sets `WASM_BINDGEN_USE_JS_SYS`: in a shared folder
/// its builds and others would undo each other.
pub(crate) fn worker_target_dir() -> PathBuf {
    workspace::target_dir().join("edge")
}

/// Builds the live page into `client/dist`, and the package that it uses into `client/lib`.
pub(crate) fn page() -> Result<()> {
    run(command(workspace::node()?).arg("client/build.mjs"))
}

fn gzipped_bytes(file: &Path) -> Result<u64> {
    let mut input = fs::File::open(file).with_context(|| format!("{} was not built", file.display()))?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    copy(&mut input, &mut encoder)?;
    Ok(encoder.finish()?.len() as u64)
}
