//! How fast bytes may leave. Holds when the next may; refuses to read a clock.

use std::time::{Duration, Instant};

/// Pieces are what leaves in this time.
const PIECE: Duration = Duration::from_millis(10);
/// So much lateness of the timer is made up for; longer silence is no credit for a burst.
const MAX_LATENESS: Duration = Duration::from_millis(20);

/// The pace of one connection.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    free_at: Option<Instant>,
}

impl Pace {
    /// How many bytes may leave now, or from when on some may.
    pub(crate) fn allowance(&self, bytes_per_second: u32, now: Instant) -> Result<usize, Instant> {
        match self.free_at {
            Some(free_at) if free_at > now => Err(free_at),
            _ => Ok(piece_bytes(bytes_per_second)),
        }
    }

    /// `bytes` have left.
    pub(crate) fn sent(&mut self, bytes: usize, bytes_per_second: u32, now: Instant) {
        let earliest = now.checked_sub(MAX_LATENESS).unwrap_or(now);
        let from = self.free_at.unwrap_or(now).max(earliest);
        self.free_at = Some(from + Duration::from_secs_f64(bytes as f64 / f64::from(bytes_per_second.max(1))));
    }
}

fn piece_bytes(bytes_per_second: u32) -> usize {
    (f64::from(bytes_per_second) * PIECE.as_secs_f64()).max(1.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long `total` bytes take, with a timer that is late by one millisecond each time.
    fn duration(total: usize, bytes_per_second: u32) -> Duration {
        let (mut pace, start, mut left) = (Pace::default(), Instant::now(), total);
        let mut now = start;
        while left > 0 {
            match pace.allowance(bytes_per_second, now) {
                Ok(piece) => {
                    pace.sent(piece.min(left), bytes_per_second, now);
                    left -= piece.min(left);
                }
                Err(free_at) => now = free_at + Duration::from_millis(1),
            }
        }
        now - start
    }

    #[test]
    fn bytes_leave_at_the_rate() {
        for (total, rate) in [(3, 1), (100, 50), (5_000, 1_000), (10_000_000, 2_000_000)] {
            let (took, exact) = (duration(total, rate).as_secs_f64(), total as f64 / f64::from(rate));
            assert!(took > exact * 0.6 && took < exact * 1.05, "{total} bytes at {rate}/s took {took} s");
        }
    }

    #[test]
    fn silence_is_no_credit_for_a_burst() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        pace.sent(10, 1_000, start);
        let later = start + Duration::from_secs(60);
        for _ in 0..4 {
            pace.sent(pace.allowance(1_000, later).unwrap(), 1_000, later);
            if pace.allowance(1_000, later).is_err() {
                return;
            }
        }
        panic!("more than 40 bytes at once");
    }
}
