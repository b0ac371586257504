//! An `EventSource` that is not ours: the npm package, in Node.

use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use stack::{GUARD, workspace};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// One that was opened and tells what it is given; it ends when it is dropped.
pub(super) struct Native {
    lines: Lines<BufReader<ChildStdout>>,
    busy: u64,
    _node: Child,
}

impl Native {
    pub(super) fn open(url: &str) -> Result<Self> {
        let mut node = Command::new(workspace::node()?);
        node.arg(workspace::built("tests/faults/src/rows/life/eventsource.mjs")?).arg(url);
        let mut node = node.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let lines = BufReader::new(node.stdout.take().context("node without an output")?).lines();
        Ok(Self { lines, busy: 0, _node: node })
    }

    /// How often it was told `busy` so far.
    pub(super) fn busy(&self) -> u64 {
        self.busy
    }

    /// Waits for the next line that begins so, past others; when it came.
    pub(super) async fn until(&mut self, line: &str) -> Result<Instant> {
        let reached = tokio::time::timeout(GUARD, self.reach(line)).await;
        reached.with_context(|| format!("a native EventSource waits since {GUARD:?} for {line:?}"))?
    }

    async fn reach(&mut self, wanted: &str) -> Result<Instant> {
        while let Some(line) = self.lines.next_line().await? {
            self.busy += u64::from(line.starts_with("busy"));
            if line.starts_with(wanted) {
                return Ok(Instant::now());
            }
            if line.starts_with("closed") {
                bail!("a native EventSource has given up before {wanted:?}: {line}");
            }
        }
        bail!("node has ended before {wanted:?}")
    }
}
