//! Messages that are lost, doubled and out of order on their way from Redis to the gateway.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fault_proxy::{MessageFaults, PayloadTest};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use stack::{Tab, Tabs};
use wire::Message;

use super::{PING_ANSWER, SLACK, figures_of_edge_at_rest, until};
use crate::context::Ctx;
use crate::feed::Feed;
use crate::figures::Figures;

const PING: Duration = Duration::from_secs(2);
const PHOTOS: usize = 300;
/// Between two updates: the network is disturbed for seconds, not for one burst that a single read makes good.
const PACE: Duration = Duration::from_millis(10);
/// Reads that no disturbed message explains: of those who come back after the end, when the room is gone.
const OTHER_READS: f64 = 3.0;

pub(super) async fn messages_disturbed(ctx: Ctx) -> Result<()> {
    let seed = rand::random();
    println!("row  8  the seed is {seed}");
    let plan = ctx.stack().edge_var("PING_SECS", &PING.as_secs().to_string()).plan()?;
    let proxy = ctx.proxy(plan.redis()).await?;
    let stack = plan.gateway_redis(proxy.address()).start().await?;
    let feed = Feed::start(&stack, "b-disturbed", PHOTOS).await?;
    let tabs = Tabs::open(10, &Tab::builder(&stack.stream_url(feed.id())));
    tabs.until_position(feed.position()?).await?;
    tabs.until_position(feed.begin_one().await?).await?;

    let ends_lost = Arc::new(AtomicU64::new(0));
    let drop_if = Some(losses(seed, &ends_lost));
    proxy.messages(MessageFaults { seed, drop: 0.0, drop_if, duplicate: 0.2, reorder: 0.3 });
    let before = Figures::of_redis_calls(&stack).await?;
    while feed.left() > 1 {
        feed.complete_one().await?;
        tokio::time::sleep(PACE).await;
    }
    // All before the end has come through, one way or the other: only a ping can tell that there was more.
    let begun = Instant::now();
    let caught_up = tabs.until_position(feed.position()?).await?.saturating_duration_since(begun);
    until("nobody listens", async || Ok(stack.gateway_subscribers(feed.id()).await? == 1)).await?;
    feed.complete_one().await?;
    let published = Instant::now();
    let ended = tabs.until_event("complete", "").await?;
    tabs.until_finished().await?;
    let calls = Figures::of_redis_calls(&stack).await?.since(&before);
    let (lost, doubled, mixed) = (proxy.dropped(), proxy.duplicated(), proxy.reordered());

    let took = ended.saturating_duration_since(published);
    ctx.figure("seed", seed);
    ctx.figure("messages lost, doubled, overtaken", format!("{lost}, {doubled}, {mixed}"));
    ctx.time("final state after the last update, of which no message came", took);
    ctx.time("promised: one ping, and its answer time if it is lost itself", PING + PING_ANSWER);
    ensure!(caught_up <= PING + PING_ANSWER + SLACK, "the state before the end came only after {caught_up:?}");
    ensure!(took <= PING + PING_ANSWER + SLACK, "the final state came only after {took:?}");
    ensure!(ends_lost.load(Ordering::Relaxed) > 0, "the last message was not lost");
    let some = PHOTOS as u64 / 20;
    ensure!(lost > some && doubled > some && mixed > some, "hardly disturbed: {lost}, {doubled}, {mixed}");
    let finals = tabs.iter().filter(|tab| tab.history().position() == feed.position().ok()).count();
    ensure!(finals == tabs.len(), "{finals} of {} tabs show the last position", tabs.len());

    // Every read makes good at least one lost or overtaken message, or follows upon a new subscription.
    let edge = figures_of_edge_at_rest(&stack).await?;
    let gaps = edge.get(wire::metrics::GAPS);
    let reconnects = edge.get(wire::metrics::UPSTREAM_RECONNECTS);
    let reads = calls.get("hgetall");
    ctx.figure("gaps counted", gaps);
    ctx.figure("reads of the hash", reads);
    ctx.figure("subscriptions opened again, for lost pings", reconnects);
    ensure!(gaps >= 1.0, "no gap was counted");
    let explained = lost as f64 + mixed as f64 + reconnects + OTHER_READS;
    ensure!(reads <= explained, "{reads} reads of the hash where {explained} can be explained");
    tabs.check()
}

/// Loses every fifth message, and the one that ends the batch, always; `ends` counts those.
fn losses(seed: u64, ends: &Arc<AtomicU64>) -> PayloadTest {
    let (random, ends) = (Mutex::new(StdRng::seed_from_u64(seed)), Arc::clone(ends));
    Arc::new(move |payload| {
        let end = matches!(Message::parse(payload), Message::Changes(news) if news.head.status.is_terminal());
        ends.fetch_add(u64::from(end), Ordering::Relaxed);
        end || random.lock().unwrap_or_else(PoisonError::into_inner).random_bool(0.2)
    })
}
