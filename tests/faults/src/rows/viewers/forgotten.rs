//! A batch whose worker never comes back, and tabs that stay open.

use std::time::Instant;

use anyhow::{Result, ensure};
use redis::AsyncCommands as _;
use stack::{GUARD, History, Stack, Tab, Tabs, eventually};
use wire::Position;

use crate::context::Ctx;
use crate::figures::Figures;
use crate::uploads::Uploads;

const TABS: usize = 100;
const PHOTOS: usize = 6;
/// Divides the pauses of the tabs: the minute after which they look in is 3 s.
const PATIENCE: f64 = 20.0;
/// How often each tab looks in while it is counted what that costs.
const LOOKS: usize = 4;
/// How often the origin is asked in one standstill: it lasts three times STALL_AFTER_SECS.
const MOST_DOUBTS: u64 = 3;

pub(super) async fn worker_never_comes_back(ctx: Ctx) -> Result<()> {
    let builder = ctx.stack().edge_var("STALL_AFTER_SECS", "2").edge_var("FORGET_AFTER_SECS", "6");
    // With a ping each second the room is soon sure that nothing has changed. An answer of Redis is repeated for less than
    // the 3 s between two looks, as 5 s are less than a minute.
    let mut stack = builder.edge_var("PING_SECS", "1").edge_var("ACTIVE_TTL_SECS", "1").start().await?;
    let uploads = Uploads::create(&stack, PHOTOS).await?;
    uploads.upload_range(0..2).await?;
    let begun = published(&stack, &uploads, 2).await?;
    let asked = stack.origin_reads().await?;

    // No photo comes any more, though the worker would answer.
    let opened = Instant::now();
    let tabs = Tabs::open(TABS, &Tab::builder(&stack.stream_url(uploads.id())).patience_scale(PATIENCE));
    let stalled = tabs.until_event("stalled", "").await?;
    ctx.time("`stalled` told to all tabs after", stalled - opened);
    ensure!(tabs.iter().all(|tab| tab.history().position() == Some(begun)), "a tab does not show {begun}");
    forgotten(&stack, &uploads, 1).await?;
    ctx.time("no room and no subscription after", opened.elapsed());
    let reads = looked_in(&stack, &tabs).await?;
    ctx.figure("positions read while 100 tabs look in 4 times", reads);
    forgotten(&stack, &uploads, 1).await?;
    // An object that never sent anyone away.
    stack.edge.restart().await?;
    let reads = looked_in(&stack, &tabs).await?;
    ctx.figure("the same after a restart of the edge", reads);
    forgotten(&stack, &uploads, 1).await?;
    let asked = stack.origin_reads().await? - asked;
    ctx.figure("origin reads in the first standstill", asked);
    ensure!((1..=MOST_DOUBTS).contains(&asked), "the origin was asked {asked} times");

    // One more photo, and then the worker is gone.
    let uploaded = Instant::now();
    uploads.upload(2).await?;
    let update = published(&stack, &uploads, 3).await?;
    let fresh = tabs.until_position(update).await?;
    ctx.time("a later update is shown to all tabs after", fresh - uploaded);
    let killed = Instant::now();
    stack.photo_worker.kill();
    tabs.until("`stalled` again", |history| told(history, "stalled", killed) > 0).await?;
    forgotten(&stack, &uploads, 2).await?;
    looked_in(&stack, &tabs).await?;
    forgotten(&stack, &uploads, 2).await?;

    // It comes back after all.
    stack.photo_worker.start().await?;
    uploads.upload_all().await?;
    tabs.until_finished().await?;
    let last = uploads.position().await?;
    ensure!(tabs.iter().all(|tab| tab.history().position() == Some(last)), "a tab does not end at {last}");
    let completes = tabs.sum(|history| history.count("complete", "") as u64);
    ensure!(completes == TABS as u64, "{completes} times `complete` for {TABS} tabs");
    tabs.check()
}

/// Waits until the worker has done so many photos, and Redis holds that; the position.
async fn published(stack: &Stack, uploads: &Uploads, photos: u64) -> Result<Position> {
    let mut redis = stack.redis_connection().await?;
    eventually(GUARD, async || {
        let state = uploads.state().await?;
        let key = format!("batch:progress:{}", uploads.id());
        let (epoch, version): (String, String) = redis.hmget(key, &["epoch", "version"]).await?;
        let (done, position) = (&state["counts"]["completed"], &state["position"]);
        ensure!(*done == photos, "{done} photos are done");
        ensure!(*position == format!("{epoch}-{version}"), "Redis holds {epoch}-{version} in place of {position}");
        Ok(Position::new(epoch.parse()?, version.parse()?)?)
    })
    .await
}

/// Waits until nothing is left of the room, the `rooms`th of its batch, in whatever of the parts; each of them has asked
/// the origin.
async fn forgotten(stack: &Stack, uploads: &Uploads, rooms: usize) -> Result<()> {
    eventually(GUARD, async || {
        let subscribers =
            (stack.redis_subscribers(uploads.id()).await?, stack.gateway_subscribers(uploads.id()).await?);
        ensure!(subscribers == (0, 0), "subscribers of Redis and of the gateway: {subscribers:?}");
        let log = stack.edge.log();
        let (opened, closed) = (log.matches("\"room opened\"").count(), log.matches("\"room closed\"").count());
        ensure!((opened, closed) == (rooms, rooms), "{opened} rooms were opened, {closed} closed, in place of {rooms}");
        let told = Figures::of_edge(stack).await?;
        let (gauge, forgotten) = (told.sum("batchcast_rooms"), told.get("batchcast_forgotten_total"));
        ensure!(gauge == 0.0, "{gauge} rooms by the metrics");
        ensure!(forgotten >= (rooms * TABS) as f64, "{forgotten} tabs were sent away");
        let asked = told.get("batchcast_origin_reads_total");
        let (least, most) = (rooms as f64, (rooms as u64 * MOST_DOUBTS) as f64);
        ensure!((least..=most).contains(&asked), "the edge asked the origin {asked} times in {rooms} standstills");
        Ok(())
    })
    .await
}

/// Waits until each tab has looked in [`LOOKS`] times and was told that nothing has changed; how often that made the
/// edge read the position, and that it did nothing else.
async fn looked_in(stack: &Stack, tabs: &Tabs) -> Result<f64> {
    let (before, since) = (Figures::of_redis_calls(stack).await?, Instant::now());
    tabs.until("its looks", |history| told(history, "idle", since) >= LOOKS).await?;
    let calls = Figures::of_redis_calls(stack).await?.since(&before);
    let reads = calls.get("hmget");
    // Who looks in within the second for which an answer is repeated shares it: the tabs were all sent away together.
    let bound = 2.0 * (LOOKS + 1) as f64;
    ensure!((1.0..=bound).contains(&reads), "{reads} reads of the position");
    for command in ["subscribe", "publish", "hgetall", "eval", "evalsha"] {
        ensure!(calls.get(command) == 0.0, "{command} was called {} times", calls.get(command));
    }
    Ok(reads)
}

/// How often the tab was told this after `since`.
fn told(history: &History, name: &str, since: Instant) -> usize {
    history.named.iter().filter(|event| event.name == name && event.at > since).count()
}
