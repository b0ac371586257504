//! What the command asks Redis itself, beside what the library does.

use std::{env, path::PathBuf, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, ProtocolVersion, RedisError, aio::MultiplexedConnection, io::tcp::TcpSettings,
};
use redis_address::{Address, AddressError, CertificateError, Certificates, Credentials, Settings};

/// How long making a connection, or an answer, may take.
const WITHIN: Duration = Duration::from_secs(5);

/// No answer, or one that says no. Neither the words of the library nor of Redis hold the address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RedisFailure {
    #[error("redis: {0}")]
    Redis(#[from] RedisError),
    #[error("REDIS_URL: {0}")]
    Address(#[from] AddressError),
    #[error("{0}")]
    Certificate(#[from] CertificateError),
    #[error("redis: no answer from a sentinel within {WITHIN:?}")]
    Sentinel(#[from] tokio::time::error::Elapsed),
    #[error("redis: this asks one server, and REDIS_URL names a cluster: set it to one of its masters (redis://…)")]
    Cluster,
    #[error("redis: this asks Redis itself, and REDIS_URL is Redis over HTTP: set it to redis://…")]
    Http,
}

/// A connection.
pub(crate) struct Redis {
    pub(crate) connection: MultiplexedConnection,
    pub(crate) prefix: String,
}

impl Redis {
    /// Connects.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub(crate) async fn connect(url: &str, prefix: &str) -> Result<Self, RedisFailure> {
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(WITHIN)).set_response_timeout(Some(WITHIN));
        let connection = client(url).await?.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(Self { connection, prefix: prefix.to_owned() })
    }
}

/// Of the server, or of the master.
async fn client(url: &str) -> Result<Client, RedisFailure> {
    let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let file = |name| set(name).map(PathBuf::from);
    let [authority, certificate, key] = ["REDIS_CA_FILE", "REDIS_CERT_FILE", "REDIS_KEY_FILE"].map(file);
    let mut settings = Settings::new(ProtocolVersion::RESP2, TcpSettings::default());
    settings.certificates = Certificates::read(authority.as_deref(), certificate.as_deref(), key.as_deref())?;
    settings.sentinel = Credentials { user: set("REDIS_SENTINEL_USER"), password: set("REDIS_SENTINEL_PASSWORD") };
    if url.starts_with("http") {
        return Err(RedisFailure::Http);
    }
    match url.parse()? {
        Address::Server(info) => Ok(redis_address::client(&info, &settings)?),
        Address::Sentinel { nodes, master } => {
            let mut sentinels = redis_address::sentinel(&nodes, &master, &settings)?;
            Ok(tokio::time::timeout(WITHIN, Box::pin(sentinels.async_get_client())).await??)
        }
        _ => Err(RedisFailure::Cluster),
    }
}
