//! Workers and edges of other versions, and what older designs have left behind.

mod worker;

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use stack::{GUARD, Stack, Tab, Tabs, eventually};

use super::{run, settled, show_the_truth, until_held};
use crate::context::Ctx;
use crate::figures::{Figures, told_by_edge};
use crate::uploads::Uploads;
use worker::{Form, Worker};

const UNKNOWN_MESSAGES: &str = r#"batchcast_pubsub_messages_total{outcome="unknown"}"#;
const UNREADABLE_FIELDS: &str = r#"batchcast_unreadable_total{what="field"}"#;
const UNREADABLE_HASHES: &str = r#"batchcast_unreadable_total{what="hash"}"#;
const REPLACED: &str = "batchcast_publisher_replaced_total";
/// What an older design kept under the key of a batch.
const STRING: &str = r#"{"status":"processing","done":1,"of":6}"#;
/// Changes that a worker publishes before the next one takes over.
const CHANGES: usize = 3;

pub(super) async fn rolled_one_at_a_time(ctx: Ctx) -> Result<()> {
    other_forms(&ctx).await.context("other forms")?;
    let stack = ctx.stack().edge_var("PING_SECS", "1").edge_var("LINGER_SECS", "1").start().await?;
    a_head_not_understood(&stack).await.context("a head that is not understood")?;
    a_photo_not_understood(&stack).await.context("a photo that is not understood")?;
    a_string_without_viewers(&stack).await.context("a string under the key")?;
    a_string_in_mid_batch(&ctx, &stack).await.context("a string under the key of a batch that is watched")?;
    never_a_crash(&stack)
}

/// Workers of several forms take turns, and the edge is restarted in between.
async fn other_forms(ctx: &Ctx) -> Result<()> {
    // No ping makes up for a message that did not lead to a read.
    let mut stack = ctx.stack().edge_var("PING_SECS", "600").start().await?;
    let turns = Form::ALL.len() * CHANGES;
    let mut worker = Worker::new("b-forms", 2 * turns + 1)?;
    worker.begin(&stack).await?;
    let tabs = Tabs::open(6, &Tab::builder(&stack.stream_url("b-forms")));
    take_turns(&stack, &mut worker, &tabs).await?;
    worker.complete_one(&stack, Form::Newer).await?;
    // What the edge has counted so far goes with it.
    stack.edge.restart().await?;
    take_turns(&stack, &mut worker, &tabs).await?;

    tabs.until_finished().await?;
    tabs.check()?;
    let last = worker.position()?;
    for tab in tabs.iter() {
        let history = tab.history();
        ensure!(history.position() == Some(last) && history.percent == Some(100), "a tab ends elsewhere: {}", *history);
    }
    let foreign = (Form::ALL.iter().filter(|form| form.is_foreign()).count() * CHANGES) as f64;
    let unknown = told(&stack, UNKNOWN_MESSAGES, foreign).await?;
    ensure!(unknown == foreign, "{unknown} messages are counted as not understood, not {foreign}");
    let read = told(&stack, UNREADABLE_FIELDS, foreign).await?;
    ctx.figure("changes by workers of other forms, all shown", 2.0 * foreign + 1.0);
    ctx.figure("heads of other forms read, after the edge's restart", read);
    never_a_crash(&stack)
}

/// Each form publishes some changes, each of which reaches the viewers before the next.
async fn take_turns(stack: &Stack, worker: &mut Worker, tabs: &Tabs) -> Result<()> {
    for form in Form::ALL {
        for _ in 0..CHANGES {
            let position = worker.complete_one(stack, form).await?;
            tabs.until_position(position).await.with_context(|| format!("{form:?}"))?;
        }
    }
    Ok(())
}

