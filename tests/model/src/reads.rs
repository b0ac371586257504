//! Reads of the object: who is let in with what, and cached reads, as `edge/src/object.rs` (`answer_stream`,
//! `read_for_viewer`) and `edge/src/object/reads.rs` do it.
//!
//! The edge's futures are written out as what waits for a read under way. Leaves out 404 (the application knows its
//! batches), and the origin that is asked for a viewer that has seen more than Redis holds: as if it did not answer where
//! an end is at stake, as if there were none elsewhere.

use hub::{Answer, Held, Input, Millis, Source, Unanswered, cache};
use wire::{BatchId, Position, Seen, Stored};

use crate::{
    object::{Slot, config},
    world::World,
};

/// `FAILURE_PAUSE`.
const FAILURE_PAUSE: Millis = 5_000;

/// What waits for the read under way.
pub(crate) type Fetching = Vec<(Stage, Asker)>;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Stage {
    /// The read is what was asked for.
    Wanted,
    /// It may have begun too early: once more after it.
    TooEarly,
}

/// Who wants to know.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Asker {
    Viewer {
        connection: u32,
        viewer: usize,
        seen: Option<Seen>,
        again: bool,
    },
    /// A page that doubts its stream.
    Doubter {
        connection: u32,
        viewer: usize,
        heard: u64,
    },
    /// Some other reader, with `no-cache` or without.
    Reader,
}

impl World {
    /// `Object::answer_stream`.
    pub(crate) fn viewer_arrives(&mut self, connection: u32, viewer: usize, batch: &BatchId, seen: Option<Seen>) {
        match seen.filter(|seen| seen.idle && self.room(batch).is_none()) {
            Some(idle) => self.looks_in(connection, viewer, batch, idle),
            None => self.arrives(connection, viewer, batch, seen),
        }
    }

    /// `Object::is_idle`, but that those who wait for the same answer do not share it.
    fn looks_in(&mut self, connection: u32, viewer: usize, batch: &BatchId, seen: Seen) {
        let answer = move |world: &mut World, batch: &BatchId, standing: Option<Position>| match standing {
            Some(position) if seen.is_idle_at(position) => world.send_away(connection, viewer, batch, position),
            _ => world.arrives(connection, viewer, batch, Some(seen)),
        };
        let (now, known) = (self.now, self.slot(batch).standing);
        match known.filter(|(asked_at, _)| now < asked_at + config().active_ttl) {
            Some((_, standing)) => answer(self, batch, standing),
            None => {
                let id = batch.clone();
                self.read_hash(batch, move |world, read| {
                    let standing = read.ok().flatten().map(|stored| stored.state.position());
                    world.slot(&id).standing = Some((now, standing));
                    answer(world, &id, standing);
                });
            }
        }
    }

    fn arrives(&mut self, connection: u32, viewer: usize, batch: &BatchId, seen: Option<Seen>) {
        let asker = Asker::Viewer { connection, viewer, seen, again: false };
        let in_room = self.room(batch).and_then(hub::Room::stored).filter(|stored| !stored.state.is_terminal());
        match in_room {
            Some(stored) => self.let_in(batch, asker, stored),
            None => self.read(batch, false, asker),
        }
    }

    pub(crate) fn reader_arrives(&mut self, viewer: usize, connection: u32, heard: u64) {
        let batch = self.viewers[viewer].batch.clone();
        self.read(&batch, false, Asker::Doubter { connection, viewer, heard });
    }

    /// `Object::read`.
    pub(crate) fn read(&mut self, batch: &BatchId, reread: bool, asker: Asker) {
        let (now, config) = (self.now, config());
        let slot = self.slot(batch);
        if reread && let Some(fetching) = &mut slot.fetching {
            return fetching.push((Stage::TooEarly, asker));
        }
        if !reread && let Some(answer) = cache::from_memory(slot.room.as_ref(), slot.held.as_ref(), &config, now) {
            return self.answer(batch, asker, Some(answer));
        }
        self.fetch(batch, asker);
    }

    /// Waits for the read under way, or for a new one.
    fn fetch(&mut self, batch: &BatchId, asker: Asker) {
        if let Some(fetching) = &mut self.slot(batch).fetching {
            return fetching.push((Stage::Wanted, asker));
        }
        self.slot(batch).fetching = Some(vec![(Stage::Wanted, asker)]);
        if self.left_alone(self.object.redis_failed_at) {
            return self.fetch_from_origin(batch, false);
        }
        self.tally.reads += 1;
        let id = batch.clone();
        self.read_hash(batch, move |world, read| {
            world.object.redis_failed_at = read.is_err().then_some(world.now);
            match read {
                Ok(Some(stored)) => world.fetched(&id, Ok((stored, Source::Redis))),
                other => world.fetch_from_origin(&id, other.is_ok()),
            }
        });
    }

