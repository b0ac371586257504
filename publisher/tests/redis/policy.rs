//! What the application decides of what is published: what is left out, how long it is kept, where the task runs.

use std::time::Duration;

use batchcast_publisher::{
    BatchState, BatchStatus, Changes, EditError, Json, Photo, PhotoStatus, PublishError, Published, Publisher,
};
use futures::FutureExt as _;
use stack::RedisServer;

use crate::{
    eventually,
    source::Memory,
    states::{EPOCH, batch, changes, state},
};

/// A photo's result is its id, which nobody is to see.
fn with_results(mut changes: Changes) -> Changes {
    for photo in &mut changes.photos {
        photo.result = Json::new(&photo.photo_id).ok();
    }
    changes
}

fn hide(photo: &mut Photo) {
    photo.result = None;
    photo.error = Some("hidden".into());
}

#[tokio::test]
async fn what_is_published_and_what_is_filled_is_redacted() {
    let server = RedisServer::start().await.unwrap();
    let publisher = Publisher::builder(server.url()).redact(hide).connect().await.unwrap();
    let (published, filled) = (batch("published"), batch("filled"));
    publisher.publish(with_results(changes(&state(&published, EPOCH, 2, 3), None))).await.unwrap();
    publisher.publish(with_results(changes(&state(&published, EPOCH, 3, 3), Some(2)))).await.unwrap();
    publisher.cache(&state(&filled, EPOCH, 3, 3), Duration::from_secs(60)).await.unwrap();
    for id in [published, filled] {
        let held = publisher.cached(&id).await.unwrap().unwrap();
        let shown = held.photos().map(|photo| (photo.result.is_none(), photo.error.as_deref(), photo.status));
        assert_eq!(shown.collect::<Vec<_>>(), [(true, Some("hidden"), PhotoStatus::Completed); 3], "{id}");
    }
    let answer = publisher.redacted(state(&batch("a"), EPOCH, 3, 3)).unwrap();
    assert!(answer.photos().all(|photo| photo.error.as_deref() == Some("hidden")));
}

#[tokio::test]
async fn a_batch_is_kept_as_long_as_is_said_of_it() {
    let server = RedisServer::start().await.unwrap();
    let ended_for = |head: &batchcast_publisher::Head| head.status.is_terminal().then_some(Duration::from_secs(60));
    let builder = Publisher::builder(server.url()).state_ttl(Duration::from_secs(1_000)).state_ttl_by(ended_for);
    let (publisher, id) = (builder.connect().await.unwrap(), batch("a"));
    let ttl = async || server.run::<i64>(&["TTL", "batch:progress:a"]).await.unwrap();
    publisher.publish(changes(&state(&id, EPOCH, 1, 2), None)).await.unwrap();
    assert!(ttl().await > 900);
    publisher.publish(changes(&state(&id, EPOCH, 2, 2), Some(1))).await.unwrap();
    assert!((1..=60).contains(&ttl().await));
}

#[tokio::test]
async fn what_the_source_has_is_published_before_the_answer_or_stays_due() {
    let mut server = RedisServer::start().await.unwrap();
    let source = Memory::default();
    source.commit(state(&batch("a"), EPOCH, 2, 3));
    let publisher = Publisher::builder(server.url()).source(source.clone()).connect().await.unwrap();
    assert_eq!(publisher.publish_latest(&batch("a")).await.unwrap(), Published::Applied);
    assert_eq!(publisher.publish_latest(&batch("a")).await.unwrap(), Published::Stale);
    assert_eq!(publisher.cached(&batch("a")).await.unwrap(), Some(state(&batch("a"), EPOCH, 2, 3)));
    let unknown = publisher.publish_latest(&batch("b")).await.unwrap_err();
    assert!(matches!(&unknown, PublishError::Unknown(id) if *id == batch("b")), "{unknown}");

    server.kill();
    source.commit(state(&batch("a"), EPOCH, 3, 3));
    assert!(matches!(publisher.publish_latest(&batch("a")).await, Err(PublishError::Unanswered { .. })));
    server.restart().await.unwrap();
    let held = async || publisher.cached(&batch("a")).await.ok().flatten().filter(BatchState::is_terminal);
    eventually("the background task went on trying", held).await;
}

#[tokio::test]
async fn a_batch_that_lives_in_redis_is_cancelled_and_opened_again_and_no_other() {
    let server = RedisServer::start().await.unwrap();
    let (publisher, id) = (Publisher::builder(server.url()).connect().await.unwrap(), batch("a"));
    assert!(matches!(publisher.reopen(&id).await, Err(EditError::Unknown)));
    publisher.publish(changes(&state(&id, EPOCH, 1, 2), None)).await.unwrap();
    assert!(matches!(publisher.reopen(&id).await, Err(EditError::Open(BatchStatus::Processing))));
    let cancelled = publisher.cancel(&id).await.unwrap();
    assert_eq!(publisher.cached(&id).await.unwrap(), Some(cancelled));
    assert!(matches!(publisher.cancel(&id).await, Err(EditError::Ended(BatchStatus::Cancelled))));
    let open = publisher.reopen(&id).await.unwrap();
    assert!(open.position().epoch() > EPOCH && open.head().counts.queued == 1);
    assert_eq!(publisher.cached(&id).await.unwrap(), Some(open));

    let with_source = Publisher::builder(server.url()).source(Memory::default()).connect().await.unwrap();
    assert!(matches!(with_source.reopen(&id).await, Err(EditError::Source)));
    assert!(matches!(with_source.cancel(&id).await, Err(EditError::Source)));
}

#[test]
fn the_task_runs_on_the_runtime_that_is_given_and_without_one_the_error_says_what_to_do() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(RedisServer::start()).unwrap();
    let source = Memory::default();
    source.commit(state(&batch("a"), EPOCH, 1, 2));
    let builder = || Publisher::builder(server.url()).source(source.clone());
    let refused = builder().connect().now_or_never().unwrap().unwrap_err();
    assert!(refused.to_string().contains(".runtime(handle)"), "{refused}");
    let publisher = builder().runtime(runtime.handle().clone()).connect().now_or_never().unwrap().unwrap();
    publisher.notify(&batch("a"));
    let held = async || publisher.cached(&batch("a")).await.unwrap();
    runtime.block_on(eventually("it is published", held));
}
