//! A tiny Redis: keys that hold a hash or something else, and what `update.lua` does with them.
//!
//! Models exactly what the script reads and writes: it is given the arguments that [`wire::script`] makes, and holds the
//! strings that the script would store, so that [`BatchState::from_hash`] reads them. The test in `script.rs` holds it to
//! the real script on a real server. Leaves out the time to live (a day) and `NOSCRIPT`, which the library answers by
//! itself. That pub/sub loses messages is the business of `world.rs`; here are only the words that were published.

use std::{collections::BTreeMap, sync::Arc};

use wire::{
    BatchId, BatchState, Position, Stored,
    keys::{self, field},
    script::{Call, Reply},
};

/// The keys, cheap to copy: a failover goes back to an earlier copy.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Redis {
    keys: BTreeMap<String, Arc<Value>>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Hash(BTreeMap<String, String>),
    /// A string, say.
    Other,
}

/// What a call of the script did.
#[derive(Debug, PartialEq)]
pub(crate) struct Done {
    pub(crate) reply: Reply,
    /// Something that was no batch was overwritten.
    pub(crate) replaced: bool,
    /// Channel and message.
    pub(crate) published: Option<(String, String)>,
}

impl Redis {
    /// Runs the script.
    pub(crate) fn call(&mut self, call: &Call) -> Done {
        let [mode, epoch, version, from, ended, _ttl, channel, message, head, owner, photos @ ..] = &call.args[..]
        else {
            panic!("too few arguments: {call:?}");
        };
        let done = |reply| Done { reply, replaced: false, published: None };
        let announce = || Some((channel.clone(), message.clone()));
        if mode == "invalidate" {
            self.keys.remove(&call.key);
            return Done { published: announce(), ..done(Reply::Invalidated) };
        }
        let (at, last) = (number(epoch), number(version));
        let stored = self.stored(&call.key);
        let replaced = stored.is_none() && self.keys.contains_key(&call.key);
        if let Some(stored) = &stored {
            if mode == "fill" {
                return done(Reply::Present);
            }
            if (stored.epoch, stored.version) >= (at, last) {
                return done(Reply::Stale);
            }
            if stored.epoch == at && stored.ended {
                return done(Reply::Finished);
            }
        }
        let continues = |stored: &Fields| stored.epoch == at && number(from) <= stored.version;
        if mode == "changes" && !stored.as_ref().is_some_and(continues) {
            return done(Reply::NeedsFull);
        }
        let kept = self.field(&call.key, field::OWNER).unwrap_or_default();
        if mode != "changes" {
            self.keys.remove(&call.key);
        }
        let owner = if owner.is_empty() { &kept } else { owner };
        let hash = self.hash_mut(&call.key);
        let mut set = |name: &str, value: &str| drop(hash.insert(name.to_owned(), value.to_owned()));
        for (name, value) in
            [(field::EPOCH, epoch), (field::VERSION, version), (field::ENDED, ended), (field::HEAD, head)]
        {
            set(name, value);
        }
        if !owner.is_empty() {
            set(field::OWNER, owner);
        }
        for photo in photos.chunks(2) {
            set(&photo[0], &photo[1]);
        }
        if mode == "fill" {
            return Done { replaced, ..done(Reply::Filled) };
        }
        Done { replaced, published: announce(), ..done(Reply::Applied) }
    }

    /// `HGETALL`, read as the edge reads it; what can't be read counts as nothing.
    pub(crate) fn batch(&self, id: &BatchId) -> Option<Stored> {
        let Value::Hash(fields) = &**self.keys.get(&keys::hash("", id))? else { return None };
        let fields = fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        BatchState::from_hash(id, fields).ok().flatten()
    }

    /// `HMGET epoch version`, as the edge's ping reads it.
    pub(crate) fn position(&self, id: &BatchId) -> Option<Position> {
        let stored = self.stored(&keys::hash("", id))?;
        Position::new(stored.epoch, stored.version).ok()
    }

    pub(crate) fn delete(&mut self, key: &str) {
        self.keys.remove(key);
    }

    pub(crate) fn set(&mut self, key: &str, value: Value) {
        self.keys.insert(key.to_owned(), Arc::new(value));
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key).map(|value| &**value)
    }

    /// Position and end as the script reads them; `None`: no batch stands there.
    fn stored(&self, key: &str) -> Option<Fields> {
        let number = |name| self.field(key, name)?.parse().ok();
        let ended = self.field(key, field::ENDED).is_some_and(|ended| ended == "1");
        Some(Fields { epoch: number(field::EPOCH)?, version: number(field::VERSION)?, ended })
    }

    fn field(&self, key: &str, name: &str) -> Option<String> {
        let Value::Hash(hash) = self.get(key)? else { return None };
        hash.get(name).cloned()
    }

    fn hash_mut(&mut self, key: &str) -> &mut BTreeMap<String, String> {
        let value = self.keys.entry(key.to_owned()).or_insert_with(|| Arc::new(Value::Hash(BTreeMap::new())));
        match Arc::make_mut(value) {
            Value::Hash(hash) => hash,
            Value::Other => panic!("HSET on another type"),
        }
    }
}

/// What the script looks at.
struct Fields {
    epoch: u64,
    version: u64,
    ended: bool,
}

fn number(text: &str) -> u64 {
    text.parse().expect("an argument of wire's script is a number where one belongs")
}
