//! The figures in the project's README: a table made from the results, and never by hand.

use std::fs;

use anyhow::{Context as _, Result};
use stack::workspace;

use crate::document;
use crate::plot::grouped;
use crate::report::Scenario;
use crate::results::Results;
use crate::sample::Sample;
use crate::scenarios::{CUT, PROCESSORS, SATURATED};

const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";

/// A line of the table: one figure of two sides.
struct Row {
    what: &'static str,
    scenario: &'static str,
    figure: &'static str,
    /// As it stands behind the number, or before it for [`DOLLARS`]; the figure's own is longer.
    unit: &'static str,
    ours: &'static str,
    /// The other side, and what a stranger calls it.
    other: (&'static str, &'static str),
}

const UPSTASH: (&str, &str) = ("upstash-realtime", "Upstash Realtime");
const CHANGES: (&str, &str) = ("upstash-realtime-changes", "Upstash Realtime, changes alone");

/// What is most worth knowing, also where others win. A scenario that was not measured is left out, and so is a row of a
/// side that it did not have yet.
const ROWS: [Row; 20] = [
    edge("100 viewers at the edge: commit to viewer, p99", "edge-100-viewers", P99, " ms", UPSTASH),
    edge("", "edge-100-viewers", P99, " ms", CHANGES),
    edge("1,000 viewers at the edge: commit to viewer, p99", "edge-1000-viewers", P99, " ms", UPSTASH),
    edge("", "edge-1000-viewers", P99, " ms", CHANGES),
    edge("the same: CPU a viewer and change", "edge-1000-viewers", CPU, " µs", UPSTASH),
    edge("", "edge-1000-viewers", CPU, " µs", CHANGES),
    edge("100 changes a second to them: age of what they see, p99", "edge-freshness-1000", "age, p99", " ms", UPSTASH),
    edge("", "edge-freshness-1000", "age, p99", " ms", CHANGES),
    commands("1,000 updates to them: commands and subscriptions", "1000 viewers: commands and subscriptions"),
    commands("the same, with each message delivered", "1000 viewers: commands, subscriptions and messages"),
    commands("the same: commands that Redis ran, those of scripts counted", "1000 viewers: commands that Redis ran"),
    edge("their server killed: until all show the last change", "edge-restart", LAST_SHOWN, " s", UPSTASH),
    edge(
        "100 forgotten tabs, a month",
        "money",
        "forgotten tabs: altogether",
        DOLLARS,
        ("Upstash Realtime", "Upstash Realtime"),
    ),
    Row {
        what: "a batch of 500 photos, each changing twice: bytes a viewer",
        scenario: "bytes-a-batch",
        figure: "500 photos: bytes read",
        unit: "",
        ours: "Batchcast",
        other: SUBSCRIBERS,
    },
    origin(
        "1,000 viewers of the gateway, raw messages: commit to viewer, p50",
        "commit to viewer, p50",
        " ms",
        QUERIES,
    ),
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

/// Stands before its number, as no other unit does.
const DOLLARS: &str = "$";
const LAST_SHOWN: &str = "from the kill until all show the last change";
const P99: &str = "commit to viewer, p99";
const CPU: &str = "the server's CPU";
const QUERIES: (&str, &str) = ("before", "a query every 2 s a page");
const SUBSCRIBERS: (&str, &str) = ("after", "Node, a Redis subscriber a viewer");

const fn edge(
    what: &'static str,
    scenario: &'static str,
    figure: &'static str,
    unit: &'static str,
    other: (&'static str, &'static str),
) -> Row {
    Row { what, scenario, figure, unit, ours: "Batchcast", other }
}

const fn commands(what: &'static str, figure: &'static str) -> Row {
    edge(what, "commands-a-batch", figure, "", UPSTASH)
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
    /// None: its scenario was not measured, or not beside this side.
    fn line(&self, results: &Results) -> Option<String> {
        let scenario = results.scenario(self.scenario)?;
        let (side, title) = self.other;
        scenario.sides.iter().find(|known| *known == side)?;
        let (ours, theirs) = (scenario.sample(self.figure, self.ours), scenario.sample(self.figure, side));
        let shown = |side: &str| {
            let Some(sample) = scenario.sample(self.figure, side) else { return "not measured".to_owned() };
            let value = rounded(sample.median());
            let value = if self.unit == DOLLARS { DOLLARS.to_owned() + &value } else { value + self.unit };
            value + &caution(scenario, side)
        };
        let ratio = ours.zip(theirs).map(|(ours, theirs)| rounded(ours.median() / theirs.median()));
        let (ours, theirs, ratio) = (shown(self.ours), shown(side), ratio.unwrap_or_default());
        Some(format!("| {} | {ours} | {title}: {theirs} | {ratio} |\n", self.what))
    }
}

/// What must be known of a side's figures before they are compared.
fn caution(scenario: &Scenario, side: &str) -> String {
    let of = |figure| scenario.sample(figure, side).map(Sample::median);
    if let Some(cut) = of(CUT).filter(|cut| *cut > 0.0) {
        return format!(" ({} of its subscriptions cut by our gateway)", grouped(cut.round()));
    }
    match of(PROCESSORS).filter(|needs| *needs >= SATURATED) {
        Some(needs) => format!(" (saturated: needs {} processors)", rounded(needs)),
        None => String::new(),
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
    use crate::report::Figure;
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
            assert!(scenario.sides.iter().any(|name| name == row.ours), "{} has no side {}", row.scenario, row.ours);
            // A side that is newer than the results is of another program, and has its folder.
            let (side, _) = row.other;
            let is_peer = workspace::root().join("bench/peers").join(side).is_dir();
            let is_side = scenario.sides.iter().any(|name| name == side);
            assert!(is_side || is_peer, "{} has no side {side}", row.scenario);
        }
    }

    #[test]
    fn who_is_said_to_be_back_sooner_is() {
        let results = Results::read().unwrap();
        let Some(restart) = results.scenario("edge-restart") else { return };
        let secs = |side| restart.sample(LAST_SHOWN, side).map(Sample::median);
        for other in [UPSTASH.0, "bare object"] {
            let (Some(ours), Some(theirs)) = (secs("Batchcast"), secs(other)) else { continue };
            assert!(theirs < ours, "README.md says that {other} is back sooner: {theirs:.1} s, ours {ours:.1} s");
        }
    }

    #[test]
    fn what_was_cut_or_cannot_keep_up_says_so() {
        let of = |figure: &str, value: f64| {
            let figures = vec![Figure::new(figure, "", [Sample(vec![0.0]), Sample(vec![value])])];
            let sides = vec!["Batchcast".to_owned(), UPSTASH.0.to_owned()];
            caution(&Scenario { sides, figures, ..Scenario::default() }, UPSTASH.0)
        };
        assert_eq!(of(CUT, 1_000.0), " (1,000 of its subscriptions cut by our gateway)");
        assert_eq!(of(PROCESSORS, 1.46), " (saturated: needs 1.5 processors)");
        assert_eq!((of(CUT, 0.0), of(PROCESSORS, 0.4)), (String::new(), String::new()));
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
