//! The whole path, from a commit to its viewers, beside what people would take instead.

mod cases;
mod measured;

use anyhow::{Context as _, Result};

use crate::Scale;
use crate::report::{Figure, Scenario};
use crate::world::{Setup, Side, World};
pub(super) use cases::Class;
pub(super) use cases::RAW;
pub(crate) use cases::SATURATED;
use cases::{Case, PHOTOS};
pub(crate) use measured::PROCESSORS;
use measured::{Measured, What};

/// Each starts up to four servers anew.
const MOST_RUNS: usize = 3;

/// Measures the case of this name. `before` are scenarios that have run already.
pub(crate) async fn run(name: &str, scale: Scale, before: &[Scenario]) -> Result<Scenario> {
    let case = cases::case(name).with_context(|| format!("there is no case {name}"))?;
    let mut measured: Vec<Measured> = case.sides.iter().map(|_| Measured::default()).collect();
    let mut missing: Vec<Option<String>> = case.sides.iter().map(|side| side.lack()).collect();
    for _ in 0..scale.runs.min(MOST_RUNS) {
        for ((&side, measured), missing) in case.sides.iter().zip(&mut measured).zip(&mut missing) {
            if missing.is_some() {
                continue; // Once is enough to see that it can't.
            }
            let world = World::start(&Setup { distance: case.distance, ..Setup::new(side, PHOTOS) }).await?;
            match measured.add(world, side, case, scale.secs).await.with_context(|| format!("measuring {side}"))? {
                Ok(()) => println!("{side}: p99 {:.1} ms", last(measured, What::P99)),
                Err(error) => *missing = Some(format!("{side} with {} viewers: {error:#}", case.viewers)),
            }
        }
    }
    let bars = case.bars(&measured);
    let mut figures = figures(&measured);
    figures.extend(plain(case, before));
    Ok(Scenario {
        name: name.to_owned(),
        about: case.about(scale.secs, &measured),
        sides: case.sides.iter().map(ToString::to_string).collect(),
        figures,
        bars,
        missing: missing.into_iter().flatten().collect(),
    })
}

fn last(measured: &Measured, what: What) -> f64 {
    measured.sample(what).0.last().copied().unwrap_or_default()
}

/// A row of each figure that any side has.
fn figures(measured: &[Measured]) -> Vec<Figure> {
    let figure = |what: What| {
        let (name, unit) = what.name();
        let sides: Vec<_> = measured.iter().map(|side| side.sample(what).clone()).collect();
        sides.iter().any(|sample| !sample.0.is_empty()).then(|| Figure::new(name, unit, sides))
    };
    What::ALL.into_iter().filter_map(figure).collect()
}

/// The latencies of the case that this one differs from in one thing, as they were measured in the same run.
fn plain(case: &Case, before: &[Scenario]) -> Vec<Figure> {
    let Some(plain) = case.plain().and_then(|name| before.iter().find(|scenario| scenario.name == name)) else {
        return Vec::new();
    };
    let copied = |what: What| {
        let (name, unit) = what.name();
        plain.figures.iter().find(|figure| figure.name == name)?;
        // Its sides may be more than those of this case.
        let of = |side: &Side| plain.sample(name, &side.to_string()).cloned().unwrap_or_default();
        let sides: Vec<_> = case.sides.iter().map(of).collect();
        Some(Figure::new(&format!("{name}, in `{}`", plain.name), unit, sides))
    };
    [What::P50, What::P99].into_iter().filter_map(copied).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;

    #[test]
    fn a_case_has_the_plain_one_beside_it_where_that_has_run() {
        let (name, unit) = What::P50.name();
        let figures = vec![Figure::new(name, unit, [7.0, 5.0].map(|value| Sample(vec![value])))];
        let sides = vec!["another".to_owned(), Side::Edge.to_string()];
        let ran = [Scenario { name: "edge-100-viewers".to_owned(), sides, figures, ..Scenario::default() }];
        let rows = |name, before| plain(cases::case(name).unwrap(), before);
        let beside = rows("edge-20-ms", &ran);
        assert_eq!(beside.len(), 1);
        assert_eq!(beside[0].name, "commit to viewer, p50, in `edge-100-viewers`");
        assert_eq!(beside[0].sides[0].median(), 5.0);
        assert!(beside[0].sides[1].0.is_empty(), "a side that did not run there");
        assert!(rows("edge-20-ms", &[]).is_empty() && rows("edge-1000-viewers", &ran).is_empty());
    }
}
