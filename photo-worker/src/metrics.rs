//! What the service counts, as Prometheus text.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
};

use publisher::{Metrics as Published, metric_names as names};

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
pub(crate) fn render(counters: &Counters, jobs_waiting: usize, published: &Published) -> String {
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let mut text = String::new();
    counter(&mut text, "photo_worker_origin_reads_total", &[("", load(&counters.origin_reads))]);
    counter(&mut text, "photo_worker_uploads_total", &[("", load(&counters.uploads))]);
    let photos =
        [(r#"{outcome="completed"}"#, load(&counters.completed)), (r#"{outcome="failed"}"#, load(&counters.failed))];
    counter(&mut text, "photo_worker_photos_total", &photos);
    gauge(&mut text, "photo_worker_jobs_waiting", jobs_waiting as u64);

    counter(&mut text, names::NOTIFIES, &[("", published.notifies)]);
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
    counter(&mut text, names::UPDATES, &updates);
    counter(&mut text, names::REPLACED, &[("", published.replaced)]);
    counter(&mut text, names::CONNECTIONS_LOST, &[("", published.connections_lost)]);
    gauge(&mut text, names::BACKLOG, published.backlog);
    text
}

fn counter(text: &mut String, name: &str, series: &[(&str, u64)]) {
    // Writing into a String never fails.
    let _ = writeln!(text, "# TYPE {name} counter");
    for (labels, value) in series {
        let _ = writeln!(text, "{name}{labels} {value}");
    }
}

fn gauge(text: &mut String, name: &str, value: u64) {
    let _ = writeln!(text, "# TYPE {name} gauge\n{name} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_each_series_once_with_its_type() {
        let counters = Counters::default();
        count(&counters.origin_reads);
        let text = render(&counters, 3, &Published::default());
        assert!(
            text.starts_with("# TYPE photo_worker_origin_reads_total counter\nphoto_worker_origin_reads_total 1\n")
        );
        assert!(text.contains("# TYPE photo_worker_jobs_waiting gauge\nphoto_worker_jobs_waiting 3\n"));
        assert!(text.contains("photo_worker_photos_total{outcome=\"failed\"} 0\n"));
        assert!(text.contains("batchcast_publisher_updates_total{outcome=\"applied\"} 0\n"));
    }
}
