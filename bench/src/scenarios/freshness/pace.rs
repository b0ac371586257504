//! The changes of one measurement, at their pace.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::memory::Memory;
use crate::ages::Shown;
use crate::marks::Sent;
use crate::world::{Changer, World};

/// Single changes before the load, until each viewer has shown one: at most so many, each waited for so long.
pub(super) const FIRST_CHANGES: usize = 4;
const FIRST_PATIENCE: Duration = Duration::from_secs(3);

/// How long one change may take to be put through.
const CHANGE_PATIENCE: Duration = Duration::from_secs(15);

/// Changes at times that do not depend on how long those before took.
pub(super) struct Pace {
    begun: Instant,
    a_second: u32,
    /// The number of the first one.
    first: usize,
    /// One more than the number of the last one.
    pub(super) made: usize,
}

impl Pace {
    /// Begins now, with change `first`.
    pub(super) fn new(a_second: u32, first: usize) -> Self {
        Self { begun: Instant::now(), a_second, first, made: first }
    }

    /// Makes those that are due until so long after the begin. Late ones are made at once, one after the other, as long
    /// as there is time; and none any more when memory has become scarce.
    pub(super) async fn until(
        &mut self,
        end: Duration,
        world: &mut World,
        sent: &Sent,
        memory: &mut Memory,
    ) -> Result<()> {
        loop {
            let due = self.due()?;
            if memory.scarce {
                return Ok(());
            }
            if due.max(self.begun.elapsed()) >= end {
                tokio::time::sleep_until((self.begun + end).into()).await;
                return Ok(());
            }
            tokio::time::sleep_until((self.begun + due).into()).await;
            change(world, self.made, sent).await?;
            self.made += 1;
            memory.look(world)?;
        }
    }

    /// When the next one is, after the begin.
    fn due(&self) -> Result<Duration> {
        Ok(Duration::from_secs(1) * u32::try_from(self.made - self.first)? / self.a_second)
    }
}

/// Makes single changes until each viewer has shown one; how many were made.
pub(super) async fn show_one(world: &mut World, shown: &Shown, sent: &Sent) -> Result<usize> {
    let viewers = shown.viewers();
    for number in 0..FIRST_CHANGES {
        change(world, number, sent).await?;
        if eventually(FIRST_PATIENCE, || shown.that_show(0) == viewers).await {
            return Ok(number + 1);
        }
    }
    println!("{} of {viewers} viewers have shown nothing before the load", viewers - shown.that_show(0));
    Ok(FIRST_CHANGES)
}

/// Makes a change and publishes it by the explicit call: ours as `publish`, the others' as their workers do.
async fn change(world: &mut World, number: usize, sent: &Sent) -> Result<()> {
    let changing = async {
        match &mut world.changer {
            Changer::Publisher(app) => app.publish_ahead(number, sent).await,
            worker @ Changer::Worker { .. } => worker.change(number, sent).await,
        }
    };
    let changed = tokio::time::timeout(CHANGE_PATIENCE, changing).await;
    changed.with_context(|| format!("a change took more than {} s", CHANGE_PATIENCE.as_secs()))?
}

/// Whether it came to be true in time.
pub(super) async fn eventually(patience: Duration, is_true: impl Fn() -> bool) -> bool {
    let until = Instant::now() + patience;
    while !is_true() {
        if Instant::now() >= until {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    true
}
