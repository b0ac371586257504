//! The hub object: the real [`Room`]s, fed and obeyed as `edge/src/object/rooms.rs` and `clockwork.rs` do it.
//!
//! Models crashes (an object that vanishes with all it held), requests to Redis and the origin that are slow or fail,
//! the ping, the alarm, the timer, viewers that are sent away because nothing changes. As in the edge, an answer goes to
//! the room that the batch has when it arrives, though another one may have asked. Leaves out the entry Worker, access,
//! counters, `MAX_VIEWERS`, panics.

use std::collections::{BTreeMap, BTreeSet};

use hub::{Config, Held, Input, Millis, Output, Room, Source, Unanswered, ViewerId, Visitor};
use wire::{
    BatchId, Changes, Position, Stored, message,
    script::{self, Settings},
};

use crate::{reads::Fetching, streams::Stream, viewer::Standing, world::World};

/// `ALARM_AFTER` of `edge/src/object/clockwork.rs`.
const ALARM_AFTER: Millis = 50;
/// The least pause between two reads of the hash, and two questions to the origin, by one room.
const READ_PAUSE: Millis = 50;
const ASK_PAUSE: Millis = 5_000;
const SETTINGS: Settings<'_> = Settings::new("", 86_400);

#[derive(Default)]
pub(crate) struct Object {
    /// Rises with each crash.
    pub(crate) life: u64,
    pub(crate) slots: BTreeMap<BatchId, Slot>,
    pub(crate) redis_failed_at: Option<Millis>,
    alarm: bool,
}

/// What the object knows of one batch.
#[derive(Default)]
pub(crate) struct Slot {
    pub(crate) room: Option<Room>,
    pub(crate) held: Option<Held>,
    /// The subscription of the room, by number.
    pub(crate) upstream: Option<u64>,
    pub(crate) fetching: Option<Fetching>,
    /// Where Redis stood when that was last asked for those who look in from time to time.
    pub(crate) standing: Option<(Millis, Option<Position>)>,
    pub(crate) origin_failed_at: Option<Millis>,
    /// What readers were told last.
    pub(crate) told: Option<Position>,
    /// The batch was invalidated in this life of the object.
    pub(crate) invalidated: bool,
    wakes_at: Option<Millis>,
    /// When its room last read the hash and asked the origin.
    room_read_at: Option<Millis>,
    room_asked_at: Option<Millis>,
}

/// The edge's settings: the defaults, but viewers are forgotten early enough for these schedules.
pub(crate) fn config() -> Config {
    Config { forget_after: 140_000, ..Config::default() }
}

impl World {
    pub(crate) fn slot(&mut self, batch: &BatchId) -> &mut Slot {
        self.object.slots.entry(batch.clone()).or_default()
    }

    pub(crate) fn room(&self, batch: &BatchId) -> Option<&Room> {
        self.object.slots.get(batch)?.room.as_ref()
    }

    /// The object vanishes with all it held. `told`: its viewers see their streams end; else they just hear no more.
    pub(crate) fn crash_object(&mut self, told: bool) {
        self.object = Object { life: self.object.life + 1, ..Object::default() };
        self.subscriptions.clear();
        let connections: Vec<u32> = self.streams.keys().copied().collect();
        connections.into_iter().for_each(|connection| self.break_stream(connection, told));
        // Who had no answer yet gets none.
        for viewer in (0..self.viewers.len()).filter(|_| told) {
            if let Standing::On(connection) = self.viewers[viewer].state {
                self.viewer_loses(viewer, connection);
            }
        }
    }

    /// `Object::watch`: opens a stream for a viewer, and a room if there is none.
    pub(crate) fn watch(&mut self, connection: u32, viewer: usize, seen: Option<Position>, stored: Stored) {
        let batch = stored.state.head().batch_id.clone();
        self.open_stream(connection, viewer, &batch);
        let (seed, now) = (self.rng.u64(..), self.now);
        let slot = self.slot(&batch);
        if slot.room.is_none() {
            slot.room = Some(Room::new(config(), stored.clone(), seed, now));
            (slot.room_read_at, slot.room_asked_at) = (None, None);
            self.arm_alarm(ALARM_AFTER + config().ping);
        }
        self.feed(&batch, Input::Came { viewer: ViewerId(connection), visitor: Visitor::default(), seen, stored });
    }

