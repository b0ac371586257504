//! Redis frozen: connections stay open, nobody answers.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use stack::{History, Part, Stack, Tab, Tabs};
use wire::Position;

use super::reader::{Read, Reader, read};
use super::{settled, show_the_truth};
use crate::context::Ctx;
use crate::uploads::Uploads;

const FROZEN: Duration = Duration::from_secs(60);
const PING_SECS: u64 = 2;
/// A proof counts until the next ping should have come back.
const PROOF: Duration = Duration::from_secs(PING_SECS + 5);
/// A machine with other things to do may take so much longer.
const SLACK: Duration = Duration::from_secs(10);
/// What a process may grow by, in bytes.
const GROWTH: u64 = 16 * 1024 * 1024;
/// The same for the edge, whose garbage is collected when the runtime likes.
const GROWTH_OF_EDGE: u64 = 64 * 1024 * 1024;

pub(super) async fn frozen_and_thawed(ctx: Ctx) -> Result<()> {
    let mut stack = ctx.stack().edge_var("PING_SECS", &PING_SECS.to_string()).start().await?;
    let watched = Uploads::create(&stack, 80).await?;
    // Known to Redis and to the origin, but not held by any object of the edge.
    let unheld = Uploads::create(&stack, 4).await?;
    let tabs = Tabs::open(20, &Tab::builder(&stack.stream_url(watched.id())));
    watched.upload_range(0..20).await?;
    let before = settled(&watched, 20).await?;
    tabs.until_position(before).await?;
    let reader = Reader::start(&stack, watched.id());
    reader.until("fresh", |read| read.kind == "HIT memory" && read.position == Some(before)).await?;
    let memory = [&stack.gateway, &stack.edge, &stack.photo_worker].map(Part::resident_bytes);
    let [gateway, edge, worker] = memory;

    let frozen = Instant::now();
    stack.redis.freeze()?;
    let doubted = tabs.until_event("upstream", "stale").await?;
    ctx.time("viewers told that it is stale after", doubted - frozen);
    watched.upload_range(20..30).await?;
    reader.until("the origin's", |read| read.kind == "MISS origin" && read.position > Some(before)).await?;
    let meanwhile = settled(&watched, 30).await?;
    let shown = tabs.until_position(meanwhile).await?;
    ctx.time("progress committed meanwhile shown after", shown - frozen);
    watched.upload_range(30..40).await?;
    tabs.until_position(settled(&watched, 40).await?).await?;

    let worker_grew = growth(&stack.photo_worker, worker?, GROWTH)?;
    judge_with_origin(&ctx, &reader.between(frozen, Instant::now()), frozen, before)?;
    stack.photo_worker.stop().await;
    let stopped = Instant::now();
    let stale = reader.until("stale", |read| read.kind == "STALE memory").await?;
    let older = stale.age.context("a stale read has no Age")? + 2;
    reader.until("stale and older", |read| read.kind == "STALE memory" && read.age >= Some(older)).await?;
    judge_unheld(&stack, unheld.id()).await?;
    // A stream of what nobody can answer says `busy`; its viewers come back until somebody can.
    let patient = Tabs::open(3, &Tab::builder(&stack.stream_url(unheld.id())));
    patient.until_event("busy", "").await?;
    judge_without_origin(&reader.between(stopped, Instant::now()))?;

    stack.photo_worker.start().await?;
    watched.upload_range(40..60).await?;
    tokio::time::sleep(FROZEN.saturating_sub(frozen.elapsed())).await;
    let missed = settled(&watched, 60).await?;
    ctx.bytes("gateway grew by", growth(&stack.gateway, gateway?, GROWTH)?);
    ctx.bytes("edge grew by", growth(&stack.edge, edge?, GROWTH_OF_EDGE)?);
    ctx.bytes("photo worker grew by", worker_grew);

    stack.redis.thaw()?;
    let thawed = Instant::now();
    tabs.until_position(missed).await?;
    tabs.until("live again", |history| live_since(history).is_some()).await?;
    let live = tabs.iter().filter_map(|tab| live_since(&tab.history())).max().unwrap_or(thawed);
    ctx.time("viewers told that it is live after the thaw", live.saturating_duration_since(thawed));
    reader.until("fresh again", |read| read.kind == "HIT memory" && read.age == Some(0)).await?;

    watched.upload_range(60..80).await?;
    unheld.upload_all().await?;
    for (tabs, uploads) in [(&tabs, &watched), (&patient, &unheld)] {
        tabs.until_finished().await?;
        show_the_truth(tabs, uploads).await?;
        tabs.check()?;
    }
    // A tab comes back once, after `complete`: nobody was disconnected.
    let connects = tabs.sum(|history| history.connects.len() as u64);
    ensure!(connects == 2 * tabs.len() as u64, "{connects} connections of {} tabs", tabs.len());
    reader.check()
}

/// From memory until the proof has lapsed, then from the origin, and from memory again while its answer is young.
fn judge_with_origin(ctx: &Ctx, reads: &[Read], frozen: Instant, before: Position) -> Result<()> {
    for read in reads {
        ensure!(["HIT memory", "MISS origin"].contains(&read.kind.as_str()), "with the origin alive: {read:?}");
        let late = read.at > frozen + PROOF + SLACK;
        ensure!(!late || read.position > Some(before), "as fresh, {:?} after the freeze: {read:?}", read.at - frozen);
    }
    let first = reads.iter().find(|read| read.kind == "MISS origin").context("the origin was not asked")?;
    ctx.time("reads are the origin's after", first.at - frozen);
    let slowest = reads.iter().map(|read| read.took).max().unwrap_or_default();
    ctx.time("slowest read", slowest);
    Ok(())
}

/// From memory while the origin's answer is young, then stale, and older with every answer.
fn judge_without_origin(reads: &[Read]) -> Result<()> {
    let stale: Vec<&Read> = reads.iter().skip_while(|read| read.kind != "STALE memory").collect();
    for pair in stale.windows(2) {
        ensure!(pair[1].kind == "STALE memory", "with nobody to ask: {:?}", pair[1]);
        ensure!(pair[0].age <= pair[1].age, "{:?} is younger than {:?}", pair[1], pair[0]);
    }
    Ok(())
}

async fn judge_unheld(stack: &Stack, batch_id: &str) -> Result<()> {
    let read = read(stack, batch_id).await?;
    ensure!((read.status, read.retry_after) == (503, Some(5)), "with nothing held and nobody to ask: {read:?}");
    Ok(())
}

fn growth(part: &Part, before: u64, most: u64) -> Result<u64> {
    let growth = part.resident_bytes()?.saturating_sub(before);
    ensure!(growth <= most, "{} grew by {growth} bytes", part.log_path().display());
    Ok(growth)
}

/// When the tab was last told that what it shows is live; `None`: it was told otherwise since.
fn live_since(history: &History) -> Option<Instant> {
    let last = history.named.iter().rfind(|event| event.name == "upstream")?;
    (last.detail == "live").then_some(last.at)
}
