//! One subscription for any number of viewers.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use stack::{GUARD, Stack, eventually};

use crate::feed::Feed;

const VIEWERS: usize = 200;

/// Leaving is noticed at the next write at the latest, and a room lingers after that.
const UNTIL_GONE: Duration = Duration::from_secs(60);

async fn counts(stack: &Stack, batch: &str) -> Result<(u64, u64)> {
    Ok((stack.redis_subscribers(batch).await?, stack.gateway_subscribers(batch).await?))
}

#[tokio::test]
async fn two_hundred_viewers_share_one_subscription_and_leave_none() -> Result<()> {
    let stack = Stack::builder().edge_var("KEEPALIVE_SECS", "2").edge_var("LINGER_SECS", "1").start().await?;
    let mut feed = Feed::start(&stack, "b-many", 10).await?;
    let mut viewers = try_join_all((0..VIEWERS).map(|_| stack.view("b-many"))).await?;
    for viewer in &mut viewers {
        viewer.next_of("progress").await?;
    }
    eventually(GUARD, async || {
        let counts = counts(&stack, "b-many").await?;
        ensure!(counts == (1, 1), "{counts:?}");
        Ok(())
    })
    .await?;
    // Not one too many either while everyone is being served.
    let latest = feed.complete_one().await?.to_string();
    for viewer in &mut viewers {
        while viewer.next_of("progress").await?.id != latest {}
    }
    assert_eq!(counts(&stack, "b-many").await?, (1, 1));

    drop(viewers);
    eventually(UNTIL_GONE, async || {
        let counts = counts(&stack, "b-many").await?;
        ensure!(counts == (0, 0), "{counts:?}");
        Ok(())
    })
    .await
}