    /// Feeds a room and does what it asks for.
    pub(crate) fn feed(&mut self, batch: &BatchId, input: Input<'_>) {
        let (now, streams) = (self.now, &self.streams);
        let Some(room) = self.object.slots.get_mut(batch).and_then(|slot| slot.room.as_mut()) else { return };
        let full: BTreeSet<u32> = streams.iter().filter(|(_, s)| !s.can_take()).map(|(id, _)| *id).collect();
        let can_take = |viewer: ViewerId| streams.get(&viewer.0).is_some_and(Stream::can_take);
        let outputs = room.handle(input, now, &can_take);
        for output in outputs {
            self.obey(batch, output, &full);
        }
        self.retire(batch);
        if let Some(due) = self.room(batch).and_then(Room::wake_at) {
            self.arm_timer(batch, due);
        }
    }

    fn obey(&mut self, batch: &BatchId, output: Output, full: &BTreeSet<u32>) {
        self.trace(|| format!("room {batch}: {output:?}"));
        match output {
            Output::Subscribe => self.subscribe(batch),
            Output::Unsubscribe => self.unsubscribe(batch),
            Output::Write { to, bytes } => {
                for ViewerId(connection) in to {
                    assert!(!full.contains(&connection), "written to a stream that is full");
                    if !self.write(connection, &bytes) {
                        self.feed(batch, Input::Left(ViewerId(connection)));
                    }
                }
            }
            Output::Close(ViewerId(connection)) => self.close_stream(connection),
            Output::Cut(ViewerId(connection)) => self.break_stream(connection, true),
            Output::Traced { .. } => {}
            Output::ReadHash => {
                self.tally.room_reads += 1;
                let now = self.now;
                let before = self.slot(batch).room_read_at.replace(now);
                assert!(before.is_none_or(|at| now >= at + READ_PAUSE), "the hash is read again too soon");
                let id = batch.clone();
                self.read_hash(batch, move |world, read| world.feed(&id, Input::HashRead(read)));
            }
            Output::AskOrigin => {
                self.tally.room_asks += 1;
                let now = self.now;
                let before = self.slot(batch).room_asked_at.replace(now);
                assert!(before.is_none_or(|at| now >= at + ASK_PAUSE), "the origin is asked again too soon");
                self.ask_origin_and_fill(batch);
            }
            Output::Ping(nonce) => self.ping(batch, nonce),
            #[allow(unreachable_patterns, reason = "the room may learn to ask for more")]
            other => panic!("the model does not know {other:?}"),
        }
    }

    /// Reads the hash: what it holds when the request arrives, told when the answer does.
    pub(crate) fn read_hash(
        &mut self,
        batch: &BatchId,
        then: impl FnOnce(&mut World, Result<Option<Stored>, Unanswered>) + 'static,
    ) {
        let (id, life) = (batch.clone(), self.object.life);
        let (there, back) = (self.delay(), self.delay());
        self.later(there, move |world| {
            let read = if world.edge_reaches_redis() { Ok(world.redis.batch(&id)) } else { Err(Unanswered) };
            world.later(back, move |world| {
                if world.object.life == life {
                    then(world, read);
                }
            });
        });
    }

    /// Asks the application; its database answers with what it holds when the request arrives.
    pub(crate) fn ask_origin(
        &mut self,
        batch: &BatchId,
        then: impl FnOnce(&mut World, Result<Option<Stored>, Unanswered>) + 'static,
    ) {
        let (id, life) = (batch.clone(), self.object.life);
        let (there, back, storing) = (self.delay(), self.delay(), self.storing.clone());
        self.later(there, move |world| {
            let read = if world.origin_answers() { Ok(Some(world.app.stored(&id))) } else { Err(Unanswered) };
            world.later(back, move |world| {
                if world.object.life == life {
                    then(world, read);
                }
                drop(storing);
            });
        });
    }

