//! A row of the table.

use std::time::Duration;

use anyhow::Result;
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;

use crate::context::Ctx;

/// How long a row may take unless it says otherwise.
const DEADLINE: Duration = Duration::from_secs(180);

/// A fault, what must hold in spite of it, and how to find out.
pub(crate) struct Row {
    pub(crate) number: u8,
    pub(crate) fault: &'static str,
    pub(crate) must_hold: &'static str,
    pub(crate) alone: bool,
    pub(crate) deadline: Duration,
    run: Box<dyn Fn(Ctx) -> LocalBoxFuture<'static, Result<()>> + Send + Sync>,
}

impl Row {
    /// `run` is an `async fn(Ctx) -> Result<()>`. An error or a panic in it means that it does not hold.
    pub(crate) fn new<F>(number: u8, fault: &'static str, must_hold: &'static str, run: fn(Ctx) -> F) -> Self
    where
        F: Future<Output = Result<()>> + 'static,
    {
        let run = Box::new(move |ctx| run(ctx).boxed_local());
        Self { number, fault, must_hold, alone: false, deadline: DEADLINE, run }
    }

    /// For a row that measures memory or loads the machine: no other runs beside it.
    #[must_use]
    pub(crate) fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// Gives it more time, or less.
    #[must_use]
    pub(crate) fn deadline_secs(mut self, secs: u64) -> Self {
        self.deadline = Duration::from_secs(secs);
        self
    }

    pub(crate) fn run(&self, ctx: Ctx) -> LocalBoxFuture<'static, Result<()>> {
        (self.run)(ctx)
    }
}
