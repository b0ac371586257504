//! When which batch is told to one sink. Decides on plain data; the time since the publisher's start is an argument.
//!
//! In scope: one delivery in flight a batch, pacing, pauses after failures, giving up, what is remembered, bounds.
//! Out of scope: clocks, Redis, the sink.
//!
//! The rule that everything here serves: **each mark is followed by a delivery that begins after it**, or by a word
//! that it was given up.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use wire::{BatchId, Position};

use crate::{
    backoff,
    sink::{Interest, Pace},
};

/// Deliveries under way at the same time, of different batches, to one sink.
pub(super) const MAX_IN_FLIGHT: usize = 8;
/// Batches that wait for a sink at most. What comes beyond is refused, and found again by the next `resync`.
pub(super) const MAX_WAITING: usize = 10_000;
/// Of how many batches it is remembered what was told last; Redis remembers the others.
const MAX_REMEMBERED: usize = 10_000;
/// A receiver may ask for a longer pause; it does not get it.
const LONGEST_ASKED: Duration = Duration::from_secs(60 * 60);
/// How soon a batch that another worker is telling is looked at again, at most.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A batch that may have something to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// What Redis acknowledged.
    pub position: Position,
    pub ended: bool,
}

impl Mark {
    pub(super) fn merge(self, other: Self) -> Self {
        if other.position >= self.position { other } else { self }
    }
}

/// One look at the latest state, and a delivery where it is news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    pub batch: BatchId,
    /// What this process knows to have been told.
    pub told: Option<Position>,
    /// What may be to be told.
    pub mark: Mark,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was told this position, and Redis remembers it or did not answer.
    Delivered { position: Position, remembered: bool },
    /// This position was told before.
    Known(Position),
    /// There is nothing to tell: the batch is open again, gone, or in a state that nobody can be told.
    Nothing,
    /// Another worker is telling it.
    Held,
    /// The state, or what was told, could not be read.
    Unready,
    /// The sink was not told; it may ask for a pause.
    Failed { after: Option<Duration> },
    /// The sink will never take it.
    GaveUp,
}

#[derive(Debug, Default)]
struct Entry {
    /// What may be to be told.
    dirty: Option<Mark>,
    running: Option<Running>,
    /// Its place in `Plan::due`.
    due: Option<Duration>,
    /// No earlier than this, whatever is marked.
    held_back: Duration,
    /// No earlier than this, unless it has ended: the end of the pause between two deliveries.
    rested: Duration,
    /// Failures of the sink in a row.
    failures: u32,
    /// When the first of them was.
    failing_since: Option<Duration>,
    /// Failures of Redis or the source in a row.
    unready: u32,
}

/// A job that has begun.
#[derive(Debug, Clone, Copy)]
struct Running {
    mark: Mark,
    begun: Duration,
}

pub(super) struct Plan {
    pace: Pace,
    interest: Interest,
    /// A random share for pauses.
    share: fn() -> f64,
    entries: HashMap<BatchId, Entry>,
    due: BTreeSet<(Duration, BatchId)>,
    in_flight: usize,
    /// Nothing is sent before this: the sink asked for it.
    asked: Duration,
    /// Nor before this: `Pace::rest` after the last delivery, or after the last look, which may become one.
    rested: Duration,
    /// The last delivery failed: one at a time finds out whether the sink is back.
    is_failing: bool,
    told: HashMap<BatchId, Position>,
    /// The batches of `told`, the oldest first.
    told_order: VecDeque<BatchId>,
}

impl Plan {
    pub(super) fn new(interest: Interest, pace: Pace, share: fn() -> f64) -> Self {
        Self {
            pace,
            interest,
            share,
            entries: HashMap::new(),
            due: BTreeSet::new(),
            in_flight: 0,
            asked: Duration::ZERO,
            rested: Duration::ZERO,
            is_failing: false,
            told: HashMap::new(),
            told_order: VecDeque::new(),
        }
    }

    /// The batch changed. `false`: too many wait, and it is not among them.
    #[must_use]
    pub(super) fn mark(&mut self, batch: &BatchId, mark: Mark, now: Duration) -> bool {
        let is_told = self.told.get(batch).is_some_and(|told| *told >= mark.position);
        if is_told || !wants(self.interest, mark) {
            return true;
        }
        if !self.entries.contains_key(batch) && self.entries.len() >= MAX_WAITING {
            return false;
        }
        self.entries.entry(batch.clone()).or_default().add(mark);
        self.plan(batch, now);
        true
    }

