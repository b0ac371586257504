//! What the command asks Redis itself, beside what the library does.

use std::time::Duration;

use redis::{AsyncConnectionConfig, Client, RedisError, aio::MultiplexedConnection};

/// How long making a connection, or an answer, may take.
const WITHIN: Duration = Duration::from_secs(5);

/// No answer, or one that says no. Neither the words of the library nor of Redis hold the address.
#[derive(Debug, thiserror::Error)]
#[error("redis: {0}")]
pub(crate) struct RedisFailure(#[from] RedisError);

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
        let connection = Client::open(url)?.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(Self { connection, prefix: prefix.to_owned() })
    }
}
