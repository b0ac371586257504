//! What the command asks Redis itself, beside what the library does.

use std::{collections::HashMap, time::Duration};

use batchcast_publisher::{BatchId, BatchState};
use redis::{AsyncConnectionConfig, Client, RedisError, aio::MultiplexedConnection};
use wire::{StateError, Stored, keys};

/// How long making a connection, or an answer, may take.
const WITHIN: Duration = Duration::from_secs(5);

/// Redis gave no usable answer. Neither the words of the library nor of Redis hold the address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RedisFailure {
    /// No answer, or one that says no.
    #[error("redis: {0}")]
    Redis(#[from] RedisError),
    /// What stands under the key of a batch is none.
    #[error("what redis holds of {0} can't be read: {1}")]
    Unreadable(BatchId, StateError),
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
    /// [`RedisFailure::Redis`].
    pub(crate) async fn connect(url: &str, prefix: &str) -> Result<Self, RedisFailure> {
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(WITHIN)).set_response_timeout(Some(WITHIN));
        let connection = Client::open(url)?.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(Self { connection, prefix: prefix.to_owned() })
    }

    /// What is held of a batch, with its owner, and how much of it could not be read.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub(crate) async fn stored(&mut self, batch: &BatchId) -> Result<Option<Stored>, RedisFailure> {
        let mut command = redis::cmd("HGETALL");
        command.arg(keys::hash(&self.prefix, batch));
        let fields: HashMap<Vec<u8>, Vec<u8>> = command.query_async(&mut self.connection).await?;
        let texts = fields.iter().filter_map(|(k, v)| Some((str::from_utf8(k).ok()?, str::from_utf8(v).ok()?)));
        BatchState::from_hash(batch, texts).map_err(|error| RedisFailure::Unreadable(batch.clone(), error))
    }
}
