//! What a viewer sees.

use anyhow::{Context, Result};
use reqwest::StatusCode;
use stack::{GUARD, Seen, Stack, Viewer, eventually};
use wire::Position;

use crate::feed::Feed;

fn position(seen: &Seen) -> Result<Position> {
    seen.id.parse().with_context(|| format!("{:?} is no position", seen.id))
}

#[tokio::test]
async fn positions_only_grow_then_comes_one_complete_and_a_return_gets_204() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let mut feed = Feed::start(&stack, "b-order", 12).await?;
    let mut viewer = stack.view("b-order").await?;
    let first = viewer.next().await?.context("no first event")?;
    assert!(viewer.retry().is_some(), "retry comes first");
    assert_eq!((first.event.as_str(), first.data["full"].as_bool()), ("progress", Some(true)));
    feed.complete_all().await?;

    let mut events = vec![first];
    events.extend(viewer.rest().await?);
    let complete = events.pop().context("no events")?;
    let last = events.last().context("no progress")?;
    assert_eq!(complete.event, "complete");
    assert_eq!(position(&complete)?, feed.position()?);
    assert!(last.data.get("position").is_none(), "only complete carries the final position");
    assert_eq!((last.data["progress"].as_u64(), complete.data["progress"].as_u64()), (Some(100), Some(100)));
    assert!(events.iter().all(|seen| seen.event == "progress"));
    for pair in events[..events.len() - 1].windows(2) {
        assert!(position(&pair[0])? < position(&pair[1])?);
    }
    for pair in events.windows(2) {
        assert!(pair[0].data["progress"].as_u64() <= pair[1].data["progress"].as_u64());
    }

    let url = stack.stream_url("b-order");
    assert_eq!(Viewer::answer(&url, Some(&complete.id)).await?.status(), StatusCode::NO_CONTENT);
    let newcomer = stack.view("b-order").await?.rest().await?;
    let names: Vec<&str> = newcomer.iter().map(|seen| seen.event.as_str()).collect();
    assert_eq!(names, ["progress", "complete"]);
    assert_eq!(stack.redis_subscribers("b-order").await?, 0, "an ended batch needs no subscription");
    Ok(())
}

#[tokio::test]
async fn an_update_of_one_photo_of_500_sends_that_photo_and_a_return_what_was_missed() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let mut feed = Feed::start(&stack, "b-500", 500).await?;
    let photos = |seen: &Seen| seen.data["photos"].as_array().map_or(0, Vec::len);
    let mut viewer = stack.view("b-500").await?;
    let first = viewer.next_of("progress").await?;
    assert_eq!(photos(&first), 500);
    feed.complete_one().await?;
    let second = viewer.next_of("progress").await?;
    assert_eq!(photos(&second), 1);
    drop(viewer);

    for _ in 0..3 {
        feed.complete_one().await?;
    }
    let mut back = Viewer::resume(&stack.stream_url("b-500"), &second.id).await?;
    let mut missed = 0;
    loop {
        let seen = back.next_of("progress").await?;
        assert!(seen.data.get("full").is_none());
        missed += photos(&seen);
        if position(&seen)? == feed.position()? {
            break;
        }
    }
    assert_eq!(missed, 3);
    for elsewhere in ["1-1", "nonsense"] {
        let mut stranger = Viewer::resume(&stack.stream_url("b-500"), elsewhere).await?;
        assert_eq!(photos(&stranger.next_of("progress").await?), 500, "{elsewhere}");
    }
    Ok(())
}

#[tokio::test]
async fn a_message_that_is_not_ours_is_counted_and_harms_nothing() -> Result<()> {
    let stack = Stack::builder().edge_var("LINGER_SECS", "0").edge_var("KEEPALIVE_SECS", "1").start().await?;
    let mut feed = Feed::start(&stack, "b-foreign", 2).await?;
    let mut viewer = stack.view("b-foreign").await?;
    viewer.next_of("progress").await?;
    eventually(GUARD, async || {
        anyhow::ensure!(stack.redis_subscribers("b-foreign").await? == 1, "not subscribed yet");
        Ok(())
    })
    .await?;
    let mut redis = stack.redis_connection().await?;
    let large = "x".repeat(300 * 1024);
    for payload in ["hello", "{}", "a\nb", r#"{"v":9,"type":"changes"}"#, &large] {
        redis::cmd("PUBLISH").arg("batch:b-foreign").arg(payload).query_async::<i64>(&mut redis).await?;
    }
    let last = feed.announce_one(&mut redis).await?;
    while position(&viewer.next_of("progress").await?)? != last {}
    // The room closes once the next keep-alive finds nobody, and tells what it has counted.
    drop(viewer);

    let series = "batchcast_pubsub_messages_total{outcome=\"unknown\"}";
    let counted: f64 = eventually(GUARD, async || {
        let value: Option<f64> =
            redis::cmd("HGET").arg("batchcast:metrics").arg(series).query_async(&mut redis.clone()).await?;
        value.context("not told yet")
    })
    .await?;
    assert_eq!(counted, 5.0);
    Ok(())
}

#[tokio::test]
async fn a_quiet_stream_is_kept_alive_by_comments() -> Result<()> {
    let stack = Stack::builder().edge_var("KEEPALIVE_SECS", "1").start().await?;
    let mut feed = Feed::start(&stack, "b-alive", 2).await?;
    let mut viewer = stack.view("b-alive").await?;
    viewer.next_of("progress").await?;
    while viewer.comments().len() < 2 {
        viewer.advance().await?;
    }
    feed.complete_one().await?;
    viewer.next_of("progress").await?;
    Ok(())
}
