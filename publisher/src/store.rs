//! What the publisher says to Redis: one script call a write, one `HGETALL` a read.

use std::collections::HashMap;

use redis::Script;
use wire::{
    BatchId, BatchState, Cause, Changes, StateError, Stored, keys,
    script::{self, Reply, Settings, UPDATE_LUA},
    track::{self, TRACK_LUA},
};

use crate::{
    PublishError,
    link::{Link, Subscription},
    policy::Policy,
};

pub(crate) struct Store {
    link: Link,
    script: Script,
    track: Script,
    prefix: String,
    policy: Policy,
}

/// What the script did, and whether it overwrote something that was not a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Done {
    pub reply: Reply,
    pub replaced: bool,
}

impl Store {
    pub(crate) fn new(link: Link, prefix: String, policy: Policy) -> Self {
        Self { link, script: Script::new(UPDATE_LUA), track: Script::new(TRACK_LUA), prefix, policy }
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// Writes and announces. `cause`: the earliest commit covered.
    pub(crate) async fn update(&self, changes: &Changes, cause: Cause) -> Result<Done, PublishError> {
        let changes = self.policy.redacted(changes);
        self.call(&script::update(self.settings(self.policy.ttl_secs(&changes.head)), &changes, cause)?).await
    }

    /// Stores without announcing, only where nothing is stored.
    pub(crate) async fn fill(&self, state: &BatchState, ttl_secs: u64) -> Result<Done, PublishError> {
        let mut changes = Changes::full(state, None);
        self.policy.redact(&mut changes.photos);
        self.call(&script::fill(self.settings(ttl_secs), &changes)?).await
    }

    pub(crate) async fn invalidate(&self, batch: &BatchId) -> Result<Done, PublishError> {
        self.call(&script::invalidate(self.settings(self.policy.ttl.as_secs()), batch)).await
    }

    /// What Redis holds. A value of another type than a hash (an older design kept a string) counts as nothing.
    pub(crate) async fn read(&self, batch: &BatchId) -> Result<Option<Stored>, PublishError> {
        from_fields(batch, &self.fields(batch).await?).map_err(PublishError::Unreadable)
    }

    /// The same; and where the batch is counted in Redis for how many seconds it is kept there, as it was declared.
    pub(crate) async fn read_with_ttl(&self, batch: &BatchId) -> Result<Option<(Stored, Option<u64>)>, PublishError> {
        let fields = self.fields(batch).await?;
        let ttl = fields.get(b"ttl".as_slice()).and_then(|ttl| str::from_utf8(ttl).ok()?.parse().ok());
        let stored = from_fields(batch, &fields).map_err(PublishError::Unreadable)?;
        Ok(stored.map(|stored| (stored, ttl)))
    }

    async fn fields(&self, batch: &BatchId) -> Result<HashMap<Vec<u8>, Vec<u8>>, PublishError> {
        let mut command = redis::cmd("HGETALL");
        command.arg(keys::hash(&self.prefix, batch));
        match self.link.send("HGETALL", &command).await {
            Err(PublishError::Rejected { message, .. }) if message.starts_with("WRONGTYPE") => Ok(HashMap::new()),
            other => other,
        }
    }

    pub(crate) async fn subscribe(&self, batch: &BatchId) -> Result<Subscription, PublishError> {
        self.link.subscribe(&keys::channel(&self.prefix, batch)).await
    }

    fn settings(&self, ttl_secs: u64) -> Settings<'_> {
        Settings::new(&self.prefix, ttl_secs)
    }

    /// Counts. Safe to repeat, but for a cancel and a reopen.
    pub(crate) async fn track(&self, call: &script::Call) -> Result<track::Answer, PublishError> {
        let (word, replaced, head): (String, i64, Vec<u8>) = self.link.script(&self.track, call).await?;
        track::Answer::read(&word, replaced, &head).ok_or_else(|| PublishError::Rejected {
            command: "EVALSHA",
            message: format!("a reply that track.lua does not give: {word:?}"),
        })
    }

    async fn call(&self, call: &script::Call) -> Result<Done, PublishError> {
        let (word, replaced): (String, i64) = self.link.script(&self.script, call).await?;
        let reply = Reply::parse(&word).ok_or_else(|| PublishError::Rejected {
            command: "EVALSHA",
            message: format!("a reply that update.lua does not give: {word:?}"),
        })?;
        Ok(Done { reply, replaced: replaced == 1 })
    }
}

fn from_fields(batch: &BatchId, fields: &HashMap<Vec<u8>, Vec<u8>>) -> Result<Option<Stored>, StateError> {
    // Fields that are no text are not ours.
    let texts = fields.iter().filter_map(|(k, v)| Some((str::from_utf8(k).ok()?, str::from_utf8(v).ok()?)));
    BatchState::from_hash(batch, texts)
}
