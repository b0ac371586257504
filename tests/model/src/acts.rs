//! Random schedules, what is done in each step, and what must be true when faults have stopped.

use hub::Millis;
use proptest::{collection::vec, prelude::*};
use wire::{BatchId, keys};

use crate::{
    faults::Who,
    object::config,
    viewer::{Standing, Viewer},
    world::{Tally, World},
};

/// Within this time after the last fault everyone must show the truth. The longest chain: a connection that died
/// unnoticed (30 s), then a page that takes its dead stream for a quiet one (60 s, and once more).
const RECOVERED_WITHIN: Millis = 240_000;
const MOST_VIEWERS: usize = 5;
/// What a room may need, of everything: far more than it does, far less than anything that grows.
const ROOM_BYTES: usize = 40_000;

/// One step of a schedule.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    /// Time goes by.
    Pass(Millis),
    /// Photos are worked on, a commit each; `true`: the publisher is told of each, else of the last only.
    Work {
        batch: usize,
        commits: usize,
        which: usize,
        fails: bool,
        told: bool,
    },
    /// All photos are done, or the batch is cancelled.
    End {
        batch: usize,
        fails: bool,
        cancelled: bool,
        urgent: bool,
    },
    Grow(usize),
    /// `true`: versions begin anew.
    Reopen(usize, bool),
    /// A photo is taken away: epoch raised, invalidated, published.
    Shrink(usize),
    /// The process is killed between a commit and its notify, or at any other time, and started again later.
    CrashPublisher {
        commits: usize,
        down: Millis,
    },
    BreakConnection {
        told: bool,
    },
    SourceFails(Millis),
    LoseReplies(u32),
    CutOffRedis {
        who: Who,
        time: Millis,
        told: bool,
    },
    /// Redis restarts empty; its connections break.
    EmptyRedis {
        told: bool,
    },
    /// Redis evicts a batch.
    Evict(usize),
    FailOver {
        writes: usize,
        told: bool,
    },
    /// The application invalidates a batch that has not changed.
    Invalidate(usize),
    /// An operator does, by a command that has no source.
    InvalidateFromOutside(usize),
    OriginFails(Millis),
    LoseMessages(u32),
    DoubleMessages(u32),
    Overtake(Millis),
    CommandsFail(Millis),
    SubscribingFails(Millis),
    Slow(Millis),
    ConfirmLate(Millis),
    EndSubscription(usize),
    Deafen(usize),
    CrashObject {
        told: bool,
    },
    Come(usize),
    Leave(usize),
    /// A viewer reads nothing from now on, or goes on reading.
    Stall(usize, bool),
    CutStream {
        viewer: usize,
        told: bool,
    },
    /// Some reader reads.
    Read {
        batch: usize,
        reread: bool,
    },
}

pub(crate) fn acts() -> impl Strategy<Value = Vec<Act>> {
    let batch = || prop_oneof![3 => Just(0_usize), 1 => Just(1_usize)];
    let viewer = || 0..MOST_VIEWERS;
    let time = || prop_oneof![3 => 1..300_u64, 2 => 1..3_000_u64, 2 => 1..30_000_u64];
    let steps = prop_oneof![
        12 => time().prop_map(Act::Pass),
        8 => (batch(), 1..4_usize, 0..6_usize, any::<bool>(), any::<bool>())
            .prop_map(|(batch, commits, which, fails, told)| Act::Work { batch, commits, which, fails, told }),
        1 => (batch(), any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(batch, fails, cancelled, urgent)| Act::End { batch, fails, cancelled, urgent }),
        1 => batch().prop_map(Act::Grow),
        1 => (batch(), any::<bool>()).prop_map(|(batch, anew)| Act::Reopen(batch, anew)),
        1 => batch().prop_map(Act::Shrink),
        3 => batch().prop_map(Act::Come),
        1 => viewer().prop_map(Act::Leave),
        1 => (batch(), any::<bool>()).prop_map(|(batch, reread)| Act::Read { batch, reread }),
    ];
    let at_the_publisher = prop_oneof![
        (0..3_usize, time()).prop_map(|(commits, down)| Act::CrashPublisher { commits, down }),
        any::<bool>().prop_map(|told| Act::BreakConnection { told }),
        time().prop_map(Act::SourceFails),
        (1..3_u32).prop_map(Act::LoseReplies),
    ];
    let who = prop_oneof![Just(Who::Publisher), Just(Who::Edge), Just(Who::Both)];
    let in_redis = prop_oneof![
        2 => (who, time(), any::<bool>()).prop_map(|(who, time, told)| Act::CutOffRedis { who, time, told }),
        1 => any::<bool>().prop_map(|told| Act::EmptyRedis { told }),
        1 => batch().prop_map(Act::Evict),
        1 => (1..4_usize, any::<bool>()).prop_map(|(writes, told)| Act::FailOver { writes, told }),
        1 => batch().prop_map(Act::Invalidate),
        1 => batch().prop_map(Act::InvalidateFromOutside),
    ];
    let between = prop_oneof![
        time().prop_map(Act::OriginFails),
        (1..4_u32).prop_map(Act::LoseMessages),
        (1..4_u32).prop_map(Act::DoubleMessages),
        time().prop_map(Act::Overtake),
        time().prop_map(Act::CommandsFail),
        time().prop_map(Act::SubscribingFails),
        time().prop_map(Act::Slow),
        time().prop_map(Act::ConfirmLate),
        batch().prop_map(Act::EndSubscription),
        batch().prop_map(Act::Deafen),
    ];
    let at_the_edge = prop_oneof![
        1 => any::<bool>().prop_map(|told| Act::CrashObject { told }),
        2 => (viewer(), any::<bool>()).prop_map(|(viewer, stalled)| Act::Stall(viewer, stalled)),
        2 => (viewer(), any::<bool>()).prop_map(|(viewer, told)| Act::CutStream { viewer, told }),
    ];
    vec(prop_oneof![16 => steps, 2 => at_the_publisher, 4 => in_redis, 6 => between, 3 => at_the_edge], 1..100)
}

