//! The photo worker dies in its worst moments.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::ops::Range;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use futures::stream::{self, StreamExt as _};
use image::{ImageFormat, RgbImage};
use redis::AsyncCommands as _;
use reqwest::StatusCode;
use serde_json::{Value, json};
use stack::{GUARD, Stack, Tab, Tabs, eventually};

use crate::context::Ctx;
use crate::uploads::Uploads;

const TABS: usize = 10;
const UPLOADS_AT_ONCE: usize = 4;
/// Uploaded around one kill.
const PHOTOS_A_KILL: usize = 8;
const KILLS: usize = 3;
/// Its file is no photo.
const BAD: usize = KILLS * PHOTOS_A_KILL;
const LAST: usize = BAD + 1;
const TOTAL: usize = LAST + 1;

pub(crate) async fn photo_worker_killed(ctx: Ctx) -> Result<()> {
    // One photo is analysed at a time, so that others wait when the worker is killed.
    let plan = ctx.stack().photo_worker_env("WORKER_THREADS", "1").plan()?;
    let to_redis = ctx.proxy(plan.redis()).await?;
    let mut stack = plan.photo_worker_redis(to_redis.address()).start().await?;
    let batch = Uploads::create(&stack, TOTAL).await?;
    let tabs = Tabs::open(TABS, &Tab::builder(&stack.stream_url(batch.id())));
    tabs.until_position(batch.position().await?).await?;

    let (photo, mut unfinished) = (slow_photo()?, 0);
    for kill in 0..KILLS {
        let photos = kill * PHOTOS_A_KILL..(kill + 1) * PHOTOS_A_KILL;
        unfinished += kill_in_mid_batch(&mut stack, &batch, &tabs, photos, &photo).await?;
    }
    ctx.figure(&format!("photos taken but unfinished at {KILLS} kills in mid-batch"), unfinished);
    ensure!(unfinished > 0, "nothing was under way when the worker was killed");

    batch.upload_bad(BAD).await?;
    until_done(&tabs, BAD + 1).await?;
    to_redis.down();
    batch.upload(LAST).await?;
    eventually(GUARD, async || {
        let state = batch.state().await?;
        ensure!(state["status"] == "PARTIAL", "it has not ended: {}", state["counts"]);
        Ok(())
    })
    .await?;
    stack.photo_worker.kill();
    let ended: String = stack.redis_connection().await?.hget(format!("batch:progress:{}", batch.id()), "ended").await?;
    ensure!(ended == "0", "the end was published before the worker was killed");
    ensure!(tabs.iter().all(|tab| tab.history().count("complete", "") == 0), "somebody has seen an end");

    to_redis.heal();
    let restarted = Instant::now();
    stack.photo_worker.start().await?;
    let told = tabs.until_event("complete", "").await?;
    ctx.time("unpublished end shown after the restart", told - restarted);
    tabs.until_finished().await?;
    every_photo_counts_once(&stack, &batch, &tabs).await?;
    tabs.check()
}

/// Kills the worker while photos are uploaded, analysed and waiting; how many that it had taken it had not finished.
async fn kill_in_mid_batch(
    stack: &mut Stack,
    batch: &Uploads,
    tabs: &Tabs,
    photos: Range<usize>,
    photo: &[u8],
) -> Result<usize> {
    let uploads = photos.clone().map(|n| batch.upload_bytes(n, photo.to_vec()));
    let mut uploads = stream::iter(uploads).buffer_unordered(UPLOADS_AT_ONCE);
    let mut taken = photos.start;
    while taken < photos.start + PHOTOS_A_KILL / 2 {
        uploads.next().await.context("no upload is left")??;
        taken += 1;
    }
    let begun = |counts: wire::Counts| counts.processing > 0 || counts.completed as usize > photos.start;
    tabs.until("a photo in work", |history| history.counts.is_some_and(begun)).await?;
    stack.photo_worker.kill();
    let unfinished = taken.saturating_sub(tabs.iter().map(done).max().unwrap_or(0));
    // Of the others some were answered before; most fail, and are repeated, as by the live page.
    while let Some(answer) = uploads.next().await {
        taken += usize::from(answer.is_ok());
    }
    stack.photo_worker.start().await?;
    until_done(tabs, taken).await.context("of what it had taken before it was killed")?;
    let left = batch.state().await?["counts"]["queued"].as_u64().unwrap_or(0);
    ensure!(left > 0, "the batch had ended before the worker was killed");
    batch.upload_range(photos.clone()).await?;
    until_done(tabs, photos.end).await?;
    Ok(unfinished)
}

/// Photos that a tab shows as completed or failed.
fn done(tab: &Tab) -> usize {
    tab.history().counts.map_or(0, |counts| (counts.completed + counts.failed) as usize)
}

async fn until_done(tabs: &Tabs, photos: usize) -> Result<()> {
    let enough = |counts: wire::Counts| (counts.completed + counts.failed) as usize >= photos;
    tabs.until(&format!("{photos} photos done"), |history| history.counts.is_some_and(enough)).await
}

async fn every_photo_counts_once(stack: &Stack, batch: &Uploads, tabs: &Tabs) -> Result<()> {
    let state = batch.state().await?;
    let counts = json!({ "total": TOTAL, "queued": 0, "processing": 0, "completed": TOTAL - 1, "failed": 1 });
    ensure!(state["counts"] == counts, "the database counts {}", state["counts"]);
    let photos = state["photos"].as_array().context("a state without photos")?;
    let with_status = |status| photos.iter().filter(|photo| photo["status"] == status).collect::<Vec<&Value>>();
    let (completed, failed) = (with_status("COMPLETED"), with_status("FAILED"));
    ensure!((completed.len(), failed.len()) == (TOTAL - 1, 1), "{} photos, {} failures", completed.len(), failed.len());
    let listed: BTreeSet<&str> = photos.iter().filter_map(|photo| photo["photoId"].as_str()).collect();
    let declared: BTreeSet<&str> = batch.photo_ids().iter().map(String::as_str).collect();
    ensure!(listed == declared, "not the photos that were declared");
    for photo in completed {
        let thumbnail = photo["result"]["thumbnail"].as_str().context("no thumbnail")?;
        ensure!(stack.api().get(thumbnail).await?.status() == StatusCode::OK, "{thumbnail} is not there");
    }
    // Redis, the edge and the viewers hold the same as the database.
    let read = stack.api().read_past_memory(batch.id()).await?;
    ensure!(read.source == "redis" && read.body == state, "from {}: {}", read.source, read.body);
    for tab in tabs.iter() {
        let shown = tab.history().counts.map(|counts| json!(counts));
        ensure!(shown.as_ref() == Some(&counts), "a tab shows {shown:?}");
    }
    Ok(())
}

/// A photo whose analysis takes longer than its upload.
fn slow_photo() -> Result<Vec<u8>> {
    let image = RgbImage::from_fn(1_600, 1_200, |x, y| image::Rgb([(x ^ y) as u8, (x / 7) as u8, (y / 5) as u8]));
    let mut bytes = Vec::new();
    image.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Jpeg)?;
    Ok(bytes)
}
