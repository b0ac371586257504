//! A child process that takes its whole family with it, and whose output can be read afterwards.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::{eventually, processor_time};

/// Lines of a log that are shown when something went wrong.
const TAIL_LINES: usize = 40;

/// What a child sees of our environment. Not all of it: a developer's `REDIS_URL` must not reach a test.
const INHERITED: [&str; 7] =
    ["PATH", "HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "RUST_BACKTRACE", "RUST_LOG"];

/// What to run, and where.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) dir: PathBuf,
}

/// A running child, leader of its own process group, killed with that group on drop.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    group: Pid,
    watchdog: Watchdog,
    log: PathBuf,
    log_begin: usize,
}

impl Process {
    /// Starts `program` with its output appended to `log`.
    pub(crate) fn spawn(program: &Program, log: &Path) -> Result<Self> {
        let output = OpenOptions::new().create(true).append(true).open(log)?;
        let log_begin = usize::try_from(output.metadata()?.len())?;
        adopt_orphans()?;
        let child = Command::new(&program.path)
            .args(&program.args)
            .env_clear()
            .envs(INHERITED.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .envs(&program.env)
            .current_dir(&program.dir)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {}", program.path.display()))?;
        let group = Pid::from_raw(i32::try_from(child.id())?);
        let watchdog = Watchdog::spawn(group).inspect_err(|_| {
            let _ = killpg(group, Signal::SIGKILL);
        })?;
        Ok(Self { child, group, watchdog, log: log.to_owned(), log_begin })
    }

    /// Waits until the output contains `marker`. An ended process prints nothing more: that is told at once.
    pub(crate) async fn printed(&mut self, marker: &str, guard: Duration) -> Result<()> {
        let ended: Option<ExitStatus> = eventually(guard, async || {
            let ended = self.child.try_wait()?;
            // The order matters: what an ended process has printed is complete.
            let printed = self.output()?.contains(marker);
            ensure!(printed || ended.is_some(), "it has not printed {marker:?}");
            Ok(ended.filter(|_| !printed))
        })
        .await?;
        ended.map_or(Ok(()), |status| bail!("it ended with {status}"))
    }

    /// Asks the group to end, and kills it when it has not by the end of `patience`.
    pub(crate) async fn stop(mut self, patience: Duration) {
        // An error means that it is gone already.
        let _ = killpg(self.group, Signal::SIGTERM);
        let _ = eventually(patience, async || self.child.try_wait()?.context("still running")).await;
    }

    /// The leader's id, which is also the group's.
    pub(crate) fn group(&self) -> Pid {
        self.group
    }

    /// Sends a signal to the whole group.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        killpg(self.group, signal).with_context(|| format!("cannot send {signal} to group {}", self.group))
    }

    /// The memory that the group holds, in bytes: what Linux calls resident.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        let of = |dir: &Path| resident(&fs::read_to_string(dir.join("status")).ok()?);
        Ok(self.members(of)?.into_iter().sum())
    }

    /// The time for which the group has kept processors busy.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        let of = |dir: &Path| processor_time::of_process(dir.file_name()?.to_str()?.parse().ok()?).ok();
        Ok(self.members(of)?.into_iter().sum())
    }

    /// What `read` finds of each process of the group, by its folder.
    fn members<T>(&self, read: impl Fn(&Path) -> Option<T>) -> Result<Vec<T>> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").context("this system has no /proc")? {
            // A process that ends meanwhile has nothing, either.
            let dir = entry?.path();
            let Ok(stat) = fs::read_to_string(dir.join("stat")) else { continue };
            if group_of(&stat) == Some(self.group.as_raw()) {
                found.extend(read(&dir));
            }
        }
        ensure!(!found.is_empty(), "no process is left of group {}", self.group);
        Ok(found)
    }

    fn output(&self) -> Result<String> {
        let bytes = fs::read(&self.log)?;
        Ok(String::from_utf8_lossy(bytes.get(self.log_begin..).unwrap_or_default()).into_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors mean that nobody is left to be killed or waited for. The watchdog goes last: until then it covers us.
        let _ = killpg(self.group, Signal::SIGKILL);
        let _ = self.child.wait();
        // The others become ours as their parents end, so this ends when the whole group has.
        while waitpid(Pid::from_raw(-self.group.as_raw()), None) != Err(Errno::ECHILD) {}
        self.watchdog.dismiss();
    }
}

