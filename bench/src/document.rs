//! `bench/RESULTS.md`.

use crate::micro::Micro;
use crate::plots::Plot;
use crate::report::{Bar, Scenario, table};
use crate::results::{Record, Results};

const HEAD: &str = "# Results

Written by `cargo xtask bench`; do not edit. [README.md](README.md) says how to read it, and how to measure again. Each \
figure is the median of all runs, with the smallest and the largest behind it. The sides were measured in turn, on \
loopback, on a machine that the load and Redis share with them: compare the sides, not the figures with those of another \
machine.

";

const NOISE: &str = "
Where the work takes much longer at most than at least, or sleeps are late by milliseconds, something else had the \
processors, or their clocks changed: doubt the slowest times of that run, and differences that are not much larger. The \
load average after a run is its own.
";

/// All of it.
pub(crate) fn document(results: &Results, plots: &[Plot]) -> String {
    let scenarios = results.scenarios();
    let mut text = format!("{HEAD}{}", summary(&scenarios));
    text.push_str("\n## Machine\n\n");
    results.machine.iter().for_each(|(name, value)| text.push_str(&format!("- {name}: {value}\n")));
    text.push_str(
        "- peers in Node: versions, and what was changed of their defaults, in [peers/README.md](peers/README.md)\n",
    );
    for noise in &results.noise {
        text.push_str(&format!("- noise, {}: {}\n", noise.measured, noise.line()));
    }
    if !results.noise.is_empty() {
        text.push_str(NOISE);
    }
    if !plots.is_empty() {
        text.push_str("\n## Plots\n");
    }
    for plot in plots {
        text.push_str(&format!("\n![{}]({})\n", plot.title, plot.path()));
    }
    for Record { measured, scenario } in &results.scenarios {
        let Scenario { name, about, .. } = scenario;
        text.push_str(&format!("\n## {name}\n\n{about}\n\nMeasured {measured}.\n\n{}", table(scenario)));
    }
    if let Some(micro) = &results.micro {
        text.push_str(&format!("\n## {}\n\n{}", Micro::NAME, micro.section()));
    }
    text
}

/// All bars, and what was not measured.
fn summary(scenarios: &[Scenario]) -> String {
    let mut text = format!("**{}.**\n\n", count(scenarios));
    text.push_str("| scenario | bar | must be | is | |\n|---|---|---|---|---|\n");
    for Scenario { name, bars, .. } in scenarios {
        bars.iter().for_each(|bar| text.push_str(&format!("| [{name}](#{name}) {}", bar.row())));
    }
    for Scenario { name, missing, .. } in scenarios {
        missing.iter().for_each(|line| text.push_str(&format!("\nNot measured in [{name}](#{name}): {line}\n")));
    }
    text
}

/// How many bars are met, in words.
pub(crate) fn count(scenarios: &[Scenario]) -> String {
    let bars: Vec<&Bar> = scenarios.iter().flat_map(|scenario| &scenario.bars).collect();
    let (met, unmeasured) = (bars.iter().filter(|bar| bar.is_met()), bars.iter().filter(|bar| !bar.is_measured()));
    let unmeasured = match unmeasured.count() {
        0 => String::new(),
        count => format!("; {count} could not be measured"),
    };
    format!("{} of {} bars are met{unmeasured}", met.count(), bars.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Limit;

    fn scenario() -> Scenario {
        let bars = [0.5, 2.0, f64::NAN].map(|is| Bar::ratio("p99", is, Limit::AtMost(1.0)));
        let missing = vec!["theirs is not installed".to_owned()];
        Scenario {
            name: "s".to_owned(),
            about: "What was done.".to_owned(),
            bars: bars.into(),
            missing,
            ..Scenario::default()
        }
    }

    #[test]
    fn all_bars_are_counted_at_the_top() {
        let mut results = Results::new(vec![("machine".to_owned(), "2 cores".to_owned())]);
        results.put("today, commit abc", scenario());
        let text = document(&results, &[]);
        assert!(text.contains("- machine: 2 cores\n"), "{text}");
        assert!(text.contains("**1 of 3 bars are met; 1 could not be measured.**"), "{text}");
        assert!(text.contains("| [s](#s) | p99 | at most 1 | 2.00 | **missed** |\n"), "{text}");
        assert!(text.contains("\nNot measured in [s](#s): theirs is not installed\n"), "{text}");
        assert!(text.contains("\n## s\n\nWhat was done.\n\nMeasured today, commit abc.\n\n| figure |"), "{text}");
    }
}
