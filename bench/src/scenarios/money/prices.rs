//! The price lists, from `bench/prices.toml`.

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// The text of the file.
const FILE: &str = include_str!("../../../prices.toml");

/// All of it.
#[derive(Debug, Deserialize)]
pub(super) struct Prices {
    /// The date on which they were read.
    pub(super) read: String,
    pub(super) workers: Workers,
    pub(super) objects: Objects,
    pub(super) redis: Redis,
    pub(super) realtime: Realtime,
}

/// Cloudflare Workers.
#[derive(Debug, Deserialize)]
pub(super) struct Workers {
    pub(super) source: String,
    /// The least that a month costs, with objects too.
    pub(super) plan: f64,
    pub(super) requests: Price,
    pub(super) cpu_ms: Price,
}

/// Durable Objects.
#[derive(Debug, Deserialize)]
pub(super) struct Objects {
    pub(super) source: String,
    /// What an object is billed for while it is active.
    pub(super) memory_gb: f64,
    pub(super) requests: Price,
    pub(super) gb_seconds: Price,
    pub(super) rows_written: Price,
}

/// Redis by Upstash.
#[derive(Debug, Deserialize)]
pub(super) struct Redis {
    pub(super) source: String,
    pub(super) commands: Price,
    pub(super) gb: Price,
    /// Plans with a fixed price, the cheapest first.
    pub(super) fixed: Vec<Fixed>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Fixed {
    pub(super) price: f64,
    /// What may leave Redis in a month.
    pub(super) gb: f64,
}

/// What Upstash Realtime does by itself.
#[derive(Debug, Deserialize)]
pub(super) struct Realtime {
    pub(super) source: String,
    pub(super) reconnect_secs: f64,
    pub(super) commands_a_reconnect: f64,
    pub(super) ping_secs: f64,
    pub(super) commands_a_ping: f64,
}

/// The price of something that is counted, of which so much a month is included.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Price {
    included: f64,
    a_million: f64,
}

impl Price {
    /// What so much costs in a month.
    pub(super) fn of(self, amount: f64) -> f64 {
        self.each() * (amount - self.included).max(0.0)
    }

    /// What one more costs once what is included has been used.
    pub(super) fn each(self) -> f64 {
        self.a_million / 1e6
    }
}

impl Prices {
    pub(super) fn load() -> Result<Self> {
        toml::from_str(FILE).context("bench/prices.toml is not understood")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_included_costs_nothing() {
        let price = Price { included: 10.0, a_million: 2e6 };
        assert_eq!([0.0, 10.0, 11.5].map(|amount| price.of(amount)), [0.0, 0.0, 3.0]);
        assert_eq!(price.each(), 2.0);
    }

    #[test]
    fn the_file_is_understood_and_its_plans_are_in_order() {
        let prices = Prices::load().unwrap();
        assert!(prices.redis.fixed.is_sorted_by(|a, b| a.price < b.price && a.gb < b.gb));
        for source in [prices.workers.source, prices.objects.source, prices.redis.source, prices.realtime.source] {
            assert!(source.starts_with("https://"), "{source}");
        }
    }
}