/// Makes us the parent of our children's orphans, so that we can wait for them: a container's first process often
/// does not, and they would stay as zombies.
fn adopt_orphans() -> Result<()> {
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_child_subreaper(true)?;
    Ok(())
}

/// Kills a process group when our own process ends without having done so: Ctrl-C in a test run, a kill, a static
/// that is never dropped. It notices by the end of its standard input, of which we hold the other side.
#[derive(Debug)]
struct Watchdog(Child);

impl Watchdog {
    fn spawn(group: Pid) -> Result<Self> {
        let script = r#"read -r _; kill -s KILL -- "-$0""#;
        let shell = Command::new("sh")
            .args(["-c", script, &group.to_string()])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start sh")?;
        Ok(Self(shell))
    }

    fn dismiss(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The process group in the text of `/proc/PID/stat`. The name in it may hold anything, also parentheses.
fn group_of(stat: &str) -> Option<i32> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(2)?.parse().ok()
}

/// The resident memory in the text of `/proc/PID/status`, in bytes.
fn resident(status: &str) -> Option<u64> {
    let kib: u64 =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

/// The last lines of a log, each indented, to stand below an error.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    lines[from..].iter().map(|line| format!("    {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    const A_MOMENT: Duration = Duration::from_secs(10);

    fn shell(script: &str, dir: &Path) -> Process {
        let program = Program {
            path: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: BTreeMap::new(),
            dir: dir.to_owned(),
        };
        Process::spawn(&program, &dir.join("log")).unwrap()
    }

    #[tokio::test]
    async fn a_dropped_process_takes_its_children_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = shell("sleep 1000 & echo started; wait", dir.path());
        process.printed("started", A_MOMENT).await.unwrap();
        let group = process.group;
        drop(process);
        assert!(killpg(group, None).is_err(), "somebody of the group is left, if only a zombie");
    }

    #[tokio::test]
    async fn the_memory_of_a_group_includes_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = shell("sleep 1000 & sleep 1000 & echo started; wait", dir.path());
        process.printed("started", A_MOMENT).await.unwrap();
        let all = process.resident_bytes().unwrap();
        let status = fs::read_to_string(format!("/proc/{}/status", process.group)).unwrap();
        assert!(all > resident(&status).unwrap(), "{all}");
    }

    #[test]
    fn a_name_with_parentheses_does_not_hide_the_group() {
        assert_eq!(group_of("7 (a) b) S 1 42 42 0"), Some(42));
    }

    #[tokio::test]
    async fn the_watchdog_kills_the_group_when_our_side_of_its_input_closes() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = shell("sleep 1000 & echo started; wait", dir.path());
        process.printed("started", A_MOMENT).await.unwrap();
        drop(process.watchdog.0.stdin.take());
        let ended = eventually(A_MOMENT, async || process.child.try_wait()?.context("still running"));
        assert_eq!(ended.await.unwrap().signal(), Some(9));
    }

    #[tokio::test]
    async fn a_process_that_ends_early_is_reported_without_waiting_for_the_guard() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = shell("echo bad port; exit 3", dir.path());
        let error = process.printed("started", Duration::from_secs(600)).await.unwrap_err();
        assert!(error.to_string().contains('3'), "{error}");
        assert_eq!(tail(&dir.path().join("log")), "    bad port\n");
    }

    #[tokio::test]
    async fn a_marker_of_an_earlier_run_in_the_same_log_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        shell("echo started", dir.path()).printed("started", A_MOMENT).await.unwrap();
        let error = shell("exit 0", dir.path()).printed("started", A_MOMENT).await.unwrap_err();
        assert!(error.to_string().contains("ended"), "{error}");
    }
}
