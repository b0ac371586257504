//! Figures of several runs: their middle and their spread.

use serde::{Deserialize, Serialize};

/// The same figure, measured once a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Sample(pub(crate) Vec<f64>);

impl Sample {
    /// The middle one; between two, their mean.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => sorted[odd / 2],
            even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
        }
    }

    pub(crate) fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub(crate) fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }
}

/// The value below which `share` of all lie (nearest rank). Sorts; 0 of none.
pub(crate) fn percentile<T: Ord + Copy + Default>(values: &mut [T], share: f64) -> T {
    values.sort_unstable();
    let rank = (share * values.len() as f64).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// The power by which the second of each pair grows with the first: the slope through their logarithms, by least
/// squares. Not a number of fewer than two sizes.
pub(crate) fn exponent(points: &[(f64, f64)]) -> f64 {
    slope(&points.iter().map(|&(x, y)| (x.ln(), y.ln())).collect::<Vec<_>>())
}

/// The slope of the straight line that fits best (least squares). Not a number of fewer than two places.
pub(crate) fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / count, y + point.1 / count));
    let covariance: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let variance: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    covariance / variance
}

/// How many of these times, which are in order, lie within the busiest such span, whenever it begins.
pub(crate) fn busiest(times: &[u64], span: u64) -> usize {
    let within = |from: usize| times[from..].partition_point(|at| *at < times[from] + span);
    (0..times.len()).map(within).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(Sample(vec![3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(Sample(vec![4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        assert!(Sample::default().median().is_nan());
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let mut values: Vec<u64> = (1..=100).rev().collect();
        assert_eq!(percentile(&mut values, 0.99), 99);
        assert_eq!(percentile(&mut values, 1.0), 100);
        assert_eq!(percentile(&mut [7], 0.5), 7);
        assert_eq!(percentile::<u64>(&mut [], 0.5), 0);
    }

    #[test]
    fn a_slope_is_that_of_the_line_between() {
        assert_eq!(slope(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]), 2.0);
        assert_eq!(slope(&[(0.0, 5.0), (1.0, 9.0), (2.0, 5.0)]), 0.0);
        assert!(slope(&[(1.0, 5.0)]).is_nan() && slope(&[]).is_nan());
    }

    #[test]
    fn the_busiest_span_may_begin_at_any_time() {
        assert_eq!(busiest(&[0, 900, 1_100, 1_800, 1_899, 3_000], 1_000), 4);
        assert_eq!(busiest(&[0, 1_000, 2_000], 1_000), 1);
        assert_eq!(busiest(&[], 1_000), 0);
    }

    #[test]
    fn an_exponent_is_the_slope_through_logarithms() {
        let of = |power: f64| exponent(&[1.0_f64, 3.0, 10.0].map(|x| (x, 5.0 * x.powf(power))));
        [0.0, 1.0, 1.1, 2.0].into_iter().for_each(|power| assert!((of(power) - power).abs() < 1e-9, "{power}"));
        assert!(exponent(&[(1.0, 2.0)]).is_nan());
    }
}
