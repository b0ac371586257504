//! Cached reads.

use anyhow::{Result, ensure};
use redis::AsyncCommands;
use reqwest::StatusCode;
use stack::{GUARD, Stack, eventually};

use crate::feed::Feed;

#[tokio::test]
async fn ten_reads_in_a_row_are_hits_and_nine_of_them_from_memory() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let _feed = Feed::start(&stack, "b-reads", 8).await?;
    let mut sources = Vec::new();
    for _ in 0..10 {
        let read = stack.api().read("b-reads").await?;
        assert_eq!((read.status, read.cache.as_str()), (StatusCode::OK, "HIT"));
        sources.push(read.source);
    }
    assert!(sources.iter().filter(|source| *source == "memory").count() >= 9, "{sources:?}");
    assert_eq!(stack.origin_reads().await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_read_shows_at_least_what_a_viewer_has_received() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let mut feed = Feed::start(&stack, "b-fresh", 30).await?;
    let mut viewer = stack.view("b-fresh").await?;
    let first = viewer.next_of("progress").await?;
    // Held by the reader's side of the cache before the viewer goes on.
    assert_eq!(stack.api().read("b-fresh").await?.etag, format!("\"{}\"", first.id));
    for _ in 0..29 {
        feed.complete_one().await?;
        let seen = viewer.next_of("progress").await?;
        let read = stack.api().read("b-fresh").await?;
        let (read, seen): (wire::Position, wire::Position) = (read.etag.trim_matches('"').parse()?, seen.id.parse()?);
        assert!(read >= seen, "a read shows {read} after a viewer got {seen}");
    }
    Ok(())
}

#[tokio::test]
async fn an_unchanged_state_is_304_and_no_cache_asks_redis() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let mut feed = Feed::start(&stack, "b-etag", 8).await?;
    let api = stack.api();
    let read = api.read("b-etag").await?;
    assert_eq!(read.etag, format!("\"{}\"", feed.position()?));
    assert_eq!(read.body["position"].as_str(), Some(feed.position()?.to_string().as_str()));
    let unchanged = api.read_if_changed("b-etag", &read.etag).await?;
    assert_eq!((unchanged.status, unchanged.etag), (StatusCode::NOT_MODIFIED, read.etag.clone()));
    feed.complete_one().await?;
    let fresh = api.read_past_memory("b-etag").await?;
    assert_eq!((fresh.source.as_str(), fresh.body["counts"]["completed"].as_u64()), ("redis", Some(1)));
    assert_eq!(api.read_if_changed("b-etag", &read.etag).await?.status, StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn what_redis_lost_comes_from_the_origin_once_and_stands_in_redis_again() -> Result<()> {
    let stack = Stack::builder().edge_var("ACTIVE_TTL_SECS", "0").start().await?;
    let api = stack.api();
    let batch = api.create_batch("project", &[("a.jpg".into(), 3)]).await?;
    let redis = stack.redis_connection().await?;
    let key = format!("batch:progress:{}", batch.batch_id);
    let stored = async || {
        let exists: bool = redis.clone().exists(&key).await?;
        ensure!(exists, "Redis does not hold the batch");
        Ok(())
    };
    // The photo worker publishes after it has answered, and the edge fills Redis after it has.
    eventually(GUARD, stored).await?;
    redis::cmd("FLUSHALL").query_async::<()>(&mut redis.clone()).await?;
    let miss = api.read(&batch.batch_id).await?;
    assert_eq!((miss.cache.as_str(), miss.source.as_str()), ("MISS", "origin"));
    eventually(GUARD, stored).await?;
    let hit = api.read(&batch.batch_id).await?;
    assert_eq!((hit.cache.as_str(), hit.source.as_str()), ("HIT", "redis"));
    assert_eq!((hit.etag, stack.origin_reads().await?), (miss.etag, 1));
    Ok(())
}
