//! A batch that was known once: run again, expired, or set back to what it was an hour ago.

use std::fs;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use publisher::schedule::RECENT;
use stack::{Back, GUARD, Stack, Tab, Tabs, eventually};
use tokio::try_join;
use wire::{BatchStatus, Position};

use super::{held, run, settled, show_the_truth, until_held};
use crate::context::Ctx;
use crate::uploads::Uploads;

/// Tabs come back when they are told, as those of a computer that wakes up.
const ASLEEP: f64 = 0.001;

pub(super) async fn retried_expired_and_restored(ctx: Ctx) -> Result<()> {
    retried(&ctx).await.context("run again")?;
    retried_after_it_expired(&ctx).await.context("expired")?;
    restored(&ctx).await.context("restored")
}

/// The batch is opened again while its viewers, who have seen its end, are about to come back.
async fn retried(ctx: &Ctx) -> Result<()> {
    let stack = ctx.stack().start().await?;
    let batch = Uploads::create(&stack, 10).await?;
    let url = stack.stream_url(batch.id());
    let tabs = Tabs::open(6, &Tab::builder(&url).patience_scale(ASLEEP));
    let ended = end_partial(&batch).await?;
    tabs.until_event("complete", "").await?;

    let known = stack.api().read(batch.id()).await?.etag;
    mend(&stack, &batch)?;
    retry(&stack, &batch).await?;
    let retried = Instant::now();
    tabs.cut(Back::AtOnce);
    let newcomers = Tabs::open(3, &Tab::builder(&url));
    let returned = Tabs::open(3, &Tab::builder(&url).last_event_id(&ended.to_string()));
    tabs.until("the end of the new epoch", |history| history.count("complete", "") == 2).await?;
    tabs.cut(Back::AtOnce);
    for tabs in [&tabs, &newcomers, &returned] {
        see_the_new_epoch(tabs, &batch, ended).await?;
    }
    let told = tabs.until_position(batch.position().await?).await?;
    ctx.time("end of the new epoch shown after", told - retried);
    let read = stack.api().read_if_changed(batch.id(), &known).await?;
    ensure!(read.status == 200 && read.body == batch.state().await?, "a reader of the old epoch is told {read:?}");
    Ok(())
}

/// Redis forgets the batch again and again while it goes on, and once more before it is opened again.
async fn retried_after_it_expired(ctx: &Ctx) -> Result<()> {
    let stack = ctx
        .stack()
        .photo_worker_env("STATE_TTL_SECS", "1")
        .edge_var("STATE_TTL_SECS", "1")
        .edge_var("PING_SECS", "2")
        .edge_var("LINGER_SECS", "1")
        .start()
        .await?;
    let batch = Uploads::create(&stack, 10).await?;
    let url = stack.stream_url(batch.id());
    let tabs = Tabs::open(6, &Tab::builder(&url));
    batch.upload_range(2..6).await?;
    tabs.until_position(settled(&batch, 4).await?).await?;
    until_expired(&stack, &batch).await?;
    let ended = end_partial(&batch).await?;
    tabs.until_finished().await?;
    show_the_truth(&tabs, &batch).await?;
    tabs.check()?;

    until_expired(&stack, &batch).await?;
    mend(&stack, &batch)?;
    retry(&stack, &batch).await?;
    let returned = Tabs::open(3, &Tab::builder(&url).last_event_id(&ended.to_string()));
    let newcomers = Tabs::open(3, &Tab::builder(&url));
    for tabs in [&returned, &newcomers] {
        see_the_new_epoch(tabs, &batch, ended).await?;
    }
    Ok(())
}

