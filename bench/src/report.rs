//! What was measured, and what must hold of it; as a table of Markdown.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::sample::Sample;

/// One scenario, with its figures of all sides.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    /// What was done, in a paragraph.
    pub(crate) about: String,
    /// The sides; the first is ours.
    pub(crate) sides: Vec<String>,
    pub(crate) figures: Vec<Figure>,
    pub(crate) bars: Vec<Bar>,
    /// What was not measured, and why: a line each.
    pub(crate) missing: Vec<String>,
}

/// One figure, of each side.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) unit: String,
    /// In the order of the sides; empty where it does not apply.
    #[serde(deserialize_with = "samples")]
    pub(crate) sides: Vec<Sample>,
}

/// What must hold of a ratio, or of a figure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Bar {
    pub(crate) about: String,
    /// No number where a side could not be measured.
    #[serde(deserialize_with = "number_or_none")]
    pub(crate) is: f64,
    /// Empty for a ratio.
    pub(crate) unit: String,
    pub(crate) limit: Limit,
    /// Why it is missed, as far as it is known; shown only then.
    pub(crate) why: String,
}

/// Which side of a number a figure must be on.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

impl Figure {
    pub(crate) fn new(name: &str, unit: &str, sides: impl Into<Vec<Sample>>) -> Self {
        Self { name: name.to_owned(), unit: unit.to_owned(), sides: sides.into() }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(limit) => write!(f, "at least {limit}"),
            Self::AtMost(limit) => write!(f, "at most {limit}"),
        }
    }
}

impl Bar {
    /// A ratio that must keep a limit.
    pub(crate) fn ratio(about: &str, is: f64, limit: Limit) -> Self {
        Self::of(about, is, "", limit)
    }

    /// A figure of this unit that must keep a limit.
    pub(crate) fn of(about: &str, is: f64, unit: &str, limit: Limit) -> Self {
        Self { about: about.to_owned(), is, unit: unit.to_owned(), limit, why: String::new() }
    }

    /// Says what is known of why it is missed, should it be.
    pub(crate) fn why(mut self, why: &str) -> Self {
        self.why = why.to_owned();
        self
    }

    /// Whether the sides that it is about were measured.
    pub(crate) fn is_measured(&self) -> bool {
        self.is.is_finite()
    }

    pub(crate) fn is_met(&self) -> bool {
        match self.limit {
            Limit::AtLeast(limit) => self.is >= limit,
            Limit::AtMost(limit) => self.is <= limit,
        }
    }

    pub(crate) fn verdict(&self) -> &'static str {
        match (self.is_measured(), self.is_met()) {
            (false, _) => "not measured",
            (true, true) => "met",
            (true, false) => "**missed**",
        }
    }

    /// Its line of a table.
    pub(crate) fn row(&self) -> String {
        let Self { about, is, unit, limit, why } = self;
        let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
        let is = if self.is_measured() { format!("{}{unit}", number(*is)) } else { String::new() };
        let is_missed = self.is_measured() && !self.is_met();
        let why = if is_missed && !why.is_empty() { format!(": {why}") } else { String::new() };
        format!("| {about} | {limit}{unit} | {is} | {}{why} |\n", self.verdict())
    }
}

/// JSON has no number for what is none, and writes `null`.
fn number_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

fn samples<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Sample>, D::Error> {
    let sides: Vec<Vec<Option<f64>>> = Deserialize::deserialize(deserializer)?;
    let sample = |side: Vec<Option<f64>>| Sample(side.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect());
    Ok(sides.into_iter().map(sample).collect())
}

impl Scenario {
    /// A figure's sample of a side; `None`: there is no such figure or side, or it was not measured.
    pub(crate) fn sample(&self, figure: &str, side: &str) -> Option<&Sample> {
        let place = self.sides.iter().position(|name| name == side)?;
        let figure = self.figures.iter().find(|known| known.name == figure)?;
        figure.sides.get(place).filter(|sample| sample.median().is_finite())
    }
}

