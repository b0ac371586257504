//! Cached reads: from memory if it may be, else one read of Redis for all who ask together, else the origin.

use std::rc::Rc;

use futures::{FutureExt, future::LocalBoxFuture, future::Shared};
use hub::{Answer, Held, Input, Millis, Source, cache};
use wire::{BatchId, Position, Stored};
use worker::wasm_bindgen_futures::spawn_local;

use super::{Object, Slot};
use crate::{
    clock::now,
    log,
    redis::{Hash, RedisError, Standing},
};

/// How long reads leave someone alone who just failed to answer.
const FAILURE_PAUSE: Millis = 5_000;

/// A read under way, shared by all who wait for it. The error is in words for the reader.
pub(super) type Fetching = Shared<LocalBoxFuture<'static, Result<Held, String>>>;

/// An answer that is repeated for a while, to those who wait for it and to those who come later.
pub(super) struct Recent<T> {
    asked_at: Millis,
    answer: Shared<LocalBoxFuture<'static, T>>,
}

impl<T: Clone + 'static> Recent<T> {
    /// The answer, if it was asked for less than `ttl` ago; else it is asked for anew.
    pub(super) fn get_or_ask<F: Future<Output = T> + 'static>(
        recent: &mut Option<Self>,
        ttl: Millis,
        ask: impl FnOnce() -> F,
    ) -> Shared<LocalBoxFuture<'static, T>> {
        let now = now();
        let known = recent.take().filter(|known| now < known.asked_at + ttl);
        let known = known.unwrap_or_else(|| Self { asked_at: now, answer: ask().boxed_local().shared() });
        recent.insert(known).answer.clone()
    }
}

/// How long it is repeated what is true of a batch of which someone has seen more: anyone can claim to have.
const BEYOND_TTL: Millis = 5_000;

/// Where Redis stands, being read for all who wait; `None`: it does not say.
pub(super) type Confirming = Shared<LocalBoxFuture<'static, Option<Option<Standing>>>>;

/// Someone gave no answer: when, and why.
pub(super) struct Failure {
    at: Millis,
    words: String,
}

impl Failure {
    /// What a read failed with, just now.
    fn of<T>(read: &Result<T, String>) -> Option<Self> {
        read.as_ref().err().map(|words| Self { at: now(), words: words.clone() })
    }

    /// Why not to ask again yet: the same words, for they name the fix.
    fn recent(failure: Option<&Self>) -> Option<String> {
        failure.filter(|failure| now() < failure.at + FAILURE_PAUSE).map(|failure| failure.words.clone())
    }
}

impl Object {
    /// The state of a batch, and whom it cost to know it. `reread`: what was read before this call is not good enough.
    ///
    /// # Errors
    /// Nobody answers and nothing is held: why, in words.
    pub(super) async fn read(self: &Rc<Self>, batch: &BatchId, reread: bool) -> Result<Answer, String> {
        let config = &self.settings.hub;
        if reread {
            // One that is under way may have begun before what the reader knows.
            let earlier = self.slot(batch, |slot| slot.fetching.clone());
            if let Some(earlier) = earlier {
                let _ = earlier.await;
            }
        } else {
            let known = |slot: &mut Slot| cache::from_memory(slot.room.as_ref(), slot.held.as_ref(), config, now());
            if let Some(answer) = self.slot(batch, known) {
                return Ok(answer);
            }
        }
        let read = self.fetching(batch).await;
        self.slot(batch, |slot| match read {
            Ok(held) => Ok(cache::conclude(slot.room.as_ref(), &held, now())),
            Err(words) => cache::last_resort(slot.room.as_ref(), slot.held.as_ref(), now()).ok_or(words),
        })
    }

    /// The read under way, or a new one.
    fn fetching(self: &Rc<Self>, batch: &BatchId) -> Fetching {
        self.slot(batch, |slot| {
            let start = || self.clone().fetch(batch.clone()).boxed_local().shared();
            slot.fetching.get_or_insert_with(start).clone()
        })
    }

    async fn fetch(self: Rc<Self>, batch: BatchId) -> Result<Held, String> {
        let read = self.read_through(&batch).await;
        let read = self.slot(&batch, |slot| {
            slot.fetching = None;
            let read = read?.or_greater(slot.held.as_ref());
            slot.held = Some(read.clone());
            Ok(read)
        });
        if let Ok(Some(stored)) = read.as_ref().map(Held::stored) {
            self.feed(&batch, Input::Learned(stored.clone()));
        }
        read
    }

    /// Asks Redis, and where it does not know, the origin.
    async fn read_through(self: &Rc<Self>, batch: &BatchId) -> Result<Held, String> {
        let redis = self.read_redis(batch).await;
        if let Ok(Some(stored)) = redis {
            return Ok(Held::new(Some(stored), Source::Redis, now()));
        }
        match (redis, self.read_origin(batch).await) {
            (redis, Ok(Some(stored))) => {
                if redis.is_ok() {
                    let (object, batch, stored) = (self.clone(), batch.clone(), stored.clone());
                    spawn_local(async move { object.fill(&batch, &stored).await });
                }
                Ok(Held::new(Some(stored), Source::Origin, now()))
            }
            (Ok(_), Ok(None)) => Ok(Held::new(None, Source::Origin, now())),
            // Without an origin, what Redis does not know does not exist.
            (Ok(_), Err(_)) if self.origin.is_none() => Ok(Held::new(None, Source::Redis, now())),
            (Ok(_), Err(origin)) => Err(format!("Redis does not hold the batch, and {origin}.")),
            // A 404 would end an EventSource for good: it is final only when Redis was asked as well.
            (Err(redis), Ok(None)) => Err(format!("{redis}. And the origin does not know the batch.")),
            (Err(redis), Err(origin)) => Err(format!("{redis}. And {origin}.")),
        }
    }

