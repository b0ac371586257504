//! No polling: what a quiet batch costs Redis and the database.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use stack::Stack;

use crate::feed::Feed;

const PING_SECS: u64 = 1;
const INTERVALS: usize = 9;

#[tokio::test]
async fn a_quiet_batch_with_viewers_costs_a_ping_an_interval_and_nothing_else() -> Result<()> {
    let stack = Stack::builder().edge_var("PING_SECS", &PING_SECS.to_string()).start().await?;
    let _feed = Feed::start(&stack, "b-quiet", 4).await?;
    let mut viewers = Vec::new();
    for _ in 0..5 {
        let mut viewer = stack.view("b-quiet").await?;
        viewer.next_of("progress").await?;
        viewers.push(viewer);
    }
    let client = redis::Client::open(stack.redis.url())?;
    let mut lines = client.get_async_monitor().await?.into_on_message::<String>();

    // The first ping begins the watch: by then the room has subscribed and read.
    while !is_ping(&lines.next().await.context("MONITOR ended")?) {}
    let mut commands = Vec::new();
    let watch = Duration::from_secs(PING_SECS) * u32::try_from(INTERVALS)?;
    let reads = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(500));
        loop {
            ticks.tick().await;
            let read = stack.api().read("b-quiet").await?;
            anyhow::ensure!((read.cache.as_str(), read.source.as_str()) == ("HIT", "memory"), "{read:?}");
        }
        #[expect(unreachable_code, reason = "names the type of an endless loop")]
        Ok(())
    };
    let watching = async {
        while let Some(line) = lines.next().await {
            commands.push(line);
        }
    };
    let ended = tokio::time::timeout(watch, async {
        tokio::select! {
            failed = reads => failed,
            () = watching => anyhow::bail!("MONITOR ended"),
        }
    })
    .await;
    if let Ok(result) = ended {
        result?;
    }

    let pings = commands.iter().filter(|line| is_ping(line)).count();
    let others: Vec<&String> = commands.iter().filter(|line| !is_ping(line) && !is_position_read(line)).collect();
    assert!(others.is_empty(), "{others:#?}");
    assert!((INTERVALS - 1..=INTERVALS + 1).contains(&pings), "{pings} pings");
    assert_eq!(stack.origin_reads().await?, 0);
    Ok(())
}

/// A ping is one pipeline: it reads the stored position, then publishes.
fn is_ping(line: &str) -> bool {
    line.contains("\"PUBLISH\" \"batch:b-quiet\"") && line.contains("ping")
}

fn is_position_read(line: &str) -> bool {
    line.contains("\"HMGET\" \"batch:progress:b-quiet\" \"epoch\" \"version\"")
}