/// A newer worker's head lacks what this edge needs: it asks the origin, and the next change mends it.
async fn a_head_not_understood(stack: &Stack) -> Result<()> {
    let batch = Uploads::create(stack, 6).await?;
    batch.upload_range(0..2).await?;
    settled(&batch, 2).await?;
    let position = until_held(stack, &batch).await?;
    let tabs = Tabs::open(3, &Tab::builder(&stack.stream_url(batch.id())));
    tabs.until_position(position).await?;

    let asked = stack.origin_reads().await?;
    let head = json!({ "v": 2, "batchId": batch.id(), "position": position.to_string(), "phase": "developing" });
    run::<()>(stack, &["HSET", &key(&batch), "head", &head.to_string()]).await?;
    run::<()>(stack, &["PUBLISH", &format!("batch:{}", batch.id()), r#"{"v":2,"type":"changes"}"#]).await?;
    eventually(GUARD, async || {
        ensure!(stack.origin_reads().await? > asked, "the origin was not asked");
        Ok(())
    })
    .await?;
    let read = stack.api().read_past_memory(batch.id()).await?;
    ensure!((&*read.cache, &*read.source) == ("MISS", "origin"), "{read:?}");
    ensure!(read.body == batch.state().await?, "{read:?}");

    batch.upload_all().await?;
    tabs.until_finished().await?;
    show_the_truth(&tabs, &batch).await?;
    tabs.check()?;
    told(stack, UNREADABLE_HASHES, 1.0).await.map(drop)
}

/// A photo of a status that this edge does not know is left out, and counted.
async fn a_photo_not_understood(stack: &Stack) -> Result<()> {
    let batch = Uploads::create(stack, 3).await?;
    let position = until_held(stack, &batch).await?;
    let photo_id = &batch.photo_ids()[0];
    let photo = json!({ "photoId": photo_id, "status": "DEVELOPING", "version": position.version() });
    run::<()>(stack, &["HSET", &key(&batch), &format!("photo:{photo_id}"), &photo.to_string()]).await?;
    let read = stack.api().read(batch.id()).await?;
    let photos = read.body["photos"].as_array().map(Vec::len);
    ensure!((read.status.as_u16(), &*read.source, photos) == (200, "redis", Some(2)), "{read:?}");
    Ok(())
}

/// The origin answers, and what it says takes the string's place; or the next publish does, which counts it.
async fn a_string_without_viewers(stack: &Stack) -> Result<()> {
    let (read_first, published_first) = (Uploads::create(stack, 6).await?, Uploads::create(stack, 6).await?);
    for batch in [&read_first, &published_first] {
        batch.upload_range(0..2).await?;
        settled(batch, 2).await?;
        until_held(stack, batch).await?;
        run::<()>(stack, &["SET", &key(batch), STRING]).await?;
    }
    let read = stack.api().read(read_first.id()).await?;
    ensure!((&*read.cache, &*read.source) == ("MISS", "origin"), "{read:?}");
    ensure!(read.body == read_first.state().await?, "{read:?}");
    until_held(stack, &read_first).await?;

    let before = Figures::of_photo_worker(stack).await?;
    published_first.upload_all().await?;
    settled(&published_first, 6).await?;
    until_held(stack, &published_first).await?;
    let replaced = Figures::of_photo_worker(stack).await?.since(&before).get(REPLACED);
    ensure!(replaced == 1.0, "{replaced} strings are counted as replaced");
    Ok(())
}

async fn a_string_in_mid_batch(ctx: &Ctx, stack: &Stack) -> Result<()> {
    let batch = Uploads::create(stack, 6).await?;
    let tabs = Tabs::open(3, &Tab::builder(&stack.stream_url(batch.id())));
    batch.upload_range(0..2).await?;
    tabs.until_position(settled(&batch, 2).await?).await?;
    until_held(stack, &batch).await?;
    let set = Instant::now();
    run::<()>(stack, &["SET", &key(&batch), STRING]).await?;
    until_held(stack, &batch).await?;
    ctx.time("a watched batch whole in Redis after a string took its place (PING_SECS=1)", set.elapsed());
    batch.upload_all().await?;
    tabs.until_finished().await?;
    show_the_truth(&tabs, &batch).await?;
    tabs.check()?;
    let stale = tabs.sum(|history| history.count("upstream", "stale") as u64);
    ensure!(stale == 0, "{stale} times a viewer was told that it is behind, and nothing was");
    Ok(())
}

fn key(batch: &Uploads) -> String {
    format!("batch:progress:{}", batch.id())
}

/// Waits until the edge has told at least `least` of a counter: it does so when a room closes.
async fn told(stack: &Stack, series: &str, least: f64) -> Result<f64> {
    eventually(GUARD, async || {
        let count = told_by_edge(stack, series).await?.unwrap_or_default();
        ensure!(count >= least, "{series} is {count}, not {least}");
        Ok(count)
    })
    .await
}

fn never_a_crash(stack: &Stack) -> Result<()> {
    for part in [&stack.edge, &stack.gateway, &stack.photo_worker] {
        ensure!(!part.log().contains("panick"), "{} has panicked", part.log_path().display());
    }
    Ok(())
}
