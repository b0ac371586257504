//! One connection to one server at a time: always the same, or whichever is the master.

use std::io;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ProtocolVersion, PushInfo, PushKind,
    RedisResult, Value,
    aio::{ConnectionLike, MultiplexedConnection},
};
use redis_address::Settings;
use tokio::sync::Mutex;
#[cfg(feature = "sentinel")]
use tokio::time::Instant;

use super::{Loss, Timeouts, Trouble, subscription::PubSubscription};
#[cfg(feature = "sentinel")]
use super::{look::Watched, sentinel::Sentinels};
use crate::{PublishError, error::is_transport};

pub(super) struct Server {
    whereabouts: Whereabouts,
    timeouts: Timeouts,
    live: Mutex<Option<Live>>,
    loss: Arc<Loss>,
}

enum Whereabouts {
    Fixed(Box<Clients>),
    #[cfg(feature = "sentinel")]
    Sentinels(Box<Sentinels>),
}

/// The same server in two protocols.
#[derive(Clone)]
pub(super) struct Clients {
    resp3: Client,
    /// For one that does not know RESP3.
    resp2: Client,
}

/// One connection, and whether it is known to be broken.
#[derive(Clone)]
struct Live {
    connection: MultiplexedConnection,
    /// To where.
    #[cfg_attr(not(feature = "sentinel"), allow(dead_code, reason = "only sentinels name another place"))]
    address: ConnectionAddr,
    broken: Arc<AtomicBool>,
}

impl Clients {
    pub(super) fn new(info: &ConnectionInfo, settings: &Settings) -> RedisResult<Self> {
        let client = |protocol| {
            let mut settings = settings.clone();
            settings.protocol = protocol;
            redis_address::client(info, &settings)
        };
        Ok(Self { resp3: client(ProtocolVersion::RESP3)?, resp2: client(ProtocolVersion::RESP2)? })
    }
}

impl Server {
    /// Always this one.
    pub(super) fn fixed(
        info: &ConnectionInfo,
        settings: &Settings,
        timeouts: Timeouts,
        loss: &Arc<Loss>,
    ) -> RedisResult<Self> {
        Ok(Self::new(Whereabouts::Fixed(Box::new(Clients::new(info, settings)?)), timeouts, loss))
    }

    /// The master that these sentinels name.
    #[cfg(feature = "sentinel")]
    pub(super) fn behind_sentinels(
        nodes: &redis_address::Nodes,
        master: &str,
        settings: Settings,
        timeouts: Timeouts,
        loss: &Arc<Loss>,
    ) -> RedisResult<Self> {
        Ok(Self::new(Whereabouts::Sentinels(Box::new(Sentinels::new(nodes, master, settings)?)), timeouts, loss))
    }

    #[cfg(feature = "sentinel")]
    pub(super) fn is_named_by_sentinels(&self) -> bool {
        matches!(self.whereabouts, Whereabouts::Sentinels(_))
    }

    fn new(whereabouts: Whereabouts, timeouts: Timeouts, loss: &Arc<Loss>) -> Self {
        Self { whereabouts, timeouts, live: Mutex::default(), loss: Arc::clone(loss) }
    }

    /// On the connection, made first where there is none. A transport error drops it.
    pub(super) async fn ask(&self, command: &Cmd) -> Result<Value, Trouble> {
        self.run(async |connection| connection.req_packed_command(command).await?.extract_error()).await
    }

