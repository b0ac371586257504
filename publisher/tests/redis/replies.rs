//! Each reply of `update.lua`, on real Redis.

use std::{collections::HashMap, time::Duration};

use batchcast_publisher::{BatchState, BatchStatus, Cached, PhotoStatus, PublishError, Published, Publisher};
use futures::StreamExt;
use stack::RedisServer;
use wire::{Message, message::Announcement};

use crate::{
    source::Memory,
    states::{EPOCH, batch, changes, photo, state},
    within,
};

async fn publisher(server: &RedisServer) -> Publisher {
    Publisher::builder(server.url()).connect().await.unwrap()
}

async fn announcement(messages: &mut redis::aio::PubSub) -> Announcement {
    let message = within("a message", messages.on_message().next()).await.unwrap();
    match Message::parse(message.get_payload_bytes()) {
        Message::Changes(news) => news,
        other => panic!("not changes: {other:?}"),
    }
}

#[tokio::test]
async fn applied_writes_announces_and_keeps_the_owner() {
    let server = RedisServer::start().await.unwrap();
    let (publisher, id) = (publisher(&server).await, batch("a"));
    let mut messages = server.messages("batch:a").await.unwrap();
    let mut first = changes(&state(&id, EPOCH, 1, 3), None);
    first.owner = Some("user-1".into());
    assert_eq!(publisher.publish(first).await.unwrap(), Published::Applied);
    server.run::<i64>(&["EXPIRE", "batch:progress:a", "10"]).await.unwrap();
    assert_eq!(publisher.publish(changes(&state(&id, EPOCH, 2, 3), Some(1))).await.unwrap(), Published::Applied);

    assert_eq!(publisher.cached(&id).await.unwrap(), Some(state(&id, EPOCH, 2, 3)));
    assert_eq!(announcement(&mut messages).await.from, 0);
    let news = announcement(&mut messages).await;
    assert_eq!((news.from, news.head, news.photos.unwrap().len()), (1, state(&id, EPOCH, 2, 3).head().clone(), 1));
    let fields: HashMap<String, String> = server.run(&["HGETALL", "batch:progress:a"]).await.unwrap();
    assert_eq!(fields["owner"], "user-1");
    assert_eq!((fields["epoch"].as_str(), fields["version"].as_str()), ("1795389030082", "2"));
    assert!(
        server.run::<i64>(&["TTL", "batch:progress:a"]).await.unwrap() > 86_000,
        "each write refreshes the time to live"
    );
}

#[tokio::test]
async fn stale_is_what_redis_has_already_also_of_an_older_epoch() {
    let server = RedisServer::start().await.unwrap();
    let (publisher, id) = (publisher(&server).await, batch("a"));
    publisher.publish(changes(&state(&id, EPOCH, 2, 3), None)).await.unwrap();
    for old in [state(&id, EPOCH, 2, 3), state(&id, EPOCH, 1, 3), state(&id, EPOCH - 1, 2, 3)] {
        assert_eq!(publisher.publish(changes(&old, None)).await.unwrap(), Published::Stale);
        assert_eq!(publisher.publish(changes(&old, Some(1))).await.unwrap(), Published::Stale);
    }
    assert_eq!(publisher.metrics().stale, 6);
}

#[tokio::test]
async fn needs_full_where_nothing_is_stored_or_another_epoch_or_a_version_before() {
    let server = RedisServer::start().await.unwrap();
    let (publisher, id) = (publisher(&server).await, batch("a"));
    let step = || changes(&state(&id, EPOCH, 3, 5), Some(2));
    assert!(matches!(publisher.publish(step()).await, Err(PublishError::NeedsFull)), "nothing stored");
    publisher.publish(changes(&state(&id, EPOCH - 1, 4, 5), None)).await.unwrap();
    assert!(matches!(publisher.publish(step()).await, Err(PublishError::NeedsFull)), "a lesser epoch");
    publisher.publish(changes(&state(&id, EPOCH, 1, 5), None)).await.unwrap();
    assert!(matches!(publisher.publish(step()).await, Err(PublishError::NeedsFull)), "a version before `from`");
    assert_eq!(publisher.publish(changes(&state(&id, EPOCH, 3, 5), Some(1))).await.unwrap(), Published::Applied);
}

