//! When which batch is published. Decides on plain data; the time since the publisher's start is an argument.
//!
//! In scope: coalescing, one send in flight a batch, back-off, what follows from each outcome, what is sent again after
//! a connection was lost, what is remembered and for how long.
//! Out of scope: clocks, sockets, the database.
//!
//! The rule that everything here serves: **each notify is followed by a read that begins after it**, however sends
//! end.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use wire::{BatchId, Cause, Position};

use crate::backoff;

/// Sends under way at the same time, for different batches.
pub const MAX_IN_FLIGHT: usize = 16;

/// How long a batch that was sent counts as perhaps lost with its connection, and an ended one is remembered.
pub const RECENT: Duration = Duration::from_secs(60);

/// What makes a batch due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The earliest notify covered.
    pub cause: Cause,
    /// Do not wait for the coalescing pause to end.
    pub urgent: bool,
    /// Ask Redis even when the source shows nothing new: it may have lost what it acknowledged.
    pub verify: bool,
}

impl Mark {
    pub fn merge(self, other: Self) -> Self {
        Self {
            cause: self.cause.merge(other.cause),
            urgent: self.urgent || other.urgent,
            verify: self.verify || other.verify,
        }
    }
}

/// One read of the source and, where it shows news, one call to Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub batch: BatchId,
    /// What Redis was last known to hold; `None`: send everything.
    pub since: Option<Position>,
    pub mark: Mark,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Redis holds at least this position.
    Delivered { position: Position, ended: bool },
    /// The source has nothing new; Redis was not asked.
    Unchanged,
    /// Redis does not hold what the changes continue.
    NeedsFull,
    /// The source does not know the batch, or its stored state has ended for good.
    Forget,
    /// The state breaks a rule: sending it again changes nothing until the application does.
    Refused,
    /// This batch could not be read or written; others may.
    Failed,
    /// No answer from Redis: none can.
    Unreachable,
}

/// What is known of a batch.
#[derive(Debug, Default)]
struct Entry {
    sent: Option<Position>,
    sent_at: Option<Duration>,
    /// No earlier than this, unless urgent: the end of the coalescing pause.
    rested: Duration,
    failures: u32,
    /// Why a send is needed.
    dirty: Option<Mark>,
    /// Its place in `Schedule::due`.
    due: Option<Duration>,
    running: Option<Running>,
    forget_at: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Running {
    mark: Mark,
    since: Option<Position>,
    begun: Duration,
}

/// Redis does not answer.
#[derive(Debug, Clone, Copy)]
struct Outage {
    failures: u32,
    noted: Duration,
    until: Duration,
}

pub struct Schedule {
    coalesce: Duration,
    /// A random share for pauses.
    share: fn() -> f64,
    entries: HashMap<BatchId, Entry>,
    /// Dirty batches without a send in flight, by the time they may be sent.
    due: BTreeSet<(Duration, BatchId)>,
    /// Ended batches, by the time they are forgotten.
    fading: BTreeSet<(Duration, BatchId)>,
    in_flight: usize,
    outage: Option<Outage>,
    /// What was acknowledged last, however long ago.
    last_sent: Option<(BatchId, Position)>,
    /// Batches that are asked for because a connection was lost.
    verifying: BTreeSet<BatchId>,
    writes_lost: bool,
}

impl Schedule {
    pub fn new(coalesce: Duration, share: fn() -> f64) -> Self {
        Self {
            coalesce,
            share,
            entries: HashMap::new(),
            due: BTreeSet::new(),
            fading: BTreeSet::new(),
            in_flight: 0,
            outage: None,
            last_sent: None,
            verifying: BTreeSet::new(),
            writes_lost: false,
        }
    }

    /// The batch changed.
    pub fn mark(&mut self, batch: &BatchId, mark: Mark, now: Duration) {
        self.entries.entry(batch.clone()).or_default().add(mark);
        self.plan(batch, now);
    }

    /// The jobs that begin now.
    pub fn start_due(&mut self, now: Duration) -> Vec<Job> {
        self.fade(now);
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
        let mark = entry.dirty.take()?;
        entry.running = Some(Running { mark, since: entry.sent, begun: now });
        entry.rested = now + self.coalesce;
        self.in_flight += 1;
        Some(Job { since: entry.sent, mark, batch })
    }

