//! What a room counts. Plain numbers, handed over and begun anew; names and storage are the shell's.

use wire::{metrics::LATENCY_BUCKETS_MS, replica::Received};

use crate::Millis;

/// The longest latency that is counted as one. What took longer was held up by an outage, or the clocks differ.
pub const LONGEST_LATENCY: Millis = 60_000;
/// Clocks that differ by less are in order.
const CLOCKS_APART: Millis = 1_000;

/// Counted since the last [`Counters::take`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Events written to viewers.
    pub events: u64,
    /// Events that covered more than one update because their viewer's stream was full.
    pub conflated: u64,
    /// Times at which something was found missing: several messages behind one gap count once.
    pub gaps: u64,
    /// Upstream subscriptions opened again.
    pub reconnects: u64,
    /// Live events by the time from commit to write: one count a bucket of [`LATENCY_BUCKETS_MS`], the last beyond.
    pub latency: [u64; LATENCY_BUCKETS_MS.len() + 1],
    /// Sum of those times, in milliseconds.
    pub latency_sum_ms: u64,
    /// Live events whose time was no latency: a commit in the future, or one longer ago than [`LONGEST_LATENCY`].
    pub latency_clamped: u64,
    /// Streams closed because nothing had changed for long.
    pub forgotten: u64,
    /// Streams closed because the token behind them had expired.
    pub expired: u64,
    /// Channel messages, by what they did.
    pub messages: Messages,
}

/// Channel messages by what they did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Messages {
    /// News.
    pub applied: u64,
    /// Known already.
    pub dropped: u64,
    /// Kept for a read under way.
    pub held: u64,
    /// An update before it was missed.
    pub gap: u64,
    /// Led to a read of the hash.
    pub reread: u64,
    /// Pings, our own and those of other objects.
    pub ping: u64,
    /// Not ours.
    pub unknown: u64,
}

impl Counters {
    /// Hands over what was counted and begins anew.
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Adds what another one counted.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.conflated += other.conflated;
        self.gaps += other.gaps;
        self.reconnects += other.reconnects;
        self.latency.iter_mut().zip(other.latency).for_each(|(mine, theirs)| *mine += theirs);
        self.latency_sum_ms += other.latency_sum_ms;
        self.latency_clamped += other.latency_clamped;
        self.forgotten += other.forgotten;
        self.expired += other.expired;
        let (mine, theirs) = (&mut self.messages, &other.messages);
        mine.applied += theirs.applied;
        mine.dropped += theirs.dropped;
        mine.held += theirs.held;
        mine.gap += theirs.gap;
        mine.reread += theirs.reread;
        mine.ping += theirs.ping;
        mine.unknown += theirs.unknown;
    }

    /// `events` live events of a commit at `at` left at `now`. The clock of who committed may be another one's: what
    /// can't be a latency is clamped, and counted as clamped.
    pub(crate) fn latency(&mut self, at: Millis, now: Millis, events: u64) {
        let latency = now.saturating_sub(at).min(LONGEST_LATENCY);
        if at > now + CLOCKS_APART || now > at.saturating_add(LONGEST_LATENCY) {
            self.latency_clamped += events;
        }
        let bucket = LATENCY_BUCKETS_MS.iter().position(|bound| latency <= *bound).unwrap_or(LATENCY_BUCKETS_MS.len());
        self.latency[bucket] += events;
        self.latency_sum_ms += latency * events;
    }

    pub(crate) fn received(&mut self, received: Received) {
        let count = match received {
            Received::Applied => &mut self.messages.applied,
            Received::Dropped => &mut self.messages.dropped,
            Received::Held => &mut self.messages.held,
            Received::Gap => &mut self.messages.gap,
            Received::Reread => &mut self.messages.reread,
        };
        *count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_counts_in_the_first_bucket_that_holds_it() {
        let mut counters = Counters::default();
        for latency in [0, 1, 2, 1_000, 1_001] {
            counters.latency(5_000 - latency, 5_000, 2);
        }
        assert_eq!(counters.latency, [4, 2, 0, 0, 0, 0, 2, 2]);
        assert_eq!((counters.latency_sum_ms, counters.latency_clamped), (2 * 2_004, 0));
    }

    #[test]
    fn what_a_wrong_clock_says_is_clamped_and_counted() {
        const HOUR: Millis = 3_600_000;
        let (mut counters, now) = (Counters::default(), 10 * HOUR);
        counters.latency(now + HOUR, now, 1);
        assert_eq!((counters.latency[0], counters.latency_sum_ms, counters.latency_clamped), (1, 0, 1));
        counters.latency(now - HOUR, now, 1);
        assert_eq!((counters.latency_sum_ms, counters.latency_clamped), (LONGEST_LATENCY, 2));
        counters.latency(now + CLOCKS_APART, now, 1);
        assert_eq!(counters.latency_clamped, 2);
        counters.latency(u64::MAX, now, 1);
        assert_eq!(counters.latency_clamped, 3);
    }
}
