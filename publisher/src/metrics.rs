//! What the publisher counts: a snapshot for the program, and the same through the `metrics` facade.

use std::sync::atomic::{AtomicU64, Ordering};

/// Names in the `metrics` facade, after Prometheus' conventions.
///
/// ```
/// use batchcast_publisher::metric_names;
///
/// let alert = "rate(batchcast_publisher_connections_lost_total[5m]) > 0";
/// assert!(alert.contains(metric_names::CONNECTIONS_LOST)); // The rule watches something that is counted.
/// ```
pub mod names {
    /// Counter: calls of `notify` and `notify_final`.
    pub const NOTIFIES: &str = "batchcast_publisher_notifies_total";
    /// Counter: ends of updates by `outcome` (`applied`, `stale`, `needs-full`, `finished`, `unchanged`, `unknown`,
    /// `invalid`, `failed`, `unreachable`).
    pub const UPDATES: &str = "batchcast_publisher_updates_total";
    /// Counter: values under a batch's key that were no batch and were overwritten.
    pub const REPLACED: &str = "batchcast_publisher_replaced_total";
    /// Counter: connections to Redis that were lost.
    pub const CONNECTIONS_LOST: &str = "batchcast_publisher_connections_lost_total";
    /// Gauge: batches with an update that is not acknowledged yet.
    pub const BACKLOG: &str = "batchcast_publisher_backlog";
    /// Histogram: seconds from the earliest notify covered to the acknowledgement of an applied update.
    pub const LAG: &str = "batchcast_publisher_lag_seconds";

    /// Counter: attempts to tell a sink, by `sink` (its name) and `outcome` (`delivered`, `known`, `failed`, `gave-up`,
    /// `dropped`).
    pub const SINK_DELIVERIES: &str = "batchcast_sink_deliveries_total";
    /// Gauge: batches with something that a sink was not told yet, by `sink`.
    pub const SINK_BACKLOG: &str = "batchcast_sink_backlog";

    /// What each of them counts, in words for operators.
    pub const HELP: [(&str, &str); 8] = [
        (NOTIFIES, "Calls of notify and notify_final."),
        (UPDATES, "Ends of updates, by outcome."),
        (REPLACED, "Values under a batch's key that were no batch and were overwritten."),
        (CONNECTIONS_LOST, "Connections to Redis that were lost."),
        (BACKLOG, "Batches with an update that is not acknowledged yet."),
        (LAG, "Time from the earliest notify covered to the acknowledgement of an applied update."),
        (SINK_DELIVERIES, "Attempts to tell a sink, by sink and outcome."),
        (SINK_BACKLOG, "Batches with something that a sink was not told yet."),
    ];

    /// The words of [`HELP`] for one of them; empty for any other name.
    ///
    /// ```
    /// use batchcast_publisher::metric_names::{BACKLOG, help};
    ///
    /// // For an exporter of one's own.
    /// let line = format!("# HELP {BACKLOG} {}", help(BACKLOG));
    /// assert!(line.ends_with("Batches with an update that is not acknowledged yet."));
    /// assert_eq!(help("another"), "");
    /// ```
    #[must_use]
    pub fn help(name: &str) -> &'static str {
        HELP.iter().find(|(known, _)| *known == name).map_or("", |(_, help)| help)
    }
}

/// Upper bounds of the buckets of [`Lag`], in milliseconds: those of the edge's latencies, and two for outages.
pub const LAG_BUCKETS_MS: [u64; 9] = [1, 5, 10, 50, 100, 500, 1_000, 5_000, 30_000];

/// Times from the earliest notify covered to the acknowledgement of an applied update.
///
/// ```
/// use batchcast_publisher::{LAG_BUCKETS_MS, Lag};
///
/// /// How many updates took no more than 100 ms.
/// fn quick(lag: &Lag) -> u64 {
///     LAG_BUCKETS_MS.iter().zip(lag.counts).filter(|(bound, _)| **bound <= 100).map(|(_, count)| count).sum()
/// }
/// assert_eq!(quick(&Lag::default()), 0);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lag {
    /// How many took so long: one count a bucket of [`LAG_BUCKETS_MS`], the last beyond.
    pub counts: [u64; LAG_BUCKETS_MS.len() + 1],
    /// The sum of all, in milliseconds.
    pub sum_ms: u64,
}

/// A snapshot of this publisher's counters since it was made.
///
/// ```
/// use batchcast_publisher::Metrics;
///
/// /// For the worker's health check: updates wait, and attempts to send them got no answer.
/// fn is_stuck(before: &Metrics, now: &Metrics) -> bool {
///     now.backlog > 0 && now.unreachable > before.unreachable && now.applied == before.applied
/// }
/// assert!(!is_stuck(&Metrics::default(), &Metrics::default()));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Calls of `notify` and `notify_final` that the background task has seen.
    pub notifies: u64,
    /// Updates and calls of a tracker, written and announced.
    pub applied: u64,
    /// Updates and calls of a tracker that told Redis nothing new.
    pub stale: u64,
    /// Updates that Redis could not continue; each was followed by the whole state.
    pub needs_full: u64,
    /// Updates of a batch whose stored state has ended in the same epoch; calls of a tracker that came after its end.
    pub finished: u64,
    /// Reads of the source that showed nothing new.
    pub unchanged: u64,
    /// Batches that the source does not know; calls of a tracker about a batch or photo that Redis does not.
    pub unknown: u64,
    /// States that break a rule and were not sent.
    pub invalid: u64,
    /// Updates that failed for one batch: the source's error, or Redis' no.
    pub failed: u64,
    /// Updates without an answer from Redis, or without a connection to it.
    pub unreachable: u64,
    /// Values under a batch's key that were no batch and were overwritten.
    pub replaced: u64,
    /// Connections to Redis that were made.
    pub connections: u64,
    /// Connections to Redis that were lost.
    pub connections_lost: u64,
    /// Batches with an update that is not acknowledged yet, now.
    pub backlog: u64,
    /// How long applied updates took.
    pub lag: Lag,
}

