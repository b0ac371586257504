//! The receiving rules: how a reader of the channel keeps a copy of a batch that never goes backwards and never
//! misses an update.
//!
//! Whoever owns a [`Replica`] subscribes first, waits for the confirmation, then reads the hash: so there is no moment
//! at which an update could be missed. Rooms at the edge and native watchers follow the same rules.
//!
//! ```
#![doc = include_str!("examples/replica.txt")]
//! // Subscribed and confirmed; now the hash is read, and what is published meanwhile waits for it.
//! let mut replica = Replica::new(batch.clone());
//! replica.begin_read();
//! assert_eq!(replica.receive(news(41, 42)), Received::Held);
//! assert!(!replica.finish_read(Some(stored(41))).again);
//! assert_eq!(replica.position(), Some("7-42".parse()?));
//! // From here on each message is a step, unless one before it was lost.
//! assert_eq!(replica.receive(news(42, 43)), Received::Applied);
//! assert_eq!(replica.receive(news(44, 45)), Received::Gap);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::sync::Arc;

use crate::{BatchId, BatchState, Message, Position, limits::MAX_HELD_MESSAGES, message::Announcement};

/// A copy of one batch, fed with channel messages and reads of the hash.
///
/// ```
#[doc = include_str!("examples/replica.txt")]
/// let mut replica = Replica::new(batch.clone());
/// replica.accept(stored(42));
/// assert!(!replica.accept(stored(41))); // An answer that was under way for long takes nothing back.
/// assert_eq!(replica.position(), Some("7-42".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Replica {
    batch: BatchId,
    state: Option<Arc<BatchState>>,
    /// The greatest position that the channel has named: a read that shows less came too early.
    announced: Option<Position>,
    /// The batch was invalidated: the next state read replaces the copy even at the same position.
    invalidated: bool,
    reading: Option<Reading>,
}

/// What waits for a read of the hash that is under way.
#[derive(Debug, Clone, Default)]
struct Reading {
    held: Vec<Message>,
    overflowed: bool,
    /// The batch was invalidated meanwhile: what this read shows may be from before.
    invalidated: bool,
}

/// What a message did. All may be matched: what a replica's owner does about each is a part of the receiving rules.
///
/// ```
#[doc = include_str!("examples/replica.txt")]
/// let mut replica = Replica::new(batch.clone());
/// let must_read = match replica.receive(Message::Unknown) {
///     Received::Gap | Received::Reread => true,
///     Received::Applied | Received::Dropped | Received::Held => false,
/// };
/// assert!(must_read);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// It was news.
    Applied,
    /// It was known already.
    Dropped,
    /// It waits for the read under way.
    Held,
    /// An update before it was missed: read the hash.
    Gap,
    /// It can't be merged (a greater epoch, a nudge, not understood): read the hash.
    Reread,
}

/// What a read of the hash did.
///
/// ```
#[doc = include_str!("examples/replica.txt")]
/// let mut replica = Replica::new(batch.clone());
/// replica.hear_of("7-42".parse()?);
/// replica.begin_read();
/// let finished = replica.finish_read(Some(stored(41)));
/// assert!(finished.changed); // Something to show …
/// assert!(finished.again); // … and not the newest yet.
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finished {
    /// The copy is not what it was before the read.
    pub changed: bool,
    /// The copy is known to be behind: read again, after a pause that grows.
    pub again: bool,
    /// Redis holds nothing.
    pub absent: bool,
}

impl Replica {
    /// A replica of `batch` that knows nothing yet.
    ///
    /// ```
    /// use batchcast_wire::{BatchId, Replica};
    ///
    /// let replica = Replica::new(BatchId::new("holiday")?);
    /// assert!(replica.state().is_none() && !replica.is_behind());
    /// # Ok::<(), batchcast_wire::IdError>(())
    /// ```
    pub fn new(batch: BatchId) -> Self {
        Self { batch, state: None, announced: None, invalidated: false, reading: None }
    }

