//! One thing at a time: how soon what goes wrong alone is made good.
//!
//! Most mechanisms back each other up: a gap that was overlooked is found by the next ping. So that everyone reaches the
//! truth in the end says little of each. Here one fault comes when all is well, and its own remedy must do it in time.

use hub::Millis;
use proptest::prelude::*;
use wire::{BatchId, keys};

use crate::{
    faults::Who,
    object::config,
    reads::Asker,
    viewer::{SILENCE, Standing},
    world::World,
};

/// What is tried, and what bounds the time until it is made good.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Trial {
    /// A commit: nothing but the way.
    Commit,
    /// A commit in a greater epoch.
    RaiseEpoch,
    /// A photo is taken away within its epoch: those who are connected see it go.
    TakeAway,
    /// A batch is invalidated while it can't be read: it is shown to nobody until it was.
    Invalidate,
    /// Redis goes back while it is read: readers are not told less than before (asserted in `reads.rs`).
    ReadAgain,
    /// A message is lost, and another one comes: a gap, the hash is read at once.
    LoseOne,
    /// The last message is lost: the next ping tells.
    LoseLast,
    /// The same while commands fail: the read is repeated.
    LoseOneWhileCommandsFail,
    /// The gateway loses Redis for a moment, and a message with it: each confirmation is followed by a read.
    Interrupt,
    /// The subscription ends: a new one is opened after a short pause.
    EndSubscription,
    /// The subscription falls silent: a ping does not come back.
    Deafen,
    /// No subscription for long: the hash is read blindly.
    NoSubscription,
    /// No Redis for long: the origin is asked.
    NoRedis,
    /// Redis loses the batch while someone watches: the next ping tells, and the origin fills it.
    Evict,
    /// Redis loses an update it had acknowledged: the publisher asks for it when it has a connection again.
    FailOver,
    /// A stream was full meanwhile: it is looked at again.
    Stall,
    /// A stream is cut: its viewer comes back after `retry`.
    Cut,
    /// A stream dies without a word: its page doubts it.
    DieSilently,
    /// The object vanishes: everyone comes back.
    CrashObject,
    /// Nothing happens for long, and viewers are sent away: they look in once a minute.
    Forget,
    /// The publisher is gone for good after a commit: a standstill is doubted.
    NoPublisher,
}

pub(crate) fn trials() -> impl Strategy<Value = Trial> {
    use Trial::*;
    prop::sample::select(vec![
        Commit,
        RaiseEpoch,
        TakeAway,
        Invalidate,
        ReadAgain,
        LoseOne,
        LoseLast,
        LoseOneWhileCommandsFail,
        Interrupt,
        EndSubscription,
        Deafen,
        NoSubscription,
        NoRedis,
        Evict,
        FailOver,
        Stall,
        Cut,
        DieSilently,
        CrashObject,
        Forget,
        NoPublisher,
    ])
}

/// From a commit to the screen, at most: the publisher's pause, six ways, a sweep.
const ON_THE_WAY: Millis = 250;
/// A read of the hash, with the pause before it.
const READ: Millis = 150;
/// The least pause between blind reads, and between questions to the origin.
const PAUSE: Millis = 5_000;
/// `RETRY_BASE` of `hub/src/audience.rs`, and its random part.
const RETRY: Millis = 2_100;
/// How long a ping may take to come back.
const PING_ANSWER: Millis = 5_000;

impl World {
    /// Tries it, when all is well, on a batch that goes on and has a viewer who has just come.
    pub(crate) fn attempt(&mut self, trial: Trial) {
        self.trace(|| format!("--- {trial:?}"));
        let batch = self.app.ids()[0].clone();
        self.app.restart(&batch);
        self.notify(&batch, false);
        // An end that was read stays in the object's memory for so long.
        self.pass(config().idle_ttl);
        self.come(batch.clone());
        self.pass(3_000);
        let mut watching = self.watching(&batch);
        assert!(watching.contains(&(self.viewers.len() - 1)), "who has just come watches");
        let came = self.viewers.len();
        let wait = self.strike(trial, &batch, *watching.last().unwrap());
        self.pass(wait);
        watching.extend(came..self.viewers.len());
        for index in watching {
            self.viewers[index].page.is(&self.app.state(&batch));
        }
        if matches!(trial, Trial::Evict | Trial::FailOver) {
            assert!(self.redis_holds_the_truth(&batch), "redis holds {:?}", self.redis.position(&batch));
        }
    }

    /// Who watches a batch and is not left alone by its stream.
    fn watching(&self, batch: &BatchId) -> Vec<usize> {
        let watches = |index: &usize| match self.viewers[*index].state {
            Standing::On(connection) => self.streams.get(&connection).is_some_and(|s| s.is_open_for(batch)),
            _ => false,
        };
        (0..self.viewers.len()).filter(watches).collect()
    }

    fn commit(&mut self, batch: &BatchId) {
        self.app.work(batch, 0, false);
        self.notify(batch, false);
    }

