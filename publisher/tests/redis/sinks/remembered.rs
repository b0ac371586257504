//! How long Redis remembers what a sink was told, and how far back `resync` looks for what it was not.

use std::time::{Duration, SystemTime};

use batchcast_publisher::{PhotoId, Publisher};
use stack::{GUARD, RedisServer};

use super::Recorder;
use crate::{
    source::Memory,
    states::{EPOCH, batch, changes, position, state},
};

async fn remembered_secs(server: &RedisServer, id: &str) -> i64 {
    server.run(&["TTL", &format!("batch:sink:recorder:{id}")]).await.unwrap()
}

#[tokio::test]
async fn what_is_kept_for_ever_is_remembered_as_long_as_redis_can() {
    let server = RedisServer::start().await.unwrap();
    let sink = Recorder::default();
    let builder = Publisher::builder(server.url()).state_ttl(Duration::MAX).sink(sink.clone());
    let publisher = builder.connect().await.unwrap();
    publisher.publish(changes(&state(&batch("a"), EPOCH, 2, 2), None)).await.unwrap();
    assert_eq!(publisher.close(GUARD).await, [], "Redis took in that it was told");
    assert_eq!(sink.positions(), [position(EPOCH, 2)]);
    let years = remembered_secs(&server, "a").await / (365 * 24 * 60 * 60);
    assert!(years >= 99, "{years}");
}

#[tokio::test]
async fn ends_are_looked_for_as_far_back_as_a_sink_is_tried_and_are_remembered_as_long() {
    let server = RedisServer::start().await.unwrap();
    let (source, sink, id) = (Memory::default(), Recorder::default(), batch("a"));
    source.commit(state(&id, EPOCH, 2, 2));
    let builder = || Publisher::builder(server.url()).source(source.clone()).state_ttl(Duration::from_secs(60));
    let without = builder().connect().await.unwrap();
    let before = SystemTime::now();
    without.resync().await.unwrap();
    assert!(source.asked_since().unwrap() >= before - Duration::from_secs(60), "nobody else has to be told");

    let publisher = builder().sink(sink.clone()).connect().await.unwrap();
    publisher.resync().await.unwrap();
    let tried = super::quick().give_up_after;
    assert!(source.asked_since().unwrap() <= SystemTime::now() - tried);
    sink.is_told(position(EPOCH, 2)).await;
    assert_eq!(publisher.close(GUARD).await, []);
    let ttl = remembered_secs(&server, "a").await;
    assert!(ttl > i64::try_from(tried.as_secs()).unwrap(), "{ttl}");
}

#[tokio::test]
async fn what_was_told_of_a_tracked_batch_is_remembered_longer_than_the_batch() {
    let server = RedisServer::start().await.unwrap();
    let publisher = Publisher::builder(server.url()).sink(Recorder::default()).connect().await.unwrap();
    let (photo, week) = (PhotoId::new("1").unwrap(), Duration::from_secs(7 * 24 * 60 * 60));
    let tracker = publisher.tracker(&batch("a"), [&photo]).ttl(week).await.unwrap();
    tracker.photo(&photo).completed(None).await.unwrap();
    assert_eq!(publisher.close(GUARD).await, []);
    let ttl = remembered_secs(&server, "a").await;
    assert!(ttl > i64::try_from(week.as_secs()).unwrap(), "{ttl}");
}
