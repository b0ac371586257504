//! What the object counted, and telling it to Redis: in one call, at most once a minute and when a room closes.

use std::rc::Rc;

use hub::{
    Millis, ObjectCounters,
    metrics::{Gauges, gauge_field},
};
use worker::wasm_bindgen_futures::spawn_local;

use super::Object;
use crate::{clock::now, log};

const EVERY: Millis = 60_000;

/// Counted since the last report.
pub(super) struct Counted {
    pub(super) counters: ObjectCounters,
    reported_at: Millis,
}

impl Counted {
    pub(super) fn new(now: Millis) -> Self {
        Self { counters: ObjectCounters::default(), reported_at: now }
    }
}

impl Object {
    pub(super) fn report_if_due(self: &Rc<Self>) {
        let due = self.counted.borrow().reported_at + EVERY;
        if now() >= due {
            self.report();
        }
    }

    /// Adds what was counted to the shared counters. What can't be told now is told next time.
    pub(super) fn report(self: &Rc<Self>) {
        let (rooms, stale_rooms) = self.count_rooms();
        let gauge = Gauges { viewers: self.streams.len(), rooms, stale_rooms }.to_field(now());
        let counters = {
            let mut counted = self.counted.borrow_mut();
            counted.reported_at = now();
            counted.counters.redis_commands += self.redis.take_commands();
            std::mem::take(&mut counted.counters)
        };
        if counters.rooms.latency_clamped > 0 {
            let events = counters.rooms.latency_clamped;
            log::warn(&format!(
                "{events} events came from the future or took longer than a minute and are clamped in the latency \
                 figures: compare the clocks of the workers and this machine, unless Redis was away for long"
            ));
        }
        let object = self.clone();
        spawn_local(async move {
            let field = gauge_field(&object.state.id().to_string());
            if let Err(error) = object.redis.add_metrics(&counters.series(), field, gauge).await {
                object.counted.borrow_mut().counters.add(&counters);
                log::warn(&format!("the metrics could not be told: {error}"));
            }
        });
    }
}
