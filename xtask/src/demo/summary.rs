//! What a demo has shown, in figures.

use std::fmt;
use std::time::Duration;

use stack::Read;

use super::live::Watched;

/// Fewer live events than this say little about latency.
const FEW_EVENTS: usize = 5;

/// Everything that is printed at the end.
#[derive(Debug)]
pub(super) struct Summary {
    pub(super) batch_id: String,
    pub(super) took: Duration,
    pub(super) watched: Watched,
    /// Why uploads were refused.
    pub(super) refusals: Vec<String>,
    pub(super) halfway: Halfway,
    /// Reads of the database that the edge caused, from the first viewer to the end.
    pub(super) origin_reads: u64,
}

/// What was seen in mid-batch.
#[derive(Debug)]
pub(super) struct Halfway {
    /// The progress when it was seen, in percent.
    pub(super) progress: u8,
    /// Subscribers of the batch's channel that Redis counted.
    pub(super) redis_subscribers: u64,
    /// Subscribers of the batch's channel that the gateway counted.
    pub(super) gateway_subscribers: u64,
    /// The cached reads, in their order.
    pub(super) reads: Vec<Read>,
}

impl Summary {
    /// Whether at least one photo was analysed.
    pub(super) fn some_succeeded(&self) -> bool {
        matches!(self.watched.end.status.as_str(), "COMPLETED" | "PARTIAL")
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Watched { progress_events, complete_events, reopenings, latencies, end } = &self.watched;
        let Halfway { progress, redis_subscribers, gateway_subscribers, reads } = &self.halfway;
        for refusal in &self.refusals {
            writeln!(f, "Refused: {refusal}")?;
        }
        let counts = &end.counts;
        let seconds = self.took.as_secs_f64();
        writeln!(f, "Batch {} ended {} after {seconds:.1} s", self.batch_id, end.status)?;
        writeln!(f, "  photos             {} done, {} failed", counts.completed, counts.failed)?;
        writeln!(f, "  events received    progress {progress_events}, complete {complete_events}")?;
        if *reopenings > 0 {
            writeln!(f, "  stream reopened    {reopenings} times")?;
        }
        writeln!(f, "  commit to viewer   {}", latency_line(latencies))?;
        writeln!(f, "  subscriptions      Redis {redis_subscribers}, gateway {gateway_subscribers} (at {progress} %)")?;
        writeln!(f, "  database reads     {} caused by the edge", self.origin_reads)?;
        let hits = reads.iter().filter(|read| read.cache == "HIT").count();
        writeln!(f, "  cached reads       {hits} of {} were hits (at {progress} %)", reads.len())?;
        for (nth, read) in (1..).zip(reads) {
            let milliseconds = read.took.as_secs_f64() * 1000.0;
            writeln!(f, "    {nth:2}  {milliseconds:6.1} ms  {}  {}", read.cache, read.source)?;
        }
        Ok(())
    }
}

fn latency_line(latencies: &[Duration]) -> String {
    let mut sorted = latencies.to_vec();
    sorted.sort();
    let (Some(p50), Some(p99)) = (percentile(&sorted, 50), percentile(&sorted, 99)) else {
        return "unknown: no live event said when its commit was".into();
    };
    let few = if sorted.len() < FEW_EVENTS { ": few" } else { "" };
    let (p50, p99, events) = (p50.as_millis(), p99.as_millis(), sorted.len());
    format!("p50 {p50} ms, p99 {p99} ms ({events} live events{few}; a batch publishes at most every 50 ms)")
}

/// The smallest value that at least `percent` of the sorted values do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let sorted: Vec<Duration> = (1..=10).map(Duration::from_millis).collect();
        assert_eq!(percentile(&sorted, 50), Some(Duration::from_millis(5)));
        assert_eq!(percentile(&sorted, 99), Some(Duration::from_millis(10)));
        assert_eq!(percentile(&[], 99), None);
    }

    #[test]
    fn no_or_few_live_events_are_said_to_be_so() {
        assert!(latency_line(&[]).starts_with("unknown"));
        assert!(latency_line(&[Duration::from_millis(7)]).contains("few"));
    }
}
