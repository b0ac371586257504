//! A panic in one of several objects that share an isolate, and with it the memory that the panic ruins.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use redis::AsyncCommands as _;
use reqwest::StatusCode;
use stack::{GUARD, Stack, Tab, Tabs, eventually, workspace};

use crate::context::Ctx;
use crate::feed::Feed;

/// Each has an object of its own.
const BATCHES: [&str; 3] = ["b-panic-1", "b-panic-2", "b-panic-3"];
const TABS: usize = 10;
/// How soon "at once" is, on a machine with other things to do. Nothing else would cut a stream.
const AT_ONCE: Duration = Duration::from_secs(5);

/// One batch and those who watch it.
struct Scene {
    feed: Feed,
    tabs: Tabs,
}

pub(crate) async fn in_an_object(ctx: Ctx) -> Result<()> {
    let build = workspace::target_dir().join("edge-faults");
    let stack = ctx.stack().worker_build(build).edge_var("PING_SECS", "1").start().await?;
    let scenes = try_join_all(BATCHES.map(|id| Scene::open(&stack, id))).await?;

    let begun = Instant::now();
    // The header means this to this build alone.
    let asked = stack.api().read_if_changed(BATCHES[0], "panic").await;
    ensure!(asked.as_ref().is_ok_and(|read| read.status.is_server_error()), "the panic has an answer: {asked:?}");
    let survived = survive(&stack, &scenes, begun, 1).await.context("after a panic in a request")?;
    tell(&ctx, "a request", &survived);

    let begun = Instant::now();
    let heard: u64 = stack.redis_connection().await?.publish(format!("batch:{}", BATCHES[1]), "panic").await?;
    ensure!(heard == 1, "{heard} heard of it");
    let survived = survive(&stack, &scenes, begun, 2).await.context("after a panic in a listener")?;
    tell(&ctx, "a listener", &survived);

    let begun = Instant::now();
    let asked = stack.api().read_if_changed(BATCHES[2], "panic in the entry").await;
    ensure!(asked.as_ref().is_ok_and(|read| read.status.is_server_error()), "the panic has an answer: {asked:?}");
    let survived = survive(&stack, &scenes, begun, 3).await.context("after a panic in the entry Worker")?;
    tell(&ctx, "the entry Worker", &survived);

    for Scene { feed, .. } in &scenes {
        feed.complete_all().await?;
    }
    for Scene { feed, tabs } in &scenes {
        tabs.until_finished().await?;
        tabs.check()?;
        // At first, after each panic, and once more after the end.
        let connects = tabs.sum(|history| history.connects.len() as u64);
        ensure!(connects == 5 * TABS as u64, "{}: {connects} connections of {TABS} tabs", feed.id());
    }
    Ok(())
}

impl Scene {
    async fn open(stack: &Stack, id: &str) -> Result<Self> {
        let feed = Feed::start(stack, id, 20).await?;
        let tabs = Tabs::open(TABS, &Tab::builder(&stack.stream_url(id)));
        tabs.until_position(feed.position()?).await?;
        tabs.until_position(feed.complete_one().await?).await?;
        one_subscription(stack, id).await?;
        Ok(Self { feed, tabs })
    }
}

/// What a panic cost the viewers of all batches.
struct Survived {
    cut: Duration,
    fresh: Duration,
}

fn tell(ctx: &Ctx, place: &str, survived: &Survived) {
    ctx.time(&format!("panic in {place}: all {} viewers cut after", TABS * BATCHES.len()), survived.cut);
    ctx.time("they show a change made meanwhile after", survived.fresh);
}

/// Everyone is cut soon after `begun`, for the `time`th time, and comes back to what changed meanwhile.
async fn survive(stack: &Stack, scenes: &[Scene], begun: Instant, time: usize) -> Result<Survived> {
    let mut missed = Vec::new();
    for scene in scenes {
        missed.push(scene.feed.complete_one().await?);
    }
    let mut cuts = Vec::new();
    for Scene { tabs, .. } in scenes {
        tabs.until("being cut", |history| history.ends.len() >= time).await?;
        cuts.extend(tabs.iter().map(|tab| tab.history().ends[time - 1].saturating_duration_since(begun)));
    }
    let cut = cuts.into_iter().max().unwrap_or_default();
    ensure!(cut < AT_ONCE, "the last viewer was cut after {cut:?}");
    for Scene { feed, .. } in scenes {
        let read = stack.api().read(feed.id()).await?;
        ensure!(read.status == StatusCode::OK, "the next read of {} is answered {}", feed.id(), read.status);
    }
    let mut fresh = begun;
    for (Scene { feed, tabs }, position) in scenes.iter().zip(missed) {
        fresh = fresh.max(tabs.until_position(position).await?);
        // It is live again, and it is one object that listens, once.
        tabs.until_position(feed.complete_one().await?).await?;
        one_subscription(stack, feed.id()).await?;
        let resumed = tabs.iter().filter(|tab| tab.history().resumed_bytes > 0).count();
        ensure!(resumed == TABS, "{resumed} of {TABS} came back with the position that they knew");
    }
    let panics = stack.edge.log().matches("the Worker panicked: ").count();
    ensure!(panics == time, "the log tells of {panics} panics, not {time}");
    Ok(Survived { cut, fresh: fresh - begun })
}

async fn one_subscription(stack: &Stack, id: &str) -> Result<()> {
    eventually(GUARD, async || {
        let (at_gateway, at_redis) = (stack.gateway_subscribers(id).await?, stack.redis_subscribers(id).await?);
        ensure!((at_gateway, at_redis) == (1, 1), "{id}: {at_gateway} subscribe at the gateway, {at_redis} at Redis");
        Ok(())
    })
    .await
}
