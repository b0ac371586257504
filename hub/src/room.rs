//! A room: inputs in, outputs out.
//!
//! The order of things when a room opens: subscribe, wait for the confirmation, then read the hash. What the shell read
//! to let a viewer in is shown meanwhile.

use std::sync::Arc;

use wire::{
    BatchState, Cause, Message, Position, Replica, Stored, TraceParent, message::Announcement, replica::Received,
};

use crate::{
    Config, Counters, Millis,
    audience::{Audience, Conditions, Moment, Sweep},
    cache::{Answer, CacheResult, Source},
    io::{Full, Input, Output, Unanswered, ViewerId, Visitor},
    link::{Link, PING_ANSWER, Step},
    reading::Pace,
};

/// The processor time that a room may spend on a viewer's write, in microseconds: more than twice what one was measured
/// to cost, so that half is left for all else.
const SWEEP_MICROS_PER_VIEWER: u64 = 100;
/// From so many viewers on it is found out how long a sweep takes: fewer are no work.
const MANY_VIEWERS: usize = 32;
/// The longest rest after a sweep that took as long.
const LONGEST_REST: Millis = 1_000;
/// How often the origin may be asked by one room.
const ORIGIN_PAUSE: Millis = 5_000;
/// How soon the origin is asked again whether a batch stands still, when it did not answer.
const DOUBT_PAUSE: Millis = 30_000;
/// How often the hash is read, at most, while there is no subscription: no oftener than this, nor than the TTL of reads.
const LEAST_BLIND_PAUSE: Millis = 1_000;

/// One batch: a replica, its viewers, the subscription behind them.
#[derive(Debug)]
pub struct Room {
    config: Config,
    rng: fastrand::Rng,
    replica: Replica,
    owner: Option<String>,
    audience: Audience,
    link: Link,
    pace: Pace,
    /// The replica is what Redis holds: it was read, or continued, after the subscription was last confirmed.
    caught_up: bool,
    /// When a read of the hash last ended, well or not; at first, when the room was made from a read.
    read_at: Millis,
    /// Redis was asked and holds nothing: only then does the origin's 404 end the batch.
    hash_absent: bool,
    origin_wanted: bool,
    /// When the origin is asked whether something has changed that nobody has told.
    doubt_at: Millis,
    /// The origin is being asked; `Some(true)`: since before the batch was invalidated, so that its answer says nothing.
    origin_outdated: Option<bool>,
    origin_asked_at: Option<Millis>,
    changed_at: Millis,
    /// When somebody last came who had seen nothing yet.
    newcomer_at: Millis,
    /// Viewers were sent away because nothing had changed for long.
    forgotten: bool,
    swept_at: Millis,
    /// Until when the sweeps so far have spent the time that they may. One may come before, so that changes that come
    /// about as often as sweeps may are each written at once; were it not so, each would wait a little longer than the
    /// one before.
    spent_until: Millis,
    sweep_at: Option<Millis>,
    /// How long the last sweep took is not known yet: clocks stand still until its turn is over.
    measuring: bool,
    /// No sweep before: as long after the last one as that took. Without a rest, a room that is short of time would
    /// sweep without end, ever later.
    rested_at: Millis,
    /// The earliest commit that no sweep has covered.
    pending_at: Option<u64>,
    /// The trace of the earliest update, of those that have one, that no sweep has covered.
    pending_trace: Option<TraceParent>,
    /// The batch was invalidated: its next state is shown whole.
    show_everything: bool,
    empty_since: Option<Millis>,
    counters: Counters,
}

impl Room {
    /// A room for the batch that was just read. `seed` makes its pauses and nonces differ from other rooms'.
    pub fn new(config: Config, stored: Stored, seed: u64, now: Millis) -> Self {
        let doubt_at = now + config.stall_after;
        let mut replica = Replica::new(stored.state.head().batch_id.clone());
        replica.accept(stored.state);
        Self {
            config,
            rng: fastrand::Rng::with_seed(seed),
            replica,
            owner: stored.owner,
            audience: Audience::default(),
            link: Link::new(now),
            pace: Pace::default(),
            caught_up: false,
            read_at: now,
            hash_absent: false,
            origin_wanted: false,
            doubt_at,
            origin_outdated: None,
            origin_asked_at: None,
            changed_at: now,
            newcomer_at: now,
            forgotten: false,
            swept_at: 0,
            spent_until: 0,
            sweep_at: None,
            measuring: false,
            rested_at: 0,
            pending_at: None,
            pending_trace: None,
            show_everything: false,
            empty_since: Some(now),
            counters: Counters::default(),
        }
    }

