//! Every way to reach Redis and to be reached: sockets, TLS, Sentinel, Cluster.

use crate::support::{Gateway, Wire, error, until, within};
use futures::future::join_all;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use stack::{Authority, Certificate, RedisServer, ports};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

const SLOTS: u64 = 16_384;

const PING: &[(&str, &str)] = &[("POST / HTTP/1.1", r#"["PING"]"#)];
const PONG: &str = r#"{"result":"PONG"}"#;

type Shown = CertificateDer<'static>;

/// Commands and subscriptions both work.
async fn assert_works(gateway: &Gateway, publisher: &RedisServer) {
    assert_eq!(gateway.result(&json!(["SET", "k", "v"])).await, json!("OK"));
    assert_eq!(publisher.run::<String>(&["GET", "k"]).await.unwrap(), "v");
    let mut stream = gateway.subscribe("c").await;
    publisher.run::<i64>(&["PUBLISH", "c", "m"]).await.unwrap();
    assert_eq!(stream.data().await, "message,c,m");
}

#[tokio::test]
async fn redis_is_reached_by_a_socket() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("redis.sock");
    let redis = RedisServer::start_with(&["--unixsocket", path(&socket)]).await.unwrap();
    let gateway = Gateway::ready_with(&format!("unix://{}", path(&socket)), &[]).await;
    assert_works(&gateway, &redis).await;
}

#[tokio::test]
async fn redis_is_reached_by_tls_where_both_sides_show_a_certificate() {
    let (authority, foreign) = (Authority::new().unwrap(), Authority::new().unwrap());
    let client = authority.issue("client").unwrap();
    let (redis, port) = RedisServer::start_with_tls(&authority, &[]).await.unwrap();
    let url = format!("rediss://127.0.0.1:{port}");
    let with = |authority: &Authority, client: &Certificate| {
        let variables = [
            ("REDIS_CA_FILE", authority.root()),
            ("REDIS_CERT_FILE", client.chain.clone()),
            ("REDIS_KEY_FILE", client.key.clone()),
        ];
        Gateway::start_with(&url, &variables.each_ref().map(|(name, file)| (*name, path(file))))
    };
    let gateway = with(&authority, &client);
    gateway.await_ready().await;
    assert_works(&gateway, &redis).await;

    // Whoever is not trusted, on either side, is not talked to.
    for stranger in [with(&foreign, &client), with(&authority, &foreign.issue("client").unwrap())] {
        let (status, answer) = stranger.post("/", r#"["PING"]"#).await;
        assert!(status == 503 && error(&answer).contains("nothing was sent"), "{answer}");
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn port(redis: &RedisServer) -> String {
    redis.port().unwrap().to_string()
}

/// A client over TLS, and the certificate that the gateway showed it.
async fn connect_by_tls(gateway: &Gateway, authority: &Authority) -> (Wire<TlsStream<TcpStream>>, Shown) {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&authority.root())).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let Wire(tcp) = Wire::connect(gateway).await;
    let stream = within("TLS", TlsConnector::from(Arc::new(config)).connect(name, tcp)).await.unwrap();
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
    (Wire(stream), shown)
}

fn certificate(file: &Path) -> Shown {
    CertificateDer::from_pem_file(file).unwrap()
}

async fn gateway_with_tls(redis: &RedisServer, certificate: &Certificate) -> Gateway {
    let variables =
        [("GATEWAY_TLS_CERT_FILE", path(&certificate.chain)), ("GATEWAY_TLS_KEY_FILE", path(&certificate.key))];
    Gateway::ready_with(redis.url(), &variables).await
}

#[tokio::test]
async fn commands_and_streams_go_over_tls() {
    let (redis, authority) = (RedisServer::start().await.unwrap(), Authority::new().unwrap());
    let gateway = gateway_with_tls(&redis, &authority.issue("served").unwrap()).await;
    let (mut client, _) = connect_by_tls(&gateway, &authority).await;
    client.send(PING).await;
    client.until(PONG).await;
    client.send(&[("POST /subscribe/c HTTP/1.1", "[]")]).await;
    client.until("data: subscribe,c,1\n\n: keep-alive\n\n\r\n").await;
    redis.run::<i64>(&["PUBLISH", "c", "hello"]).await.unwrap();
    client.until("data: message,c,hello\n\n\r\n").await;
    drop(client);
    until("the subscriber to be gone", async || redis.subscriptions("c").await.unwrap() == 0).await;
}

#[tokio::test]
async fn a_replaced_certificate_is_shown_after_sighup_and_a_broken_one_is_not() {
    let (redis, authority) = (RedisServer::start().await.unwrap(), Authority::new().unwrap());
    let (served, next) = (authority.issue("served").unwrap(), authority.issue("next").unwrap());
    let before = certificate(&served.chain);
    let gateway = gateway_with_tls(&redis, &served).await;
    let (mut open, shown) = connect_by_tls(&gateway, &authority).await;
    assert_eq!(shown, before);

    fs::copy(&next.chain, &served.chain).unwrap();
    fs::copy(&next.key, &served.key).unwrap();
    gateway.signal(Signal::SIGHUP);
    let shown = async || connect_by_tls(&gateway, &authority).await.1;
    until("the new certificate", async || shown().await == certificate(&next.chain)).await;
    open.send(PING).await;
    open.until(PONG).await;

    fs::write(&served.chain, "no certificate").unwrap();
    gateway.signal(Signal::SIGHUP);
    until("the refusal", async || gateway.log().contains("kept the certificate from before")).await;
    assert_eq!(shown().await, certificate(&next.chain));
}

/// A master, its replica, and a sentinel that knows both.
struct Replicated {
    master: RedisServer,
    replica: RedisServer,
    sentinel: RedisServer,
}

impl Replicated {
    async fn start() -> Self {
        let master = RedisServer::start_with(&["--repl-diskless-sync-delay", "0"]).await.unwrap();
        let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &port(&master)]).await.unwrap();
        until("the replica to follow", async || says(&replica, "master_link_status:up").await).await;
        let sentinel = RedisServer::sentinel(&master, "mymaster").await.unwrap();
        until("the sentinel to know the replica", async || says(&sentinel, "slaves=1").await).await;
        Self { master, replica, sentinel }
    }

    fn url(&self) -> String {
        format!("redis-sentinel://127.0.0.1:{}#mymaster", port(&self.sentinel))
    }
}

