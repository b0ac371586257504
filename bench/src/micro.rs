//! The micro-benchmarks of the crates, which `cargo bench` runs: what they print, as a table.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use stack::workspace;

/// The crates that have some.
const CRATES: [&str; 3] = ["batchcast-wire", "batchcast-hub", "batchcast-redis-rest"];

/// What they came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Micro {
    /// The time, and the commit.
    pub(crate) measured: String,
    rows: Vec<Row>,
}

/// One benchmark with one argument. Times and throughput as divan wrote them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    krate: String,
    name: String,
    /// What it was done with; empty where it is done in one way only.
    of: String,
    fastest: String,
    slowest: String,
    median: String,
    /// Empty where bytes were not counted.
    throughput: String,
    allocations: u64,
}

impl Micro {
    /// As it is called beside the scenarios.
    pub(crate) const NAME: &str = "micro-benchmarks";

    /// Builds and runs them; `quick`: each but once, to see that it works.
    pub(crate) fn run(measured: &str, quick: bool) -> Result<Self> {
        let mut rows = Vec::new();
        for name in CRATES {
            let mut cargo = Command::new("cargo");
            cargo
                .args(["bench", "--quiet", "--package", name, "--", "--color", "never"])
                .args(quick.then_some("--test"));
            let output = cargo.current_dir(workspace::root()).output().context("cannot start cargo")?;
            let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            ensure!(output.status.success(), "`cargo bench --package {name}` failed: {errors}");
            let found = rows_of(name.trim_start_matches("batchcast-"), &text);
            ensure!(
                quick || !found.is_empty(),
                "`cargo bench --package {name}` printed nothing that is understood: {text}"
            );
            println!("{name}: {} figures", found.len());
            rows.extend(found);
        }
        Ok(Self { measured: measured.to_owned(), rows })
    }

    /// What stands below its heading.
    pub(crate) fn section(&self) -> String {
        let mut text = format!(
            "Parts of the crates alone, in this process' memory: `cargo bench -p batchcast-wire`, and so on; what each \
             does is said in its source, `benches/` of the crate. It is of so many photos (wire), viewers (hub), fields of a \
             hash or bytes of a cut (redis-rest). The medians of 100 or 200 samples, with the fastest and \
             the slowest; allocations are those of one call, those that grow a block counted. Counting them takes a part \
             of the time.\n\nMeasured {}.\n\n\
             | crate | what | of | median | bytes a second | allocations |\n|---|---|---|---|---|---|\n",
            self.measured
        );
        for Row { krate, name, of, fastest, slowest, median, throughput, allocations } in &self.rows {
            let (name, time) = (name.replace('_', " "), format!("{median} ({fastest} to {slowest})"));
            text.push_str(&format!("| {krate} | {name} | {of} | {time} | {throughput} | {allocations} |\n"));
        }
        text
    }
}

/// Reads divan's tree: a line a benchmark or an argument, and below each the throughput and what was allocated.
fn rows_of(krate: &str, text: &str) -> Vec<Row> {
    let (mut rows, mut group, mut counted) = (Vec::<Row>::new(), String::new(), String::new());
    for line in text.lines() {
        let is_entry = ["├─ ", "╰─ "].iter().any(|branch| line.contains(branch));
        let is_below = line.starts_with("│  ") || line.starts_with("   ");
        let text = line.trim_start_matches([' ', '│', '├', '╰', '─']);
        let mut cells = text.split('│').map(str::trim);
        let first = cells.next().unwrap_or_default();
        let cells: Vec<&str> = cells.collect();
        if is_entry {
            counted.clear();
            let (label, fastest) = first.split_once(' ').unwrap_or((first, ""));
            let [slowest, median, ..] = cells[..] else { continue };
            if fastest.is_empty() {
                group = label.to_owned();
                continue;
            }
            let (name, of) = if is_below { (group.as_str(), label) } else { (label, "") };
            let [name, of, fastest, slowest, median] = [name, of, fastest.trim(), slowest, median].map(str::to_owned);
            rows.push(Row { krate: krate.to_owned(), name, of, fastest, slowest, median, ..Row::default() });
        } else if let (Some(row), [_, median, ..]) = (rows.last_mut(), &cells[..]) {
            match (first.strip_suffix(':'), counted.as_str()) {
                (Some(what), _) => counted = what.to_owned(),
                (None, "") => row.throughput = (*median).to_owned(),
                // The line after it is of bytes, and is no whole number.
                (None, "alloc" | "grow") => row.allocations += median.parse::<u64>().unwrap_or_default(),
                _ => {}
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "\
protocol                    fastest       │ slowest       │ median        │ mean          │ samples │ iters
├─ decode_a_stream                        │               │               │               │         │
│  ├─ 1                     191.2 µs      │ 227.1 µs      │ 194.2 µs      │ 196.2 µs      │ 100     │ 100
│  │                        188.3 MB/s    │ 158.6 MB/s    │ 185.5 MB/s    │ 183.6 MB/s    │         │
│  │                        max alloc:    │               │               │               │         │
│  │                          4           │ 4             │ 4             │ 4             │         │
│  │                          1.511 KB    │ 1.511 KB      │ 1.511 KB      │ 1.511 KB      │         │
│  │                        alloc:        │               │               │               │         │
│  │                          204         │ 204           │ 205           │ 204           │         │
│  │                          36.22 KB    │ 36.22 KB      │ 36.22 KB      │ 36.22 KB      │         │
│  │                        grow:         │               │               │               │         │
│  │                          107         │ 107           │ 10            │ 107           │         │
│  │                          35.72 KB    │ 35.72 KB      │ 35.72 KB      │ 35.72 KB      │         │
│  ╰─ 64                    33.93 µs      │ 54.02 µs      │ 34.41 µs      │ 34.84 µs      │ 100     │ 100
╰─ parse_a_path             153.7 ns      │ 3.037 µs      │ 183.7 ns      │ 218.6 ns      │ 100     │ 100
                            alloc:        │               │               │               │         │
                              6           │ 6             │ 6             │ 6             │         │
                              80 B        │ 80 B          │ 80 B          │ 80 B          │         │
";

    fn row(name: &str, of: &str, times: [&str; 3], throughput: &str, allocations: u64) -> Row {
        let [name, of, throughput, krate] = [name, of, throughput, "redis-rest"].map(str::to_owned);
        let [fastest, slowest, median] = times.map(str::to_owned);
        Row { krate, name, of, fastest, slowest, median, throughput, allocations }
    }

    #[test]
    fn a_tree_becomes_rows() {
        let rows = [
            row("decode_a_stream", "1", ["191.2 µs", "227.1 µs", "194.2 µs"], "185.5 MB/s", 215),
            row("decode_a_stream", "64", ["33.93 µs", "54.02 µs", "34.41 µs"], "", 0),
            row("parse_a_path", "", ["153.7 ns", "3.037 µs", "183.7 ns"], "", 6),
        ];
        assert_eq!(rows_of("redis-rest", TREE), rows);
    }
}
