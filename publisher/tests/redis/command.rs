//! The `batchcast` command.

use std::process::Output;

use batchcast_publisher::{BatchStatus, Publisher};
use stack::RedisServer;
use tokio::process::Command;

use crate::{
    states::{EPOCH, batch, changes, state},
    within,
};

async fn batchcast(server: &RedisServer, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_batchcast"));
    command.args(arguments).env("REDIS_URL", server.url()).env_remove("KEY_PREFIX").kill_on_drop(true);
    within("the command ends", command.output()).await.unwrap()
}

#[tokio::test]
async fn watch_prints_the_progress_and_exits_by_how_the_batch_ended() {
    let server = RedisServer::start().await.unwrap();
    let publisher = Publisher::builder(server.url()).connect().await.unwrap();
    publisher.publish(changes(&state(&batch("done"), EPOCH, 2, 2), None)).await.unwrap();
    let mut cancelled = changes(&state(&batch("cut"), EPOCH, 1, 2), None);
    cancelled.head.status = BatchStatus::Cancelled;
    publisher.publish(cancelled).await.unwrap();

    let done = batchcast(&server, &["watch", "done"]).await;
    assert_eq!(done.status.code(), Some(0));
    assert_eq!(String::from_utf8(done.stdout).unwrap(), "done  100 %  COMPLETED  2 of 2 completed\n");
    assert_eq!(batchcast(&server, &["watch", "cut"]).await.status.code(), Some(1));
}

#[tokio::test]
async fn invalidate_deletes_and_bad_usage_exits_with_2() {
    let server = RedisServer::start().await.unwrap();
    let publisher = Publisher::builder(server.url()).connect().await.unwrap();
    publisher.publish(changes(&state(&batch("a"), EPOCH, 1, 2), None)).await.unwrap();
    assert_eq!(batchcast(&server, &["invalidate", "a"]).await.status.code(), Some(0));
    assert_eq!(publisher.cached(&batch("a")).await.unwrap(), None);
    assert_eq!(batchcast(&server, &["watch", "no/id"]).await.status.code(), Some(2));
    assert_eq!(batchcast(&server, &["party"]).await.status.code(), Some(2));
}
