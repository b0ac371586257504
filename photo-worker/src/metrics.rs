//! What the service counts, as Prometheus text.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use publisher::{LAG_BUCKETS_MS, Lag, Metrics as Published, SinkMetrics, metric_names as names};

/// Sinks that the settings may name. Each has its series from the start.
const SINKS: [&str; 2] = ["webhook", "slack"];

/// Counters of this process.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Batches read from the database by `GET /api/batches/:id`.
    pub origin_reads: AtomicU64,
    /// Files received.
    pub uploads: AtomicU64,
    /// Photos analysed.
    pub completed: AtomicU64,
    /// Photos given up, also those that never came.
    pub failed: AtomicU64,
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// All metrics in Prometheus' text format, version 0.0.4.
pub(crate) fn render(counters: &Counters, jobs_waiting: usize, published: &Published, sinks: &[SinkMetrics]) -> String {
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let mut text = String::new();
    counter(
        &mut text,
        "photo_worker_origin_reads_total",
        "Batches read from the database by GET /api/batches/:id.",
        &[("", load(&counters.origin_reads))],
    );
    counter(&mut text, "photo_worker_uploads_total", "Files received.", &[("", load(&counters.uploads))]);
    let photos =
        [(r#"{outcome="completed"}"#, load(&counters.completed)), (r#"{outcome="failed"}"#, load(&counters.failed))];
    counter(&mut text, "photo_worker_photos_total", "Photos analysed, and given up.", &photos);
    gauge(&mut text, "photo_worker_jobs_waiting", "Photos that wait for the pool.", jobs_waiting as u64);

    let one = |text: &mut String, name, value| counter(text, name, names::help(name), &[("", value)]);
    one(&mut text, names::NOTIFIES, published.notifies);
    let updates = [
        (r#"{outcome="applied"}"#, published.applied),
        (r#"{outcome="stale"}"#, published.stale),
        (r#"{outcome="needs-full"}"#, published.needs_full),
        (r#"{outcome="finished"}"#, published.finished),
        (r#"{outcome="unchanged"}"#, published.unchanged),
        (r#"{outcome="unknown"}"#, published.unknown),
        (r#"{outcome="invalid"}"#, published.invalid),
        (r#"{outcome="failed"}"#, published.failed),
        (r#"{outcome="unreachable"}"#, published.unreachable),
    ];
    counter(&mut text, names::UPDATES, names::help(names::UPDATES), &updates);
    one(&mut text, names::REPLACED, published.replaced);
    one(&mut text, names::CONNECTIONS_LOST, published.connections_lost);
    gauge(&mut text, names::BACKLOG, names::help(names::BACKLOG), published.backlog);
    lags(&mut text, &published.lag);
    told(&mut text, sinks);
    text
}

fn told(text: &mut String, sinks: &[SinkMetrics]) {
    let named = |name| sinks.iter().find(|sink| sink.sink == name).cloned().unwrap_or_default();
    let sinks = SINKS.map(|name| (name, named(name)));
    head(text, names::SINK_DELIVERIES, "counter", names::help(names::SINK_DELIVERIES));
    for (name, sink) in &sinks {
        for (outcome, value) in sink.outcomes() {
            let labels = format!("{{sink=\"{name}\",outcome=\"{outcome}\"}}");
            let _ = writeln!(text, "{}{labels} {value}", names::SINK_DELIVERIES);
        }
    }
    head(text, names::SINK_BACKLOG, "gauge", names::help(names::SINK_BACKLOG));
    for (name, sink) in &sinks {
        let _ = writeln!(text, "{}{{sink=\"{name}\"}} {}", names::SINK_BACKLOG, sink.backlog);
    }
}

// Writing into a String never fails.

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn counter(text: &mut String, name: &str, help: &str, series: &[(&str, u64)]) {
    head(text, name, "counter", help);
    for (labels, value) in series {
        let _ = writeln!(text, "{name}{labels} {value}");
    }
}

fn gauge(text: &mut String, name: &str, help: &str, value: u64) {
    head(text, name, "gauge", help);
    let _ = writeln!(text, "{name} {value}");
}

fn lags(text: &mut String, lag: &Lag) {
    let name = names::LAG;
    head(text, name, "histogram", names::help(name));
    let mut count = 0;
    for (at, within) in lag.counts.iter().enumerate() {
        count += within;
        let bound = LAG_BUCKETS_MS.get(at).map_or("+Inf".to_owned(), |ms| seconds(*ms).to_string());
        let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {count}");
    }
    let _ = writeln!(text, "{name}_sum {}\n{name}_count {count}", seconds(lag.sum_ms));
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_each_series_once_with_its_type() {
        let counters = Counters::default();
        count(&counters.origin_reads);
        let mut published = Published::default();
        (published.lag.counts[1], published.lag.counts[9], published.lag.sum_ms) = (2, 1, 40_008);
        let text = render(&counters, 3, &published, &[]);
        for line in [
            "# TYPE photo_worker_origin_reads_total counter",
            "photo_worker_origin_reads_total 1",
            "# TYPE photo_worker_jobs_waiting gauge",
            "photo_worker_jobs_waiting 3",
            "photo_worker_photos_total{outcome=\"failed\"} 0",
            "batchcast_publisher_updates_total{outcome=\"applied\"} 0",
            "# HELP batchcast_publisher_backlog Batches with an update that is not acknowledged yet.",
            "# TYPE batchcast_publisher_lag_seconds histogram",
            "batchcast_publisher_lag_seconds_bucket{le=\"0.001\"} 0",
            "batchcast_publisher_lag_seconds_bucket{le=\"30\"} 2",
            "batchcast_publisher_lag_seconds_bucket{le=\"+Inf\"} 3",
            "batchcast_publisher_lag_seconds_sum 40.008",
            "batchcast_publisher_lag_seconds_count 3",
            "# TYPE batchcast_sink_deliveries_total counter",
            "batchcast_sink_deliveries_total{sink=\"slack\",outcome=\"gave-up\"} 0",
            "batchcast_sink_backlog{sink=\"webhook\"} 0",
        ] {
            assert_eq!(text.lines().filter(|shown| *shown == line).count(), 1, "{line} in\n{text}");
        }
    }
}
