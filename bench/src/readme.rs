//! The figures in the project's README: a table made from the results, and never by hand.

use std::fs;

use anyhow::{Context as _, Result};
use stack::workspace;

use crate::document;
use crate::plot::grouped;
use crate::results::Results;
use crate::sample::Sample;

const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";

/// A line of the table: one figure of two sides.
struct Row {
    what: &'static str,
    scenario: &'static str,
    figure: &'static str,
    /// As it stands behind the number; the figure's own is longer.
    unit: &'static str,
    ours: &'static str,
    /// The other side, and what a stranger calls it.
    other: (&'static str, &'static str),
}

const UPSTASH: (&str, &str) = ("upstash-realtime", "Upstash Realtime");

/// What is most worth knowing. A scenario that was not measured is left out.
const ROWS: [Row; 12] = [
    edge("100 viewers at the edge: commit to viewer, p99", "edge-100-viewers", P99, " ms"),
    edge("1,000 viewers at the edge: commit to viewer, p99", "edge-1000-viewers", P99, " ms"),
    edge("the same: CPU a viewer and change", "edge-1000-viewers", CPU, " µs"),
    edge("100 changes a second to them: age of what they see, p99", "edge-freshness-1000", "age, p99", " ms"),
    edge(
        "1,000 updates to them: commands and messages",
        "commands-a-batch",
        "1000 viewers: commands, subscriptions and messages",
        "",
    ),
    Row {
        what: "a batch of 500 photos, each changing twice: bytes a viewer",
        scenario: "bytes-a-batch",
        figure: "500 photos: bytes read",
        unit: "",
        ours: "Batchcast",
        other: SUBSCRIBERS,
    },
    origin("1,000 viewers at the origin: commit to viewer, p50", "commit to viewer, p50", " ms", QUERIES),
    origin("the same: p99", P99, " ms", SUBSCRIBERS),
    origin("the same: CPU a viewer and change", CPU, " µs", SUBSCRIBERS),
    origin("the same: memory an idle viewer", "the server's resident memory", " KiB", SUBSCRIBERS),
    gateway(
        "1,000 subscribers of the gateway: CPU a delivery",
        "gateway-fanout",
        "its own CPU",
        " µs",
        ("nchan", "nginx with nchan"),
    ),
    gateway("commands through the gateway, a second", "gateway-commands", "GET", "", ("webdis", "webdis")),
];

const P99: &str = "commit to viewer, p99";
const CPU: &str = "the server's CPU";
const QUERIES: (&str, &str) = ("before", "a query every 2 s a page");
const SUBSCRIBERS: (&str, &str) = ("after", "Node, a Redis subscriber a viewer");

const fn edge(what: &'static str, scenario: &'static str, figure: &'static str, unit: &'static str) -> Row {
    Row { what, scenario, figure, unit, ours: "Batchcast", other: UPSTASH }
}

const fn origin(
    what: &'static str,
    figure: &'static str,
    unit: &'static str,
    other: (&'static str, &'static str),
) -> Row {
    Row { what, scenario: "origin-1000-viewers", figure, unit, ours: "gateway", other }
}

const fn gateway(
    what: &'static str,
    scenario: &'static str,
    figure: &'static str,
    unit: &'static str,
    other: (&'static str, &'static str),
) -> Row {
    Row { what, scenario, figure, unit, ours: "gateway", other }
}

/// What stands between the markers.
fn block(results: &Results) -> String {
    let mut text = "| | Batchcast | instead | ours : theirs |\n|---|---|---|---|\n".to_owned();
    ROWS.iter().filter_map(|row| row.line(results)).for_each(|line| text.push_str(&line));
    let count = document::count(&results.scenarios());
    format!("{text}\nMedians, from [bench/RESULTS.md](bench/RESULTS.md), where {count}.\n")
}

