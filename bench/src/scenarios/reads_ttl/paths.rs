//! How a state is read: from the replica, or by the old design's way through a cache.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use publisher::Position;
use redis::aio::MultiplexedConnection;

use super::{Column, PHOTOS};
use crate::answer;
use crate::app::Database;
use crate::requests::Connection;
use crate::world::BATCH;

/// Where states can be read.
pub(super) trait Reading {
    /// Reads the state, and notes in `column` what that took of the source.
    async fn read(&mut self, column: &mut Column) -> Result<Position>;
}

/// Ours, over HTTP.
pub(super) struct Replica {
    connection: Connection,
    request: String,
}

impl Replica {
    pub(super) async fn open(address: SocketAddr) -> Result<Self> {
        let request = format!("GET /api/batches/{BATCH} HTTP/1.1\r\nhost: bench\r\n\r\n");
        Ok(Self { connection: Connection::open(address).await?, request })
    }
}

impl Reading for Replica {
    async fn read(&mut self, column: &mut Column) -> Result<Position> {
        let answer = self.connection.ask(self.request.as_bytes()).await?;
        column.hits += u64::from(answer::header(answer, "x-cache") == Some("HIT"));
        let tag = answer::header(answer, "etag").context("an answer without an ETag")?;
        Ok(tag.trim_matches('"').parse()?)
    }
}

/// The old design's: a state is kept in Redis for so many seconds.
pub(super) struct Cache {
    secs: u64,
    /// Whether an update deletes it.
    pub(super) deleted: bool,
    redis: MultiplexedConnection,
    source: Database,
}

/// Where such a cache keeps it.
pub(super) fn key(secs: u64, deleted: bool) -> String {
    format!("cache:{secs}:{deleted}")
}

impl Cache {
    pub(super) fn new(secs: u64, deleted: bool, redis: MultiplexedConnection, source: &Database) -> Self {
        Self { secs, deleted, redis, source: source.clone() }
    }

    pub(super) fn name(&self) -> String {
        format!("TTL {} s{}", self.secs, if self.deleted { ", invalidated" } else { "" })
    }
}

impl Reading for Cache {
    async fn read(&mut self, column: &mut Column) -> Result<Position> {
        let key = key(self.secs, self.deleted);
        let cached: Option<String> = redis::cmd("GET").arg(&key).query_async(&mut self.redis).await?;
        let state = match cached {
            Some(state) => {
                column.hits += 1;
                state
            }
            None => {
                let state = self.source.state()?;
                column.source.count += 1;
                column.source.rows += PHOTOS as u64;
                redis::cmd("SET").arg(&key).arg(&state).arg("EX").arg(self.secs).exec_async(&mut self.redis).await?;
                state
            }
        };
        position(&state)
    }
}

/// The position that a state says it has.
fn position(state: &str) -> Result<Position> {
    let (_, rest) = state.split_once(r#""position":""#).context("a state without a position")?;
    let (position, _) = rest.split_once('"').context("a position without an end")?;
    Ok(position.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_says_its_position() {
        assert_eq!(position(r#"{"v":1,"position":"7-2"}"#).unwrap(), Position::new(7, 2).unwrap());
        assert!(position("{}").is_err());
    }
}
