//! Processor time as Linux' scheduler counts it, in nanoseconds. `/proc/PID/stat` has it in hundredths of a second,
//! which is more than some of what is measured here takes altogether.
//!
//! A thread that has ended is not counted any more. Those of servers do not end while they are measured.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// The time for which the processes of a group have kept processors busy; `leader` is the group's first process.
pub(crate) fn of_group(leader: i32) -> Result<Duration> {
    let mut times = Vec::new();
    for entry in fs::read_dir("/proc").context("this system has no /proc")? {
        let dir = entry?.path();
        // A process that ends meanwhile has nothing.
        let Ok(stat) = fs::read_to_string(dir.join("stat")) else { continue };
        if group_of(&stat) == Some(leader) {
            times.push(of_tasks(&dir)?);
        }
    }
    ensure!(!times.is_empty(), "no process is left of group {leader}");
    Ok(times.into_iter().sum())
}

/// The time for which a process has kept processors busy.
pub(crate) fn of_process(pid: u32) -> Result<Duration> {
    of_tasks(Path::new(&format!("/proc/{pid}")))
}

/// The time for which a thread of this process has kept a processor busy.
pub(crate) fn of_own_thread(id: i32) -> Result<Duration> {
    of_task(Path::new(&format!("/proc/self/task/{id}")))
}

fn of_tasks(process: &Path) -> Result<Duration> {
    let tasks = fs::read_dir(process.join("task")).with_context(|| format!("{} is gone", process.display()))?;
    tasks.map(|entry| of_task(&entry?.path())).sum()
}

fn of_task(task: &Path) -> Result<Duration> {
    let path = task.join("schedstat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let first = text.split_whitespace().next().context("the scheduler counts nothing")?;
    Ok(Duration::from_nanos(first.parse()?))
}

/// The process group in the text of `/proc/PID/stat`. The name in it may hold anything, also parentheses.
fn group_of(stat: &str) -> Option<i32> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_thread_that_works_uses_time_and_so_does_its_process() {
        let id = nix::unistd::gettid().as_raw();
        let (thread, process) = (of_own_thread(id).unwrap(), of_process(std::process::id()).unwrap());
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(30) {
            std::hint::spin_loop();
        }
        let used = of_own_thread(id).unwrap() - thread;
        assert!(used > Duration::from_millis(3), "{used:?}");
        assert!(of_process(std::process::id()).unwrap() - process > Duration::from_millis(3));
    }

    #[test]
    fn a_name_with_parentheses_does_not_hide_the_group() {
        assert_eq!(group_of("7 (a) b) S 1 42 42 0"), Some(42));
    }
}