    fn fetch_from_origin(&mut self, batch: &BatchId, fill: bool) {
        let failed_at = self.slot(batch).origin_failed_at;
        if self.left_alone(failed_at) {
            return self.fetched(batch, Err(Unanswered));
        }
        self.tally.asks += 1;
        let id = batch.clone();
        self.ask_origin(batch, move |world, read| {
            let now = world.now;
            world.slot(&id).origin_failed_at = read.is_err().then_some(now);
            let stored = read.map(|stored| stored.expect("the application knows its batches"));
            if let (true, Ok(stored)) = (fill, &stored) {
                world.fill(stored.clone(), |_| {});
            }
            world.fetched(&id, stored.map(|stored| (stored, Source::Origin)));
        });
    }

    fn left_alone(&self, failed_at: Option<Millis>) -> bool {
        failed_at.is_some_and(|at| self.now < at + FAILURE_PAUSE)
    }

    /// The end of `Object::fetch`, and what follows from it for each who waited.
    fn fetched(&mut self, batch: &BatchId, read: Result<(Stored, Source), Unanswered>) {
        let now = self.now;
        let slot = self.slot(batch);
        let waiting = slot.fetching.take().unwrap_or_default();
        let read = read.map(|(stored, source)| {
            let read = Held::new(Some(stored), source, now).or_greater(slot.held.as_ref());
            slot.held = Some(read.clone());
            read
        });
        if let Some(stored) = read.as_ref().ok().and_then(Held::stored) {
            self.feed(batch, Input::Learned(stored.clone()));
        }
        for (stage, asker) in waiting {
            match stage {
                Stage::TooEarly => self.fetch(batch, asker),
                Stage::Wanted => {
                    let answer = conclude(self.slot(batch), &read, now);
                    self.answer(batch, asker, answer);
                }
            }
        }
    }

    /// What a reader gets; `None`: nobody answers and nothing is held.
    fn answer(&mut self, batch: &BatchId, asker: Asker, answer: Option<Answer>) {
        let from_memory = answer.as_ref().is_some_and(|answer| answer.source == Source::Memory);
        let stored = answer.map(|answer| answer.stored.expect("the application knows its batches"));
        match (asker, stored) {
            (Asker::Viewer { again: false, .. }, Some(stored)) if from_memory && stored.state.is_terminal() => {
                self.believe_the_end(batch, asker, stored);
            }
            (Asker::Viewer { .. }, Some(stored)) => self.let_in(batch, asker, stored),
            (Asker::Viewer { connection, viewer, .. }, None) => self.busy(connection, viewer, batch),
            (Asker::Doubter { connection, viewer, heard }, stored) => {
                let (back, read) = (self.delay(), stored.map(|stored| stored.state.position()));
                self.later(back, move |world| world.viewer_reads(viewer, connection, heard, read));
            }
            (Asker::Reader, None) => {}
            (Asker::Reader, Some(stored)) => {
                // Once a batch was invalidated, its room may say less than the origin did meanwhile: what a read found
                // is not learned by a room that was invalidated, and a room that is fresh answers before what is held.
                let told = Some(stored.state.position());
                let slot = self.slot(batch);
                let before = std::mem::replace(&mut slot.told, told).filter(|_| !slot.invalidated);
                assert!(told >= before, "readers are told {told:?} after {before:?}");
            }
        }
    }

    /// `Object::read_whether_ended`: an end that memory knows is believed if Redis still stands there, or is away.
    fn believe_the_end(&mut self, batch: &BatchId, asker: Asker, stored: Stored) {
        let id = batch.clone();
        self.read_hash(batch, move |world, read| {
            let at = |stored: &Stored| stored.state.position();
            match read {
                Ok(read) if read.as_ref().map(at) != Some(at(&stored)) => world.read(&id, true, asker),
                Ok(_) | Err(Unanswered) => world.let_in(&id, asker, stored),
            }
        });
    }

    /// The rest of `Object::answer_stream`: a viewer that has seen more than is held makes the object read once more.
    fn let_in(&mut self, batch: &BatchId, asker: Asker, stored: Stored) {
        let Asker::Viewer { connection, viewer, seen: said, again } = asker else { return };
        let (position, seen) = (stored.state.position(), said.map(|said| said.position));
        if seen > Some(position) && !again {
            return self.read(batch, true, Asker::Viewer { connection, viewer, seen: said, again: true });
        }
        let idle = said.is_some_and(|said| said.is_idle_at(position)) && self.room(batch).is_none();
        match stored.state.is_terminal() {
            // The end of an epoch that is over: whoever has seen more must not take it for the end.
            true if seen > Some(position) => self.busy(connection, viewer, batch),
            true if seen == Some(position) => self.nothing_more(connection, viewer),
            true => self.show_end(connection, viewer, &stored.state, seen),
            false if idle => self.send_away(connection, viewer, batch, position),
            false => self.watch(connection, viewer, seen, stored),
        }
    }
}

fn conclude(slot: &Slot, read: &Result<Held, Unanswered>, now: Millis) -> Option<Answer> {
    match read {
        Ok(held) => Some(cache::conclude(slot.room.as_ref(), held, now)),
        Err(Unanswered) => cache::last_resort(slot.room.as_ref(), slot.held.as_ref(), now),
    }
}
