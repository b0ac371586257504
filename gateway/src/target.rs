//! Where Redis is, and how a connection to it is made: one server, whichever server Sentinel says is the master, or a
//! cluster; over TCP, TLS or a Unix socket.
//!
//! In scope: the forms of `REDIS_URL`, users, certificates, making connections. Out of scope: keeping them.

use crate::clean::Cleaned;
use crate::socket;
use percent_encoding::percent_decode_str;
use redis::aio::{Monitor, MultiplexedConnection, PubSub};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    ProtocolVersion, RedisResult, TlsCertificates, TlsMode,
};
use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;

/// How long a connection to Redis may take to be made.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Requests on their way to the connection's task. The crate's 50 would make bursts wait in line.
const SEND_QUEUE: usize = 1024;

const DEFAULT_PORT: u16 = 6379;
const DEFAULT_SENTINEL_PORT: u16 = 26379;

/// Who a connection belongs to.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// The ACL user; `None`: the default user.
    pub user: Option<String>,
    /// The password; `None`: none is sent.
    pub password: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// What does not stand in the address.
#[derive(Clone, Default)]
pub(crate) struct Extras {
    /// Certificates for `rediss`, as PEM; `None`: the system's roots and no certificate of our own.
    pub certificates: Option<TlsCertificates>,
    /// Who the gateway is to the sentinels, which have users of their own.
    pub sentinel: Credentials,
}

/// The address of Redis, as `REDIS_URL` gives it.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    /// One server.
    Server(ConnectionInfo),
    /// The master that these sentinels name.
    Sentinel {
        /// The sentinels, and how to reach the master.
        nodes: Nodes,
        /// The name of the master.
        master: String,
    },
    /// A cluster that is found through these nodes.
    Cluster(Nodes),
}

/// Several servers in one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Nodes {
    /// Host and port of each.
    pub hosts: Vec<(String, u16)>,
    /// TLS to all of them.
    pub tls: bool,
    /// The user at Redis.
    pub credentials: Credentials,
    /// The database number.
    pub database: i64,
}

/// Why an address is none. Never says the address itself, which may hold a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// One server's address is not understood.
    #[error("{0}")]
    Server(#[from] redis::RedisError),
    /// A list of servers is not understood.
    #[error("{0}")]
    Nodes(&'static str),
}

impl std::str::FromStr for Address {
    type Err = AddressError;

    fn from_str(url: &str) -> Result<Self, AddressError> {
        let Some((scheme, rest)) = url.split_once("://") else { return Ok(Self::Server(url.into_connection_info()?)) };
        let (rest, fragment) = rest.split_once('#').map_or((rest, None), |(rest, name)| (rest, Some(name)));
        match scheme {
            "redis-sentinel" | "rediss-sentinel" => {
                let master = fragment.filter(|name| !name.is_empty());
                let master = master.ok_or(AddressError::Nodes("the master's name is missing behind #"))?.to_owned();
                let nodes = Nodes::parse(rest, scheme.starts_with("rediss"), DEFAULT_SENTINEL_PORT)?;
                Ok(Self::Sentinel { nodes, master })
            }
            "redis-cluster" | "rediss-cluster" => {
                let nodes = Nodes::parse(rest, scheme.starts_with("rediss"), DEFAULT_PORT)?;
                if nodes.database != 0 {
                    return Err(AddressError::Nodes("a cluster has only database 0"));
                }
                Ok(Self::Cluster(nodes))
            }
            _ => Ok(Self::Server(url.into_connection_info()?)),
        }
    }
}

impl Nodes {
    /// Reads `[user:password@]host[:port],…[/database]`.
    fn parse(text: &str, tls: bool, default_port: u16) -> Result<Self, AddressError> {
        let (text, database) = text.split_once('/').unwrap_or((text, ""));
        let database = if database.is_empty() { "0" } else { database };
        let database = database.parse().map_err(|_| AddressError::Nodes("the database is not a number"))?;
        let (credentials, hosts) = text.rsplit_once('@').map_or((None, text), |(user, hosts)| (Some(user), hosts));
        let credentials = credentials.map(Credentials::parse).transpose()?.unwrap_or_default();
        let hosts = hosts.split(',').map(|host| parse_host(host, default_port)).collect::<Result<_, _>>()?;
        Ok(Self { hosts, tls, credentials, database })
    }

    fn addresses(&self) -> impl Iterator<Item = ConnectionAddr> + '_ {
        self.hosts.iter().cloned().map(|(host, port)| {
            if self.tls {
                ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
            } else {
                ConnectionAddr::Tcp(host, port)
            }
        })
    }
}

