//! The hub Durable Object: runs the rooms of one or more batches, and answers cached reads from the same memory.
//!
//! What happens and when is decided by [`hub::Room`]; here its outputs become requests, writes and timers, and their
//! outcomes become its inputs. Nothing depends on this object's memory: a viewer of an object that vanished resumes
//! from its own position.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
};

use hub::{Held, Room, Source};
use wire::{BatchId, Position, Seen, Stored};
use worker::{DurableObject, Env, Request, Response, State, durable_object};

use crate::{
    access::Caller,
    ask::{self, Ask, What},
    clock::now,
    entry, log,
    origin::Origin,
    problem::{Kind, Problem},
    redis::{Redis, Standing},
    reply,
    settings::Settings,
};

mod clockwork;
mod counting;
mod reads;
mod rooms;
mod streams;
mod upstream;

use clockwork::Armed;
use counting::Counted;
use reads::{Confirming, Failure, Fetching, Recent};
use streams::Streams;
use upstream::Upstream;

/// How many batches are remembered before those of no use are looked for.
const FEW_BATCHES: usize = 64;

/// The class that the runtime makes objects of.
#[durable_object(alarm)]
pub struct Hub {
    object: Result<Rc<Object>, Problem>,
}

impl DurableObject for Hub {
    fn new(state: State, env: Env) -> Self {
        Self { object: entry::settings(&env).map(|settings| Object::new(state, settings)) }
    }

    async fn fetch(&self, request: Request) -> worker::Result<Response> {
        match &self.object {
            Ok(object) => object.answer(&request).await,
            Err(problem) => reply::problem(problem),
        }
    }

    async fn alarm(&self) -> worker::Result<Response> {
        if let Ok(object) = &self.object {
            object.alarm().await?;
        }
        Response::empty()
    }
}

/// The object behind the class; shared by the tasks it spawns.
struct Object {
    state: State,
    settings: Settings,
    redis: Redis,
    /// Reads leave Redis alone for a moment after it failed.
    redis_failure: RefCell<Option<Failure>>,
    origin: Option<Origin>,
    streams: Streams,
    batches: RefCell<HashMap<BatchId, Slot>>,
    /// Batches are looked through for useless ones at this number.
    purge_at: Cell<usize>,
    counted: RefCell<Counted>,
    armed: RefCell<Armed>,
}

/// What the object knows of one batch.
#[derive(Default)]
struct Slot {
    room: Option<Room>,
    held: Option<Held>,
    upstream: Option<Upstream>,
    fetching: Option<Fetching>,
    /// What was found out because a viewer had seen more than is held.
    beyond: Option<Recent<Result<Option<Stored>, String>>>,
    /// Where Redis stood, for those who look in from time to time: asked at most once in `ACTIVE_TTL_SECS`.
    standing: Option<Recent<Option<Option<Standing>>>>,
    /// The position is being read, to believe an end.
    confirming: Option<Confirming>,
    /// Reads leave the origin alone for a moment after it failed.
    origin_failure: Option<Failure>,
}

/// Why a viewer is told `busy`.
enum Refusal {
    /// Nobody answers and nothing is held.
    Outage(String),
    /// Redis holds less than it has seen, and nobody says whether that is true.
    Behind(String),
}

impl Object {
    fn new(state: State, settings: Settings) -> Rc<Self> {
        if settings.trust_user_header {
            log::warn("TRUST_USER_HEADER is on: anyone may read any batch. For local development only.");
        }
        Rc::new_cyclic(|weak| Self {
            state,
            redis: Redis::new(&settings),
            redis_failure: RefCell::default(),
            origin: Origin::new(&settings),
            settings,
            streams: Streams::new(weak.clone()),
            batches: RefCell::default(),
            purge_at: Cell::new(FEW_BATCHES),
            counted: RefCell::new(Counted::new(now())),
            armed: RefCell::default(),
        })
    }

    async fn answer(self: &Rc<Self>, request: &Request) -> worker::Result<Response> {
        let header = request.headers().get(ask::HEADER)?.unwrap_or_default();
        let text = js_sys::decode_uri_component(&header).ok().and_then(|text| text.as_string()).unwrap_or_default();
        let Ok(Ask { batch, caller, origin, what }) = serde_json::from_str(&text) else {
            return reply::problem(&Problem::new(Kind::Internal, "The object did not understand the entry Worker."));
        };
        self.report_if_due();
        if matches!(caller, Caller::Developer(_)) && !self.settings.trust_user_header {
            return reply::problem(&Problem::new(
                Kind::Internal,
                "The entry Worker trusts someone whom this object does not.",
            ));
        }
        let answer = match what {
            What::Read { reread, if_none_match } => {
                #[cfg(feature = "faults")]
                crate::panic::on_demand("panic", if_none_match.as_deref().unwrap_or_default());
                self.answer_read(&batch, &caller, reread, if_none_match.as_deref()).await
            }
            What::Stream { seen } => self.answer_stream(&batch, &caller, seen, request).await,
        };
        // The entry Worker returns it untouched.
        reply::to_origin(answer?, origin.as_deref())
    }

    async fn answer_read(
        self: &Rc<Self>,
        batch: &BatchId,
        caller: &Caller,
        reread: bool,
        if_none_match: Option<&str>,
    ) -> worker::Result<Response> {
        let answer = match self.read(batch, reread).await {
            Ok(answer) => answer,
            Err(outage) => return reply::problem(&Problem::new(Kind::Unavailable, outage)),
        };
        self.counted.borrow_mut().counters.read(answer.result, answer.source);
        log::read(batch, &answer);
        match answer.stored.as_ref().filter(|stored| may_see(caller, batch, stored)) {
            Some(stored) => reply::read(&stored.state, &answer, if_none_match),
            None => reply::problem(&Problem::unknown_batch(batch)),
        }
    }

