//! The gateway, and what lies between it and its neighbours.

use std::time::Instant;

use anyhow::{Result, ensure};
use stack::{GUARD, Tab, Tabs, eventually};

use crate::context::Ctx;
use crate::feed::Feed;
use crate::figures::Figures;
use crate::row::Row;

pub(crate) fn rows() -> Vec<Row> {
    vec![Row::new(
        3,
        "gateway killed and restarted",
        "resubscribed and re-read; viewers are told that it is behind and get everything",
        killed_and_restarted,
    )]
}

async fn killed_and_restarted(ctx: Ctx) -> Result<()> {
    let mut stack = ctx.stack().edge_var("PING_SECS", "1").start().await?;
    let feed = Feed::start(&stack, "b-gateway", 40).await?;
    let tabs = Tabs::open(20, &Tab::builder(&stack.stream_url(feed.id())));
    tabs.until_position(feed.position()?).await?;
    tabs.until_position(feed.complete_one().await?).await?;

    let killed = Instant::now();
    stack.gateway.kill();
    let told = tabs.until_event("upstream", "stale").await?;
    ctx.time("stale told after", told - killed);

    let missed = feed.complete(10).await?;
    let before = Figures::of_redis_calls(&stack).await?;
    stack.gateway.start().await?;
    let ready = Instant::now();
    let fresh = tabs.until_position(missed).await?;
    ctx.time("fresh after ready", fresh.saturating_duration_since(ready));
    tabs.until_event("upstream", "live").await?;
    eventually(GUARD, async || {
        let subscribers = stack.redis_subscribers(feed.id()).await?;
        ensure!(subscribers == 1, "{subscribers} subscribers");
        Ok(())
    })
    .await?;
    let reads = Figures::of_redis_calls(&stack).await?.since(&before).get("hgetall");
    ctx.figure("reads of the hash for 20 viewers", reads);
    ensure!(reads < 5.0, "{reads} reads of the hash");

    feed.complete_all().await?;
    tabs.until_finished().await?;
    // A tab comes back once, after `complete`: nobody was disconnected by the gateway's fall.
    let connects = tabs.sum(|history| history.connects.len() as u64);
    ensure!(connects == 2 * tabs.len() as u64, "{connects} connections of {} tabs", tabs.len());
    tabs.check()
}
