//! A subscription that is dead without a sound: what Redis publishes disappears, and nobody is told.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fault_proxy::{Direction, Proxy};
use stack::{Stack, Tab, Tabs};
use wire::Position;

use super::{PING_ANSWER, SLACK, until};
use crate::context::Ctx;
use crate::feed::Feed;

const PING: Duration = Duration::from_secs(3);

pub(super) async fn bytes_swallowed(ctx: Ctx) -> Result<()> {
    let plan = ctx.stack().edge_var("PING_SECS", &PING.as_secs().to_string()).plan()?;
    let proxy = ctx.proxy(plan.gateway()).await?;
    let stack = plan.edge_gateway(proxy.address()).start().await?;
    let feed = Feed::start(&stack, "b-half-open", 20).await?;
    let tabs = Tabs::open(20, &Tab::builder(&stack.stream_url(feed.id())));
    tabs.until_position(feed.position()?).await?;
    subscribed(&stack, feed.id(), 1).await?;
    tabs.until_position(feed.complete_one().await?).await?;

    let swallowed = swallow(&proxy)?;
    let missed = feed.complete(5).await?;
    let fresh = tabs.until_position(missed).await?;
    let live = tabs.until_event("upstream", "live").await?;
    let stale = tabs.until_event("upstream", "stale").await?;
    ensure!(proxy.swallowed() > 0, "the subscription was quiet anyway");
    tabs.iter().try_for_each(|tab| told_in_order(tab, missed))?;
    ctx.time("viewers told `stale` after", stale - swallowed);
    ctx.time("everything missed is shown after", fresh - swallowed);
    ctx.time("promised: one ping and its answer time", PING + PING_ANSWER);
    within(live - swallowed, "viewers were told that it is live")?;
    subscribed(&stack, feed.id(), 1).await?;

    // The same with the end: nothing that follows could tell of it.
    let swallowed = swallow(&proxy)?;
    let bytes = proxy.swallowed();
    feed.complete_all().await?;
    let ended = tabs.until_event("complete", "").await?;
    ensure!(proxy.swallowed() > bytes, "the end was not swallowed");
    ctx.time("the swallowed end is shown after", ended - swallowed);
    within(ended - swallowed, "the end was shown")?;
    tabs.until_finished().await?;

    let finals = tabs.iter().filter(|tab| tab.history().position() == feed.position().ok()).count();
    ensure!(finals == tabs.len(), "{finals} of {} tabs show the last position", tabs.len());
    let connects = tabs.sum(|history| history.connects.len() as u64);
    ctx.figure("connections a viewer, the one answered with 204 included", connects / tabs.len() as u64);
    ensure!(connects == 2 * tabs.len() as u64, "{connects} connections of {} tabs", tabs.len());
    subscribed(&stack, feed.id(), 0).await?;
    tabs.check()
}

/// Lets everything disappear that the gateway sends to subscriptions, from now on. Requests, pings among them, still
/// work.
fn swallow(proxy: &Proxy) -> Result<Instant> {
    ensure!(proxy.swallow_matching(Direction::ToClient, b"/subscribe/") > 0, "no subscription to swallow");
    Ok(Instant::now())
}

/// A tab is told that it may be behind before it is shown what it missed, and only then that it no longer is.
fn told_in_order(tab: &Tab, missed: Position) -> Result<()> {
    let history = tab.history();
    let at = [history.first("upstream", "stale"), history.reached(missed), history.first("upstream", "live")];
    ensure!(at.is_sorted() && at[0].is_some(), "not told in order: {}", *history);
    Ok(())
}

fn within(took: Duration, what: &str) -> Result<()> {
    ensure!(took <= PING + PING_ANSWER + SLACK, "{what} only after {took:?}");
    Ok(())
}

/// The gateway holds so many subscriptions: a dead one is given up, not left behind.
async fn subscribed(stack: &Stack, id: &str, expected: u64) -> Result<()> {
    until("another number of subscriptions", async || Ok(stack.gateway_subscribers(id).await? == expected)).await
}
