//! The publisher while Redis comes, goes, and forgets.

use std::time::Duration;

use batchcast_publisher::{PublishError, Publisher};
use futures::StreamExt;
use stack::RedisServer;

use crate::{
    eventually,
    source::Memory,
    states::{EPOCH, batch, changes, state},
    within,
};

async fn publisher(server: &RedisServer, source: &Memory) -> Publisher {
    Publisher::builder(server.url()).source(source.clone()).connect().await.unwrap()
}

async fn holds(publisher: &Publisher, state: batchcast_publisher::BatchState) {
    let id = &state.head().batch_id;
    let held = async || publisher.cached(id).await.ok().flatten().filter(|held| *held == state);
    eventually("redis holds the state", held).await;
}

#[tokio::test]
async fn redis_may_come_up_after_the_publisher() {
    let mut server = RedisServer::stopped().unwrap();
    let (source, id) = (Memory::default(), batch("a"));
    let publisher = publisher(&server, &source).await;
    source.commit(state(&id, EPOCH, 1, 3));
    publisher.notify(&id);
    eventually("it was tried", async || (publisher.metrics().unreachable > 0).then_some(())).await;
    let explicit = publisher.publish(changes(&state(&id, EPOCH, 1, 3), None)).await;
    assert!(matches!(explicit, Err(PublishError::Unanswered { .. })), "{explicit:?}");
    source.commit(state(&id, EPOCH, 2, 3));
    publisher.notify(&id);
    server.restart().await.unwrap();
    holds(&publisher, state(&id, EPOCH, 2, 3)).await;
}

#[tokio::test]
async fn closing_while_redis_is_away_names_what_was_not_delivered() {
    let server = RedisServer::stopped().unwrap();
    let source = Memory::default();
    let publisher = publisher(&server, &source).await;
    for name in ["b", "a"] {
        source.commit(state(&batch(name), EPOCH, 1, 3));
        publisher.notify(&batch(name));
    }
    assert_eq!(publisher.close(Duration::from_millis(300)).await, [batch("a"), batch("b")]);
}

#[tokio::test]
async fn an_emptied_redis_gets_the_whole_state_with_the_next_update() {
    let mut server = RedisServer::start().await.unwrap();
    let (source, id) = (Memory::default(), batch("a"));
    let publisher = publisher(&server, &source).await;
    source.commit(state(&id, EPOCH, 1, 4));
    publisher.notify(&id);
    holds(&publisher, state(&id, EPOCH, 1, 4)).await;
    server.restart().await.unwrap();
    source.commit(state(&id, EPOCH, 2, 4));
    publisher.notify(&id);
    holds(&publisher, state(&id, EPOCH, 2, 4)).await;
    assert!(publisher.metrics().needs_full >= 1);
}

#[tokio::test]
async fn what_was_sent_lately_is_sent_again_after_a_loss_without_any_notify() {
    let mut server = RedisServer::start().await.unwrap();
    let (source, id) = (Memory::default(), batch("a"));
    let publisher = publisher(&server, &source).await;
    source.commit(state(&id, EPOCH, 4, 4));
    publisher.notify_final(&id);
    eventually("it is acknowledged", async || (publisher.metrics().applied == 1).then_some(())).await;
    server.restart().await.unwrap();
    holds(&publisher, state(&id, EPOCH, 4, 4)).await;
    assert!(publisher.metrics().connections_lost >= 1);
}

#[tokio::test]
async fn a_lost_connection_to_a_redis_that_lost_nothing_ends_stale() {
    let server = RedisServer::start().await.unwrap();
    let (source, id) = (Memory::default(), batch("a"));
    let publisher = publisher(&server, &source).await;
    source.commit(state(&id, EPOCH, 1, 4));
    publisher.notify(&id);
    eventually("it is acknowledged", async || (publisher.metrics().applied == 1).then_some(())).await;
    server.run::<i64>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await.unwrap();
    eventually("redis was asked", async || (publisher.metrics().stale == 1).then_some(())).await;
    assert_eq!(publisher.metrics().needs_full, 0);
}