    /// Where the replica stands.
    pub fn position(&self) -> Option<Position> {
        self.replica.position()
    }

    /// The replica and the batch's owner, however old; `None`: the batch is gone.
    pub fn stored(&self) -> Option<Stored> {
        let state = Arc::clone(self.replica.state()?);
        Some(Stored::new(state, self.owner.clone()))
    }

    /// Whether the replica shows the batch's end.
    pub fn has_ended(&self) -> bool {
        self.replica.has_ended()
    }

    /// Whether the batch was invalidated and has not been read since: nothing read before is to be shown.
    pub fn is_invalidated(&self) -> bool {
        self.replica.is_invalidated()
    }

    /// Whether the origin was asked before the batch was invalidated: its answer must not be stored.
    pub fn is_origin_outdated(&self) -> bool {
        self.origin_outdated == Some(true)
    }

    /// How many viewers there are.
    pub fn viewers(&self) -> usize {
        self.audience.len()
    }

    /// Why nobody more may come, or none of this user; `None`: one more may.
    pub fn full(&self, user: Option<&str>) -> Option<Full> {
        if self.viewers() >= self.config.max_viewers {
            return Some(Full::Room);
        }
        let of_user = user.map_or(0, |user| self.audience.count_of(user));
        (of_user >= self.config.max_viewers_per_user).then_some(Full::User)
    }

    /// What was counted since the last time.
    pub fn take_counters(&mut self) -> Counters {
        self.counters.take()
    }

    /// Whether the replica was proven, not long ago, to be what Redis holds.
    pub fn is_proven(&self, now: Millis) -> bool {
        self.caught_up && self.link.is_trusted(self.trust(), now) && !self.replica.is_behind()
    }

    /// Whether reads may be answered from the replica: it is proven, and hears of the next change.
    pub fn is_fresh(&self, now: Millis) -> bool {
        self.link.is_up() && self.is_proven(now)
    }

    /// Whether there are viewers who were told that what they see may be behind.
    pub fn is_stale(&self) -> bool {
        self.is_watched() && self.audience.told().stale
    }

    /// The replica as a reader's answer; `None`: the batch is gone.
    pub fn answer(&self, result: CacheResult, now: Millis) -> Option<Answer> {
        let age = if result == CacheResult::Stale { now.saturating_sub(self.link.proof_at()) } else { 0 };
        Some(Answer { stored: Some(self.stored()?), result, source: Source::Memory, age })
    }

    /// Whether the room has served its purpose: the shell drops it.
    pub fn is_over(&self, now: Millis) -> bool {
        let ended = self.link.is_closed() && self.replica.has_ended();
        self.empty_since.is_some_and(|since| ended || self.forgotten || now >= since + self.config.linger)
    }

    /// When viewers are sent away, if nothing changes and nobody new comes until then.
    fn forget_at(&self) -> Millis {
        self.changed_at.max(self.newcomer_at) + self.config.forget_after
    }

    /// How long one proof counts.
    fn trust(&self) -> Millis {
        self.config.ping + PING_ANSWER
    }

    /// How long a sweep may take.
    fn sweep_cost(&self) -> Millis {
        self.audience.len() as u64 * SWEEP_MICROS_PER_VIEWER / 1_000
    }

    /// When there is time for the next sweep: never later than a sweep's time after the last one.
    fn affordable_at(&self) -> Millis {
        let cost = self.sweep_cost();
        self.spent_until.saturating_sub(cost).min(self.swept_at + cost)
    }

