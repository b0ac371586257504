//! Which plots there are. Each is of one class of servers: those at the edge are not compared with those at the origin.

use crate::plot::{Chart, Line, Point, grouped};
use crate::report::Scenario;
use crate::sample::Sample;

/// A plot, drawn.
pub(crate) struct Plot {
    name: &'static str,
    pub(crate) title: String,
    pub(crate) svg: String,
}

impl Plot {
    /// Where it is, seen from `bench/`.
    pub(crate) fn path(&self) -> String {
        format!("plots/{}.svg", self.name)
    }
}

/// The scenarios of growing numbers of viewers.
type Viewers = [(u32, &'static str)];

const LATENCY_AT_THE_EDGE: &Viewers = &[(100, "edge-100-viewers"), (1_000, "edge-1000-viewers")];
const LATENCY_AT_THE_ORIGIN: &Viewers = &[(1_000, "origin-1000-viewers")];
const COST_AT_THE_EDGE: &Viewers =
    &[(100, "edge-100-viewers"), (1_000, "edge-1000-viewers"), (5_000, "edge-5000-viewers")];
const FRESHNESS_AT_THE_EDGE: &Viewers = &[(1_000, "edge-freshness-1000"), (5_000, "edge-freshness-5000")];

/// Those for which there are figures.
pub(crate) fn all(scenarios: &[Scenario]) -> Vec<Plot> {
    let charts = [
        ("latency-edge", latency(scenarios, "edge", LATENCY_AT_THE_EDGE)),
        ("latency-origin", latency(scenarios, "origin", LATENCY_AT_THE_ORIGIN)),
        ("cost-edge", cost(scenarios, COST_AT_THE_EDGE)),
        ("freshness-edge", freshness(scenarios, FRESHNESS_AT_THE_EDGE)),
    ];
    let drawn = |(name, chart): (_, Chart)| Some(Plot { name, svg: chart.svg()?, title: chart.title });
    charts.into_iter().filter_map(drawn).collect()
}

/// The times from a commit to the viewers, by percentile: a line a side and number of viewers.
fn latency(scenarios: &[Scenario], class: &str, viewers: &Viewers) -> Chart {
    const PLACES: [&str; 5] = ["p50", "p90", "p95", "p99", "slowest"];
    let measured = measured(scenarios, viewers);
    let mut lines = Vec::new();
    for (dashes, (count, scenario)) in measured.iter().enumerate() {
        for (colour, side) in scenario.sides.iter().enumerate() {
            let of = |place| point(scenario.sample(&format!("commit to viewer, {place}"), side));
            let viewers = format!(", {} viewers", grouped(f64::from(*count)));
            let name = named(side) + if measured.len() > 1 { &viewers } else { "" };
            lines.push(Line { name, colour, dashes, points: PLACES.map(of).into() });
        }
    }
    let counts: Vec<String> = measured.iter().map(|(count, _)| grouped(f64::from(*count))).collect();
    Chart {
        title: format!("From a commit to its viewers, at the {class}, {} viewers", counts.join(" and ")),
        across: "percentile of all changes and viewers".to_owned(),
        up: "time, ms (logarithmic)".to_owned(),
        places: PLACES.map(str::to_owned).into(),
        is_logarithmic: true,
        lines: with_points(lines),
    }
}

/// What a change costs the server for each of so many viewers: a line a side.
fn cost(scenarios: &[Scenario], viewers: &Viewers) -> Chart {
    let measured = measured(scenarios, viewers);
    let line = |(colour, side): (usize, &String)| {
        let of = |(_, scenario): &(u32, &Scenario)| point(scenario.sample("the server's CPU", side));
        Line { name: named(side), colour, dashes: 0, points: measured.iter().map(of).collect() }
    };
    Chart {
        title: "What a viewer and change costs the server, at the edge".to_owned(),
        across: "viewers of one batch".to_owned(),
        up: "CPU, µs a viewer and change".to_owned(),
        places: places(&measured),
        is_logarithmic: false,
        lines: with_points(sides(&measured).iter().enumerate().map(line).collect()),
    }
}

/// How old what viewers see is, under load: a line a side and percentile.
fn freshness(scenarios: &[Scenario], viewers: &Viewers) -> Chart {
    let measured = measured(scenarios, viewers);
    let mut lines = Vec::new();
    for (dashes, percentile) in ["p50", "p99"].into_iter().enumerate() {
        let begins = format!("age, {percentile}");
        for (colour, side) in sides(&measured).iter().enumerate() {
            let of = |(_, scenario): &(u32, &Scenario)| {
                let figure = scenario.figures.iter().find(|figure| figure.name.starts_with(&begins))?;
                point(scenario.sample(&figure.name, side))
            };
            let points = measured.iter().map(of).collect();
            lines.push(Line { name: format!("{}, {percentile}", named(side)), colour, dashes, points });
        }
    }
    Chart {
        title: "How old what the viewers see is, under load, at the edge".to_owned(),
        across: "viewers of one batch".to_owned(),
        up: "age, ms (logarithmic)".to_owned(),
        places: places(&measured),
        is_logarithmic: true,
        lines: with_points(lines),
    }
}

/// A side for who does not know the names of the peers.
fn named(side: &str) -> String {
    let what = match side {
        "before" => "before: a query every 2 s",
        "after" => "after: a subscriber a viewer",
        "bullmq" => "BullMQ and better-sse",
        "upstash-realtime" => "Upstash Realtime",
        "upstash-realtime-changes" => "Upstash Realtime, changes alone",
        other => other,
    };
    what.to_owned()
}

/// Those that there are, with their numbers of viewers.
fn measured<'a>(scenarios: &'a [Scenario], viewers: &Viewers) -> Vec<(u32, &'a Scenario)> {
    let of = |(count, name): &(u32, &str)| Some((*count, scenarios.iter().find(|known| known.name == *name)?));
    viewers.iter().filter_map(of).collect()
}

/// The sides of any of them, each once.
fn sides(measured: &[(u32, &Scenario)]) -> Vec<String> {
    let mut sides: Vec<String> = Vec::new();
    for side in measured.iter().flat_map(|(_, scenario)| &scenario.sides) {
        if !sides.contains(side) {
            sides.push(side.clone());
        }
    }
    sides
}

fn places(measured: &[(u32, &Scenario)]) -> Vec<String> {
    measured.iter().map(|(count, _)| grouped(f64::from(*count))).collect()
}

fn point(sample: Option<&Sample>) -> Option<Point> {
    sample.map(|sample| Point { median: sample.median(), min: sample.min(), max: sample.max() })
}

/// Without those of which nothing was measured.
fn with_points(lines: Vec<Line>) -> Vec<Line> {
    lines.into_iter().filter(|line| line.points.iter().any(Option::is_some)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Figure;

    fn scenario(name: &str, figures: &[&str]) -> Scenario {
        let figure = |name: &&str| Figure::new(name, "ms", [Sample(vec![1.0, 2.0]), Sample(vec![30.0])]);
        let sides = vec!["ours".to_owned(), "theirs".to_owned()];
        let figures = figures.iter().map(figure).collect();
        Scenario { name: name.to_owned(), sides, figures, ..Scenario::default() }
    }

    fn names(plots: &[Plot]) -> Vec<&str> {
        plots.iter().map(|plot| plot.name).collect()
    }

    #[test]
    fn there_is_a_plot_of_what_was_measured_and_no_other() {
        assert!(all(&[]).is_empty());
        let edge = scenario("edge-100-viewers", &["commit to viewer, p50", "the server's CPU"]);
        assert_eq!(names(&all(&[edge])), ["latency-edge", "cost-edge"]);
        let fresh = scenario("edge-freshness-5000", &["age, p50"]);
        assert_eq!(names(&all(&[fresh])), ["freshness-edge"]);
    }

    #[test]
    fn a_line_is_a_side_and_a_number_of_viewers() {
        let (few, many) = (
            scenario("edge-100-viewers", &["commit to viewer, p50"]),
            scenario("edge-1000-viewers", &["commit to viewer, p99"]),
        );
        let chart = latency(&[few, many], "edge", LATENCY_AT_THE_EDGE);
        let names: Vec<&str> = chart.lines.iter().map(|line| line.name.as_str()).collect();
        assert_eq!(names, ["ours, 100 viewers", "theirs, 100 viewers", "ours, 1,000 viewers", "theirs, 1,000 viewers"]);
        let drawn: Vec<usize> = chart.lines.iter().map(|line| line.points.iter().flatten().count()).collect();
        assert_eq!(drawn, [1, 1, 1, 1]);
    }

    #[test]
    fn the_edge_and_the_origin_are_never_in_one_plot() {
        for plot in [LATENCY_AT_THE_EDGE, LATENCY_AT_THE_ORIGIN, COST_AT_THE_EDGE, FRESHNESS_AT_THE_EDGE] {
            let class = plot[0].1.split('-').next();
            assert!(plot.iter().all(|(_, name)| name.split('-').next() == class));
        }
    }
}