impl Credentials {
    fn parse(text: &str) -> Result<Self, AddressError> {
        let decode = |part: &str| {
            let text = percent_decode_str(part).decode_utf8();
            text.map(Cow::into_owned).map_err(|_| AddressError::Nodes("user or password is not UTF-8"))
        };
        let (user, password) = text.split_once(':').map_or((text, None), |(user, rest)| (user, Some(rest)));
        let user = (!user.is_empty()).then(|| decode(user)).transpose()?;
        Ok(Self { user, password: password.map(decode).transpose()? })
    }
}

fn parse_host(text: &str, default_port: u16) -> Result<(String, u16), AddressError> {
    // An IPv6 address stands in brackets, as in any URL.
    let (host, port) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err(AddressError::Nodes("a host is missing; they stand as host:port,host:port"));
    }
    let port = port.map_or(Ok(default_port), str::parse).map_err(|_| AddressError::Nodes("a port is not a number"))?;
    Ok((host.to_owned(), port))
}

/// Makes connections as one user.
#[derive(Clone)]
pub(crate) struct Target {
    kind: Arc<Kind>,
    certificates: Option<TlsCertificates>,
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
        let kind = match address {
            Address::Server(info) => Kind::Server(server(info, user, extras)?),
            Address::Sentinel { nodes, master } => Kind::Sentinel(Mutex::new(sentinel(nodes, master, user, extras)?)),
            Address::Cluster(nodes) => Kind::Cluster {
                client: cluster(nodes, user, extras, response_timeout)?,
                nodes: (nodes.addresses())
                    .map(|address| server(&node_info(address, nodes)?, user, extras))
                    .collect::<RedisResult<_>>()?,
                next: AtomicUsize::new(0),
            },
        };
        Ok(Self { kind: Arc::new(kind), certificates: extras.certificates.clone() })
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
        let socket = Cleaned::new(socket::open(info.addr(), self.certificates.as_ref()).await?);
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

fn server(info: &ConnectionInfo, user: Option<&Credentials>, extras: &Extras) -> RedisResult<Client> {
    let mut settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP2);
    if let Some(Credentials { user: Some(name), password }) = user {
        settings = settings.set_username(name).set_password(password.as_deref().unwrap_or_default());
    }
    let info = info.clone().set_redis_settings(settings).set_tcp_settings(socket::tcp_settings());
    match (&extras.certificates, info.addr()) {
        (Some(certificates), ConnectionAddr::TcpTls { .. }) => Client::build_with_tls(info, certificates.clone()),
        _ => Client::open(info),
    }
}

fn node_info(address: ConnectionAddr, nodes: &Nodes) -> RedisResult<ConnectionInfo> {
    let info = address.into_connection_info()?;
    let mut settings = info.redis_settings().clone();
    if let Some(user) = &nodes.credentials.user {
        settings = settings.set_username(user);
    }
    if let Some(password) = &nodes.credentials.password {
        settings = settings.set_password(password);
    }
    Ok(info.set_redis_settings(settings))
}

fn sentinel(nodes: &Nodes, master: &str, user: Option<&Credentials>, extras: &Extras) -> RedisResult<SentinelClient> {
    let mut builder = SentinelClientBuilder::new(nodes.addresses(), master, SentinelServerType::Master)?
        .set_client_to_redis_db(nodes.database)
        .set_client_to_redis_protocol(ProtocolVersion::RESP2)
        .set_client_to_redis_tcp_settings(socket::tcp_settings())
        .set_client_to_sentinel_protocol(ProtocolVersion::RESP2)
        .set_client_to_sentinel_tcp_settings(socket::tcp_settings());
    let Credentials { user, password } = user.unwrap_or(&nodes.credentials);
    if let Some(user) = user {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = password {
        builder = builder.set_client_to_redis_password(password);
    }
    if let Some(user) = &extras.sentinel.user {
        builder = builder.set_client_to_sentinel_username(user);
    }
    if let Some(password) = &extras.sentinel.password {
        builder = builder.set_client_to_sentinel_password(password);
    }
    if nodes.tls {
        builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
        if let Some(certificates) = &extras.certificates {
            builder = builder
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates.clone());
        }
    }
    builder.build()
}

