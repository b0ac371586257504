//! Counters of this process, as Prometheus text.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counted since the process started.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Requests answered, by HTTP status. A subscription counts when it is opened.
    requests: Mutex<BTreeMap<u16, u64>>,
    /// Commands sent to Redis, each of a pipeline counted.
    pub commands: Counter,
    /// Messages that came from Redis.
    pub messages: Counter,
    /// Messages handed to subscribers: messages × those who hear them.
    pub deliveries: Counter,
    /// Subscribers closed because they did not keep up.
    pub slow_closed: Counter,
    /// Connections made to Redis, the first ones included.
    pub redis_connections: Counter,
}

/// What is counted elsewhere and read at the moment of asking.
#[derive(Debug, Clone, Copy)]
pub struct Gauges {
    /// Open responses to `/subscribe`.
    pub subscriptions: usize,
    /// Channels that have one.
    pub channels: usize,
    /// Redis answers, on both connections.
    pub redis_up: bool,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `count` more.
    pub fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Metrics {
    /// Counts a request by the status of its answer.
    pub fn answered(&self, status: u16) {
        // A panic elsewhere while counting leaves a map that is still good to count in.
        let mut requests = self.requests.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *requests.entry(status).or_default() += 1;
    }

    /// The Prometheus text exposition format, version 0.0.4.
    pub fn render(&self, gauges: Gauges) -> String {
        let mut text = String::new();
        head(&mut text, "requests_total", "counter", "Requests answered, by HTTP status");
        let requests = self.requests.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (status, count) in requests.iter() {
            let _ = writeln!(text, "batchcast_gateway_requests_total{{status=\"{status}\"}} {count}");
        }
        drop(requests);
        let counters = [
            ("commands_total", "Commands sent to Redis", &self.commands),
            ("messages_total", "Messages that came from Redis", &self.messages),
            ("deliveries_total", "Messages handed to subscribers", &self.deliveries),
            ("slow_closed_total", "Subscribers closed because they did not keep up", &self.slow_closed),
            ("redis_connections_total", "Connections made to Redis", &self.redis_connections),
        ];
        for (name, help, counter) in counters {
            sample(&mut text, name, "counter", help, counter.value());
        }
        sample(&mut text, "subscriptions", "gauge", "Open responses to /subscribe", gauges.subscriptions as u64);
        sample(&mut text, "channels", "gauge", "Channels with an open response", gauges.channels as u64);
        sample(&mut text, "redis_up", "gauge", "Whether Redis answers", u64::from(gauges.redis_up));
        text
    }
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
        metrics.answered(200);
        metrics.answered(200);
        metrics.answered(401);
        metrics.deliveries.add(50);
        let text = metrics.render(Gauges { subscriptions: 3, channels: 2, redis_up: true });
        assert!(text.contains("batchcast_gateway_requests_total{status=\"200\"} 2\n"), "{text}");
        assert!(text.contains("batchcast_gateway_requests_total{status=\"401\"} 1\n"), "{text}");
        assert!(
            text.contains("# TYPE batchcast_gateway_deliveries_total counter\nbatchcast_gateway_deliveries_total 50\n")
        );
        assert!(text.contains("# TYPE batchcast_gateway_subscriptions gauge\nbatchcast_gateway_subscriptions 3\n"));
        assert!(text.ends_with("batchcast_gateway_redis_up 1\n"));
    }
}
