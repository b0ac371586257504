//! How long Redis remembers what a sink was told, and how far back `resync` looks for what it was not.

use std::time::Duration;

use batchcast_publisher::Publisher;
use stack::{GUARD, RedisServer};

use super::Recorder;
use crate::states::{EPOCH, batch, changes, position, state};

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