    /// What is true of a batch of which a viewer has seen more than is held: Redis is read once more, and since it may
    /// have been set back, the origin is asked, once for all who come within [`BEYOND_TTL`].
    ///
    /// # Errors
    /// There is an origin and it does not answer: why, in words.
    pub(super) async fn read_beyond(self: &Rc<Self>, batch: &BatchId) -> Result<Option<Stored>, String> {
        let ask = || self.clone().ask_beyond(batch.clone());
        self.slot(batch, |slot| Recent::get_or_ask(&mut slot.beyond, BEYOND_TTL, ask)).await
    }

    async fn ask_beyond(self: Rc<Self>, batch: BatchId) -> Result<Option<Stored>, String> {
        let held = self.read(&batch, true).await?.stored;
        if self.origin.is_none() {
            return Ok(held);
        }
        let Some(stored) = self.read_origin(&batch).await? else { return Ok(held) };
        self.slot(&batch, |slot| {
            slot.held = Some(Held::new(Some(stored.clone()), Source::Origin, now()).or_greater(slot.held.as_ref()));
        });
        self.feed(&batch, Input::Learned(stored.clone()));
        let position = |stored: &Stored| stored.state.position();
        Ok(held.filter(|held| position(held) > position(&stored)).or(Some(stored)))
    }

    /// Whether Redis holds this position, as far as it says: one read for all who wait for it.
    pub(super) async fn is_still_at(self: &Rc<Self>, batch: &BatchId, at: Position) -> bool {
        let confirming = self.slot(batch, |slot| {
            let start = || self.clone().read_standing(batch.clone()).boxed_local().shared();
            slot.confirming.get_or_insert_with(start).clone()
        });
        confirming.await.is_none_or(|standing| standing.is_some_and(|standing| standing.position == at))
    }

    /// Where Redis stands; `None`: it does not say.
    pub(super) async fn read_standing(self: Rc<Self>, batch: BatchId) -> Option<Option<Standing>> {
        let failed = Failure::recent(self.redis_failure.borrow().as_ref()).is_some();
        let read = if failed { None } else { Some(self.redis.standing(&batch).await) };
        self.slot(&batch, |slot| slot.confirming = None);
        match read? {
            Ok(standing) => Some(standing),
            Err(error) => {
                log::redis_failed(&batch, &error);
                None
            }
        }
    }

    async fn read_redis(&self, batch: &BatchId) -> Result<Option<Stored>, String> {
        if let Some(words) = Failure::recent(self.redis_failure.borrow().as_ref()) {
            return Err(words);
        }
        let read = self.read_hash(batch).await.map_err(|error| error.to_string());
        *self.redis_failure.borrow_mut() = Failure::of(&read);
        read
    }

    async fn read_origin(&self, batch: &BatchId) -> Result<Option<Stored>, String> {
        let failure = self.slot(batch, |slot| Failure::recent(slot.origin_failure.as_ref()));
        if let Some(words) = failure {
            return Err(words);
        }
        let read = self.ask_origin(batch).await;
        self.slot(batch, |slot| slot.origin_failure = Failure::of(&read));
        read
    }

    /// What Redis holds of a batch; `None`: nothing that can be read.
    pub(super) async fn read_hash(&self, batch: &BatchId) -> Result<Option<Stored>, RedisError> {
        match self.redis.hash(batch).await {
            Ok(Hash::Batch(stored)) => {
                self.counted.borrow_mut().counters.unreadable_fields += stored.unreadable as u64;
                Ok(Some(stored))
            }
            Ok(Hash::Absent) => Ok(None),
            Ok(Hash::Unreadable(words)) => {
                self.counted.borrow_mut().counters.unreadable_hashes += 1;
                log::unreadable(batch, &words);
                Ok(None)
            }
            Err(error) => {
                log::redis_failed(batch, &error);
                Err(error)
            }
        }
    }

    /// What the application's database has of a batch. `None`: it does not know the batch.
    ///
    /// # Errors
    /// Why there is no answer, in words.
    pub(super) async fn ask_origin(&self, batch: &BatchId) -> Result<Option<Stored>, String> {
        let origin = self.origin.as_ref().ok_or("there is no origin to ask: set ORIGIN_URL")?;
        self.counted.borrow_mut().counters.origin_reads += 1;
        let read = origin.batch(batch).await.inspect_err(|words| log::origin_failed(batch, words))?;
        let unreadable = read.as_ref().map_or(0, |stored| stored.unreadable);
        self.counted.borrow_mut().counters.unreadable_fields += unreadable as u64;
        log::origin_asked(batch, read.is_some());
        Ok(read)
    }

    /// Stores in Redis what the origin said, where nothing is stored. What was not understood whole would lack the rest.
    pub(super) async fn fill(&self, batch: &BatchId, stored: &Stored) {
        if stored.unreadable > 0 {
            return;
        }
        if let Err(error) = self.redis.fill(stored).await {
            log::redis_failed(batch, &error);
        }
    }
}