/// The figures and bars of a scenario.
pub(crate) fn table(scenario: &Scenario) -> String {
    let mut text = format!("| figure | {} |\n", scenario.sides.join(" | "));
    text.push_str(&format!("|---|{}\n", "---|".repeat(scenario.sides.len())));
    for Figure { name, unit, sides } in &scenario.figures {
        let cells: Vec<String> = sides.iter().map(cell).collect();
        let name = if unit.is_empty() { name.clone() } else { format!("{name}, {unit}") };
        text.push_str(&format!("| {name} | {} |\n", cells.join(" | ")));
    }
    if !scenario.bars.is_empty() {
        text.push_str("\n| bar | must be | is | |\n|---|---|---|---|\n");
    }
    scenario.bars.iter().for_each(|bar| text.push_str(&bar.row()));
    scenario.missing.iter().for_each(|line| text.push_str(&format!("\nNot measured: {line}\n")));
    text
}

fn cell(sample: &Sample) -> String {
    if !sample.median().is_finite() {
        return String::new();
    }
    if let [one] = sample.0[..] {
        return number(one);
    }
    format!("{} ({} to {})", number(sample.median()), number(sample.min()), number(sample.max()))
}

/// Three digits that count, or all before the point.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        small if small > 0.0 && small < 1.0 => (2 - small.log10().floor() as i32).clamp(0, 9),
        small if small < 100.0 => 2,
        _ => 0,
    };
    format!("{value:.*}", usize::try_from(digits).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_says_whether_it_is_met() {
        let bar = |is, limit| Bar::ratio("x", is, limit);
        assert!(bar(1.0, Limit::AtLeast(1.0)).is_met() && !bar(0.99, Limit::AtLeast(1.0)).is_met());
        assert!(bar(1.0, Limit::AtMost(1.0)).is_met() && !bar(1.01, Limit::AtMost(1.0)).is_met());
        assert!(!bar(f64::NAN, Limit::AtMost(1.0)).is_met());
        assert_eq!(bar(f64::NAN, Limit::AtMost(1.0)).row(), "| x | at most 1 |  | not measured |\n");
    }

    #[test]
    fn what_is_no_number_survives_being_written_down() {
        let figures = vec![Figure::new("time", "ms", [Sample(vec![1.5, f64::NAN]), Sample::default()])];
        let bars = vec![Bar::ratio("time", f64::NAN, Limit::AtMost(1.0))];
        let written = serde_json::to_string(&Scenario { figures, bars, ..Scenario::default() }).unwrap();
        let read: Scenario = serde_json::from_str(&written).unwrap();
        assert!(read.figures[0].sides[0].0[1].is_nan() && read.bars[0].is.is_nan());
        assert_eq!(read.figures[0].sides[0].0[0], 1.5);
    }

    #[test]
    fn a_table_has_a_column_a_side() {
        let figures = vec![Figure::new("time", "ms", [Sample(vec![1.0, 3.0]), Sample::default()])];
        let bars = vec![
            Bar::ratio("time", 0.5, Limit::AtMost(1.0)),
            Bar::of("time", 12.0, "ms", Limit::AtMost(10.0)).why("it is slow"),
        ];
        let sides = vec!["ours".to_owned(), "theirs".to_owned()];
        let missing = vec!["theirs is not installed".to_owned()];
        let text = table(&Scenario { name: "s".into(), about: "a".into(), sides, figures, bars, missing });
        assert!(text.contains("| time, ms | 2.00 (1.00 to 3.00) |  |"), "{text}");
        assert!(text.contains("| time | at most 1 | 0.500 | met |\n"), "{text}");
        assert!(text.contains("| time | at most 10 ms | 12.00 ms | **missed**: it is slow |\n"), "{text}");
        assert!(text.ends_with("\nNot measured: theirs is not installed\n"), "{text}");
    }

    #[test]
    fn a_sample_is_found_by_figure_and_side() {
        let figures = vec![Figure::new("time", "ms", [Sample(vec![1.0]), Sample::default()])];
        let sides = vec!["ours".to_owned(), "theirs".to_owned()];
        let scenario = Scenario { sides, figures, ..Scenario::default() };
        assert_eq!(scenario.sample("time", "ours").map(Sample::median), Some(1.0));
        assert!(scenario.sample("time", "theirs").is_none() && scenario.sample("size", "ours").is_none());
    }

    #[test]
    fn a_number_keeps_three_digits() {
        let pairs = [(0.0, "0.00"), (0.001_234, "0.00123"), (0.26, "0.260"), (12.345, "12.35"), (3599.4, "3599")];
        pairs.into_iter().for_each(|(value, text)| assert_eq!(number(value), text));
    }
}
