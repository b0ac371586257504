//! The connection to Redis: made when needed, dropped when it proved broken, its loss told at once.
//!
//! The rest of the crate knows commands, scripts and subscriptions; how they travel stands here alone.
//!
//! Not `redis::aio::ConnectionManager`: the publisher must know when a connection was lost (a failover may have lost
//! acknowledged writes), and its schedule already decides when to try again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, ProtocolVersion, PushInfo, PushKind, RedisError, RedisResult,
    Script, Value,
    aio::{MultiplexedConnection, PubSubSink, PubSubStream},
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use tokio::sync::{Mutex, Notify};
use wire::script::Call;

use crate::{PublishError, error::is_transport};

/// How long each step may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    pub connection: Duration,
    pub response: Duration,
}

/// How long a silent connection is trusted before the kernel asks whether the other side is still there.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// How often it asks, each [`KEEPALIVE`] / 3, before it gives the connection up: 30 s after the last word. By default
/// Linux would ask nine times, and what was sent last would no longer be [`RECENT`](crate::schedule::RECENT) when its
/// loss is noticed.
const KEEPALIVE_PROBES: u32 = 3;

pub(crate) struct Link {
    client: Client,
    /// The same server for one that does not know RESP3.
    plain: Client,
    timeouts: Timeouts,
    live: Mutex<Option<Live>>,
    loss: Arc<Loss>,
    connections: AtomicU64,
}

/// Tells the background task that a connection was lost.
#[derive(Default)]
struct Loss {
    told: Notify,
}

/// One connection, and whether it is known to be broken.
#[derive(Clone)]
struct Live {
    connection: MultiplexedConnection,
    broken: Arc<AtomicBool>,
}

impl Link {
    /// A link to the server at `url`; no connection is made yet.
    pub(crate) fn new(url: &str, timeouts: Timeouts) -> Result<Self, PublishError> {
        let open = |protocol| {
            let info = redis::IntoConnectionInfo::into_connection_info(url)?;
            let settings = info.redis_settings().clone().set_protocol(protocol);
            let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3);
            let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive.with_retries(KEEPALIVE_PROBES));
            Client::open(info.set_redis_settings(settings).set_tcp_settings(tcp))
        };
        let config = |error: RedisError| PublishError::Config {
            setting: "REDIS_URL",
            // The library's words name the part that is wrong and never the URL, which may hold a password.
            problem: format!("not a Redis address ({error}); it reads redis://[user:password@]host[:port][/database]"),
        };
        Ok(Self {
            client: open(ProtocolVersion::RESP3).map_err(config)?,
            plain: open(ProtocolVersion::RESP2).map_err(config)?,
            timeouts,
            live: Mutex::default(),
            loss: Arc::default(),
            connections: AtomicU64::default(),
        })
    }

    /// Sends a command. `name` is what an error calls it.
    pub(crate) async fn send<T: FromRedisValue>(&self, name: &'static str, command: &Cmd) -> Result<T, PublishError> {
        self.run(name, async |connection| command.query_async(connection).await).await
    }

    /// Runs a script by its SHA; where Redis has forgotten it (a restart, a failover, `SCRIPT FLUSH`) it is loaded and
    /// called again.
    pub(crate) async fn script<T: FromRedisValue>(&self, script: &Script, call: &Call) -> Result<T, PublishError> {
        let mut invocation = script.prepare_invoke();
        invocation.key(&call.key).arg(&call.args);
        self.run("EVALSHA", async |connection| invocation.invoke_async(connection).await).await
    }

    /// On the connection, made first where there is none. A transport error drops it.
    async fn run<T>(
        &self,
        name: &'static str,
        command: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, PublishError> {
        let mut live = self.live().await.map_err(PublishError::from_connecting)?;
        let result = command(&mut live.connection).await;
        if let Err(error) = &result
            && is_transport(error)
        {
            self.loss.tell(&live.broken);
        }
        result.map_err(|e| PublishError::from_redis(name, e))
    }

    /// Waits until a connection that was in use is lost.
    pub(crate) async fn lost(&self) {
        self.loss.told.notified().await;
    }

    /// How many connections were made so far.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// A connection of its own for a subscription. RESP2: any server speaks it, and here it lacks nothing.
    pub(crate) async fn subscribe(&self, channel: &str) -> Result<Subscription, PublishError> {
        let subscribing = async {
            let mut pubsub = self.plain.get_async_pubsub().await?;
            pubsub.subscribe(channel).await?;
            Ok(pubsub)
        };
        match tokio::time::timeout(self.timeouts.connection, subscribing).await {
            Ok(Ok(pubsub)) => {
                let (sink, messages) = pubsub.split();
                Ok(Subscription { sink, messages, response_timeout: self.timeouts.response })
            }
            Ok(Err(error)) => Err(PublishError::from_redis("SUBSCRIBE", error)),
            Err(elapsed) => Err(PublishError::Unanswered { source: Box::new(elapsed) }),
        }
    }

    /// The lock is held while connecting, so that those who come at the same time share one attempt.
    async fn live(&self) -> RedisResult<Live> {
        let mut slot = self.live.lock().await;
        if let Some(live) = slot.as_ref().filter(|live| !live.broken.load(Ordering::Acquire)) {
            return Ok(live.clone());
        }
        *slot = None;
        let live = self.open().await?;
        self.connections.fetch_add(1, Ordering::Relaxed);
        Ok(slot.insert(live).clone())
    }

    async fn open(&self) -> RedisResult<Live> {
        let broken = Arc::new(AtomicBool::new(false));
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeouts.connection))
            .set_response_timeout(Some(self.timeouts.response));
        let told = config.clone().set_push_sender(on_disconnect(Arc::clone(&self.loss), Arc::clone(&broken)));
        let connection = match self.client.get_multiplexed_async_connection_with_config(&told).await {
            // Servers and proxies refuse HELLO in many words; a wrong password is refused again, and then told.
            Err(error) if !is_transport(&error) => {
                self.plain.get_multiplexed_async_connection_with_config(&config).await
            }
            result => result,
        };
        Ok(Live { connection: connection?, broken })
    }
}

/// The messages of one channel.
pub(crate) struct Subscription {
    sink: PubSubSink,
    messages: PubSubStream,
    response_timeout: Duration,
}

impl Subscription {
    /// The next message; `None`: the subscription is lost. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Option<Vec<u8>> {
        Some(self.messages.next().await?.get_payload_bytes().to_vec())
    }

    /// Asks whether it is alive.
    pub(crate) async fn answers(&mut self) -> bool {
        matches!(tokio::time::timeout(self.response_timeout, self.sink.ping::<Value>()).await, Ok(Ok(_)))
    }
}

impl Loss {
    /// Told once for each connection.
    fn tell(&self, broken: &AtomicBool) {
        if !broken.swap(true, Ordering::AcqRel) {
            self.told.notify_one();
        }
    }
}

fn on_disconnect(
    loss: Arc<Loss>,
    broken: Arc<AtomicBool>,
) -> impl Fn(PushInfo) -> Result<(), redis::aio::SendError> + Send + Sync + 'static {
    move |push| {
        if push.kind == PushKind::Disconnection {
            loss.tell(&broken);
        }
        Ok(())
    }
}
