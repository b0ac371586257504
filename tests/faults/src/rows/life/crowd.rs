//! Viewers that cannot be let in: there are too many, nobody knows what to show them, or a setting is wrong.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use stack::{EdgeSettings, GUARD, Part, Stack, Tab, TabBuilder, Tabs, bare_edge, eventually, ports, workspace};

use super::native::Native;
use crate::context::Ctx;
use crate::feed::Feed;
use crate::figures::told_by_edge;
use crate::uploads::Uploads;

const MAX_VIEWERS: usize = 5;
const OUTSIDE: usize = 3;
/// By what tabs divide the pause that they are asked for. The native EventSource divides nothing.
const PATIENCE: f64 = 5.0;

pub(crate) async fn too_many_or_no_room(ctx: Ctx) -> Result<()> {
    let mut stack = ctx.stack().edge_var("MAX_VIEWERS", &MAX_VIEWERS.to_string()).start().await?;
    too_many(&ctx, &stack).await.context("more viewers than the limit")?;
    nobody_to_ask(&ctx, &mut stack).await.context("Redis and the origin away")?;
    wrong_settings(&ctx, &stack).await.context("a wrong setting")
}

async fn too_many(ctx: &Ctx, stack: &Stack) -> Result<()> {
    let feed = Feed::start(stack, "b-crowd", 10).await?;
    let tab = patient(&stack.stream_url(feed.id()));
    let inside = Tabs::open(MAX_VIEWERS, &tab);
    inside.until_position(feed.position()?).await?;

    let outside = Tabs::open(OUTSIDE, &tab);
    let mut native = Native::open(&stack.stream_url(feed.id()))?;
    sent_away(&outside).await?;
    ctx.figure("told to come back after", pauses(&outside));
    native.until("busy").await?;
    inside.until_position(feed.complete_one().await?).await?;
    ensure!(outside.iter().all(|tab| tab.history().position().is_none()), "one more was let in");

    // Those who leave are noticed when they are written to.
    let (leaving, staying) = inside.split_at(OUTSIDE + 1);
    for tab in leaving {
        tab.close();
        tab.until_ended().await?;
    }
    let left = Instant::now();
    let position = feed.complete_one().await?;
    let came = outside.until_position(position).await?;
    let native_came = native.until(&format!("progress {position}")).await?;
    ctx.time("in after others left, pauses divided by 5", came.saturating_duration_since(left));
    ctx.time("native EventSource in after others left", native_came - left);

    feed.complete_all().await?;
    for tab in staying {
        ensure!(tab.until_ended().await? == stack::End::Finished, "one that was inside has not seen the end");
        ensure!(tab.history().count("busy", "") == 0, "one that was inside was sent away");
    }
    outside.until_finished().await?;
    native.until("complete").await?;
    native.until("closed 204").await?;
    counted(stack, "full", busy(&outside) + native.busy()).await?;
    inside.check()?;
    outside.check()
}

/// Nothing is held of a batch that nobody has watched.
async fn nobody_to_ask(ctx: &Ctx, stack: &mut Stack) -> Result<()> {
    let batch = Uploads::create(stack, 3).await?;
    let position = batch.position().await?;
    stack.redis.kill();
    stack.photo_worker.kill();
    let tabs = Tabs::open(MAX_VIEWERS - 1, &patient(&stack.stream_url(batch.id())));
    let mut native = Native::open(&stack.stream_url(batch.id()))?;
    sent_away(&tabs).await?;
    native.until("busy").await?;

    stack.redis.start().await?;
    stack.photo_worker.start().await?;
    let back = Instant::now();
    let came = tabs.until_position(position).await?;
    let native_came = native.until("progress").await?;
    ctx.time("in after Redis and the origin are back", came.saturating_duration_since(back));
    ctx.time("native EventSource in after they are back", native_came.saturating_duration_since(back));
    batch.upload_all().await?;
    tabs.until_finished().await?;
    native.until("complete").await?;
    native.until("closed 204").await?;
    counted(stack, "outage", busy(&tabs) + native.busy()).await?;
    tabs.check()
}