    /// A sweep takes its time now. Those that look at who is behind come whether there is time or not, so more than two
    /// sweeps' are never owed.
    fn spend(&mut self) {
        let (now, cost) = (self.swept_at, self.sweep_cost());
        self.spent_until = (self.spent_until.max(now) + cost).min(now + 2 * cost);
    }

    /// Someone is watching a batch that goes on.
    fn is_watched(&self) -> bool {
        !self.audience.is_empty() && !self.replica.has_ended()
    }

    /// When the hash is read next because no subscription tells what is new.
    fn blind_read_at(&self) -> Option<Millis> {
        let blind = self.is_watched() && !self.link.is_up() && !self.replica.is_reading() && !self.pace.is_due();
        blind.then(|| self.read_at + self.config.active_ttl.max(LEAST_BLIND_PAUSE))
    }

    /// When the origin is asked next.
    fn origin_at(&self) -> Option<Millis> {
        let wanted = self.origin_wanted && self.is_watched();
        wanted.then(|| self.origin_asked_at.map_or(0, |at| at + ORIGIN_PAUSE))
    }

    /// Takes one input. `can_take` tells whether a viewer's stream would take more bytes now.
    pub fn handle(&mut self, input: Input<'_>, now: Millis, can_take: &dyn Fn(ViewerId) -> bool) -> Vec<Output> {
        let mut turn = Turn { room: self, moment: Moment { now, can_take }, out: Vec::new() };
        turn.rest();
        turn.expire();
        turn.take(input);
        turn.settle();
        turn.out
    }

    /// When [`Input::Wake`] is due next.
    pub fn wake_at(&self) -> Option<Millis> {
        let (watched, told) = (self.is_watched(), self.audience.told());
        let linger = self.empty_since.map(|since| since + self.config.linger);
        let stalled = (watched && !told.stalled).then_some(self.changed_at + self.config.stall_after);
        let stale = (watched && !told.stale).then_some(self.link.proof_at() + self.trust());
        // While it is not sure that nothing has changed, it is not due: whatever makes sure looks at it again.
        let sure = !told.stale && self.link.is_up() && self.caught_up && !self.replica.is_behind();
        let forget = (watched && sure).then(|| self.forget_at());
        let measure = self.measuring.then_some(self.swept_at + 1);
        let doubt = watched.then_some(self.doubt_at);
        let viewers = [self.audience.wake_at(), self.sweep_at, measure, linger, stalled, stale, doubt, forget];
        let upstream = [self.link.wake_at(), self.pace.wake_at(), self.blind_read_at(), self.origin_at()];
        viewers.into_iter().chain(upstream).flatten().min()
    }
}

/// One call of [`Room::handle`]: the room, the moment, and what is to be done.
struct Turn<'a> {
    room: &'a mut Room,
    moment: Moment<'a>,
    out: Vec<Output>,
}