    /// The jobs that begin now.
    pub(super) fn start_due(&mut self, now: Duration) -> Vec<Job> {
        let mut jobs = Vec::new();
        while self.has_room() && self.gate() <= now {
            let Some((at, batch)) = self.due.first().cloned().filter(|(at, _)| *at <= now) else { break };
            self.due.remove(&(at, batch.clone()));
            jobs.extend(self.start(batch, now));
        }
        jobs
    }

    fn start(&mut self, batch: BatchId, now: Duration) -> Option<Job> {
        let entry = self.entries.get_mut(&batch)?;
        entry.due = None;
        let Some(mark) = entry.dirty.take() else {
            // Only the pause after the last delivery was waited for.
            self.entries.remove(&batch);
            return None;
        };
        entry.running = Some(Running { mark, begun: now });
        if let Interest::Changes { every } = self.interest {
            entry.rested = now + every;
        }
        self.in_flight += 1;
        self.rested = now + self.pace.rest;
        Some(Job { told: self.told.get(&batch).copied(), batch, mark })
    }

    /// When to look again; `None`: not before something happens.
    pub(super) fn next_wake(&self) -> Option<Duration> {
        self.due.first().filter(|_| self.has_room()).map(|(at, _)| (*at).max(self.gate()))
    }

    /// A job ended. `true`: after all this time it is given up.
    pub(super) fn finish(&mut self, batch: &BatchId, outcome: Outcome, now: Duration) -> bool {
        let Some(entry) = self.entries.get_mut(batch) else { return false };
        let Some(running) = entry.running.take() else { return false };
        self.in_flight -= 1;
        // A sink rests from what it was sent. Where another job has begun since, that one's rest stands.
        let sent = matches!(outcome, Outcome::Delivered { .. } | Outcome::Failed { .. } | Outcome::GaveUp);
        if !sent && self.rested == running.begun + self.pace.rest {
            self.rested = running.begun;
        }
        let mut gave_up = false;
        match outcome {
            Outcome::Delivered { position, remembered } => {
                entry.settle();
                if !remembered {
                    entry.add(running.mark);
                    entry.hold_back_unready(now, (self.share)());
                }
                self.is_failing = false;
                self.remember(batch, position);
            }
            Outcome::Known(position) => {
                entry.settle();
                self.remember(batch, position);
            }
            Outcome::Nothing => entry.settle(),
            Outcome::GaveUp => {
                entry.settle();
                self.is_failing = false;
            }
            Outcome::Held => {
                entry.add(running.mark);
                let pause = LOOK_AGAIN.min(self.pace.within);
                entry.held_back = now + pause.mul_f64(0.5 + (self.share)() / 2.0);
            }
            Outcome::Unready => {
                entry.add(running.mark);
                entry.hold_back_unready(now, (self.share)());
            }
            Outcome::Failed { after } => {
                gave_up = self.failed(batch, running, after, now);
            }
        }
        self.plan(batch, now);
        self.drop_if_idle(batch, now);
        gave_up
    }

    fn failed(&mut self, batch: &BatchId, running: Running, after: Option<Duration>, now: Duration) -> bool {
        self.is_failing = true;
        if let Some(after) = after {
            self.asked = self.asked.max(now + after.min(LONGEST_ASKED));
        }
        let Some(entry) = self.entries.get_mut(batch) else { return false };
        let since = *entry.failing_since.get_or_insert(now);
        if now.saturating_sub(since) >= self.pace.give_up_after {
            // What was marked meanwhile begins anew.
            entry.settle();
            return true;
        }
        entry.failures = entry.failures.saturating_add(1);
        entry.add(running.mark);
        entry.held_back = now + pause(&self.pace, entry.failures, (self.share)());
        false
    }

    /// The publisher closes: what only rests is told at once. The pauses after failures stay.
    pub(super) fn hurry(&mut self, now: Duration) {
        let waiting: Vec<BatchId> = self.due.iter().map(|(_, batch)| batch.clone()).collect();
        for batch in waiting {
            if let Some(entry) = self.entries.get_mut(&batch) {
                entry.rested = now;
            }
            self.plan(&batch, now);
        }
    }

