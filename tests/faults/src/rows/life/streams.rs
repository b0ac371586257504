//! Streams come and go in numbers, and nothing of them stays.

use anyhow::{Context as _, Result, bail, ensure};
use futures::future::try_join_all;
use redis::AsyncCommands as _;
use stack::{GUARD, Stack, Tab, Tabs, eventually};

use super::heap::{Heap, Usage};
use super::sockets;
use crate::context::Ctx;
use crate::feed::Feed;
use crate::figures::Figures;

/// Before what is measured: code is compiled, pools of connections fill.
const WARM_UP: usize = 4;
const ROUNDS: usize = 10;
/// Streams of a round that their clients leave, all of one batch that goes on.
const LEFT: usize = 100;
/// Batches that end in a round, and the streams of each, which the server ends.
const ENDING: usize = 5;
const ENDED: usize = 20;

/// What the rounds may leave behind: less than one closure a stream would be, which takes some hundred bytes.
const HEAP_GROWTH: u64 = 256 * 1024;
/// Pages are taken and kept by malloc, too.
const RESIDENT_GROWTH: u64 = 8 * 1024 * 1024;
/// Connections to the gateway that are kept for the next request.
const POOLED: usize = 16;

pub(crate) async fn opened_and_ended(ctx: Ctx) -> Result<()> {
    let settings = [("KEEPALIVE_SECS", "1"), ("LINGER_SECS", "1")];
    let builder = settings.iter().fold(ctx.stack(), |builder, (name, value)| builder.edge_var(name, value));
    let (stack, mut heap) = Heap::start(builder).await?;
    let going_on = Feed::start(&stack, "b-goes-on", 2).await?;
    let ending = try_join_all((0..ENDING).map(async |n| Feed::start(&stack, &format!("b-ends-{n}"), 1).await)).await?;
    // It keeps the object of the batch that goes on alive, and the connection count from being zero by accident.
    let warden = Tab::open(&stack.stream_url(going_on.id()));
    warden.until_position(going_on.position()?).await?;

    let mut measured = Vec::new();
    for round in 0..WARM_UP + ROUNDS {
        left_by_clients(&stack, &going_on).await?;
        ended_by_the_server(&stack, &ending).await?;
        nothing_is_left(&stack, 1).await.with_context(|| format!("after round {round}"))?;
        measured.push((heap.collect(&stack).await?, sockets::all_of_edge(&stack)?));
    }
    flat(&ctx, &measured[WARM_UP - 1..])?;

    warden.close();
    nothing_is_left(&stack, 0).await.context("after the last viewer")?;
    ctx.figure("rooms opened and closed", stack.edge.log().matches("room closed").count());
    ensure!(warden.history().violations.is_empty(), "{}", *warden.history());
    Ok(())
}

/// Compares what a round left, from the end of the warm-up on: memory, and the number of sockets.
fn flat(ctx: &Ctx, rounds: &[(Usage, usize)]) -> Result<()> {
    let [(first, sockets_first), .., (last, sockets_last)] = rounds else { bail!("too few rounds") };
    let resident: Vec<String> =
        rounds.iter().map(|(usage, _)| format!("{:.1}", usage.resident as f64 / 1_048_576.0)).collect();
    ctx.figure("workerd's resident memory after the warm-up and after each 200 streams, MiB", resident.join(", "));
    ctx.bytes("JavaScript's heap before", first.objects);
    ctx.bytes("after 2,000 streams", last.objects);
    let grown = last.objects.saturating_sub(first.objects);
    ensure!(grown < HEAP_GROWTH, "the heap has grown by {grown} bytes: {rounds:#?}");
    let grown = last.resident.saturating_sub(first.resident);
    ensure!(grown < RESIDENT_GROWTH, "resident memory has grown by {grown} bytes: {rounds:#?}");
    ensure!(*sockets_last <= sockets_first + POOLED, "from {sockets_first} to {sockets_last} sockets");
    Ok(())
}

async fn left_by_clients(stack: &Stack, feed: &Feed) -> Result<()> {
    let tabs = Tabs::open(LEFT, &Tab::builder(&stack.stream_url(feed.id())));
    tabs.until_position(feed.position()?).await?;
    tabs.iter().for_each(Tab::close);
    tabs.until("being closed", |history| history.end.is_some()).await?;
    tabs.check()
}

async fn ended_by_the_server(stack: &Stack, feeds: &[Feed]) -> Result<()> {
    let end = async |feed: &Feed| {
        feed.reopen().await?;
        let tabs = Tabs::open(ENDED, &Tab::builder(&stack.stream_url(feed.id())).patience_scale(20.0));
        tabs.until_position(feed.position()?).await?;
        feed.complete_all().await?;
        tabs.until_finished().await?;
        tabs.check()
    };
    try_join_all(feeds.iter().map(end)).await?;
    Ok(())
}

/// All that is open is what `watched` batches with one viewer each need. A room is told in the log when it closes, and
/// then its object tells how many writers it has, unless it has none.
async fn nothing_is_left(stack: &Stack, watched: usize) -> Result<()> {
    eventually(GUARD, async || {
        let connections = sockets::held_by_edge(stack)?;
        ensure!(connections == watched, "{connections} viewers' connections");
        let log = stack.edge.log();
        let rooms = log.matches("room opened").count() - log.matches("room closed").count();
        ensure!(rooms == watched, "{rooms} rooms");
        let at_gateway = Figures::of_gateway(stack).await?.get("batchcast_gateway_subscriptions");
        let mut redis = stack.redis_connection().await?;
        let channels: Vec<String> = redis::cmd("PUBSUB").arg("CHANNELS").query_async(&mut redis).await?;
        let subscriptions = (at_gateway as usize, channels.len());
        ensure!(subscriptions == (watched, watched), "subscriptions at the gateway, at Redis: {subscriptions:?}");
        let told: Vec<String> = redis.hkeys("batchcast:metrics").await?;
        let gauges = told.iter().filter(|name| name.starts_with("gauge:")).count();
        ensure!(gauges <= watched, "{gauges} objects with rooms or writers");
        Ok(())
    })
    .await
}
