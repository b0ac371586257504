//! The way to Redis: made when needed, dropped when it proved broken, its loss told at once.
//!
//! The rest of the crate knows commands, scripts and subscriptions; how they travel stands here alone: to one server or
//! to the master that sentinels name (`server.rs`), to a cluster (`cluster.rs`), or over HTTP (`rest.rs`).
//!
//! Not `redis::aio::ConnectionManager`: the publisher must know when a connection was lost (a failover may have lost
//! acknowledged writes), and its schedule already decides when to try again.

#[cfg(feature = "cluster")]
mod cluster;
#[cfg(any(feature = "cluster", feature = "sentinel"))]
mod look;
mod loss;
#[cfg(feature = "rest")]
mod rest;
#[cfg(any(feature = "cluster", test))]
mod routing;
#[cfg(feature = "sentinel")]
mod sentinel;
mod server;
mod subscription;
mod via;

use std::{sync::Arc, time::Duration};

use redis::{
    Cmd, FromRedisValue, ProtocolVersion, RedisError, Script, Value,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use redis_address::{Address, AddressError, Settings};
use wire::script::Call;

pub(crate) use self::subscription::Subscription;
use self::{loss::Loss, server::Server, via::Via};
use crate::{PublishError, RedisSettings};

/// How long each step may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    /// A connection, from the question who the master is to the last answer of its greeting.
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
    way: Way,
    loss: Arc<Loss>,
}

enum Way {
    Server(Arc<Server>),
    #[cfg(feature = "cluster")]
    Cluster(Arc<cluster::Cluster>),
    #[cfg(feature = "rest")]
    Rest(Box<rest::Rest>),
}

/// Why there is no answer, or not the one that was asked for.
#[derive(Debug)]
enum Trouble {
    /// There is no connection.
    Connecting(RedisError),
    /// There was one.
    Answer(RedisError),
}

impl Link {
    /// A link to the Redis of `settings`; no connection is made yet.
    pub(crate) fn new(settings: &RedisSettings, timeouts: Timeouts) -> Result<Self, PublishError> {
        let loss = Arc::<Loss>::default();
        if settings.url.starts_with("https://") || settings.url.starts_with("http://") {
            return Self::over_http(settings, timeouts, loss);
        }
        let address: Address = settings.url.parse().map_err(|error| wrong_address(&error))?;
        let settings = client_settings(settings);
        let way = match address {
            Address::Server(info) => Server::fixed(&info, &settings, timeouts, &loss).map(Arc::new).map(Way::Server),
            #[cfg(feature = "sentinel")]
            Address::Sentinel { nodes, master } => {
                Server::behind_sentinels(&nodes, &master, settings, timeouts, &loss).map(Arc::new).map(Way::Server)
            }
            #[cfg(feature = "cluster")]
            Address::Cluster(nodes) => {
                Ok(Way::Cluster(Arc::new(cluster::Cluster::new(nodes, settings, timeouts, Arc::clone(&loss)))))
            }
            #[cfg(not(feature = "sentinel"))]
            Address::Sentinel { .. } => return Err(wrong_address(&AddressError::Feature("sentinel"))),
            #[cfg(not(feature = "cluster"))]
            Address::Cluster(_) => return Err(wrong_address(&AddressError::Feature("cluster"))),
            _ => return Err(wrong_address(&AddressError::Nodes("an address of an unknown kind"))),
        };
        Ok(Self { way: way.map_err(|error| wrong_address(&error.into()))?, loss })
    }

    #[cfg(feature = "rest")]
    fn over_http(settings: &RedisSettings, timeouts: Timeouts, loss: Arc<Loss>) -> Result<Self, PublishError> {
        Ok(Self { way: Way::Rest(Box::new(rest::Rest::new(settings, timeouts, Arc::clone(&loss))?)), loss })
    }

    #[cfg(not(feature = "rest"))]
    fn over_http(_: &RedisSettings, _: Timeouts, _: Arc<Loss>) -> Result<Self, PublishError> {
        Err(wrong_address(&AddressError::Feature("rest")))
    }

