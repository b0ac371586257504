//! Sides that are measured in turn, run after run: what slows the machine for a while slows all of them.

use anyhow::{Context as _, Result};

use crate::report::Figure;
use crate::sample::Sample;
use crate::world::Side;

/// What each side came to: its figures once a run, in one order.
pub(crate) struct InTurn<const SIDES: usize, const FIGURES: usize> {
    sides: [Side; SIDES],
    pub(crate) samples: [[Sample; FIGURES]; SIDES],
    /// What could not be measured, and why.
    pub(crate) missing: Vec<String>,
}

impl<const SIDES: usize, const FIGURES: usize> InTurn<SIDES, FIGURES> {
    /// Measures each side once a run; `measure` is told the run's number, from 0 on. The first side is ours, and an error
    /// there is one of all; another that can't be measured is named, and not tried again.
    pub(crate) async fn measure(
        sides: [Side; SIDES],
        runs: usize,
        measure: impl AsyncFn(Side, usize) -> Result<[f64; FIGURES]>,
    ) -> Result<Self> {
        let samples = [const { [const { Sample(Vec::new()) }; FIGURES] }; SIDES];
        let (mut all, mut failed) = (Self { sides, samples, missing: Vec::new() }, [false; SIDES]);
        for run in 0..runs {
            for (nth, side) in sides.into_iter().enumerate().filter(|(nth, _)| !failed[*nth]).collect::<Vec<_>>() {
                match measure(side, run).await {
                    Ok(values) => {
                        all.samples[nth].iter_mut().zip(values).for_each(|(sample, value)| sample.0.push(value));
                    }
                    Err(error) if nth == 0 => return Err(error).with_context(|| format!("measuring {side}")),
                    Err(error) => {
                        failed[nth] = true;
                        all.missing.push(format!("{side}: {error:#}"));
                    }
                }
            }
        }
        Ok(all)
    }

    /// The sides' names.
    pub(crate) fn sides(&self) -> Vec<String> {
        self.sides.iter().map(ToString::to_string).collect()
    }

    /// The figures, by these names and units.
    pub(crate) fn figures(&self, names: [(&str, &str); FIGURES]) -> Vec<Figure> {
        let figure = |(nth, (name, unit)): (usize, (&str, &str))| {
            Figure::new(name, unit, self.samples.iter().map(|side| side[nth].clone()).collect::<Vec<_>>())
        };
        names.into_iter().enumerate().map(figure).collect()
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;
    use crate::world::UPSTASH_REALTIME;

    const SIDES: [Side; 2] = [Side::Edge, UPSTASH_REALTIME];

    #[tokio::test]
    async fn a_side_that_fails_is_named_once_and_has_what_it_came_to_before() {
        let measure = async |side, run| {
            if side == UPSTASH_REALTIME && run > 0 {
                bail!("gone");
            }
            Ok([run as f64, 7.0])
        };
        let all = InTurn::measure(SIDES, 3, measure).await.unwrap();
        assert_eq!(all.missing, ["upstash-realtime: gone"]);
        let figures = all.figures([("run", ""), ("seven", "s")]);
        assert_eq!(
            (figures[0].sides[0].0.as_slice(), figures[0].sides[1].0.as_slice()),
            (&[0.0, 1.0, 2.0][..], &[0.0][..])
        );
        assert_eq!((figures[1].name.as_str(), figures[1].sides[1].0.as_slice()), ("seven", &[7.0][..]));
    }

    #[tokio::test]
    async fn without_ours_there_is_nothing() {
        let failed = InTurn::<2, 1>::measure(SIDES, 1, async |_, _| bail!("no redis")).await;
        assert_eq!(format!("{:#}", failed.err().unwrap()), "measuring Batchcast: no redis");
    }
}
