//! What came of fuzzing one target, from what libFuzzer says of it.

use std::fmt::Write as _;
use std::path::PathBuf;

/// The lines before the end that tell what happened, where nothing else does.
const LAST_LINES: usize = 20;

pub(super) struct Report {
    target: String,
    program: PathBuf,
    runs: u64,
    runs_per_sec: u64,
    new_inputs: u64,
    broken: Option<Broken>,
}

/// A property that does not hold.
struct Broken {
    /// Where the input is; `None`: the fuzzer itself failed.
    input: Option<String>,
    words: String,
}

impl Report {
    /// `held`: the fuzzer ended well. `log`: what it said.
    pub(super) fn new(target: &str, program: PathBuf, held: bool, log: &str) -> Self {
        let figure = |name: &str| {
            let value = log.lines().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name)?.strip_prefix(':'));
            value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
        };
        Self {
            target: target.to_owned(),
            program,
            runs: figure("number_of_executed_units"),
            runs_per_sec: figure("average_exec_per_sec"),
            new_inputs: figure("new_units_added"),
            broken: (!held).then(|| Broken { input: input(log), words: words(log) }),
        }
    }

    pub(super) fn held(&self) -> bool {
        self.broken.is_none()
    }

    /// What was found and how to see it again; empty where all is well.
    pub(super) fn finding(&self) -> String {
        let Self { target, program, .. } = self;
        let Some(Broken { input, words }) = &self.broken else { return String::new() };
        let program = program.display();
        let Some(input) = input else { return format!("\n{target}: the fuzzer failed ({program})\n{words}\n") };
        format!(
            "\n{target} does not hold for {input}\n{words}\n\
             Again:      {program} {input}\n\
             On stable:  cp {input} fuzz/corpus/{target}/NAME && cargo test -p batchcast-fuzz {target}\n"
        )
    }
}

/// A line a target.
pub(super) fn table(reports: &[Report]) -> String {
    let mut table = format!("\n{:14}{:>12}{:>10}{:>12}  ", "target", "runs", "runs/s", "new inputs");
    for report in reports {
        let Report { target, runs, runs_per_sec, new_inputs, broken, .. } = report;
        let verdict = if broken.is_some() { "BROKEN" } else { "holds" };
        // Writing into a text cannot fail.
        let _ = write!(table, "\n{target:14}{runs:>12}{runs_per_sec:>10}{new_inputs:>12}  {verdict}");
    }
    table
}

/// Where libFuzzer says that it has written the input. It says so of slow ones too, before it goes on.
fn input(log: &str) -> Option<String> {
    let written = log.lines().rev().find_map(|line| line.split_once("Test unit written to "));
    written.map(|(_, path)| path.trim().to_owned())
}

/// The panic, or where there was none (a timeout, too much memory) the end of the log.
fn words(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let shown = match lines.iter().position(|line| line.contains("panicked at ")) {
        Some(panic) => lines[panic..].iter().take_while(|line| !ends_panic(line)).copied().collect::<Vec<_>>(),
        None => lines[lines.len().saturating_sub(LAST_LINES)..].to_vec(),
    };
    shown.join("\n")
}

fn ends_panic(line: &str) -> bool {
    line.starts_with("note:") || line.starts_with("stack backtrace:") || line.starts_with("==")
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATS: &str = "stat::number_of_executed_units: 1200\nstat::average_exec_per_sec:     400\n\
                         stat::new_units_added:          7\nstat::slowest_unit_time_sec:    0\n";

    #[test]
    fn figures_are_those_that_the_fuzzer_ends_with() {
        let report = Report::new("state", "bin/state".into(), true, STATS);
        assert_eq!((report.runs, report.runs_per_sec, report.new_inputs), (1200, 400, 7));
        assert!(report.held() && report.finding().is_empty());
        assert!(table(&[report]).ends_with("state                 1200       400           7  holds"));
    }

    #[test]
    fn a_finding_says_what_broke_and_how_to_see_it_again() {
        let log = format!(
            "thread '<unnamed>' (7) panicked at fuzz/src/state.rs:9:5:\nassertion failed: x\nnote: run with\n\
             ==7== ERROR: libFuzzer: deadly signal\n\
             artifact_prefix='a/'; Test unit written to a/state-crash-1\n{STATS}"
        );
        let report = Report::new("state", "bin/state".into(), false, &log);
        assert!(!report.held());
        let finding = report.finding();
        assert!(finding.contains("panicked at fuzz/src/state.rs:9:5:\nassertion failed: x\nAgain:"), "{finding}");
        assert!(finding.contains("bin/state a/state-crash-1\n"), "{finding}");
        assert!(finding.contains("cp a/state-crash-1 fuzz/corpus/state/NAME"), "{finding}");
    }

    #[test]
    fn a_fuzzer_that_fails_by_itself_is_told_by_its_last_words() {
        let report = Report::new("state", "bin/state".into(), false, "no such flag");
        assert!(report.finding().contains("the fuzzer failed (bin/state)\nno such flag"));
    }
}