impl Row {
    /// None: its scenario was not measured.
    fn line(&self, results: &Results) -> Option<String> {
        let scenario = results.scenario(self.scenario)?;
        let (side, title) = self.other;
        let (ours, theirs) = (scenario.sample(self.figure, self.ours), scenario.sample(self.figure, side));
        let shown = |sample: Option<&Sample>| {
            sample.map_or("not measured".to_owned(), |sample| rounded(sample.median()) + self.unit)
        };
        let ratio = ours.zip(theirs).map(|(ours, theirs)| rounded(ours.median() / theirs.median()));
        let (ours, theirs, ratio) = (shown(ours), shown(theirs), ratio.unwrap_or_default());
        Some(format!("| {} | {ours} | {title}: {theirs} | {ratio} |\n", self.what))
    }
}

/// Two digits that count, or all before the point: the report has more.
fn rounded(value: f64) -> String {
    if value == 0.0 {
        return grouped(value);
    }
    let digits = (1 - value.abs().log10().floor() as i32).max(0);
    let shown = format!("{value:.*}", usize::try_from(digits).unwrap_or(0));
    if digits == 0 { grouped(value.round()) } else { shown }
}

/// The README, with these figures in it.
pub(crate) fn with_figures(results: &Results) -> Result<String> {
    let text = fs::read_to_string(workspace::root().join("README.md"))?;
    let (before, _, after) = parts(&text)?;
    Ok(format!("{before}{}{after}", block(results)))
}

/// Up to the marker that begins the table, the table, and from the marker that ends it.
fn parts(text: &str) -> Result<(&str, &str, &str)> {
    let begin = text.find(BEGIN).with_context(|| format!("README.md has no {BEGIN}"))? + BEGIN.len();
    let begin = begin + text[begin..].find('\n').context("README.md ends too early")? + 1;
    let end = begin + text[begin..].find(END).with_context(|| format!("README.md has no {END}"))?;
    Ok((&text[..begin], &text[begin..end], &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Figure, Scenario};
    use crate::scenarios;

    #[test]
    fn a_number_is_rounded_for_readers() {
        let pairs = [(0.0446, "0.045"), (0.26, "0.26"), (7.43, "7.4"), (56.2, "56"), (3599.4, "3,599"), (0.0, "0")];
        pairs.into_iter().for_each(|(value, text)| assert_eq!(rounded(value), text));
    }

    #[test]
    fn the_table_is_all_between_the_markers() {
        let text = format!("a\n{BEGIN} made\nold\n{END}\nb\n");
        let (before, between, after) = parts(&text).unwrap();
        assert_eq!((before, between), (&*format!("a\n{BEGIN} made\n"), "old\n"));
        assert!(after.starts_with(END) && parts("no markers").is_err());
    }

    #[test]
    fn each_row_is_of_a_figure_that_is_measured() {
        let results = Results::read().unwrap();
        for row in ROWS {
            assert!(scenarios::NAMES.contains(&row.scenario), "there is no scenario {}", row.scenario);
            let Some(scenario) = results.scenario(row.scenario) else { continue };
            let knows = scenario.figures.iter().any(|figure| figure.name == row.figure);
            assert!(knows, "{} has no figure {:?}", row.scenario, row.figure);
            for side in [row.ours, row.other.0] {
                assert!(scenario.sides.iter().any(|name| name == side), "{} has no side {side}", row.scenario);
            }
        }
    }

    #[test]
    fn a_side_that_was_not_measured_has_no_number() {
        let mut results = Results::default();
        let figures = vec![Figure::new("its own CPU", "µs a delivery", [Sample(vec![6.25]), Sample::default()])];
        let sides = vec!["gateway".to_owned(), "nchan".to_owned()];
        results.put("now", Scenario { name: "gateway-fanout".to_owned(), sides, figures, ..Scenario::default() });
        assert!(block(&results).contains("CPU a delivery | 6.2 µs | nginx with nchan: not measured |  |\n"));
    }
}
