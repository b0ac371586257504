//! What a row is given.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use fault_proxy::Proxy;
use stack::{Builder, Stack, ports, workspace};

/// The way from a row to its place in the report. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Ctx(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    stacks: AtomicUsize,
    figures: Mutex<Vec<Figure>>,
}

/// What was measured, and its value with its unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl Ctx {
    pub(crate) fn new(number: u8) -> Self {
        let dir = workspace::target_dir().join(format!("faults/row-{number:02}"));
        // What an earlier run left there would be taken for this one's.
        let _ = std::fs::remove_dir_all(&dir);
        Self(Arc::new(Inner { dir, stacks: AtomicUsize::new(0), figures: Mutex::default() }))
    }

    /// A stack whose Worker runs in `workerd` alone and whose logs stay in [`Ctx::dir`], those of a second stack in
    /// `stack-2` there. Everything else is the row's to set.
    pub(crate) fn stack(&self) -> Builder {
        let logs = match self.0.stacks.fetch_add(1, Ordering::Relaxed) {
            0 => self.0.dir.clone(),
            before => self.0.dir.join(format!("stack-{}", before + 1)),
        };
        Stack::builder().bare().keep_logs(logs)
    }

    /// A proxy before `upstream`, to be put between two parts; it passes everything on until it is told otherwise.
    pub(crate) async fn proxy(&self, upstream: SocketAddr) -> Result<Proxy> {
        Proxy::start(ports::free()?, upstream).await
    }

    /// Tells a figure in the table, with its unit.
    pub(crate) fn figure(&self, name: &str, value: impl Display) {
        let figure = Figure { name: name.to_owned(), value: value.to_string() };
        self.0.figures.lock().unwrap_or_else(PoisonError::into_inner).push(figure);
    }

    /// Tells a time, in the unit that suits it.
    pub(crate) fn time(&self, name: &str, time: Duration) {
        let millis = time.as_secs_f64() * 1_000.0;
        self.figure(
            name,
            if millis < 1_000.0 { format!("{millis:.0} ms") } else { format!("{:.1} s", millis / 1_000.0) },
        );
    }

    /// Tells an amount of memory or traffic.
    pub(crate) fn bytes(&self, name: &str, bytes: u64) {
        let kib = bytes as f64 / 1024.0;
        self.figure(name, if kib < 1024.0 { format!("{kib:.1} KiB") } else { format!("{:.1} MiB", kib / 1024.0) });
    }

    /// The row's folder, `target/faults/row-NN`.
    pub(crate) fn dir(&self) -> &Path {
        &self.0.dir
    }

    pub(crate) fn figures(&self) -> Vec<Figure> {
        self.0.figures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
