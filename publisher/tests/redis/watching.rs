//! The native watch.

use batchcast_publisher::Publisher;
use futures::StreamExt;
use stack::RedisServer;

use crate::{
    states::{EPOCH, batch, changes, state},
    within,
};

#[tokio::test]
async fn a_watch_sees_positions_grow_and_ends_after_the_end() {
    let server = RedisServer::start().await.unwrap();
    let (publisher, id) = (Publisher::builder(server.url()).connect().await.unwrap(), batch("a"));
    publisher.publish(changes(&state(&id, EPOCH, 1, 5), None)).await.unwrap();
    let mut states = publisher.watch(&id);
    let mut last = within("the first", states.next()).await.unwrap();
    for version in 2..=5 {
        publisher.publish(changes(&state(&id, EPOCH, version, 5), Some(version - 1))).await.unwrap();
        let next = within("the next", states.next()).await.unwrap();
        assert!(next.position() > last.position() && next.head().progress() >= last.head().progress());
        last = next;
    }
    assert_eq!(last, state(&id, EPOCH, 5, 5));
    assert_eq!(within("the end", states.next()).await, None);
}

#[tokio::test]
async fn a_watch_of_an_ended_batch_shows_the_end_and_ends() {
    let server = RedisServer::start().await.unwrap();
    let (publisher, id) = (Publisher::builder(server.url()).connect().await.unwrap(), batch("a"));
    publisher.publish(changes(&state(&id, EPOCH, 2, 2), None)).await.unwrap();
    let states: Vec<_> = within("the end", publisher.watch(&id).collect()).await;
    assert_eq!(states, [state(&id, EPOCH, 2, 2)]);
}

#[tokio::test]
async fn a_gap_a_nudge_and_a_stranger_on_the_channel_make_it_read() {
    let server = RedisServer::start().await.unwrap();
    let (publisher, id) = (Publisher::builder(server.url()).connect().await.unwrap(), batch("a"));
    publisher.publish(changes(&state(&id, EPOCH, 1, 9_000), None)).await.unwrap();
    let mut states = publisher.watch(&id);
    within("the first", states.next()).await.unwrap();
    let large = state(&id, EPOCH, 8_000, 9_000);
    publisher.publish(changes(&large, Some(1))).await.unwrap();
    assert_eq!(within("after the nudge", states.next()).await, Some(large));
    server.run::<i64>(&["PUBLISH", "batch:a", "hello"]).await.unwrap();
    let whole = state(&id, EPOCH, 9_000, 9_000);
    publisher.publish(changes(&whole, Some(8_000))).await.unwrap();
    assert_eq!(within("after the stranger", states.next()).await, Some(whole));
}
