//! What all failovers share: a master that goes on acknowledging what its replica never gets, and what becomes of it.

use std::time::Instant;

use batchcast_publisher::{BatchId, Publisher, RedisSettings};
use stack::RedisServer;

use crate::{
    eventually,
    source::Memory,
    states::{EPOCH, batch, state},
};

/// The user by which replicas follow; the same on all servers.
pub(crate) const FOLLOWER: [&str; 7] = ["--user", "replica", "on", ">replica", "+psync", "+replconf", "+ping"];
/// How a server follows by it.
pub(crate) const FOLLOWS: [&str; 4] = ["--masteruser", "replica", "--masterauth", "replica"];

const PHOTOS: u32 = 40;
const LAST: u64 = PHOTOS as u64;
/// Versions that the replica gets, and those that are acknowledged in all before the failover.
const KEPT: u64 = 10;
const ACKNOWLEDGED: u64 = 30;

pub(crate) fn port(server: &RedisServer) -> String {
    server.port().unwrap().to_string()
}

/// From now on the replica gets nothing; the master goes on acknowledging.
async fn cut(master: &RedisServer) {
    master.run::<String>(&["ACL", "SETUSER", "replica", "off"]).await.unwrap();
    master.run::<i64>(&["CLIENT", "KILL", "USER", "replica"]).await.unwrap();
}

/// A batch of which the master acknowledged 30 versions and the replica has 10.
pub(crate) struct MidBatch {
    source: Memory,
    publisher: Publisher,
    id: BatchId,
    acknowledged: u64,
}

impl MidBatch {
    /// A batch of its own name, not yet begun.
    pub(crate) async fn begin(redis: impl Into<RedisSettings>) -> Self {
        let source = Memory::default();
        let builder = Publisher::builder(redis).source(source.clone());
        let publisher = builder.coalesce(std::time::Duration::ZERO).connect().await.unwrap();
        Self { source, publisher, id: batch("a"), acknowledged: 0 }
    }

    /// Each version acknowledged before the next is made.
    async fn publish_up_to(&mut self, version: u64) {
        for version in self.acknowledged + 1..=version {
            self.source.commit(state(&self.id, EPOCH, version, PHOTOS));
            self.publisher.notify(&self.id);
            let applied = async || (self.publisher.metrics().applied >= version).then_some(());
            eventually("it is acknowledged", applied).await;
        }
        self.acknowledged = version;
    }

    /// Publishes, and cuts the replica off on the way. Returns how many acknowledged versions only the master has.
    pub(crate) async fn publish_what_will_be_lost(&mut self, master: &RedisServer, replica: &RedisServer) -> u64 {
        self.publish_up_to(KEPT).await;
        eventually("the replica has what was published", async || {
            (version_at(replica, &self.id).await == Some(KEPT)).then_some(())
        })
        .await;
        cut(master).await;
        self.publish_up_to(ACKNOWLEDGED).await;
        assert_eq!(version_at(master, &self.id).await, Some(ACKNOWLEDGED));
        let held = version_at(replica, &self.id).await.unwrap();
        assert!(held < ACKNOWLEDGED, "the replica has it all: nothing would be lost");
        ACKNOWLEDGED - held
    }

    /// Without any further notify the replica, now the master, has what the source has; and so it goes on to the end.
    pub(crate) async fn ends_right_at(&mut self, what: &str, master: &RedisServer, lost: u64) {
        let begun = Instant::now();
        let healed = async || (version_at(master, &self.id).await == Some(ACKNOWLEDGED)).then_some(());
        eventually("what was lost is there again", healed).await;
        let seconds = begun.elapsed().as_secs_f64();
        println!("{what}: {ACKNOWLEDGED} acknowledged, {lost} lost, whole again after {seconds:.2} s");
        for version in ACKNOWLEDGED + 1..=LAST {
            self.source.commit(state(&self.id, EPOCH, version, PHOTOS));
            self.publisher.notify(&self.id);
        }
        let ended = state(&self.id, EPOCH, LAST, PHOTOS);
        let held = async || self.publisher.cached(&self.id).await.ok().flatten().filter(|held| *held == ended);
        eventually("the end is there", held).await;
        assert_eq!(version_at(master, &self.id).await, Some(LAST));
        assert!(self.publisher.metrics().connections_lost > 0, "the loss was told");
    }
}

/// What this server itself holds.
pub(crate) async fn version_at(server: &RedisServer, id: &BatchId) -> Option<u64> {
    let mut connection = server.connect().await.ok()?;
    // A node of a cluster that is a replica answers only who says that it may be behind.
    let _ = redis::cmd("READONLY").query_async::<String>(&mut connection).await;
    let key = format!("batch:progress:{}", id.as_str());
    redis::cmd("HGET").arg(key).arg("version").query_async::<Option<u64>>(&mut connection).await.ok()?
}