    /// The same for a key that is on its way to this node of a cluster.
    #[cfg(feature = "cluster")]
    pub(super) async fn ask_for_moving(&self, command: &Cmd) -> Result<Value, Trouble> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("ASKING").add_command(command.clone());
        // Answer by answer: the error of a whole pipeline does not tell where a redirection sends.
        self.run(async |connection| {
            let answers = connection.req_packed_commands(&pipeline, 0, 2).await?;
            answers.into_iter().try_fold(Value::Nil, |_, answer| answer.extract_error())
        })
        .await
    }

    async fn run<T>(
        &self,
        command: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, Trouble> {
        #[cfg(feature = "sentinel")]
        if let Whereabouts::Sentinels(sentinels) = &self.whereabouts {
            sentinels.written();
        }
        let mut live = self.live().await.map_err(Trouble::Connecting)?;
        let result = command(&mut live.connection).await;
        if let Err(error) = &result
            && is_transport(error)
        {
            self.loss.tell_once(&live.broken);
        }
        result.map_err(Trouble::Answer)
    }

    /// A connection of its own for a subscription. RESP2: any server speaks it, and here it lacks nothing.
    pub(super) async fn subscribe(&self, channel: &str) -> Result<PubSubscription, PublishError> {
        let subscribing = async {
            let mut pubsub = self.clients().await?.resp2.get_async_pubsub().await?;
            pubsub.subscribe(channel).await?;
            Ok(pubsub)
        };
        match tokio::time::timeout(self.timeouts.connection, subscribing).await {
            Ok(Ok(pubsub)) => Ok(PubSubscription::new(pubsub, self.timeouts.response)),
            Ok(Err(error)) => Err(PublishError::from_redis("SUBSCRIBE", error)),
            Err(elapsed) => Err(PublishError::Unanswered { source: Box::new(elapsed) }),
        }
    }

    /// One limit for all of it: sentinels that are away are found out one after the other, and who waits for another's
    /// attempt does not wait for his own as well.
    async fn live(&self) -> RedisResult<Live> {
        let live = tokio::time::timeout(self.timeouts.connection, self.shared()).await;
        live.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// The lock is held while connecting, so that those who come at the same time share one attempt.
    async fn shared(&self) -> RedisResult<Live> {
        let mut slot = self.live.lock().await;
        if let Some(live) = slot.as_ref().filter(|live| !live.broken.load(Ordering::Acquire)) {
            return Ok(live.clone());
        }
        *slot = None;
        let live = self.open().await?;
        self.loss.connected();
        Ok(slot.insert(live).clone())
    }

    async fn clients(&self) -> RedisResult<Clients> {
        match &self.whereabouts {
            Whereabouts::Fixed(clients) => Ok(Clients::clone(clients)),
            #[cfg(feature = "sentinel")]
            Whereabouts::Sentinels(sentinels) => sentinels.master().await,
        }
    }

    async fn open(&self) -> RedisResult<Live> {
        let clients = self.clients().await?;
        let broken = Arc::new(AtomicBool::new(false));
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeouts.connection))
            .set_response_timeout(Some(self.timeouts.response));
        let told = config.clone().set_push_sender(on_disconnect(Arc::clone(&self.loss), Arc::clone(&broken)));
        let connection = match clients.resp3.get_multiplexed_async_connection_with_config(&told).await {
            // Servers and proxies refuse HELLO in many words; a wrong password is refused again, and then told.
            Err(error) if !is_transport(&error) => {
                clients.resp2.get_multiplexed_async_connection_with_config(&config).await
            }
            result => result,
        };
        let address = clients.resp3.get_connection_info().addr().clone();
        Ok(Live { connection: connection?, address, broken })
    }
}

/// Sentinels make a master that they have deposed a replica only some ten seconds later.
#[cfg(feature = "sentinel")]
impl Watched for Server {
    fn next_look(&self) -> Option<Instant> {
        let Whereabouts::Sentinels(sentinels) = &self.whereabouts else { return None };
        sentinels.next_look()
    }

    fn begin_look(&self) -> bool {
        matches!(&self.whereabouts, Whereabouts::Sentinels(sentinels) if sentinels.begin_look())
    }

    async fn look_again(&self) {
        let Whereabouts::Sentinels(sentinels) = &self.whereabouts else { return };
        let Some(Live { address, broken, .. }) = self.live.lock().await.clone() else { return };
        match tokio::time::timeout(self.timeouts.connection, sentinels.name_another_than(&address)).await {
            Ok(Ok(true)) => {
                tracing::warn!("the sentinels name another master");
                self.loss.tell_once(&broken);
            }
            Ok(Ok(false)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a sentinel could not be asked"),
            Err(_) => tracing::debug!("no sentinel answered in time"),
        }
    }
}

fn on_disconnect(
    loss: Arc<Loss>,
    broken: Arc<AtomicBool>,
) -> impl Fn(PushInfo) -> Result<(), redis::aio::SendError> + Send + Sync + 'static {
    move |push| {
        if push.kind == PushKind::Disconnection {
            loss.tell_once(&broken);
        }
        Ok(())
    }
}