    /// The copy; `None` until something was read.
    ///
    /// ```
    #[doc = include_str!("examples/replica.txt")]
    /// let mut replica = Replica::new(batch.clone());
    /// replica.accept(stored(42));
    /// let shared = replica.state().cloned(); // Whoever answers a reader keeps it, while the replica goes on.
    /// replica.accept(stored(43));
    /// assert_eq!(shared, Some(stored(42)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn state(&self) -> Option<&Arc<BatchState>> {
        self.state.as_ref()
    }

    /// Where the copy stands.
    ///
    /// ```
    #[doc = include_str!("examples/replica.txt")]
    /// let mut replica = Replica::new(batch.clone());
    /// assert_eq!(replica.position(), None);
    /// replica.accept(stored(42));
    /// assert_eq!(replica.position(), Some("7-42".parse()?));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn position(&self) -> Option<Position> {
        self.state.as_ref().map(|state| state.position())
    }

    /// Whether the copy shows the batch's end, and is not known to be wrong.
    ///
    /// ```
    #[doc = include_str!("examples/replica.txt")]
    /// let mut replica = Replica::new(batch.clone());
    /// replica.accept(ended(42));
    /// assert!(replica.has_ended()); // Nothing more will come: unsubscribe.
    /// replica.hear_of("8-1".parse()?);
    /// assert!(!replica.has_ended()); // It was opened again.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn has_ended(&self) -> bool {
        !self.is_behind() && self.state.as_ref().is_some_and(|state| state.is_terminal())
    }

    /// Whether the copy is known to be behind what was announced, or invalidated.
    ///
    /// ```
    #[doc = include_str!("examples/replica.txt")]
    /// let mut replica = Replica::new(batch.clone());
    /// replica.accept(stored(42));
    /// replica.hear_of("7-43".parse()?);
    /// assert!(replica.is_behind()); // Tell the viewers, until the hash was read.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_behind(&self) -> bool {
        self.invalidated || self.announced > self.position()
    }

    /// Whether the batch was invalidated and has not been read since.
    ///
    /// ```
    #[doc = include_str!("examples/replica.txt")]
    /// let mut replica = Replica::new(batch.clone());
    /// replica.accept(stored(42));
    /// replica.receive(Message::Invalidate);
    /// assert!(replica.is_invalidated());
    /// replica.accept(stored(42)); // Read anew, at the same position: what it says now counts.
    /// assert!(!replica.is_invalidated());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_invalidated(&self) -> bool {
        self.invalidated
    }

    /// Whether a read is under way.
    ///
    /// ```
    #[doc = include_str!("examples/replica.txt")]
    /// let mut replica = Replica::new(batch.clone());
    /// if !replica.is_reading() { // One read at a time is enough.
    ///     replica.begin_read();
    /// }
    /// assert!(replica.is_reading());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// Takes note of a position seen elsewhere (a ping's answer, say). True: the copy is behind it, read the hash.
    ///
    /// ```
    #[doc = include_str!("examples/replica.txt")]
    /// let mut replica = Replica::new(batch.clone());
    /// replica.accept(stored(42));
    /// assert!(!replica.hear_of("7-42".parse()?));
    /// assert!(replica.hear_of("7-44".parse()?)); // Two messages were lost, and none after them shows it.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn hear_of(&mut self, position: Position) -> bool {
        self.announced = self.announced.max(Some(position));
        self.is_behind()
    }

    /// A message arrived. On [`Received::Gap`] and [`Received::Reread`] the owner reads the hash.
    ///
    /// ```
    #[doc = include_str!("examples/replica.txt")]
    /// let mut replica = Replica::new(batch.clone());
    /// replica.accept(stored(42));
    /// assert_eq!(replica.receive(news(41, 42)), Received::Dropped); // Delivered twice, or read before.
    /// assert_eq!(replica.receive(news(40, 44)), Received::Applied); // Merged with older ones by its sender.
    /// assert_eq!(replica.receive(news(45, 46)), Received::Gap);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn receive(&mut self, message: Message) -> Received {
        if let Message::Changes(news) = &message {
            self.note(news);
        }
        match &mut self.reading {
            Some(reading) if message == Message::Invalidate => reading.invalidated = true,
            Some(reading) if reading.held.len() < MAX_HELD_MESSAGES => reading.held.push(message),
            Some(reading) => reading.overflowed = true,
            None => return self.merge(message),
        }
        Received::Held
    }

    /// Remembers the greatest position announced. A batch that ended stays as it is until its epoch rises, so what
    /// comes after its end in the same epoch is no news.
    fn note(&mut self, news: &Announcement) {
        let to = news.head.position;
        let ended = self.state.as_ref().is_some_and(|s| s.is_terminal() && s.position().epoch() == to.epoch());
        if news.head.batch_id == self.batch && !ended {
            self.announced = self.announced.max(Some(to));
        }
    }

    fn merge(&mut self, message: Message) -> Received {
        match message {
            Message::Ping { .. } => Received::Dropped,
            Message::Unknown => Received::Reread,
            Message::Invalidate => {
                self.invalidate();
                Received::Reread
            }
            Message::Changes(news) => self.merge_changes(news),
        }
    }

    fn invalidate(&mut self) {
        self.invalidated = true;
        self.announced = None;
    }

    fn merge_changes(&mut self, news: Announcement) -> Received {
        let Some(state) = self.state.as_mut().filter(|_| !self.invalidated && news.head.batch_id == self.batch) else {
            return Received::Reread;
        };
        let (at, to) = (state.position(), news.head.position);
        if to <= at || (to.epoch() == at.epoch() && state.is_terminal()) {
            return Received::Dropped;
        }
        if to.epoch() > at.epoch() {
            return Received::Reread;
        }
        if news.from > at.version() {
            return Received::Gap;
        }
        match news.into_changes().map(|changes| Arc::make_mut(state).apply(changes)) {
            Some(Ok(())) => Received::Applied,
            // A nudge, or changes that would break an invariant: the hash decides.
            None | Some(Err(_)) => Received::Reread,
        }
    }

    /// A read of the hash begins; messages that arrive before [`Replica::finish_read`] wait for it.
    ///
    /// ```
    #[doc = include_str!("examples/replica.txt")]
    /// let mut replica = Replica::new(batch.clone());
    /// replica.begin_read(); // Before the command is sent, not when its answer is here.
    /// assert_eq!(replica.receive(news(42, 43)), Received::Held);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn begin_read(&mut self) {
        self.reading.get_or_insert_default();
    }

    /// The read under way failed. What was held is dropped; the positions it announced are not forgotten.
    ///
    /// ```
    #[doc = include_str!("examples/replica.txt")]
    /// let mut replica = Replica::new(batch.clone());
    /// replica.begin_read();
    /// replica.receive(news(42, 43));
    /// replica.fail_read();
    /// assert!(!replica.is_reading() && replica.is_behind()); // So read again, after a pause.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fail_read(&mut self) {
        if self.reading.take().is_some_and(|reading| reading.invalidated) {
            self.invalidate();
        }
    }

    /// The read under way came back; `None`: Redis holds nothing, which never empties the copy.
    ///
    /// ```
    #[doc = include_str!("examples/replica.txt")]
    /// let mut replica = Replica::new(batch.clone());
    /// replica.begin_read();
    /// replica.receive(news(42, 43));
    /// let finished = replica.finish_read(Some(stored(42)));
    /// assert!(finished.changed && !finished.again);
    /// assert_eq!(replica.position(), Some("7-43".parse()?)); // With what had waited.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn finish_read(&mut self, stored: Option<Arc<BatchState>>) -> Finished {
        let reading = self.reading.take().unwrap_or_default();
        let absent = stored.is_none();
        let mut changed = stored.is_some_and(|state| self.accept(state));
        let mut again = reading.overflowed || reading.invalidated;
        if reading.invalidated {
            self.invalidate();
        }
        for message in reading.held {
            match self.merge(message) {
                Received::Applied => changed = true,
                Received::Gap | Received::Reread => again = true,
                Received::Dropped | Received::Held => {}
            }
        }
        Finished { changed, again: again || (!absent && self.is_behind()), absent }
    }

    /// Takes a state that was read for another purpose, maybe a while ago. True: the copy changed. What was read before
    /// an invalidation undoes it not: until the batch was read anew, such a state is let pass.
    ///
    /// ```
    #[doc = include_str!("examples/replica.txt")]
    /// let mut replica = Replica::new(batch.clone());
    /// assert!(replica.learn(stored(42))); // Someone had asked for the batch: it need not be read again.
    /// replica.receive(Message::Invalidate);
    /// assert!(!replica.learn(stored(43)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn learn(&mut self, state: Arc<BatchState>) -> bool {
        !self.invalidated && self.accept(state)
    }

    /// Takes a state from the hash or the origin unless the copy is newer. True: the copy changed.
    ///
    /// ```
    #[doc = include_str!("examples/replica.txt")]
    /// let mut replica = Replica::new(batch.clone());
    /// let tell_viewers = replica.accept(stored(42));
    /// assert!(tell_viewers && !replica.accept(stored(42)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn accept(&mut self, state: Arc<BatchState>) -> bool {
        let at = self.position();
        let newer = Some(state.position()) > at || (self.invalidated && Some(state.position()) == at);
        if newer {
            self.state = Some(state);
            self.invalidated = false;
        }
        newer
    }

    /// The origin does not know the batch: nothing is left to show.
    ///
    /// ```
    #[doc = include_str!("examples/replica.txt")]
    /// let mut replica = Replica::new(batch.clone());
    /// replica.accept(stored(42));
    /// replica.forget(); // Deleted: Redis alone would not say so, for it may have lost the batch.
    /// assert!(replica.state().is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn forget(&mut self) {
        *self = Self::new(self.batch.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        BatchStatus, Changes, PhotoStatus, message,
        state::tests::{head, photo},
    };
    use proptest::{collection::vec, prelude::*};

    fn state(version: u64) -> Arc<BatchState> {
        let photos = (1..=version).map(|v| photo(&format!("p{v}"), PhotoStatus::Processing, v));
        Arc::new(BatchState::new(head(version, BatchStatus::Processing, [0, 40, 0, 0]), photos).unwrap())
    }

    fn news(from: u64, to: u64) -> Message {
        let since = Position::new(state(to).position().epoch(), from).unwrap();
        let photos = (from + 1..=to).map(|v| photo(&format!("p{v}"), PhotoStatus::Processing, v)).collect();
        let changes = Changes { since: Some(since), head: state(to).head().clone(), photos, owner: None };
        Message::parse(message::changes(&changes, 7).as_bytes())
    }

    fn replica(version: u64) -> Replica {
        let mut replica = Replica::new(BatchId::new("batch-123").unwrap());
        replica.begin_read();
        replica.finish_read(Some(state(version)));
        replica
    }

    #[test]
    fn an_update_is_applied_dropped_or_shows_a_gap() {
        let mut replica = replica(5);
        assert_eq!(replica.receive(news(3, 5)), Received::Dropped);
        assert_eq!(replica.receive(news(7, 8)), Received::Gap);
        assert_eq!(replica.receive(news(4, 7)), Received::Applied);
        assert_eq!(replica.state(), Some(&state(7)));
    }

    #[test]
    fn messages_during_a_read_wait_for_it() {
        let mut replica = replica(5);
        replica.begin_read();
        assert_eq!(replica.receive(news(6, 7)), Received::Held);
        assert_eq!(replica.receive(news(5, 6)), Received::Held);
        let finished = replica.finish_read(Some(state(6)));
        assert_eq!(finished, Finished { changed: true, again: false, absent: false });
        assert_eq!(replica.state(), Some(&state(7)));
    }

    #[test]
    fn a_read_that_shows_less_than_was_announced_is_repeated_and_replaces_nothing() {
        let mut replica = replica(5);
        assert_eq!(replica.receive(news(8, 9)), Received::Gap);
        replica.begin_read();
        assert_eq!(replica.finish_read(Some(state(4))), Finished { changed: false, again: true, absent: false });
        assert_eq!(replica.position(), Some(state(5).position()));
        replica.begin_read();
        assert_eq!(replica.finish_read(Some(state(9))), Finished { changed: true, again: false, absent: false });
    }

    #[test]
    fn too_many_held_messages_mean_another_read() {
        let mut replica = replica(5);
        replica.begin_read();
        for _ in 0..=MAX_HELD_MESSAGES {
            replica.receive(news(4, 5));
        }
        assert!(replica.finish_read(Some(state(5))).again);
    }

    #[test]
    fn an_absent_hash_never_empties_a_replica() {
        let mut replica = replica(5);
        replica.begin_read();
        assert_eq!(replica.finish_read(None), Finished { changed: false, again: false, absent: true });
        assert_eq!(replica.state(), Some(&state(5)));
    }

    #[test]
    fn what_is_not_understood_is_a_reason_to_read() {
        let mut replica = replica(5);
        assert_eq!(replica.receive(Message::Unknown), Received::Reread);
        let mut nudge = news(5, 6);
        if let Message::Changes(news) = &mut nudge {
            news.photos = None;
        }
        assert_eq!(replica.receive(nudge), Received::Reread);
        let mut other = Replica::new(BatchId::new("other").unwrap());
        assert_eq!(other.receive(news(5, 6)), Received::Reread);
        assert_eq!(other.position(), None);
    }

    #[test]
    fn an_invalidated_copy_is_replaced_also_at_the_same_position() {
        let mut replica = replica(5);
        assert_eq!(replica.receive(Message::Invalidate), Received::Reread);
        let fewer = Arc::new(BatchState::new(head(5, BatchStatus::Processing, [0, 1, 0, 0]), []).unwrap());
        assert!(!replica.learn(state(6)), "a read from before undoes nothing");
        replica.begin_read();
        assert!(replica.finish_read(Some(fewer.clone())).changed);
        assert_eq!(replica.state(), Some(&fewer));
    }

    #[test]
    fn an_invalidation_during_a_read_outlives_it() {
        for fails in [true, false] {
            let mut replica = replica(5);
            replica.begin_read();
            assert_eq!(replica.receive(Message::Invalidate), Received::Held);
            if fails {
                replica.fail_read();
            } else {
                assert!(replica.finish_read(Some(state(6))).again);
            }
            assert!(replica.is_invalidated() && replica.is_behind());
        }
    }

    #[test]
    fn an_ended_batch_takes_no_more_news_in_its_epoch() {
        let mut replica = Replica::new(BatchId::new("batch-123").unwrap());
        replica.accept(BatchState::new(head(5, BatchStatus::Cancelled, [0, 40, 0, 0]), []).unwrap().into());
        assert_eq!(replica.receive(news(5, 6)), Received::Dropped);
        assert!(replica.has_ended());
    }

    proptest! {
        /// The heart of it: whatever is lost, doubled or mixed, reading when told to ends at the stored state, and the
        /// position never falls on the way.
        #[test]
        fn any_order_of_messages_and_reads_ends_at_the_hash(
            deliveries in vec((0..30_u64, 0..4_u64), 0..60),
            reads in vec(0..=30_u64, 0..10),
        ) {
            let mut replica = replica(1);
            let mut seen = replica.position();
            let mut reads = reads.into_iter();
            for (from, length) in deliveries {
                let asks = matches!(replica.receive(news(from, from + length)), Received::Gap | Received::Reread);
                if asks {
                    replica.begin_read();
                } else if replica.is_reading() && let Some(version) = reads.next() {
                    replica.finish_read((version > 0).then(|| state(version)));
                }
                prop_assert!(replica.position() >= seen);
                seen = replica.position();
            }
            replica.begin_read();
            let finished = replica.finish_read(Some(state(33)));
            prop_assert!(!finished.again);
            prop_assert_eq!(replica.state(), Some(&state(33)));
        }
    }
}
