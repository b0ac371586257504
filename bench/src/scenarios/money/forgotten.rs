//! What a month of forgotten tabs uses.
//!
//! Viewers of what stands still are sent away after `FORGET_AFTER_SECS`, and look in from then on with what they have. That
//! first time is left out: it is ten minutes of a month.

use super::measures::Measures;
use super::prices::Realtime;
use super::usage::{
    ACTIVE_TTL_SECS, DAY_SECS, DAYS, LOOK_IN_ACTIVE_SECS, LOOK_IN_TOLD, REQUEST_CPU_MS, TELL_SECS, Usage, Way, occupied,
};

/// How long these stay away.
const LOOK_IN_SECS: f64 = 60.0;
/// What leaves Redis for a look: a batch's position and owner.
const LOOK_IN_BYTES: f64 = 100.0;

/// Tabs that stay open day and night, each on a batch of its own that does not go on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Forgotten {
    pub(super) tabs: f64,
}

impl Forgotten {
    pub(super) fn usage(&self, way: Way, measures: &Measures, realtime: &Realtime) -> Usage {
        let month = DAYS * DAY_SECS;
        let tab_secs = self.tabs * month;
        let mut usage = match way {
            Way::Objects { shards } => {
                let looks = tab_secs / LOOK_IN_SECS;
                let objects = if shards == 0.0 { self.tabs } else { occupied(shards, self.tabs) };
                Usage {
                    requests: looks,
                    object_requests: looks,
                    object_secs: looks * LOOK_IN_ACTIVE_SECS,
                    commands: looks + objects * month / TELL_SECS * LOOK_IN_TOLD,
                    redis_gb: looks * LOOK_IN_BYTES / 1e9,
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
            // Each tab's batch is its own, so that each read but those within the time that one is kept asks Redis anew.
            Way::Reads { secs } => {
                let (asked, read) = (tab_secs / secs, tab_secs / secs.max(ACTIVE_TTL_SECS));
                Usage {
                    requests: asked,
                    object_requests: asked,
                    object_secs: asked * LOOK_IN_ACTIVE_SECS,
                    commands: read + self.tabs * month / TELL_SECS * LOOK_IN_TOLD,
                    redis_gb: read * measures.state_bytes() / 1e9,
                    ..Usage::default()
                }
            }
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
    fn a_look_of_a_forgotten_tab_is_a_request_and_a_small_read() {
        let of = |way| Forgotten { tabs: 100.0 }.usage(way, &measures(), &Prices::load().unwrap().realtime);
        let looks = 100.0 * 43_200.0;
        let alone = of(Way::Objects { shards: 0.0 });
        near(alone.requests, looks);
        near(alone.object_requests, looks);
        near(alone.object_secs, looks * LOOK_IN_ACTIVE_SECS);
        near(alone.commands, looks * 4.0);
        near(alone.redis_gb, looks * 1e2 / 1e9);
        assert!(of(Way::Objects { shards: 16.0 }).commands < looks * 2.0);
        near(of(Way::Polling { secs: 5.0 }).commands, 100.0 * 2_592_000.0 / 5.0);
        near(of(Way::Realtime { whole: true }).messages, looks);
        near(of(Way::Reads { secs: 5.0 }).redis_gb, 100.0 * 2_592_000.0 / 5.0 * 1e5 / 1e9);
    }
}
