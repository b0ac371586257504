//! Processor time as Linux' scheduler counts it, in nanoseconds. `/proc/PID/stat` has it in hundredths of a second,
//! which is more than some of what is measured takes altogether.
//!
//! A thread that has ended is not counted any more.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// The time for which a process has kept processors busy.
///
/// # Errors
/// When there is no such process, or the system has no `/proc`.
pub fn of_process(pid: u32) -> Result<Duration> {
    let dir = format!("/proc/{pid}/task");
    let threads = fs::read_dir(&dir).with_context(|| format!("cannot read {dir}"))?;
    // One that ends meanwhile has nothing.
    Ok(threads.filter_map(|thread| of_task(&thread.ok()?.path()).ok()).sum())
}

/// The time for which a thread of this process has kept a processor busy.
///
/// # Errors
/// When there is no such thread, or the system has no `/proc`.
pub fn of_own_thread(id: i32) -> Result<Duration> {
    of_task(Path::new(&format!("/proc/self/task/{id}")))
}

fn of_task(task: &Path) -> Result<Duration> {
    let path = task.join("schedstat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let first = text.split_whitespace().next().context("the scheduler counts nothing")?;
    Ok(Duration::from_nanos(first.parse()?))
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
        while of_own_thread(id).unwrap() - thread < Duration::from_millis(3) {
            assert!(begun.elapsed() < Duration::from_secs(60), "no time was counted");
        }
        assert!(of_process(std::process::id()).unwrap() - process >= Duration::from_millis(3));
    }
}
