//! What Redis remembers of a sink, so that several workers, and a worker after a restart, agree on it: the position of
//! each batch that was told last, and who is telling just now.
//!
//! Each command touches one key: in a cluster the two keys of a batch may be on different servers.

use std::time::Duration;

use redis::Script;
use wire::{BatchId, Position, keys, limits::MAX_TTL_SECS, script::Call};

use crate::{PublishError, link::Link};

/// Remembers the position, unless a greater one is remembered: a late writer sets nothing back.
const TOLD_LUA: &str = r"
local epoch, version = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+)-(%d+)$')
if epoch then
  epoch, version = tonumber(epoch), tonumber(version)
  local new_epoch, new_version = tonumber(ARGV[1]), tonumber(ARGV[2])
  if epoch > new_epoch or (epoch == new_epoch and version > new_version) then return 0 end
end
redis.call('SET', KEYS[1], ARGV[1] .. '-' .. ARGV[2], 'EX', ARGV[3])
return 1";

/// Gives the lease back, unless it is somebody else's by now.
const RELEASE_LUA: &str = r"
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0";

pub(super) struct Ledger {
    prefix: String,
    sink: String,
    told: Script,
    release: Script,
}

/// The right to tell one batch, until it expires. Not given back on drop: then it expires.
#[derive(Debug)]
pub(super) struct Lease {
    token: String,
}

impl Ledger {
    pub(super) fn new(prefix: &str, sink: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            sink: sink.to_owned(),
            told: Script::new(TOLD_LUA),
            release: Script::new(RELEASE_LUA),
        }
    }

    /// Takes the lease for so long; `None`: another has it.
    pub(super) async fn lease(
        &self,
        link: &Link,
        batch: &BatchId,
        life: Duration,
    ) -> Result<Option<Lease>, PublishError> {
        let token = format!("{:032x}", rand::random::<u128>());
        let key = keys::lease(&self.prefix, &self.sink, batch);
        let mut command = redis::cmd("SET");
        command.arg(key).arg(&token).arg("NX").arg("PX").arg(u64::try_from(life.as_millis()).unwrap_or(u64::MAX));
        let taken: Option<String> = link.send("SET", &command).await?;
        Ok(taken.map(|_| Lease { token }))
    }

    /// A lease that can't be given back expires.
    pub(super) async fn release(&self, link: &Link, batch: &BatchId, lease: Lease) {
        let call = Call { key: keys::lease(&self.prefix, &self.sink, batch), args: vec![lease.token] };
        if let Err(error) = link.script::<i64>(&self.release, &call).await {
            tracing::debug!(sink = self.sink, %batch, %error, "a lease was not given back; it will expire");
        }
    }

    /// The position that was told last; `None`: none is remembered.
    pub(super) async fn told(&self, link: &Link, batch: &BatchId) -> Result<Option<Position>, PublishError> {
        let mut command = redis::cmd("GET");
        command.arg(keys::told(&self.prefix, &self.sink, batch));
        let position: Option<String> = link.send("GET", &command).await?;
        // What is no position is not ours, and is overwritten.
        Ok(position.and_then(|text| text.parse().ok()))
    }

    /// Remembers that this position was told; as with a batch, what is longer than Redis can keep it is as long as that.
    pub(super) async fn remember(
        &self,
        link: &Link,
        batch: &BatchId,
        position: Position,
        ttl_secs: u64,
    ) -> Result<(), PublishError> {
        let numbers = [position.epoch(), position.version(), ttl_secs.min(MAX_TTL_SECS)];
        let args = numbers.iter().map(ToString::to_string).collect();
        let call = Call { key: keys::told(&self.prefix, &self.sink, batch), args };
        link.script::<i64>(&self.told, &call).await.map(drop)
    }
}
