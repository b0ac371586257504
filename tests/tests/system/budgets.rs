//! What a batch may cost, held without a clock: commands, messages, bytes.

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use stack::{Stack, Tab};

use crate::feed::Feed;

const UPDATES: u32 = 60;

/// A room subscribes and reads the hash, which may fall into the time that is counted or before it.
const ROOM: u64 = 2;

/// What one batch came to, from its first update to its end.
struct Cost {
    redis_calls: u64,
    /// Of one viewer, from its first byte to its last.
    bytes: u64,
}

/// Runs a batch of so many photos, each of which changes once, before so many viewers.
async fn cost(viewers: usize, photos: u32) -> Result<Cost> {
    let builder = Stack::builder().bare().edge_var("PING_SECS", "3600").edge_var("LINGER_SECS", "0");
    let stack = builder.edge_var("ORIGIN_URL", "").start().await?;
    let mut feed = Feed::start(&stack, "b-cost", photos).await?;
    let url = stack.stream_url("b-cost");
    let tabs: Vec<Tab> = (0..viewers).map(|_| Tab::open(&url)).collect();
    let position = feed.position()?;
    try_join_all(tabs.iter().map(|tab| tab.until_position(position))).await?;
    let before = calls(&stack).await?;
    for _ in 1..photos {
        // One update after the other: none is merged with the next.
        let position = feed.complete_one().await?;
        tabs[0].until_position(position).await?;
    }
    let redis_calls = calls(&stack).await? - before;
    feed.complete_all().await?;
    try_join_all(tabs.iter().map(Tab::until_ended)).await?;
    let bytes = tabs[0].history().bytes;
    Ok(Cost { redis_calls, bytes })
}

/// How many commands a batch has caused at Redis, those of scripts among them.
async fn calls(stack: &Stack) -> Result<u64> {
    let mut connection = stack.redis_connection().await?;
    let stats: String = redis::cmd("INFO").arg("commandstats").query_async(&mut connection).await?;
    let counted = ["evalsha", "type", "hmget", "hset", "expire", "publish", "hgetall", "subscribe", "del"];
    let of = |line: &&str| counted.iter().any(|name| line.starts_with(&format!("cmdstat_{name}:")));
    let calls = stats.lines().filter(of);
    Ok(calls.filter_map(|line| line.split_once(":calls=")?.1.split_once(',')?.0.parse::<u64>().ok()).sum())
}

#[tokio::test]
async fn a_batch_costs_redis_the_same_for_fifty_viewers_as_for_one() -> Result<()> {
    let (one, fifty) = (cost(1, UPDATES).await?, cost(50, UPDATES).await?);
    let apart = one.redis_calls.abs_diff(fifty.redis_calls);
    ensure!(apart <= ROOM, "{} and {} commands", one.redis_calls, fifty.redis_calls);
    // An update is one script, and six commands in it.
    let updates = u64::from(UPDATES) - 1;
    ensure!(one.redis_calls <= 7 * updates + ROOM, "{} commands for {updates} updates", one.redis_calls);
    Ok(())
}

#[tokio::test]
async fn a_viewer_is_sent_bytes_in_proportion_to_the_photos() -> Result<()> {
    let (few, many) = (cost(1, 40).await?, cost(1, 160).await?);
    let growth = many.bytes as f64 / few.bytes as f64;
    // Four times the photos; whole states in each update would be sixteen times the bytes.
    ensure!(growth < 4.5, "{} bytes for 40 photos, {} for 160", few.bytes, many.bytes);
    Ok(())
}