impl World {
    pub(crate) fn act(&mut self, act: Act) {
        self.trace(|| format!("--- {act:?}"));
        let ids = self.app.ids();
        let of = |index: usize| ids[index].clone();
        match act {
            Act::Pass(time) => self.pass(time),
            Act::Work { batch, commits, which, fails, told } => {
                for _ in 0..commits {
                    self.app.work(&of(batch), which, fails);
                    if told {
                        self.notify(&of(batch), false);
                        self.pass(which as u64);
                    }
                }
                self.notify(&of(batch), false);
            }
            Act::End { batch, fails, cancelled, urgent } => {
                self.app.end(&of(batch), fails, cancelled);
                self.notify(&of(batch), urgent);
            }
            Act::Grow(batch) => {
                self.app.grow(&of(batch));
                self.notify(&of(batch), false);
            }
            Act::Reopen(batch, anew) => {
                self.app.reopen(&of(batch), anew);
                self.notify(&of(batch), false);
            }
            Act::Shrink(batch) => {
                self.app.shrink(&of(batch));
                self.publisher_invalidates(&of(batch));
            }
            Act::CrashPublisher { commits, down } => {
                self.crash_publisher();
                (0..commits).for_each(|which| self.app.work(&of(which % 2), which, false));
                self.later(down, World::start_publisher);
            }
            Act::BreakConnection { told } => self.break_publishers_connection(told),
            Act::SourceFails(time) => self.faults.source_fails_until = self.now + time,
            Act::LoseReplies(times) => self.faults.lose_replies = times,
            Act::CutOffRedis { who, time, told } => self.cut_off_redis(who, time, told),
            Act::EmptyRedis { told } => {
                self.empty_redis();
                self.cut_off_redis(Who::Both, 100, told);
            }
            Act::Evict(batch) => {
                self.wait_for_stores();
                self.redis.delete(&keys::hash("", &of(batch)));
            }
            Act::FailOver { writes, told } => {
                self.fail_over(writes);
                self.cut_off_redis(Who::Both, 100, told);
            }
            Act::Invalidate(batch) => self.publisher_invalidates(&of(batch)),
            Act::InvalidateFromOutside(batch) => {
                self.wait_for_stores();
                self.invalidate(&of(batch));
            }
            Act::OriginFails(time) => self.faults.origin_fails_until = self.now + time,
            Act::LoseMessages(times) => self.faults.lose_messages = times,
            Act::DoubleMessages(times) => self.faults.double_messages = times,
            Act::Overtake(time) => self.faults.overtaking_until = self.now + time,
            Act::CommandsFail(time) => self.faults.commands_fail_until = self.now + time,
            Act::SubscribingFails(time) => self.faults.subscribing_fails_until = self.now + time,
            Act::Slow(time) => self.faults.slow_until = self.now + time,
            Act::ConfirmLate(time) => self.faults.confirming_late_until = self.now + time,
            Act::EndSubscription(batch) => self.end_subscription(&of(batch)),
            Act::Deafen(batch) => self.deafen(&of(batch)),
            Act::CrashObject { told } => self.crash_object(told),
            Act::Come(batch) => {
                let there = self.viewers.iter().filter(|viewer| viewer.state != Standing::Left).count();
                if there < MOST_VIEWERS {
                    self.come(of(batch));
                }
            }
            Act::Leave(viewer) => self.leave(viewer),
            Act::Stall(viewer, stalled) => {
                if let Some(connection) = self.connection_of(viewer) {
                    self.stall(connection, stalled);
                }
            }
            Act::CutStream { viewer, told } => {
                if let Some(connection) = self.connection_of(viewer) {
                    self.cut_stream(connection, told);
                }
            }
            Act::Read { batch, reread } => self.read(&of(batch), reread, crate::reads::Asker::Reader),
        }
        self.check_rooms();
    }

