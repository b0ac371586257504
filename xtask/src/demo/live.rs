//! The batch as a viewer sees it, shown in the terminal.

use std::io::{IsTerminal as _, Write as _, stdout};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use stack::{Seen, Viewer};
use tokio::sync::oneshot;

/// From this progress on it counts as mid-batch.
const HALFWAY_PERCENT: u8 = 40;
const BAR_WIDTH: usize = 40;

/// How often a stream that ended too early is opened again.
const REOPENINGS: u32 = 5;
const WAIT_BEFORE_REOPENING: Duration = Duration::from_secs(2);

/// The part of an event's data that the demo shows.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Head {
    pub(super) status: String,
    pub(super) progress: u8,
    pub(super) counts: Counts,
    /// Everything, not only what has changed.
    #[serde(default)]
    full: bool,
    /// The time of the earliest commit that the event covers, in ms since 1970.
    at: Option<u64>,
}

/// How many photos stand where.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Counts {
    pub(super) total: u32,
    pub(super) completed: u32,
    pub(super) failed: u32,
}

/// What came through the stream.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) progress_events: u32,
    pub(super) complete_events: u32,
    pub(super) reopenings: u32,
    /// From commit to viewer, for each live event that says when its commit was.
    pub(super) latencies: Vec<Duration>,
    /// The head at the end.
    pub(super) end: Head,
}

/// Shows the stream until its `complete`, and tells once when it is in mid-batch.
pub(super) async fn watch(mut viewer: Viewer, url: &str, tell_halfway: oneshot::Sender<u8>) -> Result<Watched> {
    let mut display = Display { is_terminal: stdout().is_terminal() };
    let mut tell_halfway = Some(tell_halfway);
    let (mut progress_events, mut reopenings, mut latencies) = (0, 0, Vec::new());
    let mut last_id = String::new();
    loop {
        let Some(seen) = viewer.next().await? else {
            ensure!(reopenings < REOPENINGS, "the stream keeps ending before the batch does");
            reopenings += 1;
            tokio::time::sleep(viewer.retry().unwrap_or(WAIT_BEFORE_REOPENING)).await;
            viewer = Viewer::resume(url, &last_id).await?;
            continue;
        };
        last_id.clone_from(&seen.id);
        if !matches!(seen.event.as_str(), "progress" | "complete") {
            display.note(&format!("{} {}", seen.event, seen.data))?;
            continue;
        }
        let head = Head::deserialize(&seen.data).with_context(|| format!("an event without a head: {}", seen.data))?;
        if let Some(tell) = tell_halfway.take_if(|_| head.progress >= HALFWAY_PERCENT) {
            // Nobody listens any more only when the demo has failed elsewhere, which is told there.
            let _ = tell.send(head.progress);
        }
        if seen.event == "complete" {
            display.end()?;
            return Ok(Watched { progress_events, complete_events: 1, reopenings, latencies, end: head });
        }
        progress_events += 1;
        latencies.extend(latency(&seen, &head));
        display.progress(&head)?;
    }
}

fn latency(seen: &Seen, head: &Head) -> Option<Duration> {
    let committed: SystemTime = UNIX_EPOCH + Duration::from_millis(head.at.filter(|_| !head.full)?);
    // Both clocks are the same, so a commit in the future is a rounded millisecond.
    Some(seen.received.duration_since(committed).unwrap_or_default())
}

/// One line that is redrawn in a terminal; a line for each event elsewhere.
struct Display {
    is_terminal: bool,
}

impl Display {
    fn progress(&mut self, head: &Head) -> Result<()> {
        let Counts { total, completed, failed } = head.counts;
        let text = format!("{:3} %  {completed} done, {failed} failed, of {total}", head.progress);
        if self.is_terminal {
            print!("\r\x1b[2K{} {text}", bar(head.progress));
            return Ok(stdout().flush()?);
        }
        println!("{text}");
        Ok(())
    }

    fn note(&mut self, text: &str) -> Result<()> {
        self.end()?;
        println!("{text}");
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        if self.is_terminal {
            println!();
        }
        Ok(stdout().flush()?)
    }
}

fn bar(percent: u8) -> String {
    let full = BAR_WIDTH * usize::from(percent.min(100)) / 100;
    format!("{}{}", "█".repeat(full), "░".repeat(BAR_WIDTH - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(data: &str, received_ms: u64) -> (Seen, Head) {
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        let head = Head::deserialize(&data).unwrap();
        let received = UNIX_EPOCH + Duration::from_millis(received_ms);
        (Seen { id: String::new(), event: "progress".into(), data, received }, head)
    }

    const HEAD: &str = r#""status":"PROCESSING","progress":4,"counts":{"total":24,"completed":1,"failed":0}"#;

    #[test]
    fn latency_is_from_the_commit_to_the_arrival() {
        let (seen, head) = seen(&format!("{{{HEAD},\"at\":1000}}"), 1012);
        assert_eq!(latency(&seen, &head), Some(Duration::from_millis(12)));
    }

    #[test]
    fn catching_up_and_events_without_a_time_have_no_latency() {
        for extra in [",\"at\":1000,\"full\":true", ""] {
            let (seen, head) = seen(&format!("{{{HEAD}{extra}}}"), 1012);
            assert_eq!(latency(&seen, &head), None);
        }
    }

    #[test]
    fn the_bar_is_always_equally_wide() {
        for percent in [0, 1, 50, 99, 100] {
            assert_eq!(bar(percent).chars().count(), BAR_WIDTH);
        }
    }
}
