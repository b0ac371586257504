//! What came of the rows, as Markdown.

use std::time::Duration;

use stack::machine;

use crate::runner::Outcome;

/// The table.
pub(crate) fn table(outcomes: &[Outcome]) -> String {
    let mut table = "| # | fault | must hold | result | measured |\n|---|---|---|---|---|\n".to_owned();
    for outcome in outcomes {
        let result = if outcome.result.is_ok() { "holds" } else { "**FAILS**" };
        let figures: Vec<_> =
            outcome.figures.iter().map(|figure| format!("{}: {}", figure.name, figure.value)).collect();
        let cells = [outcome.fault, outcome.must_hold, result, &figures.join("; ")].map(cell).join(" | ");
        table.push_str(&format!("| {} | {cells} |\n", outcome.number));
    }
    table
}

/// All of `tests/FAULTS.md`.
pub(crate) fn document(outcomes: &[Outcome], took: Duration) -> String {
    let held = outcomes.iter().filter(|outcome| outcome.result.is_ok()).count();
    let mut text = format!(
        "# Faults\n\nWhat Batchcast does when its parts and the network between them fail: each row was run on real parts \
         (`redis-server`, the gateway, the photo worker, the built Worker in `workerd`) with tabs that read streams as an \
         `EventSource` does. Every tab checks each event: positions and the versions of photos never fall, progress never \
         falls, the photos add up to the counts (so nothing was missed), `complete` comes once and last.\n\n\
         Written by `cargo xtask faults`; do not edit. {held} of {} rows hold.\n\n",
        outcomes.len()
    );
    let workerd = machine::workerd_version().map(|version| ("workerd", version));
    for (name, value) in machine::facts().into_iter().chain(workerd) {
        text.push_str(&format!("- {name}: {value}\n"));
    }
    text.push_str(&format!("- all rows took: {:.0} s\n\n{}", took.as_secs_f64(), table(outcomes)));
    for outcome in outcomes {
        if let Err(error) = &outcome.result {
            let number = outcome.number;
            text.push_str(&format!("\n## Row {number} fails\n\nAfter {:.1} s:\n\n", outcome.took.as_secs_f64()));
            error.lines().for_each(|line| text.push_str(&format!("    {line}\n")));
        }
    }
    text
}

/// A cell is one line, and a bar would end it.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Figure;

    fn outcome(number: u8, result: Result<(), String>) -> Outcome {
        let figures = vec![Figure { name: "fresh after".into(), value: "7 ms".into() }];
        let (fault, must_hold) = ("a | b", "all");
        Outcome { number, fault, must_hold, result, figures, took: Duration::from_secs(2) }
    }

    #[test]
    fn a_row_is_a_line_whatever_stands_in_it() {
        let table = table(&[outcome(3, Ok(()))]);
        assert_eq!(table.lines().last(), Some("| 3 | a \\| b | all | holds | fresh after: 7 ms |"));
    }

    #[test]
    fn what_fails_is_told_below_the_table() {
        let text = document(&[outcome(1, Ok(())), outcome(2, Err("lost\n    log".into()))], Duration::from_secs(5));
        assert!(text.contains("1 of 2 rows hold"));
        assert!(text.ends_with("## Row 2 fails\n\nAfter 2.0 s:\n\n    lost\n        log\n"), "{text}");
    }
}
