//! The edge restarts while many watch.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use stack::{Tab, Tabs};

use super::going_on;
use crate::context::Ctx;
use crate::feed::Feed;
use crate::figures::Figures;

const VIEWERS: usize = 200;
const PHOTOS: usize = 600;
/// Between two photos.
const PAUSE: Duration = Duration::from_millis(50);
/// How long the edge is away after the kill: every tab fails to reach it at least once.
const AWAY: Duration = Duration::from_secs(5);
/// 200 viewers are told to come back within one second, 5 ms for each: whether they are spread shows in a part of it.
const A_TENTH: Duration = Duration::from_millis(100);

pub(super) async fn edge_restarted(ctx: Ctx) -> Result<()> {
    let mut stack = ctx.stack().start().await?;
    let feed = Feed::start(&stack, "b-restarts", PHOTOS).await?;
    let tabs = Tabs::open(VIEWERS, &Tab::builder(&stack.stream_url(feed.id())));
    tabs.until_position(feed.position()?).await?;
    let before = Figures::of_redis_calls(&stack).await?;

    let edge = &mut stack.edge;
    let kill = async {
        edge.kill();
        tokio::time::sleep(AWAY).await;
        edge.start().await
    };
    all_return(&ctx, "kill", &tabs, &feed, kill).await?;
    ensure!(tabs.iter().all(|tab| tab.history().connects.len() >= 3), "a tab never met the edge being away");

    let edge = &mut stack.edge;
    let stop = async {
        let asked = Instant::now();
        edge.stop().await;
        ctx.time("stop: SIGTERM until it is gone", asked.elapsed());
        ctx.time("stop: updates are shown meanwhile until", last_shown(&tabs).saturating_duration_since(asked));
        edge.start().await
    };
    all_return(&ctx, "stop", &tabs, &feed, stop).await?;
    let reads = Figures::of_redis_calls(&stack).await?.since(&before).get("hgetall");
    ctx.figure("reads of the hash for all 400 returns", reads);
    // Each new object reads once to let the first in, and once behind its subscription; others share or find the room.
    ensure!(reads < 20.0, "{reads} reads of the hash");

    feed.complete_all().await?;
    tabs.until_finished().await?;
    let completes = tabs.sum(|history| history.count("complete", "") as u64);
    ensure!(completes == VIEWERS as u64, "{completes} times `complete` for {VIEWERS} tabs");
    tabs.check()
}

/// Restarts the edge while the batch goes on, and waits until all tabs are back and shown what they missed.
async fn all_return(
    ctx: &Ctx,
    name: &str,
    tabs: &Tabs,
    feed: &Feed,
    restart: impl Future<Output = Result<()>>,
) -> Result<()> {
    let (begun, seen) = (Instant::now(), feed.position()?);
    let returned = async {
        restart.await?;
        let (ready, missed) = (Instant::now(), feed.position()?);
        ensure!(missed > seen, "the batch did not go on meanwhile");
        tabs.until("its return", |history| history.opens.last().is_some_and(|at| *at > begun)).await?;
        let fresh = tabs.until_position(missed).await?;
        ctx.time(
            &format!("{name}: all are shown what they missed, after ready"),
            fresh.saturating_duration_since(ready),
        );
        Ok(())
    };
    going_on(feed, PAUSE, returned).await?;

    // Those in vain count as well: nobody knows when the edge will be back.
    let tenth = tabs.peak_connects_within(A_TENTH, begun);
    let second = tabs.peak_connects_per_second(begun);
    ctx.figure(&format!("{name}: reconnects in the busiest second, tenth of a second"), format!("{second}, {tenth}"));
    ensure!(tenth < VIEWERS / 2, "after the {name} {tenth} tabs came back within {A_TENTH:?}");
    Ok(())
}

/// When a tab was last shown something new.
fn last_shown(tabs: &Tabs) -> Instant {
    let last = tabs.iter().filter_map(|tab| tab.history().positions.last().map(|(_, at)| *at)).max();
    last.unwrap_or_else(Instant::now)
}