#[tokio::test]
async fn a_redis_that_hangs_is_no_answer_and_the_update_arrives_afterwards() {
    let server = RedisServer::start().await.unwrap();
    let (source, id) = (Memory::default(), batch("a"));
    let builder = Publisher::builder(server.url()).source(source.clone());
    let publisher = builder.response_timeout(Duration::from_millis(200)).connect().await.unwrap();
    assert_eq!(publisher.cached(&id).await.unwrap(), None);
    server.run::<()>(&["CLIENT", "PAUSE", "1500", "ALL"]).await.unwrap();
    let hung = publisher.cached(&id).await;
    assert!(matches!(hung, Err(PublishError::Unanswered { .. })), "{hung:?}");
    source.commit(state(&id, EPOCH, 1, 4));
    publisher.notify(&id);
    holds(&publisher, state(&id, EPOCH, 1, 4)).await;
}

/// It knows nothing of them any more: they ended before this publisher was made.
#[tokio::test]
async fn after_a_redis_that_comes_back_empty_even_batches_that_were_not_sent_lately_are() {
    let mut server = RedisServer::start().await.unwrap();
    let (source, id) = (Memory::default(), batch("a"));
    let ended = state(&batch("ended"), EPOCH, 4, 4);
    source.commit(ended.clone());
    let publisher = publisher(&server, &source).await;
    source.commit(state(&id, EPOCH, 1, 4));
    publisher.notify(&id);
    holds(&publisher, state(&id, EPOCH, 1, 4)).await;
    assert_eq!(publisher.cached(&batch("ended")).await.unwrap(), None);
    server.restart().await.unwrap();
    holds(&publisher, state(&id, EPOCH, 1, 4)).await;
    holds(&publisher, ended).await;
}

#[tokio::test]
async fn a_server_without_resp3_is_spoken_to_in_resp2() {
    let server = RedisServer::start_with(&["--rename-command", "HELLO", ""]).await.unwrap();
    let (source, id) = (Memory::default(), batch("a"));
    let publisher = publisher(&server, &source).await;
    source.commit(state(&id, EPOCH, 1, 4));
    publisher.notify(&id);
    holds(&publisher, state(&id, EPOCH, 1, 4)).await;
}

#[tokio::test]
async fn a_forgotten_script_is_loaded_again() {
    let server = RedisServer::start().await.unwrap();
    let (source, id) = (Memory::default(), batch("a"));
    let publisher = publisher(&server, &source).await;
    for version in 1..=3 {
        source.commit(state(&id, EPOCH, version, 4));
        publisher.notify(&id);
        holds(&publisher, state(&id, EPOCH, version, 4)).await;
        server.run::<()>(&["SCRIPT", "FLUSH"]).await.unwrap();
    }
    assert_eq!(publisher.metrics().unreachable, 0);
}

#[tokio::test]
async fn an_invalidated_batch_comes_back_whole_with_its_next_update() {
    let server = RedisServer::start().await.unwrap();
    let (source, id) = (Memory::default(), batch("a"));
    let publisher = publisher(&server, &source).await;
    source.commit(state(&id, EPOCH, 1, 4));
    publisher.notify(&id);
    holds(&publisher, state(&id, EPOCH, 1, 4)).await;
    publisher.invalidate(&id).await.unwrap();
    source.commit(state(&id, EPOCH, 2, 4));
    publisher.notify(&id);
    holds(&publisher, state(&id, EPOCH, 2, 4)).await;
}

/// The change for which it is invalidated may have been published before, with another one.
#[tokio::test]
async fn an_invalidated_batch_comes_back_also_when_nothing_is_new() {
    let server = RedisServer::start().await.unwrap();
    let (source, id) = (Memory::default(), batch("a"));
    let publisher = publisher(&server, &source).await;
    source.commit(state(&id, EPOCH, 1, 4));
    publisher.notify(&id);
    holds(&publisher, state(&id, EPOCH, 1, 4)).await;
    publisher.invalidate(&id).await.unwrap();
    holds(&publisher, state(&id, EPOCH, 1, 4)).await;
}

#[tokio::test]
async fn a_watch_outlives_a_redis_that_restarts_empty() {
    let mut server = RedisServer::start().await.unwrap();
    let (source, id) = (Memory::default(), batch("a"));
    let publisher = publisher(&server, &source).await;
    let mut states = publisher.watch(&id);
    source.commit(state(&id, EPOCH, 1, 2));
    publisher.notify(&id);
    assert_eq!(within("the first", states.next()).await, Some(state(&id, EPOCH, 1, 2)));
    server.restart().await.unwrap();
    source.commit(state(&id, EPOCH, 2, 2));
    publisher.notify_final(&id);
    assert_eq!(within("the last", states.next()).await, Some(state(&id, EPOCH, 2, 2)));
    assert_eq!(within("the end", states.next()).await, None);
}
