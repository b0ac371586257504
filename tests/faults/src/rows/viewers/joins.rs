//! Many join while the batch changes as fast as it can.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use stack::{GUARD, History, Tab, Tabs};

use crate::context::Ctx;
use crate::feed::Feed;
use crate::figures::Figures;

const VIEWERS: usize = 200;
const PHOTOS: usize = 2_000;
/// Each photo is begun and completed.
const UPDATES: u32 = 2 * PHOTOS as u32;
const UPDATES_PER_SEC: u32 = 1_000;
/// The tabs join at random moments between these times after the first update.
const JOINS: std::ops::Range<Duration> = Duration::from_millis(200)..Duration::from_millis(3_200);

pub(super) async fn joined_in_a_storm(ctx: Ctx) -> Result<()> {
    let stack = ctx.stack().start().await?;
    let feed = Feed::start(&stack, "b-storm", PHOTOS).await?;
    let tabs = Tabs::open(VIEWERS, &Tab::builder(&stack.stream_url(feed.id())).stopped());

    let seed = rand::random::<u32>();
    println!("row  9  seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed.into());
    let joins = tabs.iter().map(|tab| {
        let at = rng.random_range(JOINS);
        async move {
            tokio::time::sleep(at).await;
            tab.start();
        }
    });
    let before = Figures::of_redis_calls(&stack).await?;
    let (took, _) = tokio::join!(storm(&feed), join_all(joins));
    let (took, ended) = (took?, Instant::now());
    ctx.figure("updates a second", format!("{:.0}", f64::from(UPDATES) / took.as_secs_f64()));
    ensure!(took > JOINS.end, "the updates ended before the last tab came");
    let position = feed.position()?;
    // A machine that can't keep up takes its time.
    tabs.until_within(2 * GUARD, "the end", |history| history.reached(position).is_some()).await?;
    let last = tabs.until_position(position).await?;
    ctx.time("all at the end after the last update", last.saturating_duration_since(ended));
    tabs.until_finished().await?;
    tabs.check()?;

    let live = tabs.iter().filter(|tab| tab.history().positions[0].0 < position).count();
    ctx.figure("shown the batch before its end", live);
    ensure!(live > VIEWERS / 2, "only {live} viewers came during the updates");
    let slowest = tabs.iter().filter_map(|tab| first_state_after(&tab.history())).max().unwrap_or_default();
    ctx.time("first full state after the request, at most", slowest);
    let shown = tabs.sum(|history| history.positions.len() as u64) / VIEWERS as u64;
    ctx.figure("states shown to a viewer, on average", shown);
    let reads = Figures::of_redis_calls(&stack).await?.since(&before).get("hgetall");
    ctx.figure("reads of the hash for 200 viewers", reads);
    ensure!(reads < VIEWERS as f64 / 4.0, "{reads} reads of the hash");
    // A tab comes back once, after `complete`: nobody was disconnected meanwhile.
    let connects = tabs.sum(|history| history.connects.len() as u64);
    ensure!(connects == 2 * VIEWERS as u64, "{connects} connections of {VIEWERS} tabs");
    Ok(())
}

fn first_state_after(history: &History) -> Option<Duration> {
    Some(history.positions.first()?.1 - *history.connects.first()?)
}

/// Begins and completes all photos, each in an update of its own that is acknowledged before the next, at
/// [`UPDATES_PER_SEC`] where that can be reached; how long it took.
async fn storm(feed: &Feed) -> Result<Duration> {
    let begun = Instant::now();
    // Ticks that were missed come at once: the average counts.
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / UPDATES_PER_SEC);
    for _ in 0..PHOTOS {
        ticks.tick().await;
        feed.begin_one().await?;
        ticks.tick().await;
        feed.complete_one().await?;
    }
    Ok(begun.elapsed())
}
