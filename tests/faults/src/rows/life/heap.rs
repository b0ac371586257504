//! What a Worker's memory holds once its garbage is collected. Without that, V8 lets garbage lie until its heap has
//! grown by tens of MiB, and freed memory stays with the process.

use std::process::Stdio;

use anyhow::{Context as _, Result};
use serde_json::Value;
use stack::{Builder, GUARD, Stack, ports, workspace};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// The inspector of a stack's edge.
pub(super) struct Heap {
    asks: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    _node: Child,
}

/// Bytes after the garbage was collected.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    /// Objects of JavaScript, and the native ones that they hold: streams, requests.
    pub(super) objects: u64,
    /// Buffers of JavaScript: what waits in streams. Without the wasm memory.
    pub(super) buffers: u64,
    /// What Linux calls resident: the whole process.
    pub(super) resident: u64,
}

impl Heap {
    /// Starts a stack whose Worker can be looked into.
    pub(super) async fn start(builder: Builder) -> Result<(Stack, Self)> {
        let mut stack = builder.plan()?.stopped()?;
        let inspector = format!("127.0.0.1:{}", ports::free()?);
        stack.edge.arg(&format!("--inspector-addr={inspector}"));
        stack.redis.start().await?;
        let Stack { edge, photo_worker, gateway, .. } = &mut stack;
        tokio::try_join!(gateway.start(), photo_worker.start(), edge.start())?;

        let mut node = Command::new(workspace::node()?);
        node.arg(workspace::built("tests/faults/src/rows/life/heap.mjs")?).arg(inspector);
        let mut node = node.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let asks = node.stdin.take().context("node without an input")?;
        let answers = BufReader::new(node.stdout.take().context("node without an output")?).lines();
        Ok((stack, Self { asks, answers, _node: node }))
    }

    /// Collects the garbage; what is left then.
    pub(super) async fn collect(&mut self, stack: &Stack) -> Result<Usage> {
        self.asks.write_all(b"\n").await?;
        let line = tokio::time::timeout(GUARD, self.answers.next_line()).await.context("no look into the heap")??;
        let told: Value = serde_json::from_str(&line.context("the inspector has gone")?)?;
        let bytes = |name| told[name].as_f64().map(|bytes| bytes as u64).with_context(|| format!("no {name}: {told}"));
        Ok(Usage {
            objects: bytes("usedSize")? + bytes("embedderHeapUsedSize")?,
            buffers: bytes("backingStorageSize")?,
            resident: stack.edge.resident_bytes()?,
        })
    }
}
