//! What was measured, as Markdown and as JSON.

use anyhow::Result;
use serde::Serialize;
use stack::machine;

use crate::sample::Sample;

/// One scenario, with its figures of all sides.
#[derive(Debug, Serialize)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// What was done, in a paragraph.
    pub(crate) about: String,
    /// The sides; the first is ours.
    pub(crate) sides: Vec<&'static str>,
    pub(crate) figures: Vec<Figure>,
    pub(crate) bars: Vec<Bar>,
}

/// One figure, of each side.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    /// In the order of the sides; empty where it does not apply.
    pub(crate) sides: Vec<Sample>,
}

/// What must hold of a ratio.
#[derive(Debug, Serialize)]
pub(crate) struct Bar {
    pub(crate) about: &'static str,
    pub(crate) ratio: f64,
    pub(crate) limit: Limit,
}

/// Which side of a number a ratio must be on.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

impl Bar {
    pub(crate) fn is_met(&self) -> bool {
        match self.limit {
            Limit::AtLeast(limit) => self.ratio >= limit,
            Limit::AtMost(limit) => self.ratio <= limit,
        }
    }
}

/// The figures and bars of a scenario.
pub(crate) fn table(scenario: &Scenario) -> String {
    let mut text = format!("| figure | {} |\n", scenario.sides.join(" | "));
    text.push_str(&format!("|---|{}\n", "---|".repeat(scenario.sides.len())));
    for figure in &scenario.figures {
        let cells: Vec<String> = figure.sides.iter().map(cell).collect();
        text.push_str(&format!("| {}, {} | {} |\n", figure.name, figure.unit, cells.join(" | ")));
    }
    text.push_str("\n| bar | must be | is | |\n|---|---|---|---|\n");
    for bar in &scenario.bars {
        let limit = match bar.limit {
            Limit::AtLeast(limit) => format!("at least {limit}"),
            Limit::AtMost(limit) => format!("at most {limit}"),
        };
        let verdict = if bar.is_met() { "met" } else { "**missed**" };
        text.push_str(&format!("| {} | {limit} | {:.2} | {verdict} |\n", bar.about, bar.ratio));
    }
    text
}

fn cell(sample: &Sample) -> String {
    if sample.0.is_empty() {
        return String::new();
    }
    format!("{} ({} to {})", number(sample.median()), number(sample.min()), number(sample.max()))
}

fn number(value: f64) -> String {
    let digits = if value.abs() >= 100.0 { 0 } else { 2 };
    format!("{value:.digits$}")
}

/// All of `bench/RESULTS.md`.
pub(crate) fn document(scenarios: &[Scenario]) -> String {
    let mut text =
        "# Results\n\nWritten by `cargo xtask bench`; do not edit. Each figure is the median of all runs, with \
                    the smallest and the largest behind it. The sides were measured in turn, on loopback, on a machine \
                    that the load and Redis share with them: compare the sides, not the figures with those of another \
                    machine.\n\n"
            .to_owned();
    let peers = ["webdis", "nginx", "libnginx-mod-nchan"];
    let peers = peers.into_iter().filter_map(|name| Some((name, machine::package_version(name)?)));
    for (name, value) in machine::facts().into_iter().chain(peers) {
        text.push_str(&format!("- {name}: {value}\n"));
    }
    text.push_str("- peers in Node, with their versions and what was changed of their defaults: [peers/README.md](peers/README.md)\n");
    for scenario in scenarios {
        text.push_str(&format!("\n## {}\n\n{}\n\n{}", scenario.name, scenario.about, table(scenario)));
    }
    text
}

/// All of `bench/results.json`.
pub(crate) fn json(scenarios: &[Scenario]) -> Result<String> {
    Ok(serde_json::to_string_pretty(scenarios)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_says_whether_it_is_met() {
        let bar = |ratio, limit| Bar { about: "x", ratio, limit };
        assert!(bar(1.0, Limit::AtLeast(1.0)).is_met() && !bar(0.99, Limit::AtLeast(1.0)).is_met());
        assert!(bar(1.0, Limit::AtMost(1.0)).is_met() && !bar(1.01, Limit::AtMost(1.0)).is_met());
        assert!(!bar(f64::NAN, Limit::AtMost(1.0)).is_met());
    }

    #[test]
    fn a_table_has_a_column_a_side() {
        let figures = vec![Figure { name: "time", unit: "ms", sides: vec![Sample(vec![1.0, 3.0]), Sample::default()] }];
        let bars = vec![Bar { about: "time", ratio: 0.5, limit: Limit::AtMost(1.0) }];
        let scenario = Scenario { name: "s", about: "a".into(), sides: vec!["ours", "theirs"], figures, bars };
        let text = table(&scenario);
        assert!(text.contains("| time, ms | 2.00 (1.00 to 3.00) |  |"), "{text}");
        assert!(text.ends_with("| time | at most 1 | 0.50 | met |\n"), "{text}");
    }
}