    /// Sends a command that touches one key at most, its first argument. `name` is what an error calls it.
    pub(crate) async fn send<T: FromRedisValue>(&self, name: &'static str, command: &Cmd) -> Result<T, PublishError> {
        // Boxed: the ways to Redis differ much in size, and jobs hold them many times.
        let value = Box::pin(self.ask(command, via::key(command))).await.map_err(|trouble| trouble.told(name))?;
        T::from_redis_value(value).map_err(|error| PublishError::from_redis(name, error.into()))
    }

    /// Runs a script by its SHA; where Redis has forgotten it (a restart, a failover, `SCRIPT FLUSH`) it is loaded and
    /// called again.
    pub(crate) async fn script<T: FromRedisValue>(&self, script: &Script, call: &Call) -> Result<T, PublishError> {
        let mut invocation = script.prepare_invoke();
        invocation.key(&call.key).arg(&call.args);
        let mut via = Via::new(self, &call.key);
        let result = Box::pin(invocation.invoke_async(&mut via)).await;
        result.map_err(|error| via.trouble(error).told("EVALSHA"))
    }

    /// `key`: the one that the command touches, or that it makes ready for.
    async fn ask(&self, command: &Cmd, key: Option<&[u8]>) -> Result<Value, Trouble> {
        match &self.way {
            Way::Server(server) => {
                let _ = key; // Only a cluster has to know.
                server.ask(command).await
            }
            #[cfg(feature = "cluster")]
            Way::Cluster(cluster) => cluster.ask(command, key).await,
            #[cfg(feature = "rest")]
            Way::Rest(rest) => rest.ask(command).await,
        }
    }

    /// Waits until a connection that was in use is lost, or a master is one no more, as sentinels or the cluster say.
    pub(crate) async fn lost(&self) {
        match &self.way {
            #[cfg(feature = "sentinel")]
            Way::Server(server) if server.is_named_by_sentinels() => tokio::select! {
                () = self.loss.told() => {}
                never = look::watch(server) => match never {},
            },
            Way::Server(_) => self.loss.told().await,
            #[cfg(feature = "rest")]
            Way::Rest(_) => self.loss.told().await,
            #[cfg(feature = "cluster")]
            Way::Cluster(cluster) => tokio::select! {
                () = self.loss.told() => {}
                never = look::watch(cluster) => match never {},
            },
        }
    }

    /// How many connections were made so far.
    pub(crate) fn connections(&self) -> u64 {
        self.loss.connections()
    }

    /// A connection of its own for a subscription.
    pub(crate) async fn subscribe(&self, channel: &str) -> Result<Subscription, PublishError> {
        match &self.way {
            Way::Server(server) => Box::pin(server.subscribe(channel)).await.map(Subscription::Redis),
            #[cfg(feature = "cluster")]
            Way::Cluster(cluster) => Box::pin(cluster.subscribe(channel)).await,
            #[cfg(feature = "rest")]
            Way::Rest(rest) => Box::pin(rest.subscribe(channel)).await,
        }
    }
}

impl Trouble {
    fn told(self, name: &'static str) -> PublishError {
        match self {
            Self::Connecting(error) => PublishError::from_connecting(error),
            Self::Answer(error) => PublishError::from_redis(name, error),
        }
    }
}

/// As this crate's sockets are, and everything else as the application says.
fn client_settings(settings: &RedisSettings) -> Settings {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3);
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive.with_retries(KEEPALIVE_PROBES));
    let mut client = Settings::new(ProtocolVersion::RESP3, tcp);
    client.certificates = settings.tls.certificates().clone();
    client.sentinel = settings.sentinel.clone();
    client
}

/// Names the part that is wrong and never the address, which may hold a password.
fn wrong_address(error: &AddressError) -> PublishError {
    let problem = match error {
        AddressError::Feature(feature) => {
            format!("{error}: build batchcast-publisher with `features = [\"{feature}\"]`")
        }
        _ => format!(
            "not a Redis address ({error}); it reads redis://[user:password@]host[:port][/database], or rediss:// (TLS), \
             unix:///path, redis-sentinel://host[:port],…#NAME, redis-cluster://host[:port],…, https://host (Redis over HTTP)"
        ),
    };
    PublishError::Config { setting: "REDIS_URL", problem }
}
