//! What a month of watching uses of what is billed, in each way of doing it.
//!
//! Arithmetic alone. Times that are ours (pings, metrics) are the defaults of the settings and constants
//! that are named beside them.

use super::measures::Measures;
use super::prices::Realtime;

pub(super) const DAYS: f64 = 30.0;
pub(super) const DAY_SECS: f64 = 86_400.0;

/// `PING_SECS`: an alarm of the object, and of each of its rooms a command that reads and one that publishes.
pub(super) const PING_SECS: f64 = 20.0;
pub(super) const PING_COMMANDS: f64 = 2.0;
/// How often an object tells its metrics.
pub(super) const TELL_SECS: f64 = 60.0;
/// Assumed: the processor time of the Worker for a request.
pub(super) const REQUEST_CPU_MS: f64 = 2.0;
/// Assumed: how often a day an object is restarted, so that its viewers connect anew.
const RESTARTS_A_DAY: f64 = 2.0;
/// `ACTIVE_TTL_SECS`: how long an object answers reads of an open batch by what it has read.
pub(super) const ACTIVE_TTL_SECS: f64 = 5.0;
/// Assumed: how long an object is active for a request that it answers from Redis, or from memory.
pub(super) const LOOK_IN_ACTIVE_SECS: f64 = 0.1;
/// What an object tells that has no room: two counters, and that it has none.
pub(super) const LOOK_IN_TOLD: f64 = 3.0;
/// Reads of the hash when a room opens: before the stream, and when its subscription is confirmed.
const ROOM_READS: f64 = 2.0;

/// How viewers come to know.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Way {
    /// Ours, with `HUB_SHARDS`.
    Objects { shards: f64 },
    /// Upstash Realtime in a Worker. Events are whole states, or else changes alone.
    Realtime { whole: bool },
    /// A plain Worker asks Redis for the position, and for the state when that has changed; for all of a batch's viewers
    /// at once, by its data centre's cache.
    Polling { secs: f64 },
    /// Our `GET /api/batches/ID`, which the batch's object answers.
    Reads { secs: f64 },
}

/// What is billed, for a month.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Usage {
    pub(super) requests: f64,
    pub(super) cpu_ms: f64,
    pub(super) object_requests: f64,
    pub(super) object_secs: f64,
    /// Each is also an object's request.
    pub(super) alarms: f64,
    pub(super) commands: f64,
    /// Messages that Redis delivers to subscriptions.
    pub(super) messages: f64,
    /// What leaves Redis.
    pub(super) redis_gb: f64,
}

/// When a day's batches are watched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum When {
    /// They begin at random, over the whole day.
    AtRandom,
    /// All at the same time.
    Together,
}

/// Batches that people look at until they end, or until they have seen enough.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watched {
    pub(super) batches_a_day: f64,
    pub(super) when: When,
    /// Of each batch; all for the whole time.
    pub(super) viewers: f64,
    pub(super) secs: f64,
    /// Of each batch in that time.
    pub(super) updates: f64,
    /// The batch ends before its viewers go: its room ends with it, and an `EventSource` comes back once, to be told
    /// so.
    pub(super) ends: bool,
}

/// `LINGER_SECS`, after the last viewer of a batch that goes on.
const LINGER_SECS: f64 = 30.0;

impl Watched {
    pub(super) fn usage(&self, way: Way, measures: &Measures, realtime: &Realtime) -> Usage {
        let mut usage = match way {
            Way::Objects { shards } => self.by_objects(shards, measures),
            Way::Realtime { whole } => self.by_realtime(whole, measures, realtime),
            Way::Polling { secs } => self.by_polling(secs, measures),
            Way::Reads { secs } => self.by_reads(secs, measures),
        };
        usage.cpu_ms += usage.requests * REQUEST_CPU_MS;
        usage
    }

    fn batches(&self) -> f64 {
        self.batches_a_day * DAYS
    }

    /// How long objects are active for these on a day, altogether.
    pub(super) fn object_secs_a_day(&self, shards: f64) -> f64 {
        let open_secs = self.open_secs();
        match self.when {
            _ if shards == 0.0 => self.batches_a_day * open_secs,
            // The batches open at a time are then distributed as Poisson has it, and so are those of each object.
            When::AtRandom => shards * (1.0 - (-self.batches_a_day * open_secs / DAY_SECS / shards).exp()) * DAY_SECS,
            When::Together => occupied(shards, self.batches_a_day) * open_secs,
        }
    }

