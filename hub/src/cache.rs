//! What a cached read may answer: the room's replica while it is proven fresh, else the last read while it is young,
//! else Redis, else the origin, else what is held and stale.

use wire::{Position, Stored};

use crate::{Config, Millis, Room};

/// How long 404s and failures of the origin are remembered.
const FAILURE_TTL: Millis = 5_000;

/// What was spared or asked, for `X-Cache`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheResult {
    /// The database rested.
    Hit,
    /// The origin was asked.
    Miss,
    /// Nothing could be asked; this may be behind.
    Stale,
}

/// Where an answer came from, for `X-Cache-Source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The object's memory.
    Memory,
    /// The hash.
    Redis,
    /// The application.
    Origin,
}

/// What a reader gets.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The batch and its owner; `None`: nobody knows the batch.
    pub stored: Option<Stored>,
    /// Whether the database rested.
    pub result: CacheResult,
    /// Where it came from.
    pub source: Source,
    /// How long ago it was last known to be true.
    pub age: Millis,
}

/// The last read of a batch, kept for those who ask next.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    stored: Option<Stored>,
    source: Source,
    read_at: Millis,
}

impl Held {
    /// A read that came back at `now`; `stored: None` is the origin's 404.
    pub fn new(stored: Option<Stored>, source: Source, now: Millis) -> Self {
        Self { stored, source, read_at: now }
    }

    /// What was read; `None`: nobody knows the batch.
    pub fn stored(&self) -> Option<&Stored> {
        self.stored.as_ref()
    }

    /// Whether it may be answered again without asking anyone.
    pub fn is_fresh(&self, config: &Config, now: Millis) -> bool {
        let ttl = match &self.stored {
            None => FAILURE_TTL,
            Some(stored) if stored.state.is_terminal() => config.idle_ttl,
            Some(_) => config.active_ttl,
        };
        now < self.read_at + ttl
    }

    fn first_answer(&self, now: Millis) -> Answer {
        let result = if self.source == Source::Origin { CacheResult::Miss } else { CacheResult::Hit };
        Answer { stored: self.stored.clone(), result, source: self.source, age: now.saturating_sub(self.read_at) }
    }

    /// The answer for those who come after, from memory.
    fn answer(&self, result: CacheResult, now: Millis) -> Answer {
        let age = now.saturating_sub(self.read_at);
        Answer { stored: self.stored.clone(), result, source: Source::Memory, age }
    }

    /// This read, or `before` where that shows more: what readers were told does not fall when a Redis comes back with
    /// less. It stays as old as it is.
    pub fn or_greater(self, before: Option<&Self>) -> Self {
        let more = before.filter(|before| self.stored.is_some() && before.position() > self.position());
        more.cloned().unwrap_or(self)
    }

    fn position(&self) -> Option<Position> {
        self.stored.as_ref().map(|stored| stored.state.position())
    }
}

/// What memory alone can answer now; `None`: Redis is to be asked. What a viewer of the room was shown is never newer
/// than the answer.
pub fn from_memory(room: Option<&Room>, held: Option<&Held>, config: &Config, now: Millis) -> Option<Answer> {
    if let Some(answer) = room.filter(|room| room.is_fresh(now)).and_then(|room| room.answer(CacheResult::Hit, now)) {
        return Some(answer);
    }
    let usable = |held: &&Held| held.is_fresh(config, now) && held.position() >= shown(room);
    let held = held.filter(|_| room.is_none_or(|room| !room.is_invalidated())).filter(usable);
    held.map(|held| held.answer(CacheResult::Hit, now))
}

/// The answer for the reader whose request made a read: what it read, or what the room has been told since.
pub fn conclude(room: Option<&Room>, read: &Held, now: Millis) -> Answer {
    let answer = read.first_answer(now);
    let knows_more =
        |room: &&Room| answer.stored.is_some() && !room.is_invalidated() && room.position() > read.position();
    match room.filter(knows_more).and_then(|room| room.answer(answer.result, now)) {
        Some(newer) => Answer { source: read.source, ..newer },
        None => answer,
    }
}

/// What is left to answer when neither Redis nor the origin could.
pub fn last_resort(room: Option<&Room>, held: Option<&Held>, now: Millis) -> Option<Answer> {
    let held = held.filter(|held| held.stored.is_some());
    match (room, held) {
        (Some(room), Some(held)) if held.position() > shown(Some(room)) => Some(held.answer(CacheResult::Stale, now)),
        (Some(room), _) => room.answer(CacheResult::Stale, now),
        (None, held) => held.map(|held| held.answer(CacheResult::Stale, now)),
    }
}

fn shown(room: Option<&Room>) -> Option<Position> {
    room.and_then(Room::position)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::tests::{stored, stored_ended};

    #[test]
    fn a_read_is_answered_again_while_it_is_young() {
        let config = Config::default();
        let open = Held::new(Some(stored(3)), Source::Redis, 1_000);
        let ended = Held::new(Some(stored_ended(9)), Source::Redis, 1_000);
        let unknown = Held::new(None, Source::Origin, 1_000);
        assert!(open.is_fresh(&config, 5_999) && !open.is_fresh(&config, 6_000));
        assert!(ended.is_fresh(&config, 30_999) && !ended.is_fresh(&config, 31_000));
        assert!(unknown.is_fresh(&config, 5_999) && !unknown.is_fresh(&config, 6_000));
    }

    #[test]
    fn the_first_reader_learns_whom_it_cost_and_the_next_ones_that_it_was_free() {
        let config = Config::default();
        let held = Held::new(Some(stored(3)), Source::Origin, 1_000);
        let first = conclude(None, &held, 1_000);
        assert_eq!((first.result, first.source, first.age), (CacheResult::Miss, Source::Origin, 0));
        let next = from_memory(None, Some(&held), &config, 3_500).unwrap();
        assert_eq!((next.result, next.source, next.age), (CacheResult::Hit, Source::Memory, 2_500));
        assert_eq!(from_memory(None, Some(&held), &config, 6_000), None);
    }

    #[test]
    fn what_readers_were_told_does_not_fall() {
        let before = Held::new(Some(stored(5)), Source::Redis, 1_000);
        let read = Held::new(Some(stored(3)), Source::Redis, 9_000).or_greater(Some(&before));
        assert_eq!(read, before);
        assert_eq!(conclude(None, &read, 9_000).age, 8_000);
        let gone = Held::new(None, Source::Origin, 9_000);
        assert_eq!(gone.clone().or_greater(Some(&before)), gone);
    }

    #[test]
    fn what_is_held_is_the_last_resort_and_says_that_it_is_stale() {
        let held = Held::new(Some(stored(3)), Source::Redis, 1_000);
        let answer = last_resort(None, Some(&held), 61_000).unwrap();
        assert_eq!((answer.result, answer.age), (CacheResult::Stale, 60_000));
        assert_eq!(last_resort(None, Some(&Held::new(None, Source::Origin, 1_000)), 2_000), None);
        assert_eq!(last_resort(None, None, 2_000), None);
    }
}
