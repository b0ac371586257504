//! The Worker in `workerd` alone, without wrangler: what the table of faults runs on.

use anyhow::{Result, ensure};
use futures::StreamExt as _;
use stack::{End, GUARD, Stack, Tab};

use crate::feed::Feed;

#[tokio::test]
async fn in_workerd_alone_streams_flow_alarms_ring_and_a_restart_is_survived() -> Result<()> {
    let kept = tempfile::tempdir()?;
    let mut stack = Stack::builder().bare().keep_logs(kept.path()).edge_var("PING_SECS", "1").start().await?;
    let mut feed = Feed::start(&stack, "b-bare", 3).await?;
    let tab = Tab::builder(&stack.stream_url("b-bare")).patience_scale(10.0).open();
    tab.until_position(feed.position()?).await?;
    tab.until_position(feed.complete_one().await?).await?;

    // The object's alarm sends the pings.
    let mut channel = redis::Client::open(stack.redis.url())?.get_async_pubsub().await?;
    channel.subscribe("batch:b-bare").await?;
    let ping = tokio::time::timeout(GUARD, channel.on_message().next()).await?;
    ensure!(ping.is_some_and(|ping| ping.get_payload::<String>().is_ok_and(|text| text.contains(r#""type":"ping""#))));

    let memory = stack.edge.resident_bytes()?;
    assert!(memory > 10_000_000, "{memory}");
    stack.edge.restart().await?;
    assert!(stack.edge.log().matches("listen").count() == 2, "both runs are in the log");
    feed.complete_all().await?;
    assert_eq!(tab.until_ended().await?, End::Finished);
    assert_eq!(tab.history().violations, [""; 0]);
    drop(stack);
    assert!(std::fs::read_to_string(kept.path().join("edge.log"))?.contains("room opened"));
    Ok(())
}