    fn open_secs(&self) -> f64 {
        self.secs + if self.ends { 0.0 } else { LINGER_SECS }
    }

    fn by_objects(&self, shards: f64, measures: &Measures) -> Usage {
        let (batches, restarts) = (self.batches(), RESTARTS_A_DAY * self.secs / DAY_SECS);
        let (rooms, pings) = (batches * (1.0 + restarts), batches * self.open_secs() / PING_SECS);
        let opens = batches * self.viewers * (1.0 + restarts + f64::from(u8::from(self.ends)));
        let object_secs = self.object_secs_a_day(shards) * DAYS;
        let (alarms, told) = (object_secs / PING_SECS, object_secs / TELL_SECS + rooms);
        let updates = batches * self.updates;
        let bytes = self.updates_bytes(false, measures) + rooms * ROOM_READS * measures.state_bytes();
        Usage {
            requests: opens,
            object_requests: opens + alarms,
            object_secs,
            alarms,
            commands: updates + rooms * measures.room_commands + pings * PING_COMMANDS + told * measures.told_commands,
            messages: updates + pings,
            redis_gb: bytes / 1e9,
            ..Usage::default()
        }
    }

    fn by_realtime(&self, whole: bool, measures: &Measures, realtime: &Realtime) -> Usage {
        let (viewers, updates) = (self.batches() * self.viewers, self.batches() * self.updates);
        let (pings, reconnects) = (self.secs / realtime.ping_secs, (self.secs / realtime.reconnect_secs).floor());
        let one_viewer =
            measures.connect_commands + reconnects * realtime.commands_a_reconnect + pings * realtime.commands_a_ping;
        Usage {
            requests: viewers * (1.0 + reconnects),
            cpu_ms: updates * self.viewers * measures.handler.ms(self.event_bytes(whole, measures)),
            commands: updates * measures.emit_commands + viewers * one_viewer,
            messages: (updates + viewers * pings) * self.viewers,
            redis_gb: self.updates_bytes(whole, measures) * self.viewers / 1e9,
            ..Usage::default()
        }
    }

    fn by_polling(&self, secs: f64, measures: &Measures) -> Usage {
        let polls = self.secs / secs;
        // What has changed several times since is read once.
        let reads = polls.min(self.updates);
        Usage {
            requests: self.batches() * self.viewers * polls,
            commands: self.batches() * (self.updates + polls + reads),
            redis_gb: self.batches() * reads * measures.state_bytes() / 1e9,
            ..Usage::default()
        }
    }

    fn by_reads(&self, secs: f64, measures: &Measures) -> Usage {
        let asked = self.batches() * self.viewers * self.secs / secs;
        let reads = self.batches() * self.secs / secs.max(ACTIVE_TTL_SECS);
        let told = self.batches() * self.secs / TELL_SECS * LOOK_IN_TOLD;
        Usage {
            requests: asked,
            object_requests: asked,
            object_secs: (asked * LOOK_IN_ACTIVE_SECS).min(self.batches() * self.secs),
            commands: self.batches() * self.updates + reads + told,
            redis_gb: reads * measures.state_bytes() / 1e9,
            ..Usage::default()
        }
    }

    /// The bytes of all updates to one subscription.
    fn updates_bytes(&self, whole: bool, measures: &Measures) -> f64 {
        self.batches() * self.updates * self.event_bytes(whole, measures)
    }

    fn event_bytes(&self, whole: bool, measures: &Measures) -> f64 {
        let bytes = if whole { measures.whole_bytes } else { measures.change_bytes };
        bytes / measures.updates
    }
}

