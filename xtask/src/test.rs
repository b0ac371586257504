//! `cargo xtask test`: everything that CI runs, one step after the other.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use stack::workspace;

use crate::artifacts::{self, FEATURES, worker_target_dir};
use crate::command::{command, path_with, run};
use crate::{dependencies, fuzz, packages, setup};

/// What runs as wasm32. Its plain parts are checked and tested natively with the rest, all of it is checked for wasm32.
const WORKER: &str = "batchcast-edge";
const SYSTEM_TESTS: &str = "batchcast-tests";

/// Each whole-system test may run a stack of its own, so they do not all run at once.
const SYSTEM_TEST_THREADS: &str = "--test-threads=2";

/// Runs all steps, or with `system_tests` only the whole-system tests, given these arguments.
pub(crate) fn run_steps(system_tests: &[String]) -> Result<()> {
    let mut steps = Steps::default();
    let tools = steps.run("set up", setup::to_test)?;
    if system_tests.is_empty() {
        steps.run("dependencies", dependencies::check)?;
        steps.try_run("advisories", dependencies::advisories)?;
        steps.run("format", || run(cargo("fmt").args(["--all", "--check"])))?;
        steps.run("lints", lints)?;
        steps.run("lints of the Worker", || run(&mut worker_lints()))?;
        steps.run("features one by one", packages::check_features)?;
        steps.run("crates as published", packages::check_published)?;
        steps.run("documentation", documentation)?;
        steps.run("documentation of the Worker", || run(&mut worker_documentation()))?;
    }
    steps.run("build of the Worker", || artifacts::worker(&tools))?;
    steps.run("size of the Worker", artifacts::check_worker_size)?;
    steps.run("build of the client", artifacts::page)?;
    if system_tests.is_empty() {
        steps.run("types of the client", || run(&mut npm_run("check:client")?))?;
        steps.run("tests of the client", || run(&mut npm_run("test:client")?))?;
        steps.run("tests of the crates", crate_tests)?;
        steps.try_run("fuzzing, short", fuzz::short)?;
    }
    steps.run("build of the binaries", artifacts::native)?;
    if system_tests.is_empty() {
        steps.run("tests of the benchmarks' peers", peer_tests)?;
    }
    steps.run("whole-system tests", || run(&mut whole_system_tests(system_tests)))?;
    steps.print();
    Ok(())
}

fn lints() -> Result<()> {
    run(cargo("clippy").args(["--workspace", "--all-targets"]).args(FEATURES).args(["--", "-D", "warnings"]))
}

fn worker_lints() -> Command {
    let mut clippy = for_worker("clippy");
    clippy.args(["--", "-D", "warnings"]);
    clippy
}

fn documentation() -> Result<()> {
    run(cargo("doc")
        .args(["--no-deps", "--workspace", "--exclude", WORKER])
        .args(FEATURES)
        .env("RUSTDOCFLAGS", "-Dwarnings"))
}

fn worker_documentation() -> Command {
    let mut doc = for_worker("doc");
    doc.arg("--no-deps").env("RUSTDOCFLAGS", "-Dwarnings");
    doc
}

fn crate_tests() -> Result<()> {
    run(cargo("test").args(["--workspace", "--exclude", SYSTEM_TESTS]).args(FEATURES))
}

/// That what is measured beside us does what its page says.
fn peer_tests() -> Result<()> {
    let mut tests = command(workspace::node()?);
    tests.args(["--disable-warning=ExperimentalWarning", "--test", "bench/peers/peers.test.mjs"]);
    run(tests.env("BATCHCAST_BIN_DIR", workspace::target_dir().join("debug")))
}

fn whole_system_tests(args: &[String]) -> Command {
    let mut tests = cargo("test");
    tests.args(["-p", SYSTEM_TESTS, "--", SYSTEM_TEST_THREADS]).args(args);
    tests
}

/// A cargo command for the Worker, set up as worker-build does it, so that both share what they compile.
fn for_worker(verb: &str) -> Command {
    let mut cargo = cargo(verb);
    cargo
        .args(["-p", WORKER, "--target", "wasm32-unknown-unknown", "--profile", "edge"])
        .env("CARGO_TARGET_DIR", worker_target_dir())
        .env("WASM_BINDGEN_USE_JS_SYS", "1");
    cargo
}

fn npm_run(script: &str) -> Result<Command> {
    let node = workspace::node()?;
    let mut npm = command("npm");
    npm.args(["run", "--silent", script]).env("PATH", path_with(node.parent().context("node has no folder")?)?);
    Ok(npm)
}

fn cargo(verb: &str) -> Command {
    let mut cargo = command("cargo");
    cargo.arg(verb);
    cargo
}

/// What came of a step that can't run everywhere.
pub(crate) enum Outcome {
    /// All is well.
    Passed,
    /// It could not run here, for this reason.
    NotRun(&'static str),
}

/// The steps that have passed, with their times, and those that could not run.
#[derive(Default)]
struct Steps {
    passed: Vec<(&'static str, Duration)>,
    not_run: Vec<(&'static str, &'static str)>,
}

impl Steps {
    fn run<T>(&mut self, title: &'static str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        let (value, took) = timed(title, step)?;
        self.passed.push((title, took));
        Ok(value)
    }

    fn try_run(&mut self, title: &'static str, step: impl FnOnce() -> Result<Outcome>) -> Result<()> {
        match timed(title, step)? {
            (Outcome::Passed, took) => self.passed.push((title, took)),
            (Outcome::NotRun(why), _) => {
                println!("=== {title}: NOT RUN: {why}");
                self.not_run.push((title, why));
            }
        }
        Ok(())
    }

    fn print(&self) {
        let all: Duration = self.passed.iter().map(|(_, took)| *took).sum();
        println!("\n{} steps passed in {:.0} s:", self.passed.len(), all.as_secs_f64());
        for (title, took) in &self.passed {
            println!("{:8.1} s  {title}", took.as_secs_f64());
        }
        for (title, why) in &self.not_run {
            println!("   NOT RUN  {title}: {why}");
        }
    }
}

fn timed<T>(title: &str, step: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    println!("\n=== {title}");
    let begun = Instant::now();
    let value = step().with_context(|| format!("the step {title:?} failed"))?;
    let took = begun.elapsed();
    println!("=== {title}: {:.1} s", took.as_secs_f64());
    Ok((value, took))
}
