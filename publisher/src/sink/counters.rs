//! What is counted of one sink: a snapshot for the program, and the same through the `metrics` facade.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::metrics::names;

/// What was told to one sink since the publisher was made; of [`crate::Publisher::sink_metrics`].
///
/// ```no_run
#[doc = include_str!("../examples/publisher.txt")]
/// let lost: u64 = publisher.sink_metrics().iter().map(|sink| sink.gave_up + sink.dropped).sum();
/// if lost > 0 {
///     eprintln!("{lost} times somebody was not told: look into the log");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SinkMetrics {
    /// The sink's name.
    pub sink: String,
    /// States that it was told.
    pub delivered: u64,
    /// States that it had been told: by another worker, or before a restart.
    pub known: u64,
    /// Attempts that failed and are repeated.
    pub failed: u64,
    /// States that were given up.
    pub gave_up: u64,
    /// Batches that were not taken in because too many waited.
    pub dropped: u64,
    /// Batches with something that it was not told yet, now.
    pub backlog: u64,
}

impl SinkMetrics {
    /// How often each `outcome` was counted, by its label.
    ///
    /// ```
    /// use batchcast_publisher::SinkMetrics;
    ///
    /// let mut sink = SinkMetrics::default();
    /// (sink.sink, sink.delivered) = ("mail".to_owned(), 3);
    /// let lines = sink.outcomes().map(|(outcome, count)| format!("{} {outcome}: {count}", sink.sink));
    /// assert_eq!(lines[0], "mail delivered: 3");
    /// ```
    pub fn outcomes(&self) -> [(&'static str, u64); 5] {
        let counts = [self.delivered, self.known, self.failed, self.gave_up, self.dropped];
        std::array::from_fn(|at| (SinkEnded::ALL[at].label(), counts[at]))
    }
}

/// How an attempt to tell a sink ended, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SinkEnded {
    Delivered,
    Known,
    Failed,
    GaveUp,
    Dropped,
}

impl SinkEnded {
    /// In the order of their numbers.
    const ALL: [Self; 5] = [Self::Delivered, Self::Known, Self::Failed, Self::GaveUp, Self::Dropped];

    fn label(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Known => "known",
            Self::Failed => "failed",
            Self::GaveUp => "gave-up",
            Self::Dropped => "dropped",
        }
    }
}

/// The counters behind [`SinkMetrics`].
#[derive(Debug)]
pub(crate) struct SinkCounters {
    name: String,
    ended: [AtomicU64; SinkEnded::ALL.len()],
    backlog: AtomicU64,
}

impl SinkCounters {
    /// Every series is there from the start.
    pub(crate) fn new(name: &str) -> Self {
        for how in SinkEnded::ALL {
            metrics::counter!(names::SINK_DELIVERIES, "sink" => name.to_owned(), "outcome" => how.label()).absolute(0);
        }
        let counters = Self { name: name.to_owned(), ended: Default::default(), backlog: AtomicU64::default() };
        counters.backlog(0);
        counters
    }

    pub(crate) fn ended(&self, how: SinkEnded) {
        self.ended[how as usize].fetch_add(1, Ordering::Relaxed);
        let labels = [("sink", self.name.clone()), ("outcome", how.label().to_owned())];
        metrics::counter!(names::SINK_DELIVERIES, &labels).increment(1);
    }

    pub(crate) fn backlog(&self, batches: usize) {
        self.backlog.store(batches as u64, Ordering::Relaxed);
        let gauge = metrics::gauge!(names::SINK_BACKLOG, "sink" => self.name.clone());
        gauge.set(f64::from(u32::try_from(batches).unwrap_or(u32::MAX)));
    }

    pub(crate) fn snapshot(&self) -> SinkMetrics {
        let ended = |how: SinkEnded| self.ended[how as usize].load(Ordering::Relaxed);
        SinkMetrics {
            sink: self.name.clone(),
            delivered: ended(SinkEnded::Delivered),
            known: ended(SinkEnded::Known),
            failed: ended(SinkEnded::Failed),
            gave_up: ended(SinkEnded::GaveUp),
            dropped: ended(SinkEnded::Dropped),
            backlog: self.backlog.load(Ordering::Relaxed),
        }
    }
}