impl Turn<'_> {
    fn now(&self) -> Millis {
        self.moment.now
    }

    fn take(&mut self, input: Input<'_>) {
        match input {
            Input::Came { viewer, visitor, seen, stored } => self.came(viewer, visitor, seen, stored),
            Input::Left(viewer) => self.room.audience.leave(viewer),
            Input::Learned(stored) => self.learn(stored),
            Input::Confirmed => self.confirmed(),
            Input::Message(payload) => self.message(Message::parse(payload)),
            Input::Lost => {
                self.room.caught_up = false;
                self.room.link.failed(self.moment.now, &mut self.room.rng);
            }
            Input::HashRead(read) => self.hash_read(read),
            Input::OriginRead(read) => self.origin_read(read),
            Input::PingAnswered(stored) => {
                let proof = self.room.link.ping_answered(stored);
                self.proven(proof);
            }
            Input::Alarm => self.alarm(),
            Input::Wake => self.wake(),
        }
    }

    fn came(&mut self, viewer: ViewerId, visitor: Visitor, seen: Option<Position>, stored: Stored) {
        self.learn(stored);
        let (now, room) = (self.now(), &mut *self.room);
        // A position of another epoch, or one not reached, says nothing: such a viewer is a newcomer.
        let known =
            |seen: &Position| room.replica.position().is_some_and(|at| seen.epoch() == at.epoch() && *seen <= at);
        let shown = seen.filter(known);
        if shown.is_none() {
            room.newcomer_at = now;
        }
        room.forgotten = false;
        let welcome = room.audience.join(viewer, visitor, shown, room.config.keep_alive, now, &mut room.rng);
        self.out.push(welcome);
        self.show(Some(viewer), None);
    }

    fn learn(&mut self, stored: Stored) {
        if self.room.replica.learn(stored.state) {
            self.room.owner = stored.owner;
            self.changed(None);
        }
    }

    fn confirmed(&mut self) {
        self.room.link.confirmed(self.moment.now);
        self.room.caught_up = false;
        self.read_hash();
    }

    fn message(&mut self, message: Message) {
        self.room.link.carried(self.moment.now);
        match &message {
            Message::Ping { nonce } => {
                self.room.counters.messages.ping += 1;
                let proof = self.room.link.ping_returned(nonce);
                return self.proven(proof);
            }
            Message::Unknown => self.room.counters.messages.unknown += 1,
            Message::Invalidate => {
                self.room.show_everything = true;
                self.room.origin_outdated = self.room.origin_outdated.map(|_| true);
            }
            Message::Changes(_) => {}
        }
        let cause = match &message {
            Message::Changes(Announcement { cause, .. }) => *cause,
            _ => Cause::default(),
        };
        let received = self.room.replica.receive(message);
        self.room.counters.received(received);
        if received != Received::Dropped {
            // Also of one that only leads to a read: that shows it, or what came after it.
            self.room.pending_trace = self.room.pending_trace.or(cause.trace);
        }
        match received {
            Received::Applied => {
                // Who published it has just stored it, and it continues what is here.
                self.in_step();
                self.changed((cause.at > 0).then_some(cause.at));
            }
            Received::Gap | Received::Reread => {
                let known = self.room.pace.is_due();
                self.room.counters.gaps += u64::from(received == Received::Gap && !known);
                self.room.caught_up = false;
                self.read_hash();
            }
            Received::Dropped | Received::Held => {}
        }
    }

    /// A ping came back and its request told the stored position. A replica behind it has missed something; a hash that
    /// is gone is read, to learn what the origin says.
    fn proven(&mut self, proof: Option<Option<Position>>) {
        let Some(stored) = proof else { return };
        if self.room.replica.is_reading() {
            return;
        }
        match stored {
            Some(position) if !self.room.replica.hear_of(position) => self.in_step(),
            missed => {
                self.room.counters.gaps += u64::from(missed.is_some());
                self.room.caught_up = false;
                self.read_hash();
            }
        }
    }

    /// The replica is what Redis holds.
    fn in_step(&mut self) {
        let room = &mut *self.room;
        room.caught_up = room.link.is_up();
        (room.hash_absent, room.origin_wanted) = (false, false);
    }

    fn read_hash(&mut self) {
        if !self.room.replica.is_reading() && self.room.pace.ask(self.moment.now) {
            self.room.replica.begin_read();
            self.out.push(Output::ReadHash);
        }
    }

    fn hash_read(&mut self, read: Result<Option<Stored>, Unanswered>) {
        let (now, room) = (self.now(), &mut *self.room);
        room.read_at = now;
        let Ok(stored) = read else {
            room.replica.fail_read();
            room.pace.back_off(now);
            if room.link.is_up() {
                self.read_hash();
            }
            return self.want_origin();
        };
        let state = stored.map(|stored| {
            room.owner = stored.owner;
            stored.state
        });
        let finished = room.replica.finish_read(state);
        room.hash_absent = finished.absent;
        if finished.changed {
            self.changed(None);
        }
        if finished.again {
            self.room.pace.back_off(now);
            return self.read_hash();
        }
        self.room.pace.settle();
        if finished.absent {
            self.room.caught_up = false;
            return self.want_origin();
        }
        self.in_step();
    }

    fn want_origin(&mut self) {
        self.room.origin_wanted = true;
        self.wake_origin();
    }

    fn wake_origin(&mut self) {
        if self.room.origin_at().is_some_and(|at| self.moment.now >= at) {
            self.ask_origin();
        }
    }

    fn ask_origin(&mut self) {
        self.room.origin_asked_at = Some(self.moment.now);
        self.room.origin_outdated = Some(false);
        self.out.push(Output::AskOrigin);
    }

    fn origin_read(&mut self, read: Result<Option<Stored>, Unanswered>) {
        if self.room.origin_outdated.take() == Some(true) {
            return;
        }
        match read {
            Ok(Some(stored)) => {
                self.room.hash_absent = false;
                let wanted = std::mem::take(&mut self.room.origin_wanted);
                if self.room.replica.accept(stored.state) {
                    self.room.owner = stored.owner;
                    self.changed(None);
                }
                // The shell has tried to fill Redis with it: the hash is there again, or somebody's newer one.
                if wanted && self.room.link.is_up() {
                    self.read_hash();
                }
            }
            Ok(None) if self.room.hash_absent => self.gone(),
            Ok(None) => {}
            Err(Unanswered) => {
                let (now, room) = (self.now(), &mut *self.room);
                let again = (now + DOUBT_PAUSE).max(room.changed_at + room.config.stall_after);
                room.doubt_at = room.doubt_at.min(again);
            }
        }
    }

    /// Neither Redis nor the origin knows the batch any more.
    fn gone(&mut self) {
        let room = &mut *self.room;
        room.audience.dismiss(self.moment, &mut room.counters, &mut self.out);
        room.replica.forget();
        room.origin_wanted = false;
    }

    /// The replica changed, by a message that covers commits since `at` or by a read. It is shown at once when sweeps have
    /// left time for one more; otherwise together with what else comes until then.
    fn changed(&mut self, at: Option<u64>) {
        let (now, room) = (self.now(), &mut *self.room);
        (room.changed_at, room.doubt_at) = (now, now + room.config.stall_after);
        room.pending_at = match (room.pending_at, at) {
            (Some(earlier), Some(at)) => Some(earlier.min(at)),
            (earlier, at) => earlier.or(at),
        };
        if room.show_everything && !room.replica.is_behind() {
            room.show_everything = false;
            room.audience.show_everything();
        }
        let due = room.rested_at.max(room.swept_at + room.config.flush).max(room.affordable_at());
        if now >= due && !room.measuring {
            self.sweep();
        } else {
            room.sweep_at.get_or_insert(due);
        }
    }

    /// The first turn after a sweep finds out how long that took, and lets the room rest for as long.
    fn rest(&mut self) {
        let (now, room) = (self.now(), &mut *self.room);
        if room.measuring && now > room.swept_at {
            room.measuring = false;
            room.rested_at = now + (now - room.swept_at - 1).min(LONGEST_REST);
            room.sweep_at = room.sweep_at.map(|at| at.max(room.rested_at));
            room.audience.rest(room.rested_at);
        }
    }

    /// Before anything else is shown.
    fn expire(&mut self) {
        let room = &mut *self.room;
        room.audience.expire(self.moment, &mut room.counters, &mut self.out);
    }

    fn sweep(&mut self) {
        (self.room.swept_at, self.room.sweep_at) = (self.moment.now, None);
        self.room.spend();
        self.room.measuring = self.room.audience.len() >= MANY_VIEWERS;
        let (at, trace) = (self.room.pending_at.take(), self.room.pending_trace.take());
        let shown_from = self.out.len();
        self.show(None, at);
        self.trace(trace, at, shown_from);
    }

    /// What was shown since there were `shown_from` outputs, if anything was, belongs to this trace.
    fn trace(&mut self, trace: Option<TraceParent>, at: Option<u64>, shown_from: usize) {
        let (Some(trace), Some(position)) = (trace, self.room.replica.position()) else { return };
        let written = |output: &Output| if let Output::Write { to, .. } = output { to.len() } else { 0 };
        let viewers = self.out[shown_from..].iter().map(written).sum();
        if viewers == 0 {
            return;
        }
        let latency = at.map(|at| self.moment.now.saturating_sub(at));
        self.out.push(Output::Traced { trace, position, viewers, latency });
    }

    /// Shows viewers (one, or all) what they are missing. What was invalidated is shown to nobody any more, nor is an end
    /// after which more was announced: it would carry the final position without being final.
    fn show(&mut self, only: Option<ViewerId>, at: Option<u64>) {
        let room = &mut *self.room;
        let ended = room.replica.has_ended();
        let invalidated = room.replica.is_invalidated();
        let showable = |state: &&Arc<BatchState>| !invalidated && (!state.is_terminal() || ended);
        let Some(state) = room.replica.state().filter(showable) else {
            return room.audience.put_off();
        };
        let sweep = Sweep { state, at, only, moment: self.moment };
        room.audience.sweep(&sweep, &mut room.rng, &mut room.counters, &mut self.out);
    }

    fn alarm(&mut self) {
        let nonce = format!("{:016x}", self.room.rng.u64(..));
        if let Some(nonce) = self.room.link.ping(nonce, self.moment.now) {
            self.out.push(Output::Ping(nonce));
        }
    }

    fn wake(&mut self) {
        let (now, room) = (self.now(), &mut *self.room);
        match room.link.wake(now, &mut room.rng) {
            Some(Step::Subscribe) => {
                room.counters.reconnects += 1;
                self.out.push(Output::Subscribe);
            }
            Some(Step::Unsubscribe) => {
                room.caught_up = false;
                self.out.push(Output::Unsubscribe);
            }
            None => {}
        }
        if self.room.pace.wake_at().is_some_and(|at| now >= at) {
            self.read_hash();
        }
        self.wake_origin();
        if self.room.sweep_at.is_some_and(|at| now >= at) || self.room.audience.is_behind_due(now) {
            self.sweep();
        }
        let room = &mut *self.room;
        room.audience.lose_patience(now, &mut self.out);
        room.audience.keep_alive(room.config.keep_alive, self.moment, &mut room.rng, &mut self.out);
    }

    /// After every input: what follows from the time and from what is now true.
    fn settle(&mut self) {
        let (now, room) = (self.now(), &mut *self.room);
        room.empty_since = if room.audience.is_empty() { room.empty_since.or(Some(now)) } else { None };
        if (room.replica.has_ended() || room.is_over(now)) && room.link.close() {
            self.out.push(Output::Unsubscribe);
        }
        if !room.is_watched() {
            return;
        }
        if room.link.is_closed() {
            room.link.open(now);
            self.out.push(Output::Subscribe);
        }
        if self.room.blind_read_at().is_some_and(|at| now >= at) {
            self.read_hash();
        }
        self.doubt();
        let room = &mut *self.room;
        let stalled = now >= room.changed_at + room.config.stall_after;
        let stale =
            if room.audience.told().stale { !room.is_fresh(now) } else { !room.link.is_trusted(room.trust(), now) };
        let conditions = Conditions { stale, stalled };
        room.audience.tell(conditions, self.moment, &mut room.counters, &mut self.out);
        self.forget();
    }

    /// A worker that died between its commit and its publish has left no trace in Redis: the database knows.
    fn doubt(&mut self) {
        let (now, room) = (self.now(), &mut *self.room);
        if now < room.doubt_at {
            return;
        }
        let idle = room.origin_outdated.is_none() && room.origin_asked_at.is_none_or(|at| now >= at + ORIGIN_PAUSE);
        room.doubt_at = now + if idle { room.config.stall_after } else { ORIGIN_PAUSE };
        if idle {
            self.ask_origin();
        }
    }

    /// Sends viewers away from a batch whose worker may never come back. Only while it is sure that nothing changed.
    fn forget(&mut self) {
        let (now, room) = (self.now(), &mut *self.room);
        let Some(position) = room.replica.position().filter(|_| now >= room.forget_at() && room.is_fresh(now)) else {
            return;
        };
        room.audience.forget(position, self.moment, &mut room.rng, &mut room.counters, &mut self.out);
        (room.forgotten, room.empty_since) = (true, Some(now));
        if room.link.close() {
            self.out.push(Output::Unsubscribe);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
