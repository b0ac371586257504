//! What goes wrong between the parts, for how long.

use hub::Millis;

use crate::world::World;

/// Each lasts until a time, or for so many events. The default is that nothing is wrong.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// The publisher does not reach Redis.
    pub(crate) publisher_cut_off_until: Millis,
    /// The edge does not reach Redis.
    pub(crate) edge_cut_off_until: Millis,
    /// The edge's commands fail, while its subscriptions go on.
    pub(crate) commands_fail_until: Millis,
    /// The edge's subscriptions are refused, while its commands are answered.
    pub(crate) subscribing_fails_until: Millis,
    /// The origin fails.
    pub(crate) origin_fails_until: Millis,
    /// The publisher's source fails.
    pub(crate) source_fails_until: Millis,
    /// Everything takes seconds.
    pub(crate) slow_until: Millis,
    /// Messages of a subscription overtake each other.
    pub(crate) overtaking_until: Millis,
    /// Confirmations of subscriptions are late.
    pub(crate) confirming_late_until: Millis,
    /// So many messages are lost.
    pub(crate) lose_messages: u32,
    /// So many messages come twice.
    pub(crate) double_messages: u32,
    /// So many replies of the script to the publisher are lost, after it was executed.
    pub(crate) lose_replies: u32,
}

impl World {
    pub(crate) fn publisher_reaches_redis(&self) -> bool {
        self.now >= self.faults.publisher_cut_off_until
    }

    /// For a command.
    pub(crate) fn edge_reaches_redis(&self) -> bool {
        self.now >= self.faults.edge_cut_off_until.max(self.faults.commands_fail_until)
    }

    pub(crate) fn edge_can_subscribe(&self) -> bool {
        self.now >= self.faults.edge_cut_off_until.max(self.faults.subscribing_fails_until)
    }

    pub(crate) fn origin_answers(&self) -> bool {
        self.now >= self.faults.origin_fails_until
    }

    pub(crate) fn source_answers(&self) -> bool {
        self.now >= self.faults.source_fails_until
    }

    pub(crate) fn messages_overtake(&self) -> bool {
        self.now < self.faults.overtaking_until
    }

    pub(crate) fn message_delay(&mut self) -> Millis {
        if self.messages_overtake() { self.rng.u64(1..=2_000) } else { self.delay() }
    }

    /// How long a confirmation is held up.
    pub(crate) fn confirmation_is_late(&mut self) -> Millis {
        if self.now < self.faults.confirming_late_until { self.rng.u64(..12_000) } else { 0 }
    }

    /// How often a message arrives.
    pub(crate) fn times_carried(&mut self) -> u32 {
        if take(&mut self.faults.lose_messages) {
            return 0;
        }
        1 + u32::from(take(&mut self.faults.double_messages))
    }

    pub(crate) fn lose_reply(&mut self) -> bool {
        take(&mut self.faults.lose_replies)
    }

    /// Redis is away for the publisher, the edge, or both.
    pub(crate) fn cut_off_redis(&mut self, who: Who, time: Millis, told: bool) {
        let until = self.now + time;
        if who != Who::Edge {
            self.faults.publisher_cut_off_until = until;
            self.break_publishers_connection(told);
        }
        if who != Who::Publisher {
            self.faults.edge_cut_off_until = until;
            self.interrupt_subscriptions();
            self.later(time, World::resume_subscriptions);
        }
    }

    /// Faults stop: no new ones come, and who was kept out is let in. What has gone wrong without anybody's notice stays
    /// so: subscriptions that are deaf, connections that are dead, what was lost.
    pub(crate) fn heal(&mut self) {
        self.faults = Faults::default();
        self.start_publisher();
        self.resume_subscriptions();
        for connection in self.connections() {
            self.stall(connection, false);
        }
    }
}

/// Whom a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Publisher,
    Edge,
    Both,
}

fn take(times: &mut u32) -> bool {
    let some = *times > 0;
    *times -= u32::from(some);
    some
}