fn cluster(
    nodes: &Nodes,
    user: Option<&Credentials>,
    extras: &Extras,
    response_timeout: Duration,
) -> RedisResult<ClusterClient> {
    // No retries by the library: it would also repeat a command whose end is unknown, and a write is not to run twice.
    let mut builder = ClusterClient::builder(nodes.addresses())
        .retries(0)
        .use_protocol(ProtocolVersion::RESP2)
        .connection_timeout(CONNECT_TIMEOUT)
        .response_timeout(response_timeout)
        .overall_response_timeout(Some(response_timeout))
        .tcp_settings(socket::tcp_settings());
    let Credentials { user, password } = user.unwrap_or(&nodes.credentials);
    if let Some(user) = user {
        builder = builder.username(user);
    }
    if let Some(password) = password {
        builder = builder.password(password);
    }
    if let (true, Some(certificates)) = (nodes.tls, &extras.certificates) {
        builder = builder.certs(certificates.clone());
    }
    builder.build()
}

/// The certificates in these PEM files; `None` without any.
///
/// # Errors
/// The setting whose file cannot be read, and why; or that a certificate came without its key.
pub(crate) fn certificates(
    authority: Option<&PathBuf>,
    certificate: Option<&PathBuf>,
    key: Option<&PathBuf>,
) -> Result<Option<TlsCertificates>, (&'static str, std::io::Error)> {
    let read = |name, file: &PathBuf| std::fs::read(file).map_err(|error| (name, error));
    let root_cert = authority.map(|file| read("REDIS_CA_FILE", file)).transpose()?;
    let client_tls = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(ClientTlsConfig {
            client_cert: read("REDIS_CERT_FILE", certificate)?,
            client_key: read("REDIS_KEY_FILE", key)?,
        }),
        (None, None) => None,
        _ => {
            let words = "REDIS_CERT_FILE and REDIS_KEY_FILE go together: set both or neither";
            return Err(("REDIS_CERT_FILE", std::io::Error::other(words)));
        }
    };
    let any = root_cert.is_some() || client_tls.is_some();
    Ok(any.then_some(TlsCertificates { client_tls, root_cert }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(url: &str) -> Nodes {
        match url.parse().unwrap() {
            Address::Sentinel { nodes, .. } | Address::Cluster(nodes) => nodes,
            Address::Server(_) => panic!("{url} is one server"),
        }
    }

    #[test]
    fn sentinels_stand_in_a_list_with_the_master_behind_a_hash() {
        let Address::Sentinel { nodes, master } =
            "redis-sentinel://app:p%40ss@one:26380,two,[::1]:3/2#main".parse().unwrap()
        else {
            panic!("not Sentinel")
        };
        assert_eq!(master, "main");
        let hosts = [("one".to_owned(), 26380), ("two".to_owned(), 26379), ("::1".to_owned(), 3)];
        assert_eq!((nodes.hosts.as_slice(), nodes.database, nodes.tls), (hosts.as_slice(), 2, false));
        let credentials = Credentials { user: Some("app".into()), password: Some("p@ss".into()) };
        assert_eq!(nodes.credentials, credentials);
    }

    #[test]
    fn a_cluster_is_a_list_of_nodes() {
        let cluster = nodes("rediss-cluster://:secret@one,two:7001");
        assert_eq!(cluster.hosts, [("one".to_owned(), 6379), ("two".to_owned(), 7001)]);
        assert!(cluster.tls);
        assert_eq!(cluster.credentials, Credentials { user: None, password: Some("secret".into()) });
    }

    #[test]
    fn an_address_that_is_none_is_told_without_its_password() {
        for url in [
            "redis-sentinel://:hunter2@one:26379",
            "redis-cluster://:hunter2@",
            "redis-cluster://:hunter2@one:port",
            "redis-cluster://:hunter2@one/3",
            "redis-sentinel://:hunter2@one/first#main",
            "http://:hunter2@one",
        ] {
            let error = url.parse::<Address>().unwrap_err().to_string();
            assert!(!error.is_empty() && !error.contains("hunter2"), "{url}: {error}");
        }
    }

    #[test]
    fn one_server_is_reached_by_tcp_tls_or_socket() {
        for url in ["redis://u:p@h:1/2", "rediss://h", "unix:///run/redis.sock", "redis+unix:///run/redis.sock?db=1"] {
            let address: Address = url.parse().unwrap();
            assert!(Target::new(&address, None, &Extras::default(), CONNECT_TIMEOUT).is_ok(), "{url}");
        }
    }
}
