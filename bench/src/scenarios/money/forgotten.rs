//! What a month of forgotten tabs uses.
//!
//! An object that has sent its viewers away remembers that, for when they look in; but only as long as it has its
//! memory.

use super::measures::Measures;
use super::prices::Realtime;
use super::usage::{
    DAY_SECS, DAYS, PING_COMMANDS, PING_SECS, REQUEST_CPU_MS, ROOM_READS, TELL_SECS, Usage, Way, occupied,
};

/// `FORGET_AFTER_SECS`: then viewers of what stands still are sent away.
const FORGET_SECS: f64 = 600.0;
/// How long these stay away.
const LOOK_IN_SECS: f64 = 60.0;
/// What an object tells that only answers those: two counters, and that it has no room.
const LOOK_IN_TOLD: f64 = 3.0;
/// Assumed: how long an object is active for a request that it answers from Redis.
const LOOK_IN_ACTIVE_SECS: f64 = 0.1;

/// Tabs that stay open day and night, each on a batch of its own that does not go on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Forgotten {
    pub(super) tabs: f64,
    /// An object that has sent its viewers away still knows it when they look in.
    pub(super) remembered: bool,
}

impl Forgotten {
    pub(super) fn usage(&self, way: Way, measures: &Measures, realtime: &Realtime) -> Usage {
        let month = DAYS * DAY_SECS;
        let tab_secs = self.tabs * month;
        let mut usage = match way {
            Way::Objects { shards } if self.remembered => {
                let looks = tab_secs / LOOK_IN_SECS;
                let objects = if shards == 0.0 { self.tabs } else { occupied(shards, self.tabs) };
                Usage {
                    requests: looks,
                    object_requests: looks,
                    object_secs: looks * LOOK_IN_ACTIVE_SECS,
                    commands: looks + objects * month / TELL_SECS * LOOK_IN_TOLD,
                    redis_gb: looks * measures.state_bytes() / 1e9,
                    ..Usage::default()
                }
            }
            Way::Objects { shards } => {
                // Each look opens a room anew, which sends its viewer away as the one before did.
                let rooms = tab_secs / (FORGET_SECS + LOOK_IN_SECS);
                let open = self.tabs * FORGET_SECS / (FORGET_SECS + LOOK_IN_SECS);
                let object_secs = if shards == 0.0 { open } else { occupied(shards, open) } * month;
                let (alarms, pings) = (object_secs / PING_SECS, rooms * FORGET_SECS / PING_SECS);
                let told = object_secs / TELL_SECS + rooms;
                Usage {
                    requests: rooms,
                    object_requests: rooms + alarms,
                    object_secs,
                    alarms,
                    commands: rooms * measures.room_commands + pings * PING_COMMANDS + told * measures.told_commands,
                    messages: pings,
                    redis_gb: rooms * ROOM_READS * measures.state_bytes() / 1e9,
                    ..Usage::default()
                }
            }
            Way::Realtime { .. } => {
                let (pings, connects) = (tab_secs / realtime.ping_secs, tab_secs / realtime.reconnect_secs);
                Usage {
                    requests: connects,
                    commands: connects * realtime.commands_a_reconnect + pings * realtime.commands_a_ping,
                    messages: pings,
                    ..Usage::default()
                }
            }
            Way::Polling { secs } => Usage { requests: tab_secs / secs, commands: tab_secs / secs, ..Usage::default() },
        };
        usage.cpu_ms += usage.requests * REQUEST_CPU_MS;
        usage
    }
}

#[cfg(test)]
mod tests {
    use super::super::measures::tests::measures;
    use super::super::prices::Prices;
    use super::super::usage::tests::near;
    use super::*;

    #[test]
    fn a_forgotten_tab_that_is_remembered_costs_a_read_a_minute() {
        let of = |remembered, way| {
            Forgotten { tabs: 100.0, remembered }.usage(way, &measures(), &Prices::load().unwrap().realtime)
        };
        let looks = 100.0 * 43_200.0;
        let alone = of(true, Way::Objects { shards: 0.0 });
        near(alone.requests, looks);
        near(alone.object_secs, looks * LOOK_IN_ACTIVE_SECS);
        near(alone.commands, looks * 4.0);
        let anew = of(false, Way::Objects { shards: 0.0 });
        near(anew.object_secs, 100.0 * 2_592_000.0 * 600.0 / 660.0);
        assert!(of(false, Way::Objects { shards: 16.0 }).object_secs < 16.0 * 2_592_000.0);
        near(of(true, Way::Polling { secs: 5.0 }).commands, 100.0 * 2_592_000.0 / 5.0);
        near(of(true, Way::Realtime { whole: true }).messages, looks);
    }
}