#[tokio::test]
async fn needs_full_is_answered_from_the_source_when_there_is_one() {
    let server = RedisServer::start().await.unwrap();
    let (source, id) = (Memory::default(), batch("a"));
    source.commit(state(&id, EPOCH, 3, 5));
    let publisher = Publisher::builder(server.url()).source(source).connect().await.unwrap();
    let step = changes(&state(&id, EPOCH, 3, 5), Some(2));
    assert_eq!(publisher.publish(step).await.unwrap(), Published::Applied);
    assert_eq!(publisher.cached(&id).await.unwrap(), Some(state(&id, EPOCH, 3, 5)));
}

#[tokio::test]
async fn finished_until_the_epoch_rises_and_then_no_photo_of_the_old_one_stays() {
    let server = RedisServer::start().await.unwrap();
    let (publisher, id) = (publisher(&server).await, batch("a"));
    publisher.publish(changes(&state(&id, EPOCH, 2, 2), None)).await.unwrap();
    let more = changes(&state(&id, EPOCH, 3, 4), None);
    assert!(matches!(publisher.publish(more).await, Err(PublishError::Finished)));
    let opened = state(&id, EPOCH + 1, 1, 2);
    assert_eq!(publisher.publish(changes(&opened, None)).await.unwrap(), Published::Applied);
    assert_eq!(publisher.cached(&id).await.unwrap(), Some(opened));
}

#[tokio::test]
async fn a_fill_writes_only_where_nothing_is_stored_and_announces_nothing() {
    let server = RedisServer::start().await.unwrap();
    let (publisher, id) = (publisher(&server).await, batch("a"));
    let mut messages = server.messages("batch:a").await.unwrap();
    let minute = Duration::from_secs(60);
    assert_eq!(publisher.cache(&state(&id, EPOCH, 1, 3), minute).await.unwrap(), Cached::Filled);
    assert!(server.run::<i64>(&["TTL", "batch:progress:a"]).await.unwrap() <= 60);
    assert_eq!(publisher.cache(&state(&id, EPOCH, 2, 3), minute).await.unwrap(), Cached::Present);
    assert_eq!(publisher.cached(&id).await.unwrap(), Some(state(&id, EPOCH, 1, 3)));
    publisher.publish(changes(&state(&id, EPOCH, 2, 3), Some(1))).await.unwrap();
    assert_eq!(announcement(&mut messages).await.from, 1, "the first message is the publish's");
}

#[tokio::test]
async fn invalidate_deletes_and_announces() {
    let server = RedisServer::start().await.unwrap();
    let (publisher, id) = (publisher(&server).await, batch("a"));
    publisher.publish(changes(&state(&id, EPOCH, 1, 3), None)).await.unwrap();
    let mut messages = server.messages("batch:a").await.unwrap();
    publisher.invalidate(&id).await.unwrap();
    assert_eq!(publisher.cached(&id).await.unwrap(), None);
    let message = within("the announcement", messages.on_message().next()).await.unwrap();
    assert_eq!(Message::parse(message.get_payload_bytes()), Message::Invalidate);
}

#[tokio::test]
async fn something_else_under_the_key_is_replaced_and_counted() {
    let server = RedisServer::start().await.unwrap();
    let publisher = publisher(&server).await;
    server.run::<()>(&["SET", "batch:progress:a", "{\"progress\":10}"]).await.unwrap();
    server.run::<()>(&["HSET", "batch:progress:b", "progress", "10", "photo:old", "x"]).await.unwrap();
    server.run::<()>(&["SADD", "batch:progress:c", "x"]).await.unwrap();
    for (name, counted) in [("a", 1), ("b", 2), ("c", 3)] {
        let whole = state(&batch(name), EPOCH, 1, 3);
        assert_eq!(publisher.cached(&batch(name)).await.unwrap(), None);
        let step = changes(&whole, Some(0));
        assert!(matches!(publisher.publish(step).await, Err(PublishError::NeedsFull)));
        publisher.publish(changes(&whole, None)).await.unwrap();
        assert_eq!(publisher.metrics().replaced, counted);
        assert_eq!(publisher.cached(&batch(name)).await.unwrap(), Some(whole));
    }
}

