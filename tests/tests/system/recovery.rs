//! Parts come in any order.

use anyhow::{Result, ensure};
use stack::{GUARD, Stack, eventually};

use crate::feed::Feed;

#[tokio::test]
async fn redis_away_is_said_by_readyz_and_everything_recovers_by_itself() -> Result<()> {
    let mut stack = Stack::builder().edge_var("PING_SECS", "1").start().await?;
    stack.redis.kill();
    let ready = async |stack: &Stack, status: u16| {
        let answer = stack.api().get("/readyz").await?;
        ensure!(answer.status().as_u16() == status, "readyz answers {}", answer.status());
        Ok(answer.text().await?)
    };
    let words = eventually(GUARD, async || ready(&stack, 503).await).await?;
    assert!(words.contains("Redis"), "{words}");

    // The photo worker keeps what it could not publish; readers get it from there.
    let batch = stack.api().create_batch("project", &[("a.jpg".into(), 3)]).await?;
    assert_eq!(stack.api().read(&batch.batch_id).await?.source, "origin");
    let mut viewer = stack.view(&batch.batch_id).await?;
    viewer.next_of("progress").await?;

    stack.redis.start().await?;
    eventually(GUARD, async || ready(&stack, 200).await).await?;
    stack.api().upload("project", &batch.batch_id, &batch.photo_ids[0], "a.jpg", b"not".to_vec()).await?;
    let events = viewer.rest().await?;
    assert_eq!(events.last().map(|seen| seen.event.as_str()), Some("complete"));
    Ok(())
}

#[tokio::test]
async fn a_gateway_that_restarts_is_subscribed_to_again_and_nothing_is_missed() -> Result<()> {
    let mut stack = Stack::builder().edge_var("PING_SECS", "1").start().await?;
    let mut feed = Feed::start(&stack, "b-gateway", 5).await?;
    let mut viewer = stack.view("b-gateway").await?;
    viewer.next_of("progress").await?;
    stack.gateway.kill();
    feed.complete_one().await?;
    stack.gateway.start().await?;
    feed.complete_all().await?;
    let events = viewer.rest().await?;
    assert_eq!(events.iter().filter(|seen| seen.event == "complete").count(), 1);
    assert_eq!(events.last().map(|seen| seen.id.clone()), Some(feed.position()?.to_string()));
    Ok(())
}
