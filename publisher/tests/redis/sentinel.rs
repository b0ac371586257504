//! Redis behind sentinels.

use batchcast_publisher::{PublishError, Publisher, RedisSettings};
use futures::StreamExt;
use stack::RedisServer;

use crate::{
    eventually,
    failover::{FOLLOWER, FOLLOWS, MidBatch, port, version_at},
    rights::{documented, documented_more, grant},
    source::Memory,
    states::{EPOCH, batch, changes, state},
    within,
};

/// A master, its replica, and a sentinel that knows both.
pub(crate) struct Replicated {
    master: RedisServer,
    replica: RedisServer,
    sentinel: RedisServer,
}

impl Replicated {
    async fn start() -> Self {
        let options: Vec<&str> =
            FOLLOWER.into_iter().chain(FOLLOWS).chain(["--repl-diskless-sync-delay", "0"]).collect();
        let master = RedisServer::start_with(&options).await.unwrap();
        let of_master = port(&master);
        let follows = [&options[..], &["--replicaof", "127.0.0.1", &of_master]].concat();
        let replica = RedisServer::start_with(&follows).await.unwrap();
        until_it_says(&replica, "master_link_status:up").await;
        let sentinel = RedisServer::sentinel(&master, "main").await.unwrap();
        until_it_says(&sentinel, "slaves=1").await;
        Self { master, replica, sentinel }
    }

    fn url(&self) -> String {
        // The first sentinel is away.
        format!("redis-sentinel://127.0.0.1:1,127.0.0.1:{}#main", port(&self.sentinel))
    }

    async fn depose(&self) {
        let failover =
            async || self.sentinel.run::<String>(&["SENTINEL", "FAILOVER", "main"]).await.is_ok().then_some(());
        eventually("the sentinel to know enough of the replica", failover).await;
    }
}

async fn until_it_says(server: &RedisServer, line: &str) {
    let says = async || server.run::<String>(&["INFO"]).await.unwrap().contains(line).then_some(());
    eventually(line, says).await;
}

#[tokio::test]
async fn a_master_that_dies_in_mid_batch_with_acknowledged_writes_leaves_the_batch_right() {
    let mut redis = Replicated::start().await;
    let mut batch = MidBatch::begin(redis.url()).await;
    let lost = batch.publish_what_will_be_lost(&redis.master, &redis.replica).await;
    redis.master.kill();
    batch.ends_right_at("sentinel, the master killed", &redis.replica, lost).await;
}

#[tokio::test]
async fn a_master_that_is_deposed_in_mid_batch_with_acknowledged_writes_leaves_the_batch_right() {
    let redis = Replicated::start().await;
    let mut batch = MidBatch::begin(redis.url()).await;
    let lost = batch.publish_what_will_be_lost(&redis.master, &redis.replica).await;
    redis.depose().await;
    batch.ends_right_at("sentinel, the master deposed", &redis.replica, lost).await;
}

/// The old one answers as a master for ever: nobody tells it.
#[tokio::test]
async fn a_master_that_the_sentinels_name_no_more_is_left_though_it_answers() {
    let (old, new) = (RedisServer::start().await.unwrap(), RedisServer::start().await.unwrap());
    let sentinel = RedisServer::sentinel(&old, "main").await.unwrap();
    grant(&sentinel, "watcher", &documented("ACL SETUSER watcher ")).await;
    let settings = RedisSettings::new(format!("redis-sentinel://127.0.0.1:{}#main", port(&sentinel)));
    let settings = settings.sentinel_user("watcher", "secret");
    let (source, id) = (Memory::default(), batch("a"));
    let publisher = Publisher::builder(settings).source(source.clone()).connect().await.unwrap();
    source.commit(state(&id, EPOCH, 1, 3));
    publisher.notify(&id);
    eventually("it is at the old one", async || (version_at(&old, &id).await == Some(1)).then_some(())).await;
    sentinel.run::<String>(&["SENTINEL", "REMOVE", "main"]).await.unwrap();
    sentinel.run::<String>(&["SENTINEL", "MONITOR", "main", "127.0.0.1", &port(&new), "1"]).await.unwrap();
    eventually("it is at the new one", async || (version_at(&new, &id).await == Some(1)).then_some(())).await;
}

#[tokio::test]
async fn a_watch_follows_the_master() {
    let mut redis = Replicated::start().await;
    let (publisher, id) = (Publisher::builder(redis.url()).connect().await.unwrap(), batch("a"));
    publisher.publish(changes(&state(&id, EPOCH, 1, 3), None)).await.unwrap();
    let mut states = publisher.watch(&id);
    assert_eq!(within("the first", states.next()).await, Some(state(&id, EPOCH, 1, 3)));
    redis.master.kill();
    let whole = async || publisher.publish(changes(&state(&id, EPOCH, 3, 3), None)).await.ok();
    eventually("it is published at the new master", whole).await;
    assert_eq!(within("the last", states.next()).await, Some(state(&id, EPOCH, 3, 3)));
}

/// Users of their own at Redis and at the sentinels, with no right that the documentation does not name.
#[tokio::test]
async fn the_documented_rules_are_enough_behind_sentinels() {
    let redis = Replicated::start().await;
    grant(
        &redis.master,
        "publisher",
        &[documented("ACL SETUSER publisher "), documented_more("Behind sentinels")].concat(),
    )
    .await;
    grant(&redis.sentinel, "watcher", &documented("ACL SETUSER watcher ")).await;
    let url = redis.url().replace("://", "://publisher:secret@");
    let settings = RedisSettings::new(&*url).sentinel_user("watcher", "secret");
    let (publisher, id) = (Publisher::builder(settings).connect().await.unwrap(), batch("a"));
    publisher.publish(changes(&state(&id, EPOCH, 1, 3), None)).await.unwrap();
    assert_eq!(publisher.cached(&id).await.unwrap(), Some(state(&id, EPOCH, 1, 3)));
}

#[tokio::test]
async fn sentinels_that_are_all_away_are_no_answer() {
    let builder = Publisher::builder("redis-sentinel://:hunter2@127.0.0.1:1,127.0.0.1:2#main");
    let error = builder.connect().await.unwrap().cached(&batch("a")).await.unwrap_err();
    assert!(matches!(error, PublishError::Unanswered { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
}