/// An edge beside the stack's own, on the same Redis and origin, whose operator tries three settings.
async fn wrong_settings(ctx: &Ctx, stack: &Stack) -> Result<()> {
    let feed = Feed::start(stack, "b-settings", 3).await?;
    let port = ports::free()?;
    let tabs = Tabs::open(OUTSIDE, &patient(&format!("http://127.0.0.1:{port}/api/batches/b-settings/stream")));
    for (name, value) in [("STREAMS", "off"), ("PING_SECS", "banana")] {
        let mut edge = other_edge(ctx, stack, port, (name, value))?;
        edge.start().await?;
        let before: Vec<usize> = tabs.iter().map(|tab| tab.history().count("busy", "")).collect();
        for (tab, before) in tabs.iter().zip(before) {
            tab.until(&format!("busy because of {name}={value}"), |history| history.count("busy", "") > before).await?;
        }
    }
    sent_away(&tabs).await?;
    let mut edge = other_edge(ctx, stack, port, ("PING_SECS", "1"))?;
    edge.start().await?;
    tabs.until_position(feed.position()?).await?;
    feed.complete_all().await?;
    tabs.until_finished().await?;
    tabs.check()
}

fn other_edge(ctx: &Ctx, stack: &Stack, port: u16, setting: (&str, &str)) -> Result<Part> {
    let dir = ctx.dir().join("other-edge");
    std::fs::create_dir_all(&dir)?;
    let addresses = stack.addresses();
    let vars = [
        ("UPSTASH_REDIS_REST_URL", &*addresses.gateway),
        ("UPSTASH_REDIS_REST_TOKEN", &addresses.gateway_token),
        ("ORIGIN_URL", &addresses.photo_worker),
        ("ORIGIN_TOKEN", stack.origin_token()),
        ("TRUST_USER_HEADER", "true"),
        setting,
    ];
    let vars = vars.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    bare_edge(&dir, workspace::root(), &EdgeSettings { port, vars, build: None })
}

fn patient(url: &str) -> TabBuilder {
    Tab::builder(url).patience_scale(PATIENCE)
}

/// All are told that it is busy, in a stream, with a pause within bounds and not the same for all.
async fn sent_away(tabs: &Tabs) -> Result<()> {
    tabs.until_event("busy", "").await?;
    for tab in tabs.iter() {
        let history = tab.history();
        let bounds = Duration::from_secs(3)..=Duration::from_secs(7);
        ensure!(bounds.contains(&history.retry), "told to come back after {:?}", history.retry);
        ensure!(!history.opens.is_empty() && history.end.is_none(), "it was no stream: {}", *history);
        ensure!(history.position().is_none(), "it was shown something: {}", *history);
    }
    let pauses: BTreeSet<Duration> = tabs.iter().map(|tab| tab.history().retry).collect();
    ensure!(pauses.len() > 1, "all are to come back after {pauses:?}");
    Ok(())
}

fn pauses(tabs: &Tabs) -> String {
    let pauses: Vec<String> = tabs.iter().map(|tab| format!("{:.1}", tab.history().retry.as_secs_f64())).collect();
    format!("{} s", pauses.join(", "))
}

fn busy(tabs: &Tabs) -> u64 {
    tabs.sum(|history| history.count("busy", "") as u64)
}

/// The edge has counted as many as were told. It says so when the room closes.
async fn counted(stack: &Stack, reason: &str, told: u64) -> Result<()> {
    let series = format!("batchcast_busy_total{{reason=\"{reason}\"}}");
    eventually(GUARD, async || {
        let counted = told_by_edge(stack, &series).await?.unwrap_or(0.0);
        ensure!(counted == told as f64, "{told} were told, {counted} were counted");
        Ok(())
    })
    .await
}
