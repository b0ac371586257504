//! How a connection to Redis is made: to one server, to whichever server Sentinel says is the master, or to a cluster.
//!
//! In scope: making connections. Out of scope: the forms of `REDIS_URL`, users, certificates (`redis_address`); keeping
//! connections.

use crate::clean::Cleaned;
use crate::socket;
use redis::aio::{Monitor, MultiplexedConnection, PubSub};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::SentinelClient;
use redis::{AsyncConnectionConfig, Client, ProtocolVersion, RedisResult};
use redis_address::{Address, Certificates, Credentials, Nodes, Settings};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;

/// How long a connection to Redis may take to be made.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Requests on their way to the connection's task. The crate's 50 would make bursts wait in line.
const SEND_QUEUE: usize = 1024;

/// What does not stand in the address.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extras {
    /// For TLS.
    pub certificates: Certificates,
    /// Who the gateway is to the sentinels, which have users of their own.
    pub sentinel: Credentials,
}

/// Makes connections as one user.
#[derive(Clone)]
pub(crate) struct Target {
    kind: Arc<Kind>,
    certificates: Certificates,
}

enum Kind {
    Server(Client),
    /// It remembers its connections to the sentinels, so that one caller asks at a time.
    Sentinel(Mutex<SentinelClient>),
    Cluster {
        client: ClusterClient,
        /// The nodes of the address, for what one node is enough for; taken in turn.
        nodes: Vec<Client>,
        next: AtomicUsize,
    },
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &*self.kind {
            Kind::Server(_) => "Target::Server",
            Kind::Sentinel(_) => "Target::Sentinel",
            Kind::Cluster { .. } => "Target::Cluster",
        })
    }
}

/// A connection for commands that many may use at the same time.
#[derive(Clone)]
pub(crate) enum Link {
    Server(MultiplexedConnection, #[expect(dead_code, reason = "held until the last clone is dropped")] Arc<Driver>),
    Cluster(ClusterConnection),
}

/// The task that carries a connection. Ended with it, even if Redis owes answers for ever.
pub(crate) struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Self::Server(..)) { "Link::Server" } else { "Link::Cluster" })
    }
}

impl Target {
    /// `user`: instead of the one that stands in the address. Replies have RESP2's shapes in this protocol, so RESP2
    /// is spoken whatever the URL says.
    ///
    /// # Errors
    /// When the address or a certificate cannot be used.
    pub(crate) fn new(
        address: &Address,
        user: Option<&Credentials>,
        extras: &Extras,
        response_timeout: Duration,
    ) -> RedisResult<Self> {
        let mut settings = Settings::new(ProtocolVersion::RESP2, socket::tcp_settings());
        settings.user = user.filter(|user| user.user.is_some()).cloned();
        settings.sentinel = extras.sentinel.clone();
        settings.certificates = extras.certificates.clone();
        let kind = match address {
            Address::Server(info) => Kind::Server(redis_address::client(info, &settings)?),
            Address::Sentinel { nodes, master } => {
                Kind::Sentinel(Mutex::new(redis_address::sentinel(nodes, master, &settings)?))
            }
            Address::Cluster(nodes) => Kind::Cluster {
                client: cluster(nodes, &settings, response_timeout)?,
                nodes: (nodes.hosts.iter())
                    .map(|(host, port)| redis_address::client(&nodes.server(host, *port)?, &settings))
                    .collect::<RedisResult<_>>()?,
                next: AtomicUsize::new(0),
            },
            _ => return Err(io::Error::other("the gateway does not know this kind of address").into()),
        };
        Ok(Self { kind: Arc::new(kind), certificates: settings.certificates })
    }

    /// A connection for commands.
    pub(crate) async fn connect(&self, response_timeout: Duration) -> RedisResult<Link> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(response_timeout))
            .set_pipeline_buffer_size(SEND_QUEUE);
        if let Kind::Cluster { client, .. } = &*self.kind {
            return client.get_async_connection().await.map(Link::Cluster);
        }
        let client = self.one_server().await?;
        let info = client.get_connection_info();
        let socket = Cleaned::new(socket::open(info.addr(), &self.certificates).await?);
        let (link, driver) = MultiplexedConnection::new_with_config(info.redis_settings(), socket, config).await?;
        Ok(Link::Server(link, Arc::new(Driver(tokio::spawn(driver).abort_handle()))))
    }

    /// How long a connection may take to be made: sentinels and nodes that are away are found out one after the other.
    pub(crate) fn connect_timeout(&self) -> Duration {
        match &*self.kind {
            Kind::Server(_) => CONNECT_TIMEOUT,
            Kind::Sentinel(_) | Kind::Cluster { .. } => 3 * CONNECT_TIMEOUT,
        }
    }

    /// A connection to subscribe on.
    pub(crate) async fn pubsub(&self) -> RedisResult<PubSub> {
        self.one_server().await?.get_async_pubsub().await
    }

    /// A connection that hears every command.
    pub(crate) async fn monitor(&self) -> RedisResult<Monitor> {
        self.one_server().await?.get_async_monitor().await
    }

    /// The server, the master, or one node: each of a cluster hears what is published on any.
    async fn one_server(&self) -> RedisResult<Client> {
        match &*self.kind {
            Kind::Server(client) => Ok(client.clone()),
            Kind::Sentinel(client) => client.lock().await.async_get_client().await,
            Kind::Cluster { nodes, next, .. } => {
                Ok(nodes[next.fetch_add(1, Ordering::Relaxed) % nodes.len()].clone()) // A list of hosts is never empty.
            }
        }
    }
}

fn cluster(nodes: &Nodes, settings: &Settings, response_timeout: Duration) -> RedisResult<ClusterClient> {
    // No retries by the library: it would also repeat a command whose end is unknown, and a write is not to run twice.
    let mut builder = ClusterClient::builder(nodes.addresses())
        .retries(0)
        .use_protocol(settings.protocol)
        .connection_timeout(CONNECT_TIMEOUT)
        .response_timeout(response_timeout)
        .overall_response_timeout(Some(response_timeout))
        .tcp_settings(settings.tcp.clone());
    let Credentials { user, password } = settings.user.as_ref().unwrap_or(&nodes.credentials);
    if let Some(user) = user {
        builder = builder.username(user);
    }
    if let Some(password) = password {
        builder = builder.password(password);
    }
    if nodes.tls {
        redis_address::install_provider();
        if let Some(certificates) = settings.certificates.for_redis() {
            builder = builder.certs(certificates);
        }
    }
    builder.build()
}
