//! What nodes answer, and what becomes of it; nodes that move keys and leave.

use std::time::Duration;

use futures::FutureExt as _;
use redis::ProtocolVersion;
use redis_address::Address;
use stack::{GUARD, RedisServer, ports};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

use super::*;

/// A node that answers each command as it is told to, and remembers them.
#[derive(Clone, Default)]
struct Scripted {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    async fn start(answer: impl Fn(&str) -> String + Clone + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let node = Self { port: listener.local_addr().unwrap().port(), heard: Arc::default() };
        let heard = Arc::clone(&node.heard);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answer.clone(), Arc::clone(&heard)));
            }
        });
        node
    }

    fn node(&self) -> Node {
        ("127.0.0.1".to_owned(), self.port)
    }

    fn has_heard(&self, command: &str) -> bool {
        self.heard.lock().unwrap().iter().any(|heard| heard.starts_with(command))
    }
}

async fn serve(mut stream: TcpStream, answer: impl Fn(&str) -> String, heard: Arc<Mutex<Vec<String>>>) {
    let (read, mut write) = stream.split();
    let mut lines = BufReader::new(read);
    while let Some(words) = command(&mut lines).await {
        let words = words.join(" ");
        heard.lock().unwrap().push(words.clone());
        let answer = match words.split(' ').next() {
            Some("HELLO") => "-ERR unknown command".to_owned(),
            Some("CLIENT" | "ASKING") => "+OK".to_owned(),
            _ => answer(&words),
        };
        if write.write_all(format!("{answer}\r\n").as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The words of the next command; `None`: the connection is closed.
async fn command(lines: &mut (impl AsyncBufRead + Unpin)) -> Option<Vec<String>> {
    let mut words = Vec::new();
    for _ in 0..length(lines).await? {
        let mut word = vec![0; length(lines).await? + 2];
        lines.read_exact(&mut word).await.ok()?;
        words.push(String::from_utf8(word).ok()?.trim_end().to_owned());
    }
    Some(words)
}

async fn length(lines: &mut (impl AsyncBufRead + Unpin)) -> Option<usize> {
    let mut line = String::new();
    lines.read_line(&mut line).await.ok()?;
    line.trim_end().get(1..)?.parse().ok()
}

/// All slots are one master's.
fn map(master: u16) -> String {
    format!("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:{master}")
}

fn cluster(node: &Node) -> (Arc<Cluster>, Arc<Loss>) {
    let Ok(Address::Cluster(nodes)) = format!("redis-cluster://{}:{}", node.0, node.1).parse() else { panic!() };
    let timeouts = Timeouts { connection: Duration::from_secs(5), response: Duration::from_secs(5) };
    let (settings, loss) =
        (Settings::new(ProtocolVersion::RESP2, redis::io::tcp::TcpSettings::default()), Arc::default());
    (Arc::new(Cluster::new(nodes, settings, timeouts, Arc::clone(&loss))), loss)
}

/// A call by its words. The key is its last one.
async fn ask(cluster: &Cluster, words: &[&str]) -> Result<Value, Trouble> {
    let mut command = Cmd::new();
    command.arg(words);
    cluster.ask(&command, words.last().map(|key| key.as_bytes())).await
}

/// A master from which the slots of the keys `a` and `b` move to a node each.
async fn moving_from(to: [&Scripted; 2]) -> Scripted {
    let [a, b] = to.map(|node| node.port);
    let port = Arc::new(std::sync::OnceLock::new());
    let own = Arc::clone(&port);
    let master = Scripted::start(move |words| match words.split(' ').collect::<Vec<_>>()[..] {
        ["CLUSTER", ..] => map(*own.get().unwrap()),
        ["EVALSHA", .., "a"] => format!("-ASK {} 127.0.0.1:{a}", routing::slot_of(b"a")),
        ["EVALSHA", .., "b"] => format!("-ASK {} 127.0.0.1:{b}", routing::slot_of(b"b")),
        _ => "+OK".to_owned(),
    })
    .await;
    port.set(master.port).unwrap();
    master
}

#[tokio::test]
async fn a_script_is_loaded_where_its_own_slot_moves_to() {
    let no_script = |_: &str| "-NOSCRIPT No matching script.".to_owned();
    let answer = move |words: &str| if words.starts_with("SCRIPT") { "+sha".to_owned() } else { no_script(words) };
    let (to_a, to_b) = (Scripted::start(answer).await, Scripted::start(answer).await);
    let (cluster, _) = cluster(&moving_from([&to_a, &to_b]).await.node());
    for key in ["a", "b"] {
        assert!(matches!(ask(&cluster, &["EVALSHA", "sha", "1", key]).await, Err(Trouble::Answer(_))));
    }
    ask(&cluster, &["SCRIPT", "LOAD", "a"]).await.unwrap();
    assert!(to_a.has_heard("SCRIPT") && !to_b.has_heard("SCRIPT"));
    ask(&cluster, &["SCRIPT", "LOAD", "b"]).await.unwrap();
    assert!(to_b.has_heard("SCRIPT"));
}

#[tokio::test]
async fn where_a_slot_moved_on_meanwhile_is_followed() {
    let last = Scripted::start(|_| "+done".to_owned()).await;
    let port = last.port;
    let between = Scripted::start(move |_| format!("-MOVED {} 127.0.0.1:{port}", routing::slot_of(b"a"))).await;
    let (cluster, _) = cluster(&moving_from([&between, &between]).await.node());
    assert_eq!(ask(&cluster, &["EVALSHA", "sha", "1", "a"]).await.unwrap(), Value::SimpleString("done".to_owned()));
    assert!(between.has_heard("ASKING") && !last.has_heard("ASKING"));
}

#[tokio::test]
async fn a_node_that_is_away_while_a_slot_moves_to_it_makes_the_map_doubted() {
    let away = Scripted { port: 1, ..Scripted::default() };
    let (cluster, _) = cluster(&moving_from([&away, &away]).await.node());
    assert!(matches!(ask(&cluster, &["EVALSHA", "sha", "1", "a"]).await, Err(Trouble::Connecting(_))));
    assert!(cluster.known().doubted);
}

/// `CLUSTER SLOTS`: each its slots.
fn slots(masters: &[(u16, u16, &str)]) -> Slots {
    let ranges = masters.iter().map(|(first, last, host)| {
        let node = Value::Array(vec![Value::BulkString((*host).into()), Value::Int(6379)]);
        Value::Array(vec![Value::Int((*first).into()), Value::Int((*last).into()), node])
    });
    Slots::read(&Value::Array(ranges.collect()), &("asked".to_owned(), 6379)).unwrap()
}

#[tokio::test]
async fn a_slot_that_moves_between_masters_that_stay_is_no_loss_and_a_master_that_goes_is_one() {
    let (cluster, loss) = cluster(&("a".to_owned(), 6379));
    let told = || loss.told().now_or_never().is_some();
    cluster.learn(slots(&[(0, 99, "a"), (100, 199, "b")]));
    assert!(!told(), "the first map is no other");
    cluster.learn(slots(&[(0, 100, "a"), (101, 199, "b")]));
    cluster.learn(slots(&[(0, 100, "a"), (101, 150, "b"), (151, 199, "c")]));
    assert!(!told());
    // Its slots are said to have moved before the map says that it is gone.
    (151..=199).for_each(|slot| cluster.moved(slot, ("b".to_owned(), 6379)));
    assert!(cluster.known().looked_at.is_none() && !told());
    cluster.learn(slots(&[(0, 100, "a"), (101, 199, "b")]));
    assert!(told());
    cluster.learn(slots(&[(0, 100, "a"), (101, 199, "b")]));
    assert!(!told());
}

/// Two masters that share the slots.
async fn two_masters() -> [RedisServer; 2] {
    let start = async || {
        let bus_port = ports::free().unwrap().to_string();
        let options = ["--cluster-enabled", "yes", "--cluster-port", &bus_port];
        (RedisServer::start_with(&options).await.unwrap(), bus_port)
    };
    let ((a, _), (b, bus_port)) = tokio::join!(start(), start());
    for (node, first, last, epoch) in [(&a, "0", "8191", "1"), (&b, "8192", "16383", "2")] {
        node.run::<String>(&["CLUSTER", "ADDSLOTSRANGE", first, last]).await.unwrap();
        node.run::<String>(&["CLUSTER", "SET-CONFIG-EPOCH", epoch]).await.unwrap();
    }
    let port = b.port().unwrap().to_string();
    a.run::<String>(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus_port]).await.unwrap();
    for node in [&a, &b] {
        until_it_is_whole(node).await;
    }
    [a, b]
}

async fn until_it_is_whole(node: &RedisServer) {
    let whole = async || {
        let info = node.run::<String>(&["CLUSTER", "INFO"]).await?;
        anyhow::ensure!(info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384"), "{info}");
        Ok(())
    };
    stack::eventually(GUARD, whole).await.unwrap();
}

#[tokio::test]
async fn a_subscription_on_a_node_that_has_left_the_cluster_is_lost_and_the_next_one_hears() {
    let [a, b] = two_masters().await;
    let node = |server: &RedisServer| ("127.0.0.1".to_owned(), server.port().unwrap());
    let (cluster, _) = cluster(&node(&a));
    let on_b = async || match cluster.subscribe("news").await.unwrap() {
        Subscription::Cluster(messages, member) if member.node == node(&b) => {
            Some(Subscription::Cluster(messages, member))
        }
        _ => None,
    };
    // Whose turn it is.
    let mut subscription = on_b().await;
    if subscription.is_none() {
        subscription = on_b().await;
    }
    let mut subscription = subscription.unwrap();
    assert!(subscription.answers().await);

    let id: String = b.run(&["CLUSTER", "MYID"]).await.unwrap();
    a.run::<String>(&["CLUSTER", "FORGET", &id]).await.unwrap();
    b.run::<String>(&["CLUSTER", "RESET", "HARD"]).await.unwrap();
    a.run::<String>(&["CLUSTER", "ADDSLOTSRANGE", "8192", "16383"]).await.unwrap();
    until_it_is_whole(&a).await;
    assert!(!subscription.answers().await, "it would hear nothing any more");
    let mut subscription = cluster.subscribe("news").await.unwrap();
    a.run::<i64>(&["PUBLISH", "news", "hello"]).await.unwrap();
    assert_eq!(tokio::time::timeout(GUARD, subscription.next()).await.expect("it hears"), Some(b"hello".to_vec()));
}
