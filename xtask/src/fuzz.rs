//! `cargo xtask fuzz`: libFuzzer looks for inputs that break the properties of `fuzz/`.
//!
//! `cargo fuzz` builds its programs; we run them, as many at once as there are processors. What they find to be worth
//! trying again stays in Cargo's target folder; `fuzz/corpus` is read, and grows by hand.

mod report;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread::available_parallelism;

use anyhow::{Context, Result, ensure};
use stack::workspace;

use crate::command::{command, output, run as run_command};
use crate::setup::{self, NIGHTLY};
use crate::test::Outcome;
use report::Report;

/// How long each target runs in `cargo xtask test`: enough for the corpus and its near surroundings.
const SHORT_SECS: u32 = 3;

/// The targets that have the photo worker to be built, which takes minutes.
const OF_PHOTOS: [&str; 2] = ["image", "name"];

/// An input that takes longer than this counts as one that never ends.
const TIMEOUT_SECS: u32 = 20;

/// A large photo takes 400 MB, and the fuzzer keeps some of what was freed.
const MEMORY_MB: u32 = 4096;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Minutes for all targets together, after the build.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    minutes: u32,
    /// Only this target.
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Shows the targets.
    #[arg(long)]
    list: bool,
}

/// Fuzzes as the options say, and tells what came of it.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let all = targets()?;
    if options.list {
        println!("{}", all.join("\n"));
        return Ok(ExitCode::SUCCESS);
    }
    let chosen: Vec<_> =
        all.into_iter().filter(|name| options.target.as_ref().is_none_or(|only| only == name)).collect();
    ensure!(!chosen.is_empty(), "there is no such target; `cargo xtask fuzz --list` shows them");
    let rounds = u32::try_from(chosen.len().div_ceil(at_once()?))?;
    let held = fuzz(&chosen, options.minutes * 60 / rounds)?;
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Fuzzes for a moment what is built soon, where the fuzzer can be built. Nightly is not installed for that.
pub(crate) fn short() -> Result<Outcome> {
    if !setup::has_nightly() {
        return Ok(Outcome::NotRun(
            "there is no nightly toolchain (`rustup toolchain install nightly`); \
             the tests of batchcast-fuzz have tried the same properties on stable, with fewer inputs",
        ));
    }
    if workspace::find_program("c++").is_none() {
        return Ok(Outcome::NotRun(
            "there is no C++ compiler, which libFuzzer needs (`c++`, of the package g++ or clang); \
             the tests of batchcast-fuzz have tried the same properties on stable, with fewer inputs",
        ));
    }
    println!("Without {}: `cargo xtask fuzz` has all targets", OF_PHOTOS.join(" and "));
    let targets: Vec<_> = targets()?.into_iter().filter(|name| !is_of_photos(name)).collect();
    ensure!(fuzz(&targets, SHORT_SECS)?, "a property does not hold");
    Ok(Outcome::Passed)
}

/// Whether the properties held for each input.
fn fuzz(targets: &[String], secs: u32) -> Result<bool> {
    build(targets)?;
    println!("Fuzzing each of {} targets for {secs} s", targets.len());
    let mut reports = Vec::new();
    for round in targets.chunks(at_once()?) {
        let running = round.iter().map(|target| Running::start(target, secs)).collect::<Result<Vec<_>>>()?;
        for running in running {
            reports.push(running.finish()?);
        }
    }
    println!("{}", report::table(&reports));
    for report in &reports {
        print!("{}", report.finding());
    }
    Ok(reports.iter().all(Report::held))
}

/// The targets are the programs of `fuzz/fuzz_targets`.
fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(workspace::root().join("fuzz/fuzz_targets"))? {
        let path = entry?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

fn is_of_photos(target: &str) -> bool {
    OF_PHOTOS.contains(&target)
}

fn build(targets: &[String]) -> Result<()> {
    println!("Building the fuzzer");
    let mut build = command(setup::to_fuzz()?);
    // Our own dev profile: our code with its checks, what it uses optimised. Not the address sanitizer, which would
    // cost half the tries: there is no unsafe code in ours.
    build.args(["fuzz", "build", "--dev", "--sanitizer", "none", "--fuzz-dir", "fuzz", "--features", "libfuzzer"]);
    build.arg("--target-dir").arg(dir());
    if !targets.iter().any(|name| is_of_photos(name)) {
        build.arg("--no-default-features");
    }
    if let [only] = targets {
        build.arg(only);
    }
    run_command(build.env("RUSTUP_TOOLCHAIN", NIGHTLY).env_remove("CARGO"))
}

/// A target that is being fuzzed.
struct Running<'a> {
    target: &'a str,
    program: PathBuf,
    log: PathBuf,
    child: Child,
}

impl<'a> Running<'a> {
    fn start(target: &'a str, secs: u32) -> Result<Self> {
        let (corpus, artifacts, logs) =
            (dir().join("corpus").join(target), dir().join("artifacts"), dir().join("logs"));
        for dir in [&corpus, &artifacts, &logs] {
            fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        let (program, log) = (program(target)?, logs.join(target));
        let mut fuzzer = Command::new(&program);
        // New inputs go into the first folder; the second is only read.
        fuzzer
            .arg(corpus)
            .arg(workspace::root().join("fuzz/corpus").join(target))
            .arg(format!("-max_total_time={secs}"))
            .arg(format!("-timeout={TIMEOUT_SECS}"))
            .arg(format!("-rss_limit_mb={MEMORY_MB}"))
            .arg(format!("-artifact_prefix={}/{target}-", artifacts.display()))
            .arg("-print_final_stats=1");
        let child = fuzzer.stdout(Stdio::null()).stderr(File::create(&log)?).spawn();
        let child = child.with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { target, program, log, child })
    }

    fn finish(mut self) -> Result<Report> {
        let held = self.child.wait()?.success();
        let log = fs::read(&self.log)?;
        Ok(Report::new(self.target, self.program, held, &String::from_utf8_lossy(&log)))
    }
}

/// The folder of the fuzzer's builds, new inputs and logs.
fn dir() -> PathBuf {
    workspace::target_dir().join("fuzz")
}

fn program(target: &str) -> Result<PathBuf> {
    let host = output(command("rustc").args(["--print", "host-tuple"]))?;
    Ok(dir().join(host.trim()).join("debug").join(target))
}

fn at_once() -> Result<usize> {
    Ok(available_parallelism()?.get())
}
