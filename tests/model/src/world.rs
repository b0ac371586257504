//! The world: virtual time, everything that is in it, and the faults that lie between its parts.
//!
//! Whatever takes time is a closure that runs later; closures due at the same moment run in the order they were made. So
//! a run depends on nothing but its acts and its seed.

use std::{collections::BTreeMap, rc::Rc};

use hub::Millis;
use wire::{
    BatchId,
    script::{Call, Reply},
};

use crate::{
    app::App,
    faults::Faults,
    object::Object,
    publisher::Publisher,
    redis::Redis,
    streams::Stream,
    upstream::Subscription,
    viewer::{Standing, Viewer},
};

const BEGINNING: Millis = 1_795_389_040_000;
/// So that a schedule that never comes to rest fails instead of hanging.
const MOST_STEPS: u64 = 200_000;
/// What a failover may lose: writes of the last seconds.
const REPLICA_LAGS: Millis = 10_000;

type Step = Box<dyn FnOnce(&mut World)>;

pub(crate) struct World {
    pub(crate) now: Millis,
    later: BTreeMap<(Millis, u64), Step>,
    steps: u64,
    pub(crate) rng: fastrand::Rng,
    pub(crate) faults: Faults,
    pub(crate) app: App,
    pub(crate) redis: Redis,
    /// Redis before each of its latest writes.
    earlier: Vec<(Millis, Redis)>,
    /// Held by everything under way that may yet store something.
    pub(crate) storing: Rc<()>,
    pub(crate) publisher: Publisher,
    pub(crate) object: Object,
    pub(crate) subscriptions: BTreeMap<u64, Subscription>,
    pub(crate) subscribed: u64,
    pub(crate) streams: BTreeMap<u32, Stream>,
    pub(crate) viewers: Vec<Viewer>,
    connected: u32,
    pub(crate) tally: Tally,
    trace: bool,
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Reads of the hash and questions to the origin by rooms.
    pub(crate) room_reads: u64,
    pub(crate) room_asks: u64,
    /// The same for readers and for viewers who come.
    pub(crate) reads: u64,
    pub(crate) asks: u64,
    /// Viewers who looked in and were sent away again.
    pub(crate) looks: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let publisher = Publisher::new(BEGINNING, rng.u64(..));
        let mut world = Self {
            now: BEGINNING,
            later: BTreeMap::new(),
            steps: 0,
            rng,
            faults: Faults::default(),
            app: App::new(),
            redis: Redis::default(),
            earlier: Vec::new(),
            storing: Rc::new(()),
            publisher,
            object: Object::default(),
            subscriptions: BTreeMap::new(),
            subscribed: 0,
            streams: BTreeMap::new(),
            viewers: Vec::new(),
            connected: 0,
            tally: Tally::default(),
            trace: std::env::var_os("MODEL_TRACE").is_some(),
        };
        world.app.ids().iter().for_each(|batch| world.notify(batch, false));
        world
    }

    /// Runs `step` after so many milliseconds.
    pub(crate) fn later(&mut self, after: Millis, step: impl FnOnce(&mut World) + 'static) {
        self.steps += 1;
        self.later.insert((self.now + after, self.steps), Box::new(step));
    }

    /// Lets time go by.
    pub(crate) fn pass(&mut self, time: Millis) {
        let until = self.now + time;
        while let Some(next) = self.later.first_entry().filter(|next| next.key().0 <= until) {
            let ((at, _), step) = next.remove_entry();
            self.now = at;
            step(self);
            assert!(self.steps < MOST_STEPS, "the system does not come to rest");
        }
        self.now = until;
    }

    /// Tells the story of a run, with `MODEL_TRACE=1`.
    pub(crate) fn trace(&self, words: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>9} {}", self.now - BEGINNING, words());
        }
    }

    /// How long something is on its way.
    pub(crate) fn delay(&mut self) -> Millis {
        let longest = if self.faults.slow_until > self.now { 4_000 } else { 20 };
        self.rng.u64(1..=longest)
    }

    /// Runs the script in Redis and publishes what it says.
    pub(crate) fn call_script(&mut self, call: &Call) -> Reply {
        let before = self.redis.clone();
        let done = self.redis.call(call);
        self.trace(|| format!("redis: {} {}-{} is {:?}", call.args[0], call.args[1], call.args[2], done.reply));
        if self.redis != before {
            self.earlier.push((self.now, before));
        }
        if let Some((channel, message)) = done.published {
            self.publish_on(&channel, &message);
        }
        done.reply
    }

    /// Whether something is under way that may yet store something.
    pub(crate) fn is_storing(&self) -> bool {
        Rc::strong_count(&self.storing) > 1
    }

    /// Redis loses everything.
    pub(crate) fn empty_redis(&mut self) {
        self.redis = Redis::default();
        self.earlier.clear();
    }

    /// Redis goes back to what a replica held that lagged behind by so many writes.
    pub(crate) fn fail_over(&mut self, writes: usize) {
        let oldest = self.now - REPLICA_LAGS;
        self.earlier.retain(|(at, _)| *at >= oldest);
        if let Some(index) = self.earlier.len().checked_sub(writes) {
            self.redis = self.earlier.swap_remove(index).1;
            self.earlier.truncate(index);
        }
    }

    pub(crate) fn next_connection(&mut self) -> u32 {
        self.connected += 1;
        self.connected
    }

    pub(crate) fn come(&mut self, batch: BatchId) {
        self.viewers.push(Viewer::new(batch));
        self.connect_viewer(self.viewers.len() - 1);
    }

    pub(crate) fn leave(&mut self, index: usize) {
        let Some(viewer) = self.viewers.get_mut(index) else { return };
        if let Standing::On(connection) = std::mem::replace(&mut viewer.state, Standing::Left) {
            self.viewer_turns_away(connection);
        }
    }
}
