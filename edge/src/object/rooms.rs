//! Rooms: feeding them, doing what they ask for, and dropping them when they are over.

use std::rc::Rc;

use hub::{Full, Held, Input, Output, Room, Source, Unanswered, ViewerId, Visitor};
use wire::{
    BatchId, Position, Stored,
    token::{Kind as TokenKind, TokenError},
};
use worker::{Request, Response, wasm_bindgen_futures::spawn_local};

use super::{Object, upstream::Upstream};
use crate::{
    access::{self, Caller},
    clock::now,
    entry, log, panic, reply,
};

impl Object {
    /// Opens a stream for a viewer, and a room if there is none.
    pub(super) fn watch(
        self: &Rc<Self>,
        batch: &BatchId,
        stored: Stored,
        caller: &Caller,
        seen: Option<Position>,
        request: &Request,
    ) -> worker::Result<Response> {
        // It may have expired while the batch was being read.
        if caller.until().is_some_and(|until| now() >= until) {
            return reply::problem(&access::refused(TokenKind::Access, TokenError::Expired));
        }
        if let Some(full) = self.slot(batch, |slot| slot.room.as_ref()?.full(caller.user())) {
            return self.turn_away(batch, full);
        }
        let (viewer, body) = self.streams.open(batch, request)?;
        let opened = self.slot(batch, |slot| {
            let new = slot.room.is_none();
            slot.room.get_or_insert_with(|| {
                // Two objects may open in the same millisecond.
                let seed = now() ^ js_sys::Math::random().to_bits();
                Room::new(self.settings.hub.clone(), stored.clone(), seed, now())
            });
            new
        });
        if opened {
            log::room(batch, "room opened");
            panic::guard(&self.state);
            self.arm_alarm();
        }
        let visitor = Visitor { user: caller.user().map(Into::into), until: caller.until() };
        self.feed(batch, Input::Came { viewer, visitor, seen, stored });
        reply::stream(body)
    }

    fn turn_away(&self, batch: &BatchId, full: Full) -> worker::Result<Response> {
        let counters = &mut self.counted.borrow_mut().counters;
        let (count, words) = match full {
            Full::Room => (&mut counters.busy_full, "it has MAX_VIEWERS viewers"),
            Full::User => (&mut counters.busy_user, "it has MAX_VIEWERS_PER_USER viewers of this user"),
        };
        *count += 1;
        log::refused(batch, words);
        entry::busy(None)
    }

    /// Which batches have a room.
    pub(super) fn rooms(&self) -> Vec<BatchId> {
        let batches = self.batches.borrow();
        batches.iter().filter(|(_, slot)| slot.room.is_some()).map(|(batch, _)| batch.clone()).collect()
    }

    /// How many rooms there are, and how many of them are stale.
    pub(super) fn count_rooms(&self) -> (usize, usize) {
        let batches = self.batches.borrow();
        let rooms = || batches.values().filter_map(|slot| slot.room.as_ref());
        (rooms().count(), rooms().filter(|room| room.is_stale()).count())
    }

    /// Feeds a room and does what it asks for.
    pub(super) fn feed(self: &Rc<Self>, batch: &BatchId, input: Input<'_>) {
        let can_take = |viewer| self.streams.can_take(viewer);
        let outputs = match self.batches.borrow_mut().get_mut(batch).and_then(|slot| slot.room.as_mut()) {
            Some(room) => room.handle(input, now(), &can_take),
            None => return,
        };
        for output in outputs {
            self.act(batch, output);
        }
        self.retire(batch);
        let wake_at = self.batches.borrow().get(batch).and_then(|slot| slot.room.as_ref()?.wake_at());
        if let Some(due) = wake_at {
            self.arm_timer(due);
        }
    }

    fn act(self: &Rc<Self>, batch: &BatchId, output: Output) {
        match output {
            Output::Subscribe => {
                let upstream = Upstream::open(self, batch);
                self.slot(batch, |slot| slot.upstream = slot.room.is_some().then_some(upstream));
            }
            Output::Unsubscribe => drop(self.slot(batch, |slot| slot.upstream.take())),
            Output::Write { to, bytes } => {
                for gone in self.streams.write(&to, &bytes) {
                    self.feed(batch, Input::Left(gone));
                }
            }
            Output::Traced { trace, position, viewers, latency } => {
                log::traced(batch, &trace, position, viewers, latency);
            }
            Output::Close(viewer) => self.streams.close(viewer),
            Output::Cut(viewer) => self.streams.cut(viewer),
            Output::ReadHash => self.spawn(batch, |object, batch| async move {
                let read = object.read_hash(&batch).await.map_err(|_| Unanswered);
                object.feed(&batch, Input::HashRead(read));
            }),
            Output::AskOrigin => self.spawn(batch, |object, batch| async move {
                let read = object.ask_origin(&batch).await;
                let outdated = object.slot(&batch, |slot| slot.room.as_ref().is_some_and(Room::is_origin_outdated));
                if let Some(stored) = read.as_ref().ok().and_then(Option::as_ref).filter(|_| !outdated) {
                    object.fill(&batch, stored).await;
                }
                object.feed(&batch, Input::OriginRead(read.map_err(|_| Unanswered)));
            }),
            Output::Ping(nonce) => self.spawn(batch, |object, batch| async move {
                match object.redis.ping_channel(&batch, &nonce).await {
                    Ok(position) => object.feed(&batch, Input::PingAnswered(position)),
                    // The ping does not come back either: the room finds out by itself.
                    Err(error) => log::redis_failed(&batch, &error),
                }
            }),
        }
    }

    fn spawn<F: Future<Output = ()> + 'static>(
        self: &Rc<Self>,
        batch: &BatchId,
        task: impl FnOnce(Rc<Self>, BatchId) -> F,
    ) {
        spawn_local(task(self.clone(), batch.clone()));
    }

    /// A viewer's stream is gone, by whichever sign came first.
    pub(super) fn viewer_left(self: &Rc<Self>, viewer: ViewerId) {
        if let Some(batch) = self.streams.forget(viewer) {
            self.feed(&batch, Input::Left(viewer));
        }
    }

    /// Drops a room that has served its purpose; what it knew for sure answers reads for a while.
    fn retire(self: &Rc<Self>, batch: &BatchId) {
        let now = now();
        let over = self.slot(batch, |slot| {
            let room = slot.room.as_mut()?;
            self.counted.borrow_mut().counters.rooms.add(&room.take_counters());
            if !room.is_over(now) {
                return None;
            }
            if room.is_proven(now) || room.has_ended() {
                slot.held = Some(Held::new(room.stored(), Source::Redis, now));
            }
            slot.upstream = None;
            slot.room.take()
        });
        if over.is_some() {
            log::room(batch, "room closed");
            if self.rooms().is_empty() {
                panic::unguard(&self.state);
            }
            self.report();
        }
    }
}
