//! What each of many viewers has seen last, and how many events it took.
//!
//! For loads in which changes may be merged: then the number of events tells nothing of what a viewer has seen.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::listeners::{Reader, Taken};
use crate::marks::greatest_number;

/// How often it is looked whether all have seen something.
const LOOK: Duration = Duration::from_millis(5);

/// Viewers, by the greatest number of a change that each has seen.
#[derive(Clone, Default)]
pub(crate) struct Latest(Arc<Mutex<Vec<Arc<Seen>>>>);

/// What one viewer has seen.
#[derive(Default)]
pub(crate) struct Seen {
    /// One more than the greatest number; 0: none yet.
    above: AtomicU64,
    events: AtomicU64,
}

impl Seen {
    /// Takes the data of an event: whether it shows a later change than any before.
    pub(crate) fn take(&self, data: &[u8]) -> Result<bool> {
        let Some(number) = greatest_number(data)? else { return Ok(false) };
        self.events.fetch_add(1, Ordering::Relaxed);
        Ok(self.above.fetch_max(number + 1, Ordering::Relaxed) <= number)
    }

    /// Whether it shows so many changes: those from 0 on.
    pub(crate) fn has(&self, changes: u64) -> bool {
        self.above.load(Ordering::Relaxed) >= changes
    }
}

impl Latest {
    /// One viewer more.
    pub(crate) fn viewer(&self) -> Arc<Seen> {
        let seen = Arc::<Seen>::default();
        self.viewers().push(Arc::clone(&seen));
        seen
    }

    /// One viewer more, as a reader of a stream.
    pub(crate) fn reader(&self) -> EventLines {
        EventLines(self.viewer())
    }

    /// The events with a change that all together have read.
    pub(crate) fn events(&self) -> u64 {
        self.viewers().iter().map(|seen| seen.events.load(Ordering::Relaxed)).sum()
    }

    /// How many have not seen so many changes.
    pub(crate) fn behind(&self, changes: usize) -> usize {
        self.viewers().iter().filter(|seen| !seen.has(changes as u64)).count()
    }

    /// Waits until each has seen so many changes, or `patience` is over: whether all have.
    pub(crate) async fn all_have(&self, changes: usize, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        while self.behind(changes) > 0 {
            if Instant::now() >= until {
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
        true
    }

    fn viewers(&self) -> MutexGuard<'_, Vec<Arc<Seen>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the lines of events.
pub(crate) struct EventLines(Arc<Seen>);

impl Reader for EventLines {
    fn take(&mut self, bytes: &[u8], _: u64) -> Result<Taken> {
        let (mut events, mut whole) = (0, 0);
        for line in whole_lines(bytes) {
            whole += line.len() + 1;
            events += u64::from(data(line).map(|data| self.0.take(data)).transpose()?.unwrap_or(false));
        }
        Ok(Taken { events, bytes: whole })
    }
}

/// The lines that have ended, without their end. The frames of chunks are lines, too, that mean nothing: each event is one
/// chunk, so that none stands inside of a line.
pub(crate) fn whole_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ended = bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or_default();
    let lines = bytes[..ended].split(|byte| *byte == b'\n');
    lines.take(if bytes.contains(&b'\n') { usize::MAX } else { 0 })
}

/// What a line says, if it is one of an event's data.
pub(crate) fn data(line: &[u8]) -> Option<&[u8]> {
    line.strip_prefix(b"data:")
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "1f\r\nretry: 2000\n\n\r\n40\r\nid: 7-2\nevent: progress\ndata: {\"nth\":\"00000003\"}\n\n\r\n\
                          data: {\"nth\":\"00000001\"},{\"nth\":\"00000005\"}\n\ndata: {\"nth\":\"00000004\"}\n\n";

    #[test]
    fn each_event_counts_and_the_greatest_number_stays_in_any_cut() {
        for cut in 0..STREAM.len() {
            let latest = Latest::default();
            let (mut reader, mut kept, mut news) = (latest.reader(), Vec::new(), 0);
            for part in [&STREAM.as_bytes()[..cut], &STREAM.as_bytes()[cut..]] {
                kept.extend_from_slice(part);
                let taken = reader.take(&kept, 0).unwrap();
                kept.drain(..taken.bytes);
                news += taken.events;
            }
            assert_eq!((latest.events(), news), (3, 2), "cut at {cut}");
            assert_eq!((latest.behind(6), latest.behind(7)), (0, 1), "cut at {cut}");
        }
    }

    #[test]
    fn only_lines_that_have_ended_are_whole() {
        let lines = |text: &'static str| whole_lines(text.as_bytes()).map(<[u8]>::len).collect::<Vec<_>>();
        assert_eq!(lines("ab\n\nc"), [2, 0]);
        assert_eq!(lines("\n"), [0]);
        assert_eq!(lines("ab"), [0; 0]);
        assert_eq!(lines(""), [0; 0]);
    }
}
