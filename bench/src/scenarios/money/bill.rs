//! From what is used to dollars a month; and where polling costs as much as ours.

use super::measures::Measures;
use super::prices::Prices;
use super::usage::{PING_COMMANDS, PING_SECS, REQUEST_CPU_MS, TELL_SECS, Usage};

const HOUR_SECS: f64 = 3_600.0;

/// Dollars a month.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bill {
    /// Workers and objects, the plan's own price contained.
    pub(super) workers: f64,
    /// Redis by the command.
    pub(super) redis: f64,
    /// The same, should each message that is delivered count as a command.
    pub(super) redis_with_messages: f64,
    /// Redis at a fixed price; `None`: no plan lets so much out.
    pub(super) redis_fixed: Option<f64>,
}

impl Bill {
    pub(super) fn of(usage: &Usage, prices: &Prices) -> Self {
        let Prices { workers, objects, redis, .. } = prices;
        let gb_seconds = usage.object_secs * objects.memory_gb;
        let traffic = redis.gb.of(usage.redis_gb);
        Self {
            workers: workers.plan
                + workers.requests.of(usage.requests)
                + workers.cpu_ms.of(usage.cpu_ms)
                + objects.requests.of(usage.object_requests)
                + objects.gb_seconds.of(gb_seconds)
                + objects.rows_written.of(usage.alarms),
            redis: redis.commands.of(usage.commands) + traffic,
            redis_with_messages: redis.commands.of(usage.commands + usage.messages) + traffic,
            redis_fixed: redis.fixed.iter().find(|plan| plan.gb >= usage.redis_gb).map(|plan| plan.price),
        }
    }
}

/// A batch that is watched without an end, compared an hour at a time, once what is included has been used. What both
/// ways cost alike is left out: the updates' own commands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Even<'a> {
    pub(super) prices: &'a Prices,
    pub(super) measures: &'a Measures,
    /// How much of an object's time is this batch's: less than 1 where objects are shared.
    pub(super) objects: f64,
    pub(super) updates_an_hour: f64,
}

impl Even<'_> {
    /// Ours, in dollars an hour, however many watch.
    pub(super) fn ours(&self) -> f64 {
        let (objects, command) = (&self.prices.objects, self.prices.redis.commands.each());
        let (pings, told) = (HOUR_SECS / PING_SECS, HOUR_SECS / TELL_SECS * self.measures.told_commands);
        let object = HOUR_SECS * objects.memory_gb * objects.gb_seconds.each()
            + pings * (objects.requests.each() + objects.rows_written.each())
            + told * command;
        let traffic = self.updates_an_hour * self.measures.change_bytes / self.measures.updates;
        self.objects * object + pings * PING_COMMANDS * command + self.traffic(traffic)
    }

    /// Polling every so many seconds, in dollars an hour, with so many viewers.
    pub(super) fn polling(&self, secs: f64, viewers: f64) -> f64 {
        let (workers, command) = (&self.prices.workers, self.prices.redis.commands.each());
        let polls = HOUR_SECS / secs;
        let reads = polls.min(self.updates_an_hour);
        let request = workers.requests.each() + REQUEST_CPU_MS * workers.cpu_ms.each();
        polls * viewers * request + (polls + reads) * command + self.traffic(reads * self.measures.state_bytes())
    }

    /// With how many viewers polling every so many seconds costs as much; 0: it always costs more.
    pub(super) fn viewers(&self, secs: f64) -> f64 {
        let (none, one) = (self.polling(secs, 0.0), self.polling(secs, 1.0));
        ((self.ours() - none) / (one - none)).max(0.0)
    }

    /// At which pause between polls, in seconds, so many viewers cost as much by polling.
    pub(super) fn pause(&self, viewers: f64) -> f64 {
        let (mut short, mut long) = (0.01, HOUR_SECS);
        for _ in 0..60 {
            let middle = f64::midpoint(short, long);
            if self.polling(middle, viewers) > self.ours() { short = middle } else { long = middle }
        }
        long
    }

    fn traffic(&self, bytes: f64) -> f64 {
        bytes / 1e9 * self.prices.redis.gb.each()
    }
}

#[cfg(test)]
mod tests {
    use super::super::measures::tests::measures;
    use super::*;

    #[test]
    fn what_is_included_is_free_and_the_rest_is_not() {
        let prices = Prices::load().unwrap();
        let nothing = Bill::of(&Usage::default(), &prices);
        assert_eq!(nothing.workers, prices.workers.plan);
        assert_eq!((nothing.redis, nothing.redis_fixed), (0.0, Some(prices.redis.fixed[0].price)));
        let usage = Usage {
            requests: 11e6,
            cpu_ms: 31e6,
            object_requests: 2e6,
            object_secs: 1.4e6 / prices.objects.memory_gb,
            alarms: 51e6,
            commands: 1e6,
            messages: 1e6,
            redis_gb: 201.0,
        };
        let bill = Bill::of(&usage, &prices);
        assert!((bill.workers - (5.0 + 0.30 + 0.02 + 0.15 + 12.5 + 1.0)).abs() < 1e-6, "{bill:?}");
        assert!((bill.redis - 2.03).abs() < 1e-9 && (bill.redis_with_messages - 4.03).abs() < 1e-9, "{bill:?}");
        assert_eq!(bill.redis_fixed, Some(100.0));
        assert_eq!(Bill::of(&Usage { redis_gb: 1e6, ..usage }, &prices).redis_fixed, None);
    }

    #[test]
    fn break_even_is_where_both_cost_the_same() {
        let (prices, measures) = (Prices::load().unwrap(), measures());
        for (objects, updates_an_hour) in [(1.0, 20_000.0), (0.3, 125.0)] {
            let even = Even { prices: &prices, measures: &measures, objects, updates_an_hour };
            let viewers = even.viewers(5.0);
            assert!(viewers > 0.0 && (even.polling(5.0, viewers) - even.ours()).abs() < 1e-9, "{viewers}");
            let pause = even.pause(10.0);
            assert!((even.polling(pause, 10.0) - even.ours()).abs() < 1e-9, "{pause}");
        }
    }

    #[test]
    fn where_polling_always_costs_more_no_viewer_is_needed() {
        let (prices, measures) = (Prices::load().unwrap(), measures());
        let even = Even { prices: &prices, measures: &measures, objects: 0.0, updates_an_hour: 20_000.0 };
        assert_eq!(even.viewers(0.1), 0.0);
    }
}