    /// Waits until nothing is under way that may store something older. What was under way when a batch was deleted
    /// from Redis is stored after that, and stays until the next update: see "What breaks it" in ARCHITECTURE.md.
    fn wait_for_stores(&mut self) {
        while self.is_storing() {
            self.pass(10);
        }
    }

    fn connection_of(&self, viewer: usize) -> Option<u32> {
        match self.viewers.get(viewer)?.state {
            Standing::On(connection) => Some(connection),
            _ => None,
        }
    }

    /// A room knows those who are there, and does not grow.
    fn check_rooms(&self) {
        for batch in self.app.ids() {
            let Some(room) = self.room(&batch) else { continue };
            let open = self.streams.values().filter(|stream| stream.is_open_for(&batch)).count();
            assert_eq!(room.viewers(), open, "the room of {batch} counts viewers that are gone, or lost one");
        }
    }

    /// Faults stop and time passes: everyone reaches the truth. Then nothing is read any more.
    pub(crate) fn recover(&mut self) {
        self.trace(|| "--- faults stop".into());
        self.heal();
        let deadline = self.now + RECOVERED_WITHIN;
        while let Some(why) = self.unsettled() {
            assert!(self.now < deadline, "after {} s: {why}", RECOVERED_WITHIN / 1_000);
            self.pass(1_000);
        }
        self.pass(config().ping + 10_000);
        let before = self.tally;
        self.trace(|| "--- all is quiet".into());
        self.pass(2 * config().ping);
        self.check_quiet(before);
        assert_eq!(self.unsettled(), None);
        for batch in self.app.ids() {
            let bytes = self.room(&batch).map_or(0, |room| format!("{room:?}").len());
            assert!(bytes < ROOM_BYTES, "a room of {bytes} bytes");
        }
        self.check_rooms();
    }

    /// Only a batch that stands still is asked for, once.
    fn check_quiet(&self, before: Tally) {
        let (now, rooms) = (self.tally, self.app.ids().len() as u64);
        let asks = now.room_asks - before.room_asks;
        assert!(asks <= rooms, "all is well, and the origin is asked {asks} times");
        let reads = now.room_reads - before.room_reads;
        assert!(reads <= rooms, "all is well, and the hash is read {reads} times");
        // Pages whose stream died without a word, and that doubt it; pages that were sent away, and look in.
        let watching = |viewer: &&Viewer| matches!(viewer.state, Standing::On(_) | Standing::Away);
        let doubts = self.viewers.iter().filter(watching).count() as u64;
        let (reads, asks) = (now.reads - before.reads, now.asks - before.asks);
        assert!(reads.max(asks) <= doubts, "all is well, and Redis is read {reads} times, the origin {asks} times");
    }

    /// Why not everyone shows the truth yet.
    fn unsettled(&self) -> Option<String> {
        if !self.publisher.is_idle() {
            return Some("the publisher has something to send".into());
        }
        let unsettled = |viewer: &Viewer| viewer.state != Standing::Left && !self.shows_the_truth(viewer);
        if let Some(index) = self.viewers.iter().position(unsettled) {
            let Viewer { batch, state, page, .. } = &self.viewers[index];
            let truth = self.app.state(batch).position();
            return Some(format!("viewer {index} of {batch} is {state:?} and shows {:?}, not {truth}", page.position));
        }
        let wrong = |batch: &&BatchId| !self.redis_holds_the_truth(batch);
        let ids = self.app.ids();
        ids.iter().find(wrong).map(|batch| format!("redis holds {:?} of {batch}", self.redis.position(batch)))
    }

    /// Who has seen an end does not come back by itself, even when the batch is opened again.
    fn shows_the_truth(&self, viewer: &Viewer) -> bool {
        let truth = self.app.state(&viewer.batch);
        let reopened = viewer.page.position.is_some_and(|shown| shown.epoch() < truth.position().epoch());
        if viewer.state == Standing::Ended && reopened {
            return true;
        }
        if viewer.page.position != Some(truth.position()) {
            return false;
        }
        viewer.page.is(&truth);
        match viewer.state {
            Standing::Ended => truth.is_terminal(),
            // Without a stream: it died without a word. The next doubt will show that, once there is news.
            Standing::On(connection) => !(truth.is_terminal() && self.streams.contains_key(&connection)),
            // Sent away because nothing had changed for long: it looks in once a minute.
            Standing::Away => !truth.is_terminal(),
            Standing::Left => false,
        }
    }

    /// Or nothing, as long as nobody watches: then the next one who asks fills it.
    pub(crate) fn redis_holds_the_truth(&self, batch: &BatchId) -> bool {
        let truth = self.app.state(batch);
        let stored = self.redis.batch(batch).map(|stored| stored.state);
        let watched = self.room(batch).is_some_and(|room| room.viewers() > 0);
        match stored {
            Some(stored) => stored == truth,
            None => !watched,
        }
    }
}
