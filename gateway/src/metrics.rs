//! Counters of this process, as Prometheus text.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the buckets of request times, in microseconds.
const BUCKETS_US: [u64; 10] = [500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 1_000_000, 10_000_000];

/// Counted since the process started.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Requests,
    /// Commands sent to Redis, each of a pipeline counted.
    pub commands: Counter,
    /// Messages that came from Redis.
    pub messages: Counter,
    /// Messages handed to subscribers: messages × those who hear them.
    pub deliveries: Counter,
    /// Messages that went to nobody, because those before could not be written fast enough.
    pub dropped: Counter,
    /// Subscribers closed because they did not keep up.
    pub slow_closed: Counter,
    /// Connections made to Redis, the first ones included.
    pub redis_connections: Counter,
}

/// Requests answered. A subscription counts when it is opened.
#[derive(Debug)]
struct Requests {
    /// By HTTP status, from 100 on.
    by_status: [Counter; 500],
    /// By time, each up to its bound; the last has no bound.
    by_time: [Counter; BUCKETS_US.len() + 1],
    time_us: Counter,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            by_status: [const { Counter(AtomicU64::new(0)) }; 500],
            by_time: [const { Counter(AtomicU64::new(0)) }; BUCKETS_US.len() + 1],
            time_us: Counter::default(),
        }
    }
}

/// What is counted elsewhere and read at the moment of asking.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gauges {
    /// Open responses to `/subscribe` and `/psubscribe`.
    pub subscriptions: usize,
    /// Channels and patterns that have one.
    pub topics: usize,
    /// Open responses to `/monitor`.
    pub monitors: usize,
    /// Requests that are being answered.
    pub requests: usize,
    /// Redis answers, on both connections.
    pub redis_up: bool,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Counts `count` more.
    pub(crate) fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Metrics {
    /// Counts a request by the status of its answer, and by the time until then.
    pub(crate) fn answered(&self, status: u16, took: Duration) {
        let us = took.as_micros() as u64;
        if let Some(counter) = self.requests.by_status.get(usize::from(status).saturating_sub(100)) {
            counter.add(1);
        }
        let bucket = BUCKETS_US.iter().position(|bound| us <= *bound).unwrap_or(BUCKETS_US.len());
        self.requests.by_time[bucket].add(1);
        self.requests.time_us.0.fetch_add(us, Ordering::Relaxed);
    }

    /// The Prometheus text exposition format, version 0.0.4.
    pub(crate) fn render(&self, gauges: Gauges) -> String {
        let mut text = String::new();
        self.requests.render(&mut text);
        let counters = [
            ("commands_total", "Commands sent to Redis", &self.commands),
            ("messages_total", "Messages that came from Redis", &self.messages),
            ("deliveries_total", "Messages handed to subscribers", &self.deliveries),
            (
                "dropped_total",
                "Messages dropped, and subscribers told so, because writing could not keep up",
                &self.dropped,
            ),
            ("slow_closed_total", "Subscribers closed because they did not keep up", &self.slow_closed),
            ("redis_connections_total", "Connections made to Redis", &self.redis_connections),
        ];
        for (name, help, counter) in counters {
            sample(&mut text, name, "counter", help, counter.value());
        }
        let gauges = [
            ("subscriptions", "Open responses to /subscribe and /psubscribe", gauges.subscriptions as u64),
            ("topics", "Channels and patterns with an open response", gauges.topics as u64),
            ("monitors", "Open responses to /monitor", gauges.monitors as u64),
            ("requests_in_flight", "Requests that are being answered", gauges.requests as u64),
            ("redis_up", "Whether Redis answers", u64::from(gauges.redis_up)),
        ];
        for (name, help, value) in gauges {
            sample(&mut text, name, "gauge", help, value);
        }
        text
    }
}

impl Requests {
    fn render(&self, text: &mut String) {
        head(text, "requests_total", "counter", "Requests answered, by HTTP status");
        for (status, count) in (100..).zip(&self.by_status).filter(|(_, count)| count.value() > 0) {
            let _ = writeln!(text, "batchcast_gateway_requests_total{{status=\"{status}\"}} {}", count.value());
        }
        const NAME: &str = "request_duration_seconds";
        head(text, NAME, "histogram", "Time from a request's head to that of its answer");
        let mut count = 0;
        for (at, counter) in self.by_time.iter().enumerate() {
            count += counter.value();
            let bound = BUCKETS_US.get(at).map_or("+Inf".to_owned(), |us| seconds(*us).to_string());
            let _ = writeln!(text, "batchcast_gateway_{NAME}_bucket{{le=\"{bound}\"}} {count}");
        }
        let _ = writeln!(text, "batchcast_gateway_{NAME}_sum {}", seconds(self.time_us.value()));
        let _ = writeln!(text, "batchcast_gateway_{NAME}_count {count}");
    }
}

fn seconds(us: u64) -> f64 {
    Duration::from_micros(us).as_secs_f64()
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "# HELP batchcast_gateway_{name} {help}.\n# TYPE batchcast_gateway_{name} {kind}");
}

fn sample(text: &mut String, name: &str, kind: &str, help: &str, value: u64) {
    head(text, name, kind, help);
    let _ = writeln!(text, "batchcast_gateway_{name} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_has_its_type_and_value() {
        let metrics = Metrics::default();
        metrics.answered(200, Duration::from_millis(2));
        metrics.answered(200, Duration::from_secs(60));
        metrics.answered(401, Duration::ZERO);
        metrics.deliveries.add(50);
        let gauges = Gauges { subscriptions: 3, topics: 2, monitors: 0, requests: 0, redis_up: true };
        let text = metrics.render(gauges);
        for line in [
            "batchcast_gateway_requests_total{status=\"200\"} 2",
            "batchcast_gateway_requests_total{status=\"401\"} 1",
            "batchcast_gateway_request_duration_seconds_bucket{le=\"0.001\"} 1",
            "batchcast_gateway_request_duration_seconds_bucket{le=\"0.0025\"} 2",
            "batchcast_gateway_request_duration_seconds_bucket{le=\"+Inf\"} 3",
            "batchcast_gateway_request_duration_seconds_sum 60.002",
            "batchcast_gateway_request_duration_seconds_count 3",
            "# TYPE batchcast_gateway_deliveries_total counter",
            "batchcast_gateway_deliveries_total 50",
            "# TYPE batchcast_gateway_subscriptions gauge",
            "batchcast_gateway_subscriptions 3",
            "batchcast_gateway_redis_up 1",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in {text}");
        }
    }
}
