//! What a tab has lived through.

use std::fmt;
use std::time::{Duration, Instant};

use wire::{BatchStatus, Counts, Position};

/// Violations that are kept in words; one mistake is often told again with every event.
const KEPT_VIOLATIONS: usize = 20;

/// What browsers wait before they come back when no `retry` was given. Firefox waits 5 s.
const DEFAULT_RETRY: Duration = Duration::from_secs(3);

/// Why a tab ended for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The answer was 204: everything was seen.
    Finished,
    /// The answer was no stream: its status, which may be 200 with another content type.
    Refused(u16),
    /// It was closed on this side.
    Closed,
}

/// An event other than `progress`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// `upstream`, `stalled`, `gone`, `busy`, `complete`, …
    pub name: String,
    /// The `state` of an `upstream` event, otherwise empty.
    pub detail: String,
    /// When it arrived.
    pub at: Instant,
}

/// Everything a tab has seen, counted and found wrong.
#[derive(Debug, Clone)]
pub struct History {
    /// When it began to connect, each time.
    pub connects: Vec<Instant>,
    /// When it was answered with a stream, each time.
    pub opens: Vec<Instant>,
    /// When a connection, or the attempt to make one, was over, each time: whoever ended it.
    pub ends: Vec<Instant>,
    /// Everything it received, in bytes, headers of answers included.
    pub bytes: u64,
    /// That part of them that came over connections with a `Last-Event-ID`.
    pub resumed_bytes: u64,
    /// Events of all kinds.
    pub events: u64,
    /// Comments: keep-alives.
    pub comments: u64,
    /// Events other than `progress`.
    pub named: Vec<Named>,
    /// The positions it has shown, each with the time at which it did first.
    pub positions: Vec<(Position, Instant)>,
    /// The last id, which it gives when it comes back.
    pub last_event_id: String,
    /// The status of the batch that it shows.
    pub status: Option<BatchStatus>,
    /// The progress that it shows.
    pub percent: Option<u8>,
    /// The counts that it shows.
    pub counts: Option<Counts>,
    /// How long it was last told to wait before it comes back.
    pub retry: Duration,
    /// Why it ended for good, if it has.
    pub end: Option<End>,
    /// What no viewer should ever see, in words; the first twenty.
    pub violations: Vec<String>,
}

impl Default for History {
    fn default() -> Self {
        Self {
            connects: Vec::new(),
            opens: Vec::new(),
            ends: Vec::new(),
            bytes: 0,
            resumed_bytes: 0,
            events: 0,
            comments: 0,
            named: Vec::new(),
            positions: Vec::new(),
            last_event_id: String::new(),
            status: None,
            percent: None,
            counts: None,
            retry: DEFAULT_RETRY,
            end: None,
            violations: Vec::new(),
        }
    }
}

impl History {
    /// The position that it shows.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.positions.last().map(|(position, _)| *position)
    }

    /// When it first showed this position or a later one.
    #[must_use]
    pub fn reached(&self, position: Position) -> Option<Instant> {
        self.positions.iter().find(|(shown, _)| *shown >= position).map(|(_, at)| *at)
    }

    /// When the first such event came; `detail` is the `state` of `upstream` events and empty for others.
    #[must_use]
    pub fn first(&self, name: &str, detail: &str) -> Option<Instant> {
        self.named.iter().find(|event| event.name == name && event.detail == detail).map(|event| event.at)
    }

    /// How many such events came.
    #[must_use]
    pub fn count(&self, name: &str, detail: &str) -> usize {
        self.named.iter().filter(|event| event.name == name && event.detail == detail).count()
    }

    pub(super) fn violate(&mut self, words: String) {
        if self.violations.len() < KEPT_VIOLATIONS {
            self.violations.push(words);
        }
    }
}

/// For the end of an error's text.
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position() {
            None => write!(f, "it shows nothing")?,
            Some(position) => write!(f, "it shows {position}, {:?}, {:?} %", self.status, self.percent.unwrap_or(0))?,
        }
        let (events, bytes) = (self.events, self.bytes);
        write!(
            f,
            ", after {events} events of {bytes} bytes, {} connects, {} streams",
            self.connects.len(),
            self.opens.len()
        )?;
        for event in self.named.iter().rev().take(5).rev() {
            write!(f, ", {}{}{}", event.name, if event.detail.is_empty() { "" } else { ":" }, event.detail)?;
        }
        if let Some(end) = &self.end {
            write!(f, ", ended: {end:?}")?;
        }
        if !self.violations.is_empty() {
            write!(f, "; violations: {}", self.violations.join("; "))?;
        }
        Ok(())
    }
}
