//! From a row to Redis: the source behind a publisher.

use anyhow::Context as _;
use batchcast_publisher::{BatchStatus, Publisher};
use futures::StreamExt as _;
use stack::{GUARD, RedisServer};

use crate::world::{World, batch, done, id, on_both};

on_both!(what_is_committed_arrives_in_redis, what_was_committed_and_never_told_arrives_by_resync);

async fn what_is_committed_arrives_in_redis(world: World) {
    let redis = RedisServer::start().await.unwrap();
    let (source, b) = (world.migrated().await, id("b"));
    let publisher = Publisher::builder(redis.url()).source(source.clone()).connect().await.unwrap();
    let states = publisher.watch(&b);
    let (photos, _) = batch(&source, &b, 30).await;
    publisher.notify(&b);
    for photo in &photos {
        let head = source.step(&b, &done(photo)).await.unwrap().unwrap();
        if head.status.is_terminal() {
            publisher.notify_final(&b);
        } else {
            publisher.notify(&b);
        }
    }
    let states: Vec<_> = tokio::time::timeout(GUARD, states.collect()).await.expect("the batch ends");
    assert!(states.is_sorted_by_key(batchcast_publisher::BatchState::position));
    let end = states.last().unwrap();
    assert_eq!((end.head().status, end.head().counts.completed), (BatchStatus::Completed, 30));
    assert_eq!(end.position().version(), 31);
    assert_eq!(publisher.close(GUARD).await, []);
}

async fn what_was_committed_and_never_told_arrives_by_resync(world: World) {
    let redis = RedisServer::start().await.unwrap();
    let (source, b) = (world.migrated().await, id("b"));
    let (photos, _) = batch(&source, &b, 1).await;
    source.step(&b, &done(&photos[0])).await.unwrap().unwrap();
    let publisher = Publisher::builder(redis.url()).source(source).connect().await.unwrap();
    assert_eq!(publisher.resync().await.unwrap(), 1);
    let cached = async || publisher.cached(&b).await?.context("redis does not hold it");
    let state = stack::eventually(GUARD, cached).await.unwrap();
    assert_eq!(state.head().status, BatchStatus::Completed);
}