    /// When to look again; `None`: not before something happens.
    pub fn next_wake(&self) -> Option<Duration> {
        let due = self.due.first().filter(|_| self.has_room()).map(|(at, _)| (*at).max(self.gate()));
        let fading = self.fading.first().map(|(at, _)| *at);
        due.into_iter().chain(fading).min()
    }

    /// A job ended.
    pub fn finish(&mut self, batch: &BatchId, outcome: Outcome, now: Duration) {
        let Some(entry) = self.entries.get_mut(batch) else { return };
        let Some(running) = entry.running.take() else { return };
        self.in_flight -= 1;
        // A whole state needs nothing before it: whoever says otherwise is asked again, slowly.
        let outcome = if outcome == Outcome::NeedsFull && running.since.is_none() { Outcome::Failed } else { outcome };
        let answered = !matches!(outcome, Outcome::Failed | Outcome::Unreachable);
        // A send that began before the connection was lost verifies nothing.
        let verified = answered && running.mark.verify && self.verifying.remove(batch);
        match outcome {
            Outcome::Delivered { position, ended } => {
                entry.failures = 0;
                // What Redis turns out to hold still was not sent anew: else who is asked again and again stays recent.
                let held = running.mark.verify && running.since == Some(position);
                if !held {
                    (entry.sent, entry.sent_at) = (Some(position), Some(now));
                    self.last_sent = Some((batch.clone(), position));
                }
                if !held || entry.forget_at.is_none() {
                    self.remember(batch, ended, now);
                }
            }
            Outcome::Unchanged | Outcome::Refused => entry.failures = 0,
            Outcome::NeedsFull => {
                if verified {
                    self.writes_lost = true;
                    self.verifying.clear();
                }
                entry.sent = None;
                entry.add(Mark { urgent: true, ..running.mark });
            }
            Outcome::Forget => entry.sent = None,
            Outcome::Failed => {
                entry.failures = entry.failures.saturating_add(1);
                entry.rested = entry.rested.max(now + backoff::pause(entry.failures, (self.share)()));
                entry.add(running.mark);
            }
            Outcome::Unreachable => entry.add(running.mark),
        }
        self.note_health(outcome, running.begun, now);
        self.plan(batch, now);
        self.drop_if_empty(batch, now);
    }

    /// A connection was lost, and with it, perhaps, what Redis acknowledged on it: what was sent lately is asked for
    /// again, and what is being sent, because its acknowledgement may be known already. So is what was sent last,
    /// however long ago: it tells whether Redis was set back. `at` is the wall clock's milliseconds.
    pub fn connection_lost(&mut self, at: u64, now: Duration) {
        if let Some((batch, position)) = &self.last_sent {
            self.entries.entry(batch.clone()).or_default().sent.get_or_insert(*position);
        }
        let recent = |e: &Entry| e.running.is_some() || e.sent_at.is_some_and(|sent| sent + RECENT >= now);
        let last = |id: &BatchId| self.last_sent.as_ref().is_some_and(|(batch, _)| batch == id);
        let lost = self.entries.iter().filter(|(id, e)| recent(e) || last(id));
        let lost: Vec<BatchId> = lost.map(|(id, _)| id.clone()).collect();
        for batch in lost {
            self.mark(&batch, Mark { cause: at.into(), urgent: false, verify: true }, now);
            self.verifying.insert(batch);
        }
    }

    /// Whether Redis has turned out to have lost what it had acknowledged: then more may be lost than this publisher
    /// remembers. Tells it once for each loss of a connection.
    pub fn take_writes_lost(&mut self) -> bool {
        std::mem::take(&mut self.writes_lost)
    }

    /// The publisher closes: no coalescing any more. The pauses after failures stay.
    pub fn hurry(&mut self, now: Duration) {
        for (planned, batch) in std::mem::take(&mut self.due) {
            if let Some(entry) = self.entries.get_mut(&batch) {
                let at = if entry.failures == 0 { planned.min(now) } else { planned };
                entry.due = Some(at);
                self.due.insert((at, batch));
            }
        }
    }