    /// Whether nothing is under way or due before `now`: what is left waits for somebody else to be well again.
    pub(super) fn is_at_rest(&self, now: Duration) -> bool {
        let waits = |batch: &BatchId| self.entries.get(batch).is_some_and(|e| e.dirty.is_some() && e.held_back <= now);
        self.in_flight == 0 && (self.asked > now || !self.due.iter().any(|(_, batch)| waits(batch)))
    }

    /// Batches with something that was not told, in the order of their ids.
    pub(super) fn undelivered(&self) -> Vec<BatchId> {
        let mut batches: Vec<BatchId> =
            self.entries.iter().filter(|(_, e)| e.is_open()).map(|(id, _)| id.clone()).collect();
        batches.sort_unstable();
        batches
    }

    /// How many batches wait to be told, or are being told.
    pub(super) fn backlog(&self) -> usize {
        self.entries.values().filter(|e| e.is_open()).count()
    }

    /// Nothing begins before this.
    fn gate(&self) -> Duration {
        self.asked.max(self.rested)
    }

    fn has_room(&self) -> bool {
        self.in_flight < if self.is_failing { 1 } else { MAX_IN_FLIGHT }
    }

    /// Gives a batch its place in the queue.
    fn plan(&mut self, batch: &BatchId, now: Duration) {
        let Some(entry) = self.entries.get_mut(batch).filter(|entry| entry.running.is_none()) else { return };
        let has_ended = entry.dirty.is_some_and(|mark| mark.ended);
        let at = if has_ended { entry.held_back } else { entry.held_back.max(entry.rested) }.max(now);
        if entry.dirty.is_none() && at <= now {
            return;
        }
        if let Some(planned) = entry.due.replace(at) {
            self.due.remove(&(planned, batch.clone()));
        }
        self.due.insert((at, batch.clone()));
    }

    fn drop_if_idle(&mut self, batch: &BatchId, now: Duration) {
        let idle = |e: &Entry| !e.is_open() && e.rested <= now;
        if self.entries.get(batch).is_some_and(idle)
            && let Some(at) = self.entries.remove(batch).and_then(|entry| entry.due)
        {
            self.due.remove(&(at, batch.clone()));
        }
    }

    fn remember(&mut self, batch: &BatchId, position: Position) {
        match self.told.get_mut(batch) {
            Some(told) => *told = position.max(*told),
            None => {
                self.told.insert(batch.clone(), position);
                self.told_order.push_back(batch.clone());
            }
        }
        while self.told_order.len() > MAX_REMEMBERED {
            self.told_order.pop_front().map(|oldest| self.told.remove(&oldest));
        }
    }
}

impl Entry {
    fn add(&mut self, mark: Mark) {
        self.dirty = Some(self.dirty.map_or(mark, |earlier| earlier.merge(mark)));
    }

    /// Whether there is something that was not told yet.
    fn is_open(&self) -> bool {
        self.dirty.is_some() || self.running.is_some()
    }

    /// The sink and Redis are well, as far as this batch goes.
    fn settle(&mut self) {
        (self.failures, self.failing_since, self.unready) = (0, None, 0);
        self.held_back = Duration::ZERO;
    }

    fn hold_back_unready(&mut self, now: Duration, share: f64) {
        self.unready = self.unready.saturating_add(1);
        self.held_back = now + backoff::pause(self.unready, share);
    }
}

/// Whether a sink of this interest is told of such a state.
pub(super) fn wants(interest: Interest, mark: Mark) -> bool {
    match interest {
        Interest::Ends => mark.ended,
        Interest::Changes { .. } => true,
    }
}

/// After failure number `failures` (1: the first): between half of the ceiling and all of it, the ceiling doubling from
/// `first_pause` to `longest_pause`. A part stays fixed, so that a receiver in trouble is not asked again at once.
fn pause(pace: &Pace, failures: u32, share: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let ceiling = pace.first_pause.saturating_mul(2_u32.pow(doublings)).min(pace.longest_pause);
    ceiling.mul_f64(0.5 + share.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests;
