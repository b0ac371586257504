//! Runs rows: in their order, each in a thread and a runtime of its own, so that one that fails takes nothing with it.

use std::any::Any;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::runtime;

use crate::context::{Ctx, Figure};
use crate::row::Row;

/// How long tasks that a row has left behind may take to end.
const LEFTOVERS: Duration = Duration::from_secs(5);

/// What came of a row.
pub(crate) struct Outcome {
    pub(crate) number: u8,
    pub(crate) fault: &'static str,
    pub(crate) must_hold: &'static str,
    /// The error's text when it does not hold.
    pub(crate) result: Result<(), String>,
    pub(crate) figures: Vec<Figure>,
    pub(crate) took: Duration,
}

/// Runs the rows, `at_once` of them at the same time where neighbours allow it.
pub(crate) fn run(rows: &[Row], at_once: usize) -> Vec<Outcome> {
    let outcomes = Mutex::new(Vec::new());
    for group in rows.chunk_by(|row, next| !row.alone && !next.alone) {
        let queue = Mutex::new(group.iter());
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        thread::scope(|scope| {
            for _ in 0..at_once.min(group.len()) {
                scope.spawn(|| {
                    while let Some(row) = next() {
                        let outcome = run_row(row);
                        outcomes.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
                    }
                });
            }
        });
    }
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|outcome| outcome.number);
    outcomes
}

fn run_row(row: &Row) -> Outcome {
    println!("row {:2}  {}", row.number, row.fault);
    let begun = Instant::now();
    let ctx = Ctx::new(row.number);
    let thread = thread::Builder::new().name(format!("row {}", row.number));
    let result = thread::scope(|scope| match thread.spawn_scoped(scope, || in_runtime(row, &ctx)) {
        Ok(thread) => thread.join().unwrap_or_else(|panic| bail!("panicked: {}", words(&*panic))),
        Err(error) => Err(error).context("no thread to run in"),
    });
    let result = result.map_err(|error| format!("{error:#}"));
    let took = begun.elapsed();
    match &result {
        Ok(()) => println!("row {:2}  holds, {:.1} s", row.number, took.as_secs_f64()),
        Err(error) => {
            let logs = ctx.dir().display();
            println!("row {:2}  FAILS, {:.1} s: {error}\n        logs: {logs}", row.number, took.as_secs_f64());
        }
    }
    let Row { number, fault, must_hold, .. } = *row;
    Outcome { number, fault, must_hold, result, figures: ctx.figures(), took }
}

/// The row's own future needs not be `Send`; the tasks that it spawns have two threads.
fn in_runtime(row: &Row, ctx: &Ctx) -> Result<()> {
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let run = async { tokio::time::timeout(row.deadline, row.run(ctx.clone())).await };
    let result = runtime.block_on(run).unwrap_or_else(|_| bail!("not done after {:?}", row.deadline));
    runtime.shutdown_timeout(LEFTOVERS);
    result
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    async fn holds(ctx: Ctx) -> Result<()> {
        ctx.figure("a figure", "7 ms");
        Ok(())
    }

    async fn fails(_: Ctx) -> Result<()> {
        bail!("as expected")
    }

    async fn panics(_: Ctx) -> Result<()> {
        panic!("on purpose")
    }

    async fn never_ends(_: Ctx) -> Result<()> {
        std::future::pending().await
    }

    #[test]
    fn a_row_that_fails_panics_or_hangs_leaves_the_others_alone() {
        let row = |number, run| Row::new(number, "fault", "holds", run);
        let rows = [
            Row::new(91, "fault", "holds", panics),
            Row::new(92, "fault", "holds", never_ends).deadline_secs(0),
            Row::new(93, "fault", "holds", fails),
            row(94, holds),
        ];
        let outcomes = run(&rows, 2);
        let results: Vec<_> =
            outcomes.iter().map(|outcome| outcome.result.as_ref().err().map(String::as_str)).collect();
        assert_eq!(results, [Some("panicked: on purpose"), Some("not done after 0ns"), Some("as expected"), None]);
        assert_eq!(outcomes[3].figures[0].value, "7 ms");
    }

    #[test]
    fn rows_that_run_alone_have_no_others_beside_them() {
        static RUNNING: AtomicUsize = AtomicUsize::new(0);
        async fn at_most_one(_: Ctx) -> Result<()> {
            let before = RUNNING.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            RUNNING.fetch_sub(1, Ordering::SeqCst);
            anyhow::ensure!(before == 0, "{before} others");
            Ok(())
        }
        let rows = [81, 82, 83].map(|number| Row::new(number, "fault", "holds", at_most_one).alone());
        assert!(run(&rows, 3).iter().all(|outcome| outcome.result.is_ok()));
    }
}