    /// What goes wrong, and how long it may take from then on.
    fn strike(&mut self, trial: Trial, batch: &BatchId, viewer: usize) -> Millis {
        let ping = config().ping;
        let Standing::On(connection) = self.viewers[viewer].state else { unreachable!("it watches") };
        match trial {
            Trial::Commit => {
                self.commit(batch);
                ON_THE_WAY
            }
            Trial::RaiseEpoch => {
                self.app.restart(batch);
                self.notify(batch, false);
                ON_THE_WAY + READ
            }
            Trial::TakeAway => {
                self.app.take_away(batch);
                self.publisher_invalidates(batch);
                ON_THE_WAY + 2 * READ
            }
            Trial::Invalidate => {
                self.faults.commands_fail_until = self.now + 5_000;
                self.faults.origin_fails_until = self.now + 5_000;
                self.app.take_away(batch);
                self.publisher_invalidates(batch);
                self.pass(ON_THE_WAY);
                self.come(batch.clone());
                self.pass(1_000);
                assert_eq!(self.viewers.last().unwrap().page.position, None, "what was invalidated is shown");
                4_000 + PAUSE
            }
            Trial::ReadAgain => {
                let other = self.app.ids()[1].clone();
                self.app.restart(&other);
                self.notify(&other, false);
                self.pass(ON_THE_WAY);
                self.read(&other, true, Asker::Reader);
                self.pass(ON_THE_WAY);
                self.fail_over(1);
                self.cut_off_redis(Who::Publisher, 5_000, true);
                self.read(&other, true, Asker::Reader);
                ON_THE_WAY
            }
            Trial::LoseOne => {
                self.lose_one(batch);
                self.commit(batch);
                ON_THE_WAY + READ
            }
            Trial::LoseLast => {
                self.lose_one(batch);
                ping + READ
            }
            Trial::LoseOneWhileCommandsFail => {
                self.lose_one(batch);
                self.faults.commands_fail_until = self.now + 1_000;
                self.faults.origin_fails_until = self.now + 60_000;
                self.commit(batch);
                1_000 + 1_600 + READ
            }
            Trial::Interrupt => {
                self.interrupt_subscriptions();
                self.commit(batch);
                self.pass(ON_THE_WAY);
                self.resume_subscriptions();
                500 + READ
            }
            Trial::EndSubscription => {
                self.end_subscription(batch);
                self.commit(batch);
                500 + READ
            }
            Trial::Deafen => {
                self.deafen(batch);
                self.commit(batch);
                ping + PING_ANSWER + 500 + READ
            }
            Trial::NoSubscription => {
                self.faults.subscribing_fails_until = self.now + 120_000;
                self.end_subscription(batch);
                self.pass(60_000);
                self.commit(batch);
                PAUSE + ON_THE_WAY
            }
            Trial::NoRedis => {
                self.cut_off_redis(Who::Both, 120_000, true);
                self.pass(60_000);
                self.commit(batch);
                2 * PAUSE + ON_THE_WAY
            }
            Trial::Evict => {
                self.redis.delete(&keys::hash("", batch));
                ping + PAUSE + 2 * READ
            }
            Trial::FailOver => {
                self.commit(batch);
                self.pass(ON_THE_WAY);
                self.fail_over(1);
                self.cut_off_redis(Who::Both, 100, true);
                1_000
            }
            Trial::Cut => {
                self.cut_stream(connection, true);
                self.commit(batch);
                RETRY + ON_THE_WAY
            }
            Trial::DieSilently => {
                self.cut_stream(connection, false);
                self.commit(batch);
                SILENCE + 2 * ON_THE_WAY
            }
            Trial::CrashObject => {
                self.crash_object(true);
                self.commit(batch);
                RETRY + ON_THE_WAY + READ
            }
            Trial::Stall => {
                self.stall(connection, true);
                for _ in 0..3 {
                    self.commit(batch);
                    self.pass(ON_THE_WAY);
                }
                self.stall(connection, false);
                400
            }
            Trial::Forget => {
                // Those who were sent away before come back within a minute, and are newcomers in this epoch.
                self.pass(hub::FORGOTTEN_RETRY + config().forget_after + ping);
                assert!(self.room(batch).is_none(), "nothing happens, and viewers are not sent away");
                // They carry what the next object has to know.
                let looks = self.tally.looks;
                self.crash_object(true);
                self.pass(hub::FORGOTTEN_RETRY + 1_000);
                let looks = self.tally.looks - looks;
                assert!(looks > 0 && self.room(batch).is_none(), "{looks} looked in, and a room was opened for them");
                self.commit(batch);
                hub::FORGOTTEN_RETRY + config().active_ttl + 1_000
            }
            Trial::NoPublisher => {
                self.crash_publisher();
                self.app.work(batch, 0, false);
                config().stall_after + ON_THE_WAY
            }
        }
    }

    fn lose_one(&mut self, batch: &BatchId) {
        self.faults.lose_messages = 1;
        self.commit(batch);
        self.pass(ON_THE_WAY);
    }
}