    fn ask_origin_and_fill(&mut self, batch: &BatchId) {
        let id = batch.clone();
        self.ask_origin(batch, move |world, read| match read {
            Ok(Some(stored)) if !world.room(&id).is_some_and(Room::is_origin_outdated) => {
                world.fill(stored.clone(), move |world| world.feed(&id, Input::OriginRead(Ok(Some(stored)))));
            }
            read => world.feed(&id, Input::OriginRead(read)),
        });
    }

    /// Stores what the origin said, where Redis answers and nothing is stored.
    pub(crate) fn fill(&mut self, stored: Stored, then: impl FnOnce(&mut World) + 'static) {
        let call =
            script::fill(SETTINGS, &Changes::full(&stored.state, stored.owner)).expect("a state within the rules");
        let life = self.object.life;
        let (there, back, storing) = (self.delay(), self.delay(), self.storing.clone());
        self.later(there, move |world| {
            drop(storing);
            if world.edge_reaches_redis() {
                world.call_script(&call);
            }
            world.later(back, move |world| {
                if world.object.life == life {
                    then(world);
                }
            });
        });
    }

    /// Reads the position and publishes, in one request. Without an answer the room finds out by itself.
    fn ping(&mut self, batch: &BatchId, nonce: String) {
        let (id, life) = (batch.clone(), self.object.life);
        let (there, back) = (self.delay(), self.delay());
        self.later(there, move |world| {
            if !world.edge_reaches_redis() {
                return;
            }
            let position = world.redis.position(&id);
            world.publish(&id, &message::ping(&nonce));
            world.later(back, move |world| {
                if world.object.life == life {
                    world.feed(&id, Input::PingAnswered(position));
                }
            });
        });
    }

    /// `Object::retire`: drops a room that has served its purpose.
    fn retire(&mut self, batch: &BatchId) {
        let now = self.now;
        let slot = self.slot(batch);
        let Some(room) = slot.room.as_mut() else { return };
        let _ = room.take_counters();
        if !room.is_over(now) {
            return;
        }
        if room.is_proven(now) || room.has_ended() {
            slot.held = Some(Held::new(room.stored(), Source::Redis, now));
        }
        (slot.upstream, slot.room) = (None, None);
    }

    fn arm_timer(&mut self, batch: &BatchId, due: Millis) {
        let at = due.max(self.now + 1);
        if self.slot(batch).wakes_at.is_some_and(|earlier| earlier <= at) {
            return;
        }
        self.slot(batch).wakes_at = Some(at);
        let (batch, life) = (batch.clone(), self.object.life);
        self.later(at - self.now, move |world| {
            if world.object.life == life && world.slot(&batch).wakes_at == Some(at) {
                world.slot(&batch).wakes_at = None;
                world.wake(&batch);
            }
        });
    }

    fn wake(&mut self, batch: &BatchId) {
        match self.room(batch).and_then(Room::wake_at) {
            Some(at) if at <= self.now => self.feed(batch, Input::Wake),
            Some(at) => self.arm_timer(batch, at),
            None => {}
        }
    }

    fn arm_alarm(&mut self, after: Millis) {
        if std::mem::replace(&mut self.object.alarm, true) {
            return;
        }
        let life = self.object.life;
        self.later(after, move |world| {
            if world.object.life == life {
                world.alarm();
            }
        });
    }

    fn alarm(&mut self) {
        self.object.alarm = false;
        for batch in self.app.ids() {
            self.feed(&batch, Input::Alarm);
            self.feed(&batch, Input::Wake);
        }
        if self.object.slots.values().any(|slot| slot.room.is_some()) {
            self.arm_alarm(config().ping);
        }
    }
}
