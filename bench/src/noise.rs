//! How still the machine is: what the same work and the same sleep take, time and again.

use std::time::{Duration, Instant};
use std::{fs, hint, thread};

use serde::{Deserialize, Serialize};

use crate::sample::percentile;

/// How often the work is done.
const WORKS: usize = 50;

/// How much there is of it: some ten milliseconds.
const STEPS_OF_A_WORK: u64 = 10_000_000;

const SLEEPS: usize = 200;
const SLEEP: Duration = Duration::from_millis(1);

/// What was seen before and after a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Noise {
    /// When, and of which commit: that of the scenarios that were measured in between.
    pub(crate) measured: String,
    before: Look,
    after: Look,
}

/// What was seen at one moment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Look {
    /// How long the same work takes.
    work_ms: Spread,
    /// By how much a sleep of 1 ms is too long.
    late_ms: Spread,
    /// The load average of the last minute, where it can be read.
    load: Option<f64>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Spread {
    min: f64,
    median: f64,
    p99: f64,
    max: f64,
}

impl Noise {
    pub(crate) fn new(measured: &str, before: Look, after: Look) -> Self {
        Self { measured: measured.to_owned(), before, after }
    }

    /// Its line of the report.
    pub(crate) fn line(&self) -> String {
        format!("before the run {}; after it {}", self.before.text(), self.after.text())
    }
}

impl Look {
    /// Takes about a second, and one processor.
    pub(crate) fn now() -> Self {
        let load = fs::read_to_string("/proc/loadavg").ok();
        let load = load.and_then(|text| text.split(' ').next()?.parse().ok());
        let mut works: Vec<u64> = (0..WORKS).map(|_| micros(work)).collect();
        let mut lates: Vec<u64> = (0..SLEEPS).map(|_| micros(|| thread::sleep(SLEEP))).collect();
        lates.iter_mut().for_each(|slept| *slept = slept.saturating_sub(micros_of(SLEEP)));
        Self { work_ms: Spread::of(&mut works), late_ms: Spread::of(&mut lates), load }
    }

    pub(crate) fn text(&self) -> String {
        let Self { work_ms: work, late_ms: late, load } = self;
        let load = load.map(|load| format!(", with a load average of {load}")).unwrap_or_default();
        format!(
            "the same work took {:.1} ms at least, {:.1} ms in the middle and {:.1} ms at most of {WORKS} times, and a \
             sleep of 1 ms was {:.2} ms late in the middle, {:.2} ms at p99 and {:.2} ms at most of {SLEEPS}{load}",
            work.min, work.median, work.max, late.median, late.p99, late.max
        )
    }
}

impl Spread {
    fn of(micros: &mut [u64]) -> Self {
        let mut ms = |share| percentile(micros, share) as f64 / 1e3;
        Self { min: ms(0.0), median: ms(0.5), p99: ms(0.99), max: ms(1.0) }
    }
}

/// Whole numbers, each step needing the one before: it takes what the processor takes, and no memory.
fn work() {
    let step = |state: u64, _| (state ^ (state << 13)).wrapping_mul(0x2545_f491_4f6c_dd1d).rotate_left(7);
    hint::black_box((0..hint::black_box(STEPS_OF_A_WORK)).fold(88_172_645_463_325_252, step));
}

fn micros(of: impl FnOnce()) -> u64 {
    let begun = Instant::now();
    of();
    micros_of(begun.elapsed())
}

fn micros_of(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_both_moments() {
        let spread = |ms| Spread { min: ms, median: 2.0 * ms, p99: 3.0 * ms, max: 4.0 * ms };
        let look = |ms, load| Look { work_ms: spread(ms), late_ms: spread(ms / 100.0), load };
        let line = Noise::new("today", look(10.0, Some(0.25)), look(20.0, None)).line();
        assert!(line.starts_with("before the run the same work took 10.0 ms at least, 20.0 ms in the middle and 40.0"));
        assert!(line.contains("0.20 ms late in the middle, 0.30 ms at p99 and 0.40 ms at most of 200, with a load"));
        assert!(line.contains("; after it the same work took 20.0 ms at least"));
    }

    #[test]
    fn a_spread_is_of_what_was_measured() {
        let Spread { min, median, p99, max } = Spread::of(&mut (1..=1_000).rev().collect::<Vec<u64>>());
        assert_eq!([min, median, p99, max], [0.001, 0.5, 0.99, 1.0]);
    }
}