    /// Batches with something that was not delivered, in the order of their ids.
    pub fn undelivered(&self) -> Vec<BatchId> {
        let open = |entry: &Entry| entry.dirty.is_some() || entry.running.is_some();
        let mut batches: Vec<BatchId> =
            self.entries.iter().filter(|(_, e)| open(e)).map(|(id, _)| id.clone()).collect();
        batches.sort_unstable();
        batches
    }

    /// How many batches wait to be sent, or are being sent.
    pub fn backlog(&self) -> usize {
        self.due.len() + self.in_flight
    }

    /// While Redis is away one job at a time finds out whether it is back.
    fn has_room(&self) -> bool {
        self.in_flight < if self.outage.is_some() { 1 } else { MAX_IN_FLIGHT }
    }

    /// Nothing begins before this.
    fn gate(&self) -> Duration {
        self.outage.map_or(Duration::ZERO, |outage| outage.until)
    }

    /// Gives a dirty batch its place in the queue, never a later one than it has.
    fn plan(&mut self, batch: &BatchId, now: Duration) {
        let Some(entry) = self.entries.get_mut(batch) else { return };
        let Some(mark) = entry.dirty.filter(|_| entry.running.is_none()) else { return };
        let hurried = mark.urgent && entry.failures == 0;
        let at = if hurried { now } else { entry.rested.max(now) };
        let at = entry.due.map_or(at, |planned| planned.min(at));
        if let Some(planned) = entry.due.replace(at) {
            self.due.remove(&(planned, batch.clone()));
        }
        self.due.insert((at, batch.clone()));
    }

    fn note_health(&mut self, outcome: Outcome, begun: Duration, now: Duration) {
        match outcome {
            Outcome::Delivered { .. } | Outcome::NeedsFull => self.outage = None,
            // Failures of sends that began before the last one was noted are the same failure.
            Outcome::Unreachable if self.outage.is_none_or(|outage| begun >= outage.noted) => {
                let failures = self.outage.map_or(0, |outage| outage.failures).saturating_add(1);
                let until = now + backoff::pause(failures, (self.share)());
                self.outage = Some(Outage { failures, noted: now, until });
            }
            _ => {}
        }
    }

    /// An ended batch is remembered for [`RECENT`] more.
    fn remember(&mut self, batch: &BatchId, ended: bool, now: Duration) {
        let Some(entry) = self.entries.get_mut(batch) else { return };
        let forget_at = ended.then_some(now + RECENT);
        if let Some(earlier) = std::mem::replace(&mut entry.forget_at, forget_at) {
            self.fading.remove(&(earlier, batch.clone()));
        }
        self.fading.extend(forget_at.map(|at| (at, batch.clone())));
    }

    fn fade(&mut self, now: Duration) {
        while let Some((at, batch)) = self.fading.first().cloned().filter(|(at, _)| *at <= now) {
            self.fading.remove(&(at, batch.clone()));
            if let Some(entry) = self.entries.get_mut(&batch) {
                (entry.forget_at, entry.sent) = (None, None);
            }
            self.drop_if_empty(&batch, now);
        }
    }

    /// Drops what says nothing any more: nothing was sent, nothing is to be sent, and the pause after the last attempt
    /// is over (a batch that can't be sent shall not be read more often than one that can).
    fn drop_if_empty(&mut self, batch: &BatchId, now: Duration) {
        let Some(entry) = self.entries.get_mut(batch) else { return };
        if entry.sent.is_some() || entry.dirty.is_some() || entry.running.is_some() {
            return;
        }
        if entry.rested > now {
            let at = entry.forget_at.get_or_insert(entry.rested);
            self.fading.insert((*at, batch.clone()));
        } else if let Some(at) = self.entries.remove(batch).and_then(|entry| entry.forget_at) {
            self.fading.remove(&(at, batch.clone()));
        }
    }
}

impl Entry {
    fn add(&mut self, mark: Mark) {
        self.dirty = Some(self.dirty.map_or(mark, |earlier| earlier.merge(mark)));
    }
}

#[cfg(test)]
mod tests;
