//! The background task in fair weather: coalescing, the last state, closing.

use std::time::Duration;

use batchcast_publisher::{PublishError, Publisher};
use futures::StreamExt;
use stack::{GUARD, RedisServer};

use crate::{
    eventually,
    source::Memory,
    states::{EPOCH, batch, state},
    within,
};

#[tokio::test]
async fn a_burst_of_notifications_is_few_updates_and_the_last_state_always_leaves() {
    let server = RedisServer::start().await.unwrap();
    let (source, id) = (Memory::default(), batch("a"));
    let publisher = Publisher::builder(server.url()).source(source.clone()).connect().await.unwrap();
    for version in 1..=1_000 {
        source.commit(state(&id, EPOCH, version, 1_001));
        publisher.notify(&id);
        if version % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let last = state(&id, EPOCH, 1_000, 1_001);
    eventually("the last state arrives", async || publisher.cached(&id).await.unwrap().filter(|s| *s == last)).await;
    let undelivered = publisher.close(GUARD).await;
    let metrics = publisher.metrics();
    assert_eq!((undelivered, metrics.notifies), (vec![], 1_000));
    assert!(metrics.applied < 100, "1,000 notifications made {} updates", metrics.applied);
    assert_eq!(metrics.lag.counts.iter().sum::<u64>(), metrics.applied, "each has its lag");
    assert!(source.reads() < 100);
}

#[tokio::test]
async fn a_final_notify_leaves_without_the_pause() {
    let server = RedisServer::start().await.unwrap();
    let (source, id) = (Memory::default(), batch("a"));
    // A pause longer than the guard: only a send that skips it can arrive.
    let builder = Publisher::builder(server.url()).source(source.clone()).coalesce(GUARD * 10);
    let publisher = builder.connect().await.unwrap();
    let mut states = publisher.watch(&id);
    source.commit(state(&id, EPOCH, 1, 2));
    publisher.notify(&id);
    assert_eq!(within("the first", states.next()).await, Some(state(&id, EPOCH, 1, 2)));
    source.commit(state(&id, EPOCH, 2, 2));
    publisher.notify_final(&id);
    assert_eq!(within("the last", states.next()).await, Some(state(&id, EPOCH, 2, 2)));
    assert_eq!(within("the end", states.next()).await, None);
}

#[tokio::test]
async fn closing_sends_what_waits() {
    let server = RedisServer::start().await.unwrap();
    let (source, id) = (Memory::default(), batch("a"));
    let builder = Publisher::builder(server.url()).source(source.clone()).coalesce(GUARD * 10);
    let publisher = builder.connect().await.unwrap();
    source.commit(state(&id, EPOCH, 1, 3));
    publisher.notify(&id);
    eventually("the first arrives", async || publisher.cached(&id).await.unwrap()).await;
    source.commit(state(&id, EPOCH, 2, 3));
    publisher.notify(&id);
    assert_eq!(publisher.close(GUARD).await, []);
    assert_eq!(publisher.cached(&id).await.unwrap(), Some(state(&id, EPOCH, 2, 3)));
    publisher.notify(&id);
    assert_eq!(publisher.close(GUARD).await, [], "closing twice is no error");
}

#[tokio::test]
async fn the_longest_times_are_for_ever_and_no_overflow() {
    let server = RedisServer::start().await.unwrap();
    let (source, id) = (Memory::default(), batch("a"));
    let builder = Publisher::builder(server.url()).source(source.clone()).coalesce(Duration::MAX);
    let builder = builder.connection_timeout(Duration::MAX).response_timeout(Duration::MAX);
    let publisher = builder.connect().await.unwrap();
    let mut states = publisher.watch(&id);
    source.commit(state(&id, EPOCH, 1, 3));
    publisher.notify(&id);
    assert_eq!(within("the first", states.next()).await, Some(state(&id, EPOCH, 1, 3)));
    source.commit(state(&id, EPOCH, 2, 3));
    publisher.notify(&id);
    assert_eq!(within("closing", publisher.close(Duration::MAX)).await, []);
    assert_eq!(within("the second", states.next()).await, Some(state(&id, EPOCH, 2, 3)));
}

#[tokio::test]
async fn an_unchanged_source_sends_nothing() {
    let server = RedisServer::start().await.unwrap();
    let (source, id) = (Memory::default(), batch("a"));
    source.commit(state(&id, EPOCH, 1, 3));
    let builder = Publisher::builder(server.url()).source(source.clone()).coalesce(Duration::ZERO);
    let publisher = builder.connect().await.unwrap();
    publisher.notify(&id);
    eventually("the first arrives", async || publisher.cached(&id).await.unwrap()).await;
    eventually("it is acknowledged", async || (publisher.metrics().backlog == 0).then_some(())).await;
    publisher.notify(&id);
    eventually("the source was asked", async || (publisher.metrics().unchanged == 1).then_some(())).await;
    assert_eq!(publisher.metrics().applied, 1);
}

#[tokio::test]
async fn resync_publishes_what_the_source_calls_unsettled() {
    let server = RedisServer::start().await.unwrap();
    let source = Memory::default();
    let states = [state(&batch("open"), EPOCH, 1, 3), state(&batch("ended"), EPOCH, 3, 3)];
    states.iter().for_each(|state| source.commit(state.clone()));
    let publisher = Publisher::builder(server.url()).source(source).connect().await.unwrap();
    assert_eq!(publisher.resync().await.unwrap(), 2);
    for state in states {
        let id = &state.head().batch_id;
        eventually("it arrives", async || publisher.cached(id).await.unwrap().filter(|held| *held == state)).await;
    }
}

#[tokio::test]
async fn a_failing_source_is_asked_again() {
    let server = RedisServer::start().await.unwrap();
    let (source, id) = (Memory::default(), batch("a"));
    source.commit(state(&id, EPOCH, 1, 3));
    source.fail(2);
    let publisher = Publisher::builder(server.url()).source(source).connect().await.unwrap();
    publisher.notify(&id);
    eventually("it arrives", async || publisher.cached(&id).await.unwrap()).await;
    assert_eq!(publisher.metrics().failed, 2);
}

#[tokio::test]
async fn a_wrong_setting_is_named_and_a_password_never() {
    for (url, prefix) in [("http://user:secret@x", ""), ("redis://localhost", "{eu}"), ("nonsense", "")] {
        let error = Publisher::builder(url).key_prefix(prefix).connect().await.unwrap_err();
        assert!(matches!(error, PublishError::Config { .. }), "{error:?}");
        assert!(!format!("{error:?}{error}").contains("secret"), "{error:?}");
    }
    let unsourced = Publisher::builder("redis://localhost").connect().await.unwrap();
    assert!(matches!(unsourced.resync().await, Err(PublishError::NoSource)));
}