/// How many of so many objects have at least one of so many batches, as they are spread by a hash.
pub(super) fn occupied(shards: f64, batches: f64) -> f64 {
    shards * (1.0 - (1.0 - 1.0 / shards).powf(batches))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::measures::tests::measures;
    use super::super::prices::Prices;
    use super::*;

    const TEN: Watched = Watched {
        batches_a_day: 100.0,
        when: When::AtRandom,
        viewers: 10.0,
        secs: 600.0,
        updates: 1_000.0,
        ends: true,
    };

    fn usage(watched: Watched, way: Way) -> Usage {
        watched.usage(way, &measures(), &Prices::load().unwrap().realtime)
    }

    pub(in super::super) fn near(is: f64, expected: f64) {
        assert!((is - expected).abs() <= expected.abs() * 1e-9, "{is} is not {expected}");
    }

    #[test]
    fn a_batch_with_an_object_of_its_own() {
        let usage = usage(TEN, Way::Objects { shards: 0.0 });
        let restarts = 2.0 * 600.0 / 86_400.0;
        let rooms = 3_000.0 * (1.0 + restarts);
        near(usage.object_secs, 3_000.0 * 600.0);
        near(usage.alarms, 3_000.0 * 30.0);
        near(usage.requests, 30_000.0 * (2.0 + restarts));
        near(usage.object_requests, usage.requests + usage.alarms);
        near(usage.cpu_ms, usage.requests * REQUEST_CPU_MS);
        near(usage.messages, 3_000.0 * (1_000.0 + 30.0));
        let told = (3_000.0 * 10.0 + rooms) * 10.0;
        near(usage.commands, 3_000.0 * 1_000.0 + rooms * 3.0 + 3_000.0 * 30.0 * 2.0 + told);
        near(usage.redis_gb, (3_000.0 * 1e6 + rooms * 2.0 * 1e5) / 1e9);
    }

    #[test]
    fn objects_that_are_shared_are_active_for_less() {
        let day = |shards| TEN.object_secs_a_day(shards);
        assert!(day(1.0) < day(16.0) && day(16.0) < day(0.0));
        near(day(1.0), 86_400.0 * (1.0 - (-100.0 * 600.0 / 86_400.0_f64).exp()));
        let together = Watched { when: When::Together, ends: false, ..TEN };
        near(together.object_secs_a_day(1.0), 630.0);
        assert!(together.object_secs_a_day(16.0) < 16.0 * 630.0);
    }

    #[test]
    fn each_viewer_of_upstash_realtime_has_all_that_is_sent() {
        let usage = usage(TEN, Way::Realtime { whole: true });
        near(usage.requests, 30_000.0 * 3.0);
        near(usage.commands, 3_000.0 * 1_000.0 * 2.0 + 30_000.0 * (2.0 + 2.0 * 3.0 + 10.0));
        near(usage.messages, (3_000.0 * 1_000.0 + 30_000.0 * 10.0) * 10.0);
        near(usage.redis_gb, 30_000.0 * 1e8 / 1e9);
        near(usage.cpu_ms, 3_000.0 * 1_000.0 * 10.0 * 0.6 + usage.requests * 2.0);
        near(super::tests::usage(TEN, Way::Realtime { whole: false }).redis_gb, 30_000.0 * 1e6 / 1e9);
    }

    #[test]
    fn a_cached_read_is_one_of_the_object_each_time_and_one_of_redis_every_five_seconds() {
        let busy = usage(TEN, Way::Reads { secs: 2.0 });
        near(busy.requests, 30_000.0 * 300.0);
        near(busy.object_requests, busy.requests);
        near(busy.object_secs, busy.requests * LOOK_IN_ACTIVE_SECS);
        near(busy.commands, 3_000.0 * (1_000.0 + 120.0 + 10.0 * 3.0));
        near(busy.redis_gb, 3_000.0 * 120.0 * 1e5 / 1e9);
        let slow = usage(Watched { viewers: 1.0, ..TEN }, Way::Reads { secs: 60.0 });
        near(slow.redis_gb, 3_000.0 * 10.0 * 1e5 / 1e9);
        let crowd = usage(Watched { viewers: 1_000.0, ..TEN }, Way::Reads { secs: 2.0 });
        near(crowd.object_secs, 3_000.0 * 600.0);
    }

    #[test]
    fn polling_reads_once_for_all_and_only_what_has_changed() {
        let busy = usage(TEN, Way::Polling { secs: 2.0 });
        near(busy.requests, 30_000.0 * 300.0);
        near(busy.commands, 3_000.0 * (1_000.0 + 300.0 + 300.0));
        near(busy.redis_gb, 3_000.0 * 300.0 * 1e5 / 1e9);
        let quiet = usage(Watched { updates: 10.0, ..TEN }, Way::Polling { secs: 2.0 });
        near(quiet.commands, 3_000.0 * (10.0 + 300.0 + 10.0));
    }
}
