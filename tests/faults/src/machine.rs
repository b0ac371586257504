//! Where and with what the rows were run.

use std::path::Path;
use std::process::Command;
use std::{fs, thread};

use stack::workspace;

/// Names and values for the head of the report. What cannot be found out is left out.
pub(crate) fn facts() -> Vec<(&'static str, String)> {
    let facts = [
        ("date", Some(jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string())),
        ("commit", commit()),
        ("machine", machine()),
        ("redis-server", redis_version()),
        ("workerd", workspace::workerd().ok().and_then(|path| output(&path, &["--version"])).map(without_name)),
    ];
    facts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
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

fn without_name(version: String) -> String {
    version.split_once(' ').map(|(_, number)| number.to_owned()).unwrap_or(version)
}

fn output(program: &Path, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).current_dir(workspace::root()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
