//! Where and with what something was measured, for the heads of reports.

use std::path::Path;
use std::process::Command;
use std::{fs, thread};

use crate::workspace;

/// Names and values. What cannot be found out is left out.
#[must_use]
pub fn facts() -> Vec<(&'static str, String)> {
    let date = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string();
    let facts = [("date", Some(date)), ("commit", commit()), ("machine", machine()), ("redis-server", redis_version())];
    facts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// The version of the npm package's `workerd`.
#[must_use]
pub fn workerd_version() -> Option<String> {
    let version = output(&workspace::workerd().ok()?, &["--version"])?;
    Some(version.split_once(' ').map(|(_, number)| number.to_owned()).unwrap_or(version))
}

/// The version of a package that `apt-get` installed.
#[must_use]
pub fn package_version(package: &str) -> Option<String> {
    output(&workspace::find_program("dpkg-query")?, &["--show", "--showformat", "${Version}", package])
}

fn commit() -> Option<String> {
    let id = output(Path::new("git"), &["rev-parse", "--short", "HEAD"])?;
    let changes = output(Path::new("git"), &["status", "--porcelain"])?;
    Some(if changes.is_empty() { id } else { format!("{id}, with changes not committed") })
}

fn machine() -> Option<String> {
    let cores = thread::available_parallelism().ok()?;
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':')).map(|(_, model)| model);
    Some(format!("{cores} cores, {}", model.unwrap_or("unknown model").trim()))
}

/// The number in `Redis server v=7.0.15 sha=…`.
fn redis_version() -> Option<String> {
    let text = output(&workspace::find_program("redis-server")?, &["--version"])?;
    Some(text.split_once("v=")?.1.split(' ').next()?.to_owned())
}

fn output(program: &Path, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).current_dir(workspace::root()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