/// The backup knows one batch that goes on, one that was retried since and two that have ended since, and not the one
/// that was declared since. The way from the worker to Redis stays closed until rooms have read what the backup says.
async fn restored(ctx: &Ctx) -> Result<()> {
    let plan = ctx.stack().edge_var("PING_SECS", "1").edge_var("STALL_AFTER_SECS", "5").plan()?;
    let way = ctx.proxy(plan.redis()).await?;
    let mut stack = plan.photo_worker_redis(way.address()).start().await?;
    let goes_on = Uploads::create(&stack, 20).await?;
    let retried_since = Uploads::create(&stack, 10).await?;
    let [seen, unseen] = [Uploads::create(&stack, 4).await?, Uploads::create(&stack, 4).await?];
    try_join!(goes_on.upload_range(0..5), seen.upload_range(0..2), unseen.upload_range(0..2))?;
    let ended = end_partial(&retried_since).await?;
    settled(&goes_on, 5).await?;
    settled(&seen, 2).await?;
    settled(&unseen, 2).await?;
    let mut backup = Vec::new();
    for batch in [&goes_on, &retried_since, &seen, &unseen] {
        backup.push((batch, until_held(&stack, batch).await?));
    }
    run::<()>(&stack, &["SAVE"]).await?;

    try_join!(seen.upload_all(), unseen.upload_all())?;
    settled(&unseen, 4).await?;
    let asleep = Tabs::open(3, &Tab::builder(&stack.stream_url(seen.id())).patience_scale(ASLEEP));
    asleep.until_event("complete", "").await?;
    for batch in [&seen, &unseen] {
        until_held(&stack, batch).await?;
    }
    // What it sent longer ago the worker does not doubt when it loses its connection.
    tokio::time::sleep(RECENT).await;
    mend(&stack, &retried_since)?;
    retry(&stack, &retried_since).await?;
    settled(&retried_since, 10).await?;
    let declared_since = Uploads::create(&stack, 8).await?;
    let open = |batch: &Uploads| Tabs::open(6, &Tab::builder(&stack.stream_url(batch.id())));
    let [tabs, tabs_of_new] = [open(&goes_on), open(&declared_since)];
    try_join!(goes_on.upload_range(5..15), declared_since.upload_range(0..3))?;
    let shown = settled(&goes_on, 15).await?;
    tabs.until_position(shown).await?;
    tabs_of_new.until_position(settled(&declared_since, 3).await?).await?;
    for batch in [&retried_since, &goes_on, &declared_since] {
        until_held(&stack, batch).await?;
    }

    way.down();
    stack.redis.restart().await?;
    let restored = Instant::now();
    for (batch, position) in &backup {
        let held = held(&stack, batch.id()).await?.map(|(position, _)| position);
        ensure!(held == Some(*position), "the backup is not there: Redis holds {held:?}, not {position}");
    }
    until_pinged(&stack, goes_on.id()).await?;
    let open = |batch: &Uploads| Tabs::open(3, &Tab::builder(&stack.stream_url(batch.id())));
    let newcomers = open(&goes_on);
    newcomers.until_position(shown).await?;
    // Nobody sends these two again: their rooms ask the database once nothing has changed for `STALL_AFTER_SECS`.
    let to_ended = open(&unseen);
    let told = to_ended.until_event("complete", "").await?;
    ctx.time("end that is not in the backup told to newcomers after (STALL_AFTER_SECS=5)", told - restored);
    // They have seen more than Redis holds, and nobody else has looked for long.
    asleep.cut(Back::AtOnce);
    asleep.until_finished().await?;

    way.up();
    let back = Instant::now();
    for batch in [&goes_on, &retried_since, &declared_since] {
        until_held(&stack, batch).await?;
    }
    ctx.time("Redis put right after the worker reached it", back.elapsed());
    let to_retried = open(&retried_since);
    see_the_new_epoch(&to_retried, &retried_since, ended).await?;
    try_join!(goes_on.upload_all(), declared_since.upload_all())?;
    for (tabs, batch) in [
        (&tabs, &goes_on),
        (&newcomers, &goes_on),
        (&tabs_of_new, &declared_since),
        (&to_ended, &unseen),
        (&asleep, &seen),
    ] {
        tabs.until_finished().await?;
        show_the_truth(tabs, batch).await?;
        tabs.check()?;
    }
    Ok(())
}

/// Uploads everything, the first two photos as what is no photo: the batch ends as `PARTIAL`.
async fn end_partial(batch: &Uploads) -> Result<Position> {
    try_join!(batch.upload_bad(0), batch.upload_bad(1))?;
    let photos = batch.photo_ids().len();
    batch.upload_range(2..photos).await?;
    let position = settled(batch, photos as u64).await?;
    let status = batch.state().await?["status"].clone();
    ensure!(status == "PARTIAL", "the batch ended as {status}");
    Ok(position)
}

/// Puts photos in place of what was none, so that they succeed when they run again.
fn mend(stack: &Stack, batch: &Uploads) -> Result<()> {
    let dir = stack.photo_worker.log_path().parent().context("a log without a folder")?.join("photos/originals");
    let [bad, also_bad, good, ..] = batch.photo_ids() else { anyhow::bail!("too few photos") };
    for bad in [bad, also_bad] {
        fs::copy(dir.join(good), dir.join(bad))?;
    }
    Ok(())
}

async fn retry(stack: &Stack, batch: &Uploads) -> Result<()> {
    let url = format!("{}/api/batches/{}/retry", stack.edge.url(), batch.id());
    let status = reqwest::Client::new().post(url).send().await?.status();
    ensure!(status == 202, "the retry is answered with {status}");
    Ok(())
}

/// Waits until the tabs have seen the batch end well, in a greater epoch than the one that ended before.
async fn see_the_new_epoch(tabs: &Tabs, batch: &Uploads, ended: Position) -> Result<()> {
    tabs.until_finished().await?;
    show_the_truth(tabs, batch).await?;
    let well = |tab: &Tab| {
        let history = tab.history();
        let epoch = history.position().map(Position::epoch);
        epoch > Some(ended.epoch()) && history.status == Some(BatchStatus::Completed)
    };
    ensure!(tabs.iter().all(well), "not all show the new epoch: {}", *tabs[0].history());
    tabs.check()
}

async fn until_expired(stack: &Stack, batch: &Uploads) -> Result<()> {
    eventually(GUARD, async || {
        let held = held(stack, batch.id()).await?;
        ensure!(held.is_none(), "Redis still holds {held:?}");
        Ok(())
    })
    .await
}

/// Waits for two pings of the batch's room. The second is sent when the first, whose request has read what Redis holds,
/// has come back.
async fn until_pinged(stack: &Stack, batch_id: &str) -> Result<()> {
    let mut messages = redis::Client::open(stack.redis.url())?.get_async_pubsub().await?;
    messages.subscribe(format!("batch:{batch_id}")).await?;
    let pings = messages.on_message().take(2).collect::<Vec<_>>();
    tokio::time::timeout(GUARD, pings).await.context("the room does not ping")?;
    Ok(())
}
