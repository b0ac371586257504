//! What no sink can ever be told is given up: logged, counted, and not tried for ever.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use batchcast_publisher::{Json, Publisher};
use stack::{GUARD, RedisServer};

use super::Recorder;
use crate::{
    eventually,
    source::Memory,
    states::{EPOCH, batch, changes, position, state},
};

/// A sink that fails until it is told otherwise.
fn failing() -> Recorder {
    let sink = Recorder::default();
    sink.fail(u32::MAX);
    sink
}

async fn was_tried(publisher: &Publisher) {
    eventually("it was tried", async || (publisher.sink_metrics()[0].failed > 0).then_some(())).await;
}

async fn is_given_up(publisher: &Publisher) {
    eventually("it is given up", async || (publisher.sink_metrics()[0].gave_up == 1).then_some(())).await;
}

#[tokio::test]
async fn a_state_that_breaks_a_rule_is_given_up_until_the_batch_changes_again() {
    let server = RedisServer::start().await.unwrap();
    let (source, sink, id) = (Memory::default(), failing(), batch("a"));
    let is_too_large = Arc::new(AtomicBool::new(false));
    let grown = Arc::clone(&is_too_large);
    let builder = Publisher::builder(server.url()).source(source.clone()).sink(sink.clone()).redact(move |photo| {
        photo.result = grown.load(Ordering::Relaxed).then(|| Json::new(&"x".repeat(5 << 20)).unwrap());
    });
    let publisher = builder.connect().await.unwrap();
    source.commit(state(&id, EPOCH, 2, 2));
    publisher.notify_final(&id);
    was_tried(&publisher).await;
    is_too_large.store(true, Ordering::Relaxed);
    is_given_up(&publisher).await;

    is_too_large.store(false, Ordering::Relaxed);
    sink.fail(0);
    source.commit(state(&id, EPOCH + 1, 3, 3));
    publisher.notify_final(&id);
    sink.is_told(position(EPOCH + 1, 3)).await;
    assert_eq!(publisher.close(GUARD).await, []);
}

#[tokio::test]
async fn without_a_source_a_state_that_can_not_be_read_is_given_up() {
    let server = RedisServer::start().await.unwrap();
    let (sink, id) = (failing(), batch("a"));
    let publisher = Publisher::builder(server.url()).sink(sink.clone()).connect().await.unwrap();
    publisher.publish(changes(&state(&id, EPOCH, 2, 2), None)).await.unwrap();
    was_tried(&publisher).await;
    server.run::<i64>(&["HSET", "batch:progress:a", "head", "?"]).await.unwrap();
    is_given_up(&publisher).await;
    assert_eq!((publisher.close(GUARD).await, sink.told()), (vec![], vec![]));
}

#[tokio::test]
async fn without_a_source_an_end_that_vanishes_is_given_up_where_it_was_not_told() {
    let server = RedisServer::start().await.unwrap();
    let sink = Recorder::default();
    let publisher = Publisher::builder(server.url()).sink(sink.clone()).connect().await.unwrap();
    let told = format!("{EPOCH}-2");
    for name in ["told", "untold"] {
        let lease = format!("batch:lease:recorder:{name}");
        server.run::<()>(&["SET", &lease, "somebody"]).await.unwrap();
        publisher.publish(changes(&state(&batch(name), EPOCH, 2, 2), None)).await.unwrap();
        publisher.invalidate(&batch(name)).await.unwrap();
        if name == "told" {
            server.run::<()>(&["SET", "batch:sink:recorder:told", &told]).await.unwrap();
        }
        server.run::<()>(&["DEL", &lease]).await.unwrap();
    }
    is_given_up(&publisher).await;
    eventually("the other was told", async || (publisher.sink_metrics()[0].known == 1).then_some(())).await;
    assert_eq!((publisher.close(GUARD).await, sink.told()), (vec![], vec![]));
    assert_eq!(publisher.sink_metrics()[0].gave_up, 1);
}