    async fn answer_stream(
        self: &Rc<Self>,
        batch: &BatchId,
        caller: &Caller,
        seen: Option<Seen>,
        request: &Request,
    ) -> worker::Result<Response> {
        let (shown, idle) = (seen.map(|seen| seen.position), seen.filter(|seen| seen.idle));
        if let Some(seen) = idle
            && self.is_idle(batch, caller, seen).await
        {
            return self.send_away(seen.position);
        }
        match self.read_for_viewer(batch, caller, shown).await {
            Ok(stored) => match stored.filter(|stored| may_see(caller, batch, stored)) {
                Some(stored) if stored.state.is_terminal() => streams::ended(&stored.state, shown),
                // Redis did not say so, but it is so.
                Some(stored) if self.has_no_room(batch) && is_idle_at(idle, &stored) => {
                    self.send_away(stored.state.position())
                }
                Some(stored) => self.watch(batch, stored, caller, shown, request),
                None => reply::problem(&Problem::unknown_batch(batch)),
            },
            Err(refusal) => {
                let counters = &mut self.counted.borrow_mut().counters;
                match refusal {
                    Refusal::Outage(words) => {
                        log::refused(batch, &words);
                        counters.busy_outage += 1;
                    }
                    Refusal::Behind(words) => {
                        log::refused(batch, &format!("the viewer has seen more than Redis holds, and {words}"));
                        counters.busy_behind += 1;
                    }
                }
                entry::busy(None)
            }
        }
    }

    /// Whether a viewer that was sent away because nothing had changed for long has still missed nothing, by the least
    /// that can be asked of Redis. Where there is a room, it may as well stay.
    async fn is_idle(self: &Rc<Self>, batch: &BatchId, caller: &Caller, seen: Seen) -> bool {
        if !self.has_no_room(batch) {
            return false;
        }
        let ask = || self.clone().read_standing(batch.clone());
        let standing =
            self.slot(batch, |slot| Recent::get_or_ask(&mut slot.standing, self.settings.hub.active_ttl, ask));
        standing.await.flatten().is_some_and(|Standing { position, owner }| {
            seen.is_idle_at(position) && caller.may_see(batch, owner.as_deref())
        })
    }

    fn send_away(&self, position: Position) -> worker::Result<Response> {
        self.counted.borrow_mut().counters.forgotten += 1;
        streams::idle(position)
    }

    fn has_no_room(&self, batch: &BatchId) -> bool {
        self.batches.borrow().get(batch).is_none_or(|slot| slot.room.is_none())
    }

    /// What a viewer that has seen `seen` is let in with: a room that has a state is good enough, for it catches up by
    /// itself. A viewer that has seen more than is held is not shown less, unless those who must know say so.
    async fn read_for_viewer(
        self: &Rc<Self>,
        batch: &BatchId,
        caller: &Caller,
        seen: Option<Position>,
    ) -> Result<Option<Stored>, Refusal> {
        let in_room = self.slot(batch, |slot| slot.room.as_ref().and_then(Room::stored));
        let stored = match in_room {
            Some(stored) if !stored.state.is_terminal() => Some(stored),
            _ => self.read_whether_ended(batch).await.map_err(Refusal::Outage)?,
        };
        match stored.as_ref().map(|stored| stored.state.position()) {
            // Nothing more is found out for someone who is then shown nothing.
            Some(at) if seen > Some(at) && stored.as_ref().is_some_and(|stored| may_see(caller, batch, stored)) => {
                self.read_beyond(batch).await.map_err(Refusal::Behind)
            }
            _ => Ok(stored),
        }
    }

    /// A read for a stream. 204 and `complete` stop a viewer for good, and the batch may have been re-opened: an end that
    /// memory knows is believed only if Redis still stands there.
    async fn read_whether_ended(self: &Rc<Self>, batch: &BatchId) -> Result<Option<Stored>, String> {
        let answer = self.read(batch, false).await?;
        let ended = answer.stored.as_ref().filter(|stored| stored.state.is_terminal());
        match ended.map(|stored| stored.state.position()) {
            Some(at) if answer.source == Source::Memory && !self.is_still_at(batch, at).await => {
                Ok(self.read(batch, true).await?.stored)
            }
            _ => Ok(answer.stored),
        }
    }

    /// Looks at, or changes, what is known of a batch.
    fn slot<T>(&self, batch: &BatchId, then: impl FnOnce(&mut Slot) -> T) -> T {
        let mut batches = self.batches.borrow_mut();
        if !batches.contains_key(batch) {
            self.purge(&mut batches);
        }
        then(batches.entry(batch.clone()).or_default())
    }

    /// Forgets batches that nobody watches and whose read is no longer young: looked for at each doubling.
    fn purge(&self, batches: &mut HashMap<BatchId, Slot>) {
        if batches.len() >= self.purge_at.get() {
            let (config, now) = (&self.settings.hub, now());
            batches.retain(|_, slot| {
                let young = slot.held.as_ref().is_some_and(|held| held.is_fresh(config, now));
                slot.room.is_some() || slot.fetching.is_some() || young
            });
            self.purge_at.set((2 * batches.len()).max(FEW_BATCHES));
        }
    }
}

fn is_idle_at(seen: Option<Seen>, stored: &Stored) -> bool {
    seen.is_some_and(|seen| seen.is_idle_at(stored.state.position()))
}

fn may_see(caller: &Caller, batch: &BatchId, stored: &Stored) -> bool {
    caller.may_see(batch, stored.owner.as_deref())
}