async fn says(server: &RedisServer, line: &str) -> bool {
    server.run::<String>(&["INFO"]).await.unwrap().contains(line)
}

#[tokio::test]
async fn after_the_masters_death_writes_and_open_streams_go_on_at_the_new_one() {
    let mut redis = Replicated::start().await;
    let gateway = Gateway::ready_with(&redis.url(), &[]).await;
    assert_works(&gateway, &redis.master).await;
    let (mut channel, mut pattern) = (gateway.subscribe("c").await, gateway.psubscribe("c*").await);

    redis.master.kill();
    channel.resubscribed().await;
    pattern.resubscribed().await;
    until("writes to work again", async || gateway.post("/", r#"["SET","k","after"]"#).await.0 == 200).await;
    assert_eq!(redis.replica.run::<String>(&["GET", "k"]).await.unwrap(), "after");
    redis.replica.run::<i64>(&["PUBLISH", "c", "after"]).await.unwrap();
    assert_eq!(channel.data().await, "message,c,after");
    assert_eq!(pattern.data().await, "pmessage,c*,c,after");
}

/// Who asks to write there disturbs nobody who reads.
#[tokio::test]
async fn a_server_that_was_a_replica_from_the_beginning_is_kept() {
    let redis = Replicated::start().await;
    let gateway = Gateway::ready_with(redis.replica.url(), &[]).await;
    for _ in 0..3 {
        let (status, answer) = gateway.post("/", r#"["SET","k","v"]"#).await;
        assert!(status == 400 && error(&answer).starts_with("READONLY "), "{answer}");
        assert_eq!(gateway.result(&json!(["GET", "none"])).await, json!(null));
    }
    assert_eq!(gateway.metric("batchcast_gateway_redis_connections_total").await, 2);
}

#[tokio::test]
async fn a_master_that_becomes_a_replica_is_left() {
    let redis = Replicated::start().await;
    let gateway = Gateway::ready_with(&redis.url(), &[]).await;
    assert_works(&gateway, &redis.master).await;
    let failover = async || redis.sentinel.run::<String>(&["SENTINEL", "FAILOVER", "mymaster"]).await.is_ok();
    until("the sentinel to know enough of the replica", failover).await;
    until("the master to step down", async || says(&redis.master, "role:slave").await).await;
    until("writes to work again", async || gateway.post("/", r#"["SET","k","after"]"#).await.0 == 200).await;
    assert_eq!(redis.replica.run::<String>(&["GET", "k"]).await.unwrap(), "after");
}

/// Three masters, each with a third of the slots and no replica.
struct Cluster {
    nodes: Vec<RedisServer>,
}

impl Cluster {
    async fn start() -> Self {
        let bus_ports = [(); 3].map(|()| ports::free().unwrap().to_string());
        let nodes = join_all(bus_ports.each_ref().map(async |bus_port| {
            let options = [
                ["--cluster-enabled", "yes"],
                ["--cluster-port", bus_port],
                ["--cluster-node-timeout", "1000"],
                ["--cluster-require-full-coverage", "no"],
            ];
            RedisServer::start_with(options.as_flattened()).await.unwrap()
        }))
        .await;
        for (at, node) in (0..).zip(&nodes) {
            let (first, last) = (first_slot(at).to_string(), (first_slot(at + 1) - 1).to_string());
            node.run::<String>(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]).await.unwrap();
            node.run::<String>(&["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()]).await.unwrap();
        }
        for (node, bus_port) in nodes.iter().zip(&bus_ports).skip(1) {
            nodes[0].run::<String>(&["CLUSTER", "MEET", "127.0.0.1", &port(node), bus_port]).await.unwrap();
        }
        for node in &nodes {
            let info = async || node.run::<String>(&["CLUSTER", "INFO"]).await.unwrap();
            until("the cluster to be whole", async || {
                let info = info().await;
                info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384")
            })
            .await;
        }
        Self { nodes }
    }

    fn url(&self) -> String {
        let hosts: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", port(node))).collect();
        format!("redis-cluster://{}", hosts.join(","))
    }

    /// A key on each node.
    async fn keys(&self) -> Vec<String> {
        let mut keys = vec![None; self.nodes.len()];
        for number in 0.. {
            let key = format!("key-{number}");
            let slot: u64 = self.nodes[0].run(&["CLUSTER", "KEYSLOT", &key]).await.unwrap();
            let node = (0..).take_while(|at| first_slot(at + 1) <= slot).count();
            keys[node].get_or_insert(key);
            if keys.iter().all(Option::is_some) {
                break;
            }
        }
        keys.into_iter().flatten().collect()
    }
}

fn first_slot(node: u64) -> u64 {
    (node * SLOTS).div_ceil(3)
}

#[tokio::test]
async fn a_cluster_answers_for_all_slots_in_order() {
    let cluster = Cluster::start().await;
    let gateway = Gateway::ready_with(&cluster.url(), &[]).await;
    for number in 0..100 {
        let (key, value) = (format!("k{number}"), number.to_string());
        assert_eq!(gateway.result(&json!(["SET", key, value])).await, json!("OK"));
        assert_eq!(gateway.result(&json!(["GET", key])).await, json!(value));
    }
    let commands: Vec<Value> = (0..100).map(|number| json!(["GET", format!("k{number}")])).collect();
    let expected: Vec<Value> = (0..100).map(|number| json!({ "result": number.to_string() })).collect();
    assert_eq!(gateway.post("/pipeline", json!(commands).to_string()).await, (200, json!(expected)));
    assert_eq!(gateway.result(&json!(["EVAL", "return redis.call('GET', KEYS[1])", 1, "k7"])).await, json!("7"));
    let (status, answer) = gateway.post("/", r#"["LPUSH","k7","a"]"#).await;
    assert!(status == 400 && error(&answer).starts_with("WRONGTYPE "), "{answer}");
}

/// One node's keys would pass for all.
#[tokio::test]
async fn a_cluster_has_no_scan() {
    let cluster = Cluster::start().await;
    let gateway = Gateway::ready_with(&cluster.url(), &[]).await;
    for command in ["[\"SCAN\",0]", "[\"SCAN\",0,\"WITHTYPE\"]"] {
        let (status, answer) = gateway.post("/", command).await;
        assert!(status == 400 && error(&answer).starts_with("ERR SCAN is not available in a cluster"), "{answer}");
    }
}

/// A script may say what it likes; what it has done is not done again.
#[tokio::test]
async fn a_script_in_a_cluster_is_never_run_twice() {
    let cluster = Cluster::start().await;
    let gateway = Gateway::ready_with(&cluster.url(), &[]).await;
    let script = "redis.call('INCR', KEYS[1]); return redis.error_reply('TRYAGAIN mine')";
    let (status, answer) = gateway.post("/", json!(["EVAL", script, 1, "n"]).to_string()).await;
    assert!(status == 400 && error(&answer).starts_with("TRYAGAIN mine"), "{answer}");
    assert_eq!(gateway.result(&json!(["GET", "n"])).await, json!("1"));
}

#[tokio::test]
async fn a_transaction_in_a_cluster_keeps_to_one_slot() {
    let cluster = Cluster::start().await;
    let gateway = Gateway::ready_with(&cluster.url(), &[]).await;
    let (status, answer) = gateway.post("/multi-exec", r#"[["SET","{t}a","1"],["INCR","{t}a"],["GET","{t}a"]]"#).await;
    assert_eq!((status, answer), (200, json!([{ "result": "OK" }, { "result": 2 }, { "result": "2" }])));
    let (status, answer) = gateway.post("/multi-exec", r#"[["SET","{t}a","x"],["LPUSH","{t}a","y"]]"#).await;
    assert!(status == 200 && error(&answer[1]).starts_with("WRONGTYPE "), "{answer}");
}

#[tokio::test]
async fn a_transaction_across_slots_of_a_cluster_is_refused_in_redis_words() {
    let cluster = Cluster::start().await;
    let gateway = Gateway::ready_with(&cluster.url(), &[]).await;
    let keys = cluster.keys().await;
    let across = json!([["SET", keys[0], "v"], ["SET", keys[1], "v"]]).to_string();
    let (status, answer) = gateway.post("/multi-exec", across).await;
    for key in &keys[..2] {
        assert_eq!(gateway.result(&json!(["GET", key])).await, json!(null));
    }
    let words = "CROSSSLOT Keys in request don't hash to the same slot";
    assert_eq!((status, answer), (400, json!({ "error": words })));
}

/// A slot of the first node that moves to the second.
struct Move<'a> {
    from: &'a RedisServer,
    to: &'a RedisServer,
    ids: [String; 2],
    key: String,
    slot: String,
}

impl<'a> Move<'a> {
    async fn of(cluster: &'a Cluster) -> Self {
        let [from, to, _] = &cluster.nodes[..] else { panic!("a cluster has three nodes") };
        let id = async |node: &RedisServer| node.run(&["CLUSTER", "MYID"]).await.unwrap();
        let ids = [id(from).await, id(to).await];
        let key = cluster.keys().await.swap_remove(0);
        let slot: u64 = from.run(&["CLUSTER", "KEYSLOT", &key]).await.unwrap();
        Self { from, to, ids, key, slot: slot.to_string() }
    }

    async fn set_slot(&self, node: &RedisServer, state: &str, id: &str) {
        node.run::<String>(&["CLUSTER", "SETSLOT", &self.slot, state, id]).await.unwrap();
    }

    /// The key is at its new place, the slot officially still at its old one.
    async fn begin(&self) {
        self.set_slot(self.to, "IMPORTING", &self.ids[0]).await;
        self.set_slot(self.from, "MIGRATING", &self.ids[1]).await;
        let words = ["MIGRATE", "127.0.0.1", &port(self.to), &self.key, "0", "5000"];
        self.from.run::<String>(&words).await.unwrap();
    }

    async fn finish(&self) {
        for node in [self.to, self.from] {
            self.set_slot(node, "NODE", &self.ids[1]).await;
        }
    }
}

/// Reads `before` and leaves `after`, by each route.
async fn assert_every_route_works(gateway: &Gateway, key: &str, before: &str, after: &str) {
    assert_eq!(gateway.result(&json!(["GET", key])).await, json!(before));
    assert_eq!(gateway.result(&json!(["SET", key, "single"])).await, json!("OK"));
    for (path, old, new) in [("/pipeline", "single", "pipeline"), ("/multi-exec", "pipeline", after)] {
        let commands = json!([["GET", key], ["SET", key, new]]).to_string();
        let answer = json!([{ "result": old }, { "result": "OK" }]);
        assert_eq!(gateway.post(path, commands).await, (200, answer), "{path}");
    }
}

#[tokio::test]
async fn a_slot_of_a_cluster_that_has_moved_is_followed() {
    let cluster = Cluster::start().await;
    let gateway = Gateway::ready_with(&cluster.url(), &[]).await;
    let moved = Move::of(&cluster).await;
    gateway.result(&json!(["SET", moved.key, "before"])).await;
    moved.begin().await;
    moved.finish().await;
    assert_every_route_works(&gateway, &moved.key, "before", "after").await;
    assert_eq!(moved.to.run::<String>(&["GET", &moved.key]).await.unwrap(), "after");
}

#[tokio::test]
async fn a_slot_of_a_cluster_that_is_just_moving_is_followed() {
    let cluster = Cluster::start().await;
    let gateway = Gateway::ready_with(&cluster.url(), &[]).await;
    let moving = Move::of(&cluster).await;
    gateway.result(&json!(["SET", moving.key, "before"])).await;
    moving.begin().await;
    assert_every_route_works(&gateway, &moving.key, "before", "after").await;
}

#[tokio::test]
async fn a_subscription_hears_what_is_published_on_any_node_of_a_cluster() {
    let cluster = Cluster::start().await;
    let gateway = Gateway::ready_with(&cluster.url(), &[]).await;
    let (mut channel, mut pattern) = (gateway.subscribe("c").await, gateway.psubscribe("c*").await);
    for node in &cluster.nodes {
        node.run::<i64>(&["PUBLISH", "c", &port(node)]).await.unwrap();
        assert_eq!(channel.data().await, format!("message,c,{}", port(node)));
        assert_eq!(pattern.data().await, format!("pmessage,c*,c,{}", port(node)));
    }
    gateway.result(&json!(["PUBLISH", "c", "from here"])).await;
    assert_eq!(channel.data().await, "message,c,from here");
}

/// The third node has died; the keys of all three.
async fn bereaved() -> (Cluster, Gateway, Vec<String>) {
    let mut cluster = Cluster::start().await;
    let gateway = Gateway::ready_with(&cluster.url(), &[]).await;
    let keys = cluster.keys().await;
    for key in &keys {
        gateway.result(&json!(["SET", key, "v"])).await;
    }
    cluster.nodes.remove(2);
    (cluster, gateway, keys)
}

#[tokio::test]
async fn a_dead_node_of_a_cluster_costs_its_slots_only() {
    let (_cluster, gateway, keys) = bereaved().await;
    let set = async |key: &str| gateway.post("/", json!(["SET", key, "w"]).to_string()).await;
    for key in &keys[..2] {
        until("the others to go on", async || set(key).await.0 == 200).await;
    }
    // Also once all have noticed, and when what is dead is asked for in between.
    for _ in 0..5 {
        let (status, answer) = set(&keys[2]).await;
        assert!(status >= 400 && answer["error"].is_string(), "{status}: {answer}");
        for key in &keys[..2] {
            assert_eq!(set(key).await, (200, json!({ "result": "OK" })), "{key}");
        }
    }
}

/// 400 would tell a client that trying again is no use, and a redirection is nothing that it can follow.
#[tokio::test]
async fn what_a_dead_node_of_a_cluster_holds_is_unavailable() {
    let (cluster, gateway, keys) = bereaved().await;
    let set = json!(["SET", keys[2], "w"]);
    let assert_unavailable = async || {
        for (path, body) in [("/", set.to_string()), ("/multi-exec", json!([set]).to_string())] {
            let (status, answer) = gateway.post(path, body).await;
            assert!(status == 503 && error(&answer).starts_with("ERR "), "{path} {status}: {answer}");
        }
    };
    assert_unavailable().await;
    until("the cluster to notice", async || {
        cluster.nodes[0].run::<String>(&["CLUSTER", "INFO"]).await.unwrap().contains("cluster_slots_fail:546")
    })
    .await;
    assert_unavailable().await;
}

#[tokio::test]
async fn open_streams_move_to_another_node_when_theirs_dies() {
    let mut cluster = Cluster::start().await;
    let gateway = Gateway::ready_with(&cluster.url(), &[]).await;
    let (mut channel, mut pattern) = (gateway.subscribe("c").await, gateway.psubscribe("c*").await);
    for at in (0..3).rev() {
        if cluster.nodes[at].subscriptions("c").await.unwrap() == 1 {
            cluster.nodes.remove(at);
        }
    }
    assert_eq!(cluster.nodes.len(), 2);
    channel.resubscribed().await;
    pattern.resubscribed().await;
    for node in &cluster.nodes {
        node.run::<i64>(&["PUBLISH", "c", &port(node)]).await.unwrap();
        assert_eq!(channel.data().await, format!("message,c,{}", port(node)));
        assert_eq!(pattern.data().await, format!("pmessage,c*,c,{}", port(node)));
    }
}
