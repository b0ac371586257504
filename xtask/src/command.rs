//! Running other programs.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use stack::workspace;

/// A command that runs in the workspace's root.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(workspace::root());
    command
}

/// Runs a command, with its output shown, and fails when it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", shown(command)))?;
    ensure!(status.success(), "`{}` failed ({status})", shown(command));
    Ok(())
}

/// Runs a command, with its output shown. False: it failed, or was not done in time, and then it was ended.
pub(crate) fn succeeds_within(limit: Duration, command: &mut Command) -> Result<bool> {
    // A group of its own, so that what it has started ends with it.
    let child = command.process_group(0).spawn();
    let mut child = child.with_context(|| format!("cannot start {}", shown(command)))?;
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if begun.elapsed() >= limit {
            killpg(Pid::from_raw(child.id().try_into()?), Signal::SIGKILL)?;
            child.wait()?;
            return Ok(false);
        }
        sleep(Duration::from_millis(50));
    }
}

/// Runs a command and returns what it printed to its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    command.stderr(Stdio::inherit());
    let output = command.output().with_context(|| format!("cannot start {}", shown(command)))?;
    ensure!(output.status.success(), "`{}` failed ({})", shown(command), output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// The `PATH` with `dir` in front.
pub(crate) fn path_with(dir: &Path) -> Result<OsString> {
    let rest = env::var_os("PATH").unwrap_or_default();
    Ok(env::join_paths([dir.to_owned()].into_iter().chain(env::split_paths(&rest)))?)
}

fn shown(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_too_long_is_ended() {
        let within = |millis, line: &str| {
            succeeds_within(Duration::from_millis(millis), command("sh").args(["-c", line])).unwrap()
        };
        assert!(within(10_000, "true"));
        assert!(!within(10_000, "false"));
        let begun = Instant::now();
        assert!(!within(100, "sleep 30; true"));
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}
