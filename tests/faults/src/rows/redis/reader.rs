//! A reader that asks for a batch again and again, and remembers what it was told.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use reqwest::Client;
use serde_json::Value;
use stack::Stack;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use wire::Position;

const PAUSE: Duration = Duration::from_millis(200);
const GUARD: Duration = Duration::from_secs(30);

/// One answer to a cached read.
#[derive(Debug, Clone)]
pub(super) struct Read {
    /// When it was asked for.
    pub(super) at: Instant,
    pub(super) took: Duration,
    pub(super) status: u16,
    /// `X-Cache` and `X-Cache-Source`, `HIT memory` say; empty when they are absent.
    pub(super) kind: String,
    /// `Age`, in seconds.
    pub(super) age: Option<u64>,
    /// `Retry-After`, in seconds.
    pub(super) retry_after: Option<u64>,
    pub(super) position: Option<Position>,
}

/// Asks for a batch once.
pub(super) async fn read(stack: &Stack, batch_id: &str) -> Result<Read> {
    ask(&Client::new(), &address(stack, batch_id)).await
}

/// Asks for a batch until it is dropped.
pub(super) struct Reader {
    reads: watch::Receiver<Vec<Read>>,
    task: JoinHandle<()>,
}

impl Reader {
    pub(super) fn start(stack: &Stack, batch_id: &str) -> Self {
        let url = address(stack, batch_id);
        let (told, reads) = watch::channel(Vec::new());
        let task = tokio::spawn(async move {
            let client = Client::new();
            loop {
                // The edge itself is never away here: without an answer there will be no read that is waited for.
                if let Ok(read) = ask(&client, &url).await {
                    told.send_modify(|reads: &mut Vec<Read>| reads.push(read));
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { reads, task }
    }

    /// Waits for a read, asked for from now on, for which `check` holds.
    pub(super) async fn until(&self, what: &str, check: impl Fn(&Read) -> bool) -> Result<Read> {
        let (from, mut reads) = (Instant::now(), self.reads.clone());
        let wanted = |read: &&Read| read.at >= from && check(read);
        let found = tokio::time::timeout(GUARD, reads.wait_for(|reads| reads.iter().any(|read| wanted(&read)))).await;
        if let Ok(Ok(reads)) = found
            && let Some(read) = reads.iter().find(wanted)
        {
            return Ok(read.clone());
        }
        bail!("no read is {what} since {GUARD:?}; the last one: {:?}", self.reads.borrow().last())
    }

    /// The reads that were asked for between these two moments.
    pub(super) fn between(&self, from: Instant, to: Instant) -> Vec<Read> {
        self.reads.borrow().iter().filter(|read| from <= read.at && read.at < to).cloned().collect()
    }

    /// Fails when a reader was refused, or was told less than before.
    pub(super) fn check(&self) -> Result<()> {
        let reads = self.reads.borrow();
        for read in reads.iter() {
            ensure!(read.status == 200, "a reader was refused: {read:?}");
        }
        for pair in reads.windows(2) {
            ensure!(pair[0].position <= pair[1].position, "{:?} came after {:?}", pair[1], pair[0]);
        }
        Ok(())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn address(stack: &Stack, batch_id: &str) -> String {
    format!("{}/api/batches/{batch_id}", stack.edge.url())
}

async fn ask(client: &Client, url: &str) -> Result<Read> {
    let at = Instant::now();
    let response = client.get(url).send().await?;
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let kind = [header("x-cache"), header("x-cache-source")].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let seconds = |name| header(name).and_then(|value| value.parse().ok());
    let (status, age, retry_after) = (response.status().as_u16(), seconds("age"), seconds("retry-after"));
    let body: Value = response.json().await?;
    let position = body["position"].as_str().and_then(|position| position.parse().ok());
    Ok(Read { at, took: at.elapsed(), status, kind, age, retry_after, position })
}