#[tokio::test]
async fn a_fill_replaces_what_an_older_design_left() {
    let server = RedisServer::start().await.unwrap();
    let (publisher, id) = (publisher(&server).await, batch("a"));
    server.run::<()>(&["SET", "batch:progress:a", "old"]).await.unwrap();
    let filled = publisher.cache(&state(&id, EPOCH, 1, 3), Duration::from_secs(60)).await.unwrap();
    assert_eq!((filled, publisher.metrics().replaced), (Cached::Filled, 1));
}

#[tokio::test]
async fn ten_thousand_photos_are_one_call_announced_by_a_nudge() {
    let server = RedisServer::start().await.unwrap();
    let (publisher, id) = (publisher(&server).await, batch("large"));
    let mut messages = server.messages("batch:large").await.unwrap();
    let large = state(&id, EPOCH, 10_000, 10_000);
    assert_eq!(publisher.publish(changes(&large, None)).await.unwrap(), Published::Applied);
    let nudge = announcement(&mut messages).await;
    assert_eq!((nudge.photos, nudge.head.position), (None, large.position()));
    assert_eq!(server.run::<i64>(&["HLEN", "batch:progress:large"]).await.unwrap(), 10_004);
    assert_eq!(publisher.cached(&id).await.unwrap(), Some(large.clone()));
    assert_eq!(publisher.publish(changes(&large, None)).await.unwrap(), Published::Stale);
    let filled = publisher.cache(&state(&batch("other"), EPOCH, 10_000, 10_000), Duration::from_secs(60)).await;
    assert_eq!(filled.unwrap(), Cached::Filled);
}

#[tokio::test]
async fn a_small_change_of_a_large_batch_sends_the_small_change() {
    let server = RedisServer::start().await.unwrap();
    let (publisher, id) = (publisher(&server).await, batch("large"));
    publisher.publish(changes(&state(&id, EPOCH, 9_998, 10_000), None)).await.unwrap();
    let mut messages = server.messages("batch:large").await.unwrap();
    publisher.publish(changes(&state(&id, EPOCH, 9_999, 10_000), Some(9_998))).await.unwrap();
    assert_eq!(announcement(&mut messages).await.photos, Some(vec![photo(9_999, PhotoStatus::Completed)]));
}

#[tokio::test]
async fn a_state_that_breaks_a_rule_is_refused_before_redis_is_asked() {
    let server = RedisServer::stopped().unwrap();
    let id = batch("a");
    let mut wrong = changes(&state(&id, EPOCH, 1, 3), None);
    wrong.head.status = BatchStatus::Completed;
    let result = publisher(&server).await.publish(wrong).await;
    assert!(matches!(result, Err(PublishError::Invalid(_))), "{result:?}");
}

#[tokio::test]
async fn a_hash_that_can_not_be_read_says_so() {
    let server = RedisServer::start().await.unwrap();
    server.run::<()>(&["HSET", "batch:progress:a", "epoch", "1", "version", "1", "head", "{}"]).await.unwrap();
    let read: Result<Option<BatchState>, _> = publisher(&server).await.cached(&batch("a")).await;
    assert!(matches!(read, Err(PublishError::Unreadable(_))));
}

#[tokio::test]
async fn a_key_prefix_stands_before_key_and_channel() {
    let server = RedisServer::start().await.unwrap();
    let id = batch("a");
    let publisher = Publisher::builder(server.url()).key_prefix("eu:").connect().await.unwrap();
    let mut messages = server.messages("eu:batch:a").await.unwrap();
    publisher.publish(changes(&state(&id, EPOCH, 1, 3), None)).await.unwrap();
    assert_eq!(announcement(&mut messages).await.head.position, state(&id, EPOCH, 1, 3).position());
    assert_eq!(server.run::<Vec<String>>(&["KEYS", "*"]).await.unwrap(), ["eu:batch:progress:a"]);
}
