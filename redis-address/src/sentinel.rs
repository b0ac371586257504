//! A client that asks sentinels who the master is.

use redis::{
    RedisResult,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};

use crate::{Credentials, Nodes, Settings};

/// A client of the master `master` that `nodes` name; nothing is connected. It remembers its connections to the
/// sentinels.
///
/// ```
#[doc = include_str!("examples/settings.txt")]
/// let address = "redis-sentinel://app:secret@one,two,three#main".parse()?;
/// let Address::Sentinel { nodes, master } = address else { panic!("no sentinels") };
/// let client = sentinel(&nodes, &master, &settings)?; // Asks the sentinels when a connection is wanted.
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When an address or a certificate cannot be used.
pub fn sentinel(nodes: &Nodes, master: &str, settings: &Settings) -> RedisResult<SentinelClient> {
    let mut builder = SentinelClientBuilder::new(nodes.addresses(), master, SentinelServerType::Master)?
        .set_client_to_redis_db(nodes.database)
        .set_client_to_redis_protocol(settings.protocol)
        .set_client_to_redis_tcp_settings(settings.tcp.clone())
        .set_client_to_sentinel_protocol(settings.protocol)
        .set_client_to_sentinel_tcp_settings(settings.tcp.clone());
    let Credentials { user, password } = settings.user.as_ref().unwrap_or(&nodes.credentials);
    if let Some(user) = user {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = password {
        builder = builder.set_client_to_redis_password(password);
    }
    if let Some(user) = &settings.sentinel.user {
        builder = builder.set_client_to_sentinel_username(user);
    }
    if let Some(password) = &settings.sentinel.password {
        builder = builder.set_client_to_sentinel_password(password);
    }
    #[cfg(feature = "tls")]
    if nodes.tls {
        crate::install_provider();
        builder = builder.set_client_to_redis_tls_mode(redis::TlsMode::Secure);
        if let Some(certificates) = settings.certificates.for_redis() {
            builder = builder
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates);
        }
    }
    builder.build()
}
