//! Counting by a Redis that is away, takes no writes, or has lost something.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use batchcast_publisher::{BatchState, BatchStatus, Outcome, Position, PublishError, TrackError};
use futures::StreamExt;
use stack::RedisServer;

use crate::{
    eventually,
    states::batch,
    tracker::{connect, held, id, ids, three},
    within,
};

/// Waits until the clock has passed a position, as a batch in its first epoch gives it.
async fn until_later_than(position: Position) {
    let given = UNIX_EPOCH + Duration::from_millis(position.epoch()) + Duration::from_micros(position.version());
    let later = async || (SystemTime::now() > given + Duration::from_millis(1)).then_some(());
    eventually("the clock to go on", later).await;
}

#[tokio::test]
async fn calls_wait_for_an_absent_redis_and_what_it_lost_is_told_with_what_to_do() {
    let (mut server, publisher, tracker) = three().await;
    server.kill();
    let impatient = tracker.clone().patience(Duration::ZERO);
    let impatient = impatient.photo(&id("1")).started().await.unwrap_err();
    assert!(matches!(impatient, TrackError::Publish(PublishError::Unanswered { .. })), "{impatient}");
    let waiting = tokio::spawn({
        let tracker = tracker.clone();
        async move { tracker.photo(&id("1")).started().await }
    });
    let tried = async || (publisher.metrics().unreachable >= 3).then_some(());
    eventually("it tries again", tried).await;
    server.restart().await.unwrap();
    let lost = within("an answer", waiting).await.unwrap().unwrap_err();
    assert!(matches!(lost, TrackError::Unknown(_)), "{lost}");
    assert!(lost.to_string().contains("Declare it by `publisher.tracker(batch, photos)`"), "{lost}");
    publisher.tracker(&batch("a"), &ids(&["1", "2", "3"])).await.unwrap();
    assert_eq!(tracker.photo(&id("1")).started().await.unwrap().outcome, Outcome::Counted);
    let metrics = publisher.metrics();
    assert_eq!((metrics.applied, metrics.unknown), (3, 1));
}

#[tokio::test]
async fn a_cancel_and_a_reopen_are_tried_once() {
    let (mut server, publisher, tracker) = three().await;
    server.kill();
    for call in [tracker.cancel().await, tracker.reopen().await] {
        assert!(matches!(call, Err(TrackError::Publish(PublishError::Unanswered { .. }))), "{call:?}");
    }
    assert_eq!(publisher.metrics().unreachable, 2);
}

#[tokio::test]
async fn a_report_waits_for_a_redis_that_takes_no_writes_for_a_moment() {
    let (server, publisher, tracker) = three().await;
    server.run::<()>(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await.unwrap();
    let impatient = tracker.clone().patience(Duration::ZERO);
    let refused = impatient.photo(&id("1")).started().await.unwrap_err();
    assert!(refused.to_string().contains("NOREPLICAS"), "{refused}");
    let waiting = tokio::spawn(async move { tracker.photo(&id("1")).started().await });
    eventually("it tries again", async || (publisher.metrics().failed >= 3).then_some(())).await;
    server.run::<()>(&["CONFIG", "SET", "min-replicas-to-write", "0"]).await.unwrap();
    assert_eq!(within("it counts", waiting).await.unwrap().unwrap().outcome, Outcome::Counted);
    assert_eq!(publisher.metrics().connections_lost, 0, "the connection is sound");
}

#[tokio::test]
async fn who_has_seen_what_a_failover_lost_still_sees_the_right_end() {
    let server = RedisServer::start().await.unwrap();
    let publisher = connect(&server).await;
    let tracker = publisher.tracker(&batch("a"), &ids(&["1", "2"])).await.unwrap();
    let mut connection = server.connect().await.unwrap();
    let kept: Vec<u8> = redis::cmd("DUMP").arg("batch:progress:a").query_async(&mut connection).await.unwrap();
    let mut states = publisher.watch(&batch("a"));
    for name in ["1", "2"] {
        tracker.photo(&id(name)).started().await.unwrap();
    }
    let lost = tracker.photo(&id("1")).completed(None).await.unwrap().head.position;
    while within("what is lost", states.next()).await.unwrap().position() < lost {}

    // No failover is over sooner.
    until_later_than(lost).await;
    let mut restore = redis::cmd("RESTORE");
    restore.arg("batch:progress:a").arg(0).arg(kept).arg("REPLACE");
    restore.exec_async(&mut connection).await.unwrap();
    tracker.photo(&id("1")).failed("not a JPEG").await.unwrap();
    let end = tracker.photo(&id("2")).completed(None).await.unwrap();
    let seen: Vec<BatchState> = within("the end", states.collect()).await;
    assert_eq!(end.head.status, BatchStatus::Partial);
    assert_eq!(seen.last(), Some(&held(&publisher, &batch("a")).await));
}

#[tokio::test]
async fn work_that_began_before_redis_lost_the_batch_can_fail_in_the_one_declared_anew() {
    let (server, publisher, tracker) = three().await;
    let one = id("1");
    let photo = tracker.photo(&one);
    let began = photo.started().await.unwrap().head.position;
    server.run::<()>(&["FLUSHALL"]).await.unwrap();
    until_later_than(began).await;
    publisher.tracker(&batch("a"), &ids(&["1", "2"])).await.unwrap();
    assert!(held(&publisher, &batch("a")).await.position().epoch() > began.epoch());
    assert_eq!(photo.failed("not a JPEG").await.unwrap().outcome, Outcome::Counted);
}