/// How an update ended, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Applied,
    Stale,
    NeedsFull,
    Finished,
    Unchanged,
    Unknown,
    Invalid,
    Failed,
    Unreachable,
}

impl Ended {
    fn label(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Stale => "stale",
            Self::NeedsFull => "needs-full",
            Self::Finished => "finished",
            Self::Unchanged => "unchanged",
            Self::Unknown => "unknown",
            Self::Invalid => "invalid",
            Self::Failed => "failed",
            Self::Unreachable => "unreachable",
        }
    }
}

/// The counters behind [`Metrics`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    notifies: AtomicU64,
    ended: [AtomicU64; 9],
    replaced: AtomicU64,
    lost: AtomicU64,
    backlog: AtomicU64,
    lags: [AtomicU64; LAG_BUCKETS_MS.len() + 1],
    lag_sum_ms: AtomicU64,
}

impl Counters {
    pub(crate) fn notified(&self, calls: u64) {
        add(&self.notifies, names::NOTIFIES, calls);
    }

    pub(crate) fn ended(&self, how: Ended) {
        self.ended[how as usize].fetch_add(1, Ordering::Relaxed);
        metrics::counter!(names::UPDATES, "outcome" => how.label()).increment(1);
    }

    pub(crate) fn replaced(&self) {
        add(&self.replaced, names::REPLACED, 1);
    }

    pub(crate) fn lost(&self) {
        add(&self.lost, names::CONNECTIONS_LOST, 1);
    }

    pub(crate) fn backlog(&self, batches: usize) {
        self.backlog.store(batches as u64, Ordering::Relaxed);
        metrics::gauge!(names::BACKLOG).set(f64::from(u32::try_from(batches).unwrap_or(u32::MAX)));
    }

    /// An applied update was acknowledged so long after its earliest notify.
    #[allow(clippy::cast_precision_loss, reason = "a lag in milliseconds fits a float's 53 bits")]
    pub(crate) fn lag(&self, ms: u64) {
        let bucket = LAG_BUCKETS_MS.iter().position(|bound| ms <= *bound).unwrap_or(LAG_BUCKETS_MS.len());
        self.lags[bucket].fetch_add(1, Ordering::Relaxed);
        self.lag_sum_ms.fetch_add(ms, Ordering::Relaxed);
        metrics::histogram!(names::LAG).record(ms as f64 / 1_000.0);
    }

    pub(crate) fn snapshot(&self, connections: u64) -> Metrics {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let ended = |how: Ended| load(&self.ended[how as usize]);
        Metrics {
            notifies: load(&self.notifies),
            applied: ended(Ended::Applied),
            stale: ended(Ended::Stale),
            needs_full: ended(Ended::NeedsFull),
            finished: ended(Ended::Finished),
            unchanged: ended(Ended::Unchanged),
            unknown: ended(Ended::Unknown),
            invalid: ended(Ended::Invalid),
            failed: ended(Ended::Failed),
            unreachable: ended(Ended::Unreachable),
            replaced: load(&self.replaced),
            connections,
            connections_lost: load(&self.lost),
            backlog: load(&self.backlog),
            lag: Lag { counts: self.lags.each_ref().map(load), sum_ms: load(&self.lag_sum_ms) },
        }
    }
}

/// Tells the `metrics` facade's recorder, if there is one already, what each name counts and in which unit.
pub(crate) fn describe() {
    use metrics::Unit;
    for name in [names::NOTIFIES, names::UPDATES, names::REPLACED, names::CONNECTIONS_LOST, names::SINK_DELIVERIES] {
        metrics::describe_counter!(name, Unit::Count, names::help(name));
    }
    for name in [names::BACKLOG, names::SINK_BACKLOG] {
        metrics::describe_gauge!(name, Unit::Count, names::help(name));
    }
    metrics::describe_histogram!(names::LAG, Unit::Seconds, names::help(names::LAG));
}

fn add(counter: &AtomicU64, name: &'static str, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
    metrics::counter!(name).increment(by);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lag_counts_in_the_first_bucket_that_holds_it() {
        let counters = Counters::default();
        [0, 1, 2, 30_000, 30_001].into_iter().for_each(|ms| counters.lag(ms));
        let lag = counters.snapshot(0).lag;
        assert_eq!((lag.counts, lag.sum_ms), ([2, 1, 0, 0, 0, 0, 0, 0, 1, 1], 60_004));
    }

    #[test]
    fn every_name_has_its_words() {
        use names::{BACKLOG, CONNECTIONS_LOST, LAG, NOTIFIES, REPLACED, SINK_BACKLOG, SINK_DELIVERIES, UPDATES};
        let of_sinks = [SINK_DELIVERIES, SINK_BACKLOG];
        for name in [NOTIFIES, UPDATES, REPLACED, CONNECTIONS_LOST, BACKLOG, LAG].into_iter().chain(of_sinks) {
            assert_ne!(names::help(name), "", "{name}");
        }
        assert_eq!(names::help("evil"), "");
    }
}
