//! A cluster.

use batchcast_publisher::{PublishError, Publisher};
use futures::{StreamExt, future::join_all};
use stack::{RedisServer, ports};

use crate::{
    eventually,
    failover::{FOLLOWER, FOLLOWS, MidBatch, port},
    rights::{documented, documented_more, grant},
    states::{EPOCH, batch, changes, state},
    within,
};

const SLOTS: u64 = 16_384;
const MASTERS: usize = 3;

/// Three masters, and one replica of the master that has the batch `a`.
struct Cluster {
    masters: Vec<RedisServer>,
    replica: RedisServer,
    /// Which master has the batch `a`.
    owner: usize,
}

impl Cluster {
    async fn start() -> Self {
        let bus_ports = [(); MASTERS + 1].map(|()| ports::free().unwrap().to_string());
        let mut nodes = join_all(bus_ports.each_ref().map(async |bus_port| {
            let options = [
                ["--cluster-enabled", "yes"],
                ["--cluster-port", bus_port],
                ["--cluster-node-timeout", "1000"],
                ["--cluster-require-full-coverage", "no"],
                ["--cluster-replica-validity-factor", "0"],
                ["--repl-diskless-sync-delay", "0"],
            ];
            let options = [options.as_flattened(), &FOLLOWER, &FOLLOWS].concat();
            RedisServer::start_with(&options).await.unwrap()
        }))
        .await;
        for (at, node) in (0..).zip(&nodes[..MASTERS]) {
            let (first, last) = (first_slot(at).to_string(), (first_slot(at + 1) - 1).to_string());
            node.run::<String>(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]).await.unwrap();
            node.run::<String>(&["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()]).await.unwrap();
        }
        for (node, bus_port) in nodes.iter().zip(&bus_ports).skip(1) {
            nodes[0].run::<String>(&["CLUSTER", "MEET", "127.0.0.1", &port(node), bus_port]).await.unwrap();
        }
        until_all_say(&nodes, &["cluster_state:ok", "cluster_slots_ok:16384", "cluster_known_nodes:4"]).await;
        let slot: u64 = nodes[0].run(&["CLUSTER", "KEYSLOT", "batch:progress:a"]).await.unwrap();
        let owner = (0..).take_while(|at| first_slot(at + 1) <= slot).count();
        let id: String = nodes[owner].run(&["CLUSTER", "MYID"]).await.unwrap();
        let replica = nodes.pop().unwrap();
        let replicate = async || replica.run::<String>(&["CLUSTER", "REPLICATE", &id]).await.ok();
        eventually("the replica to follow", replicate).await;
        let follows = async || replica.run::<String>(&["INFO", "replication"]).await.unwrap();
        eventually("the replica to have caught up", async || {
            follows().await.contains("master_link_status:up").then_some(())
        })
        .await;
        let cluster = Self { masters: nodes, replica, owner };
        cluster.until_the_replica_is_known(&id).await;
        cluster
    }

    /// Those who will vote have to know whose replica it is.
    async fn until_the_replica_is_known(&self, master: &str) {
        for node in &self.masters {
            let known = async || {
                let replicas: Vec<String> = node.run(&["CLUSTER", "REPLICAS", master]).await.ok()?;
                (replicas.len() == 1).then_some(())
            };
            eventually("all to know the replica", known).await;
        }
    }

    fn url(&self) -> String {
        let hosts: Vec<String> = self.masters.iter().map(|node| format!("127.0.0.1:{}", port(node))).collect();
        format!("redis-cluster://{}", hosts.join(","))
    }

    fn owner(&self) -> &RedisServer {
        &self.masters[self.owner]
    }
}

async fn until_all_say(nodes: &[RedisServer], lines: &[&str]) {
    for node in nodes {
        let says = async || {
            let info = node.run::<String>(&["CLUSTER", "INFO"]).await.unwrap();
            lines.iter().all(|line| info.contains(line)).then_some(())
        };
        eventually("the cluster to be whole", says).await;
    }
}

fn first_slot(node: u64) -> u64 {
    (node * SLOTS).div_ceil(3)
}

#[tokio::test]
async fn batches_of_all_nodes_are_published_read_and_watched() {
    let cluster = Cluster::start().await;
    // One node of three is enough to find the others.
    let url = format!("redis-cluster://127.0.0.1:{}", port(cluster.owner()));
    let publisher = Publisher::builder(url).connect().await.unwrap();
    for number in 0..12 {
        let id = batch(&format!("batch-{number}"));
        let mut states = publisher.watch(&id);
        publisher.publish(changes(&state(&id, EPOCH, 1, 3), None)).await.unwrap();
        publisher.publish(changes(&state(&id, EPOCH, 3, 3), Some(1))).await.unwrap();
        assert_eq!(publisher.cached(&id).await.unwrap(), Some(state(&id, EPOCH, 3, 3)));
        let last = within("the end", async { states.by_ref().collect::<Vec<_>>().await }).await.pop();
        assert_eq!(last, Some(state(&id, EPOCH, 3, 3)));
    }
}

#[tokio::test]
async fn a_master_that_dies_in_mid_batch_with_acknowledged_writes_leaves_the_batch_right() {
    let mut cluster = Cluster::start().await;
    let mut batch = MidBatch::begin(cluster.url()).await;
    let lost = batch.publish_what_will_be_lost(cluster.owner(), &cluster.replica).await;
    let owner = cluster.owner;
    cluster.masters[owner].kill();
    batch.ends_right_at("cluster, the master killed", &cluster.replica, lost).await;
}

#[tokio::test]
async fn a_master_that_is_deposed_in_mid_batch_with_acknowledged_writes_leaves_the_batch_right() {
    let cluster = Cluster::start().await;
    let mut batch = MidBatch::begin(cluster.url()).await;
    let lost = batch.publish_what_will_be_lost(cluster.owner(), &cluster.replica).await;
    cluster.replica.run::<String>(&["CLUSTER", "FAILOVER", "TAKEOVER"]).await.unwrap();
    batch.ends_right_at("cluster, the master deposed", &cluster.replica, lost).await;
}

/// The key is at the old node until it has moved, and each says where to go.
#[tokio::test]
async fn a_slot_that_is_just_moving_is_followed() {
    let cluster = Cluster::start().await;
    let publisher = Publisher::builder(cluster.url()).connect().await.unwrap();
    let id = batch("a");
    let slot: u64 = cluster.owner().run(&["CLUSTER", "KEYSLOT", "batch:progress:a"]).await.unwrap();
    let (slot, to) = (slot.to_string(), &cluster.masters[(cluster.owner + 1) % MASTERS]);
    publisher.publish(changes(&state(&id, EPOCH, 1, 3), None)).await.unwrap();
    let ids: [String; 2] =
        [cluster.owner().run(&["CLUSTER", "MYID"]).await.unwrap(), to.run(&["CLUSTER", "MYID"]).await.unwrap()];
    to.run::<String>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &ids[0]]).await.unwrap();
    cluster.owner().run::<String>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &ids[1]]).await.unwrap();
    let move_it = ["MIGRATE", "127.0.0.1", &port(to), "batch:progress:a", "0", "5000"];
    cluster.owner().run::<String>(&move_it).await.unwrap();
    // ASK, at a node that does not know the script.
    publisher.publish(changes(&state(&id, EPOCH, 2, 3), Some(1))).await.unwrap();
    for node in [to, cluster.owner()] {
        node.run::<String>(&["CLUSTER", "SETSLOT", &slot, "NODE", &ids[1]]).await.unwrap();
    }
    // MOVED.
    publisher.publish(changes(&state(&id, EPOCH, 3, 3), Some(2))).await.unwrap();
    assert_eq!(publisher.cached(&id).await.unwrap(), Some(state(&id, EPOCH, 3, 3)));
}

#[tokio::test]
async fn the_documented_rule_is_enough_in_a_cluster() {
    let cluster = Cluster::start().await;
    let rule = [documented("ACL SETUSER publisher "), documented_more("in a cluster, on each")].concat();
    for node in &cluster.masters {
        grant(node, "publisher", &rule).await;
    }
    let url = cluster.url().replace("://", "://publisher:secret@");
    let (publisher, id) = (Publisher::builder(url).connect().await.unwrap(), batch("a"));
    publisher.publish(changes(&state(&id, EPOCH, 1, 3), None)).await.unwrap();
    let mut states = publisher.watch(&id);
    assert_eq!(within("a state", states.next()).await, Some(state(&id, EPOCH, 1, 3)));
}

#[tokio::test]
async fn a_cluster_that_is_away_is_no_answer() {
    let builder = Publisher::builder("redis-cluster://:hunter2@127.0.0.1:1,127.0.0.1:2");
    let error = builder.connect().await.unwrap().cached(&batch("a")).await.unwrap_err();
    assert!(matches!(error, PublishError::Unanswered { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
}
