//! How long to wait before trying again.

use std::time::Duration;

/// The ceiling of the first pause.
const FIRST: Duration = Duration::from_millis(100);
/// The ceiling of every later pause at most.
const LONGEST: Duration = Duration::from_secs(5);

/// Exponential back-off with full jitter: after failure number `failures` (1: the first) anything up to 100 ms doubled
/// with each failure, at most 5 s. `share` in 0..=1 is the caller's random number.
///
/// Full jitter, because workers that lost the same Redis at the same moment shall not return at the same moment.
pub(crate) fn pause(failures: u32, share: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    (FIRST * 2_u32.pow(doublings)).min(LONGEST).mul_f64(share.clamp(0.0, 1.0))
}

/// A random pause for the shell; decisions under test pass their own share.
pub(crate) fn random_pause(failures: u32) -> Duration {
    pause(failures, rand::random())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_doubles_from_100_ms_to_5_s() {
        let ceilings: Vec<u128> = (1..=8).map(|n| pause(n, 1.0).as_millis()).collect();
        assert_eq!(ceilings, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(pause(u32::MAX, 1.0), LONGEST);
    }

    #[test]
    fn a_pause_may_be_any_share_of_its_ceiling() {
        assert_eq!(pause(3, 0.5), Duration::from_millis(200));
        assert_eq!(pause(3, 0.0), Duration::ZERO);
    }
}
