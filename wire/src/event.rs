//! Server-sent events, as bytes (WHATWG HTML, section "Server-sent events").
//!
//! A stream is a `retry:`, then `progress` events whose `id` is a [`Position`], then the last `progress` without `id`
//! and one `complete`, which alone carries the final position. Hence a client that returns with the final position
//! has seen `complete`, and any other gets what it misses.
//!
//! ```
//! use batchcast_wire::{BatchState, event};
//!
//! let state = BatchState::from_json(
//!     br#"{"v":1,"batchId":"holiday","position":"7-42","status":"CANCELLED","updatedAt":"2026-11-22T23:10:30Z",
//!     "counts":{"total":1,"queued":1,"processing":0,"completed":0,"failed":0},"photos":[]}"#,
//! )?;
//! // All that a new viewer of an ended batch is sent.
//! let stream = event::retry(3_000) + &event::ending(&state, None, None);
//! assert!(stream.starts_with("retry: 3000\n\nevent: progress\n"));
//! assert!(stream.contains("\n\nid: 7-42\nevent: complete\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use serde::{Serialize, Serializer, ser::SerializeStruct};

use crate::{
    BatchState, Delta, Position, Seen,
    state::{head_fields, to_json},
};

/// A comment, written where nothing else was for a while: keeps proxies awake and finds out who has left.
pub const KEEP_ALIVE: &str = ":\n\n";
/// The stream behind the replica is broken; what is shown may be behind.
pub const UPSTREAM_STALE: &str = "event: upstream\ndata: {\"state\":\"stale\"}\n\n";
/// The stream behind the replica is whole again.
pub const UPSTREAM_LIVE: &str = "event: upstream\ndata: {\"state\":\"live\"}\n\n";
/// Nothing has changed for a while: the worker may have stopped.
pub const STALLED: &str = "event: stalled\ndata: {}\n\n";
/// The batch was deleted; the server closes, and answers 404 from now on.
pub const GONE: &str = "event: gone\ndata: {}\n\n";
/// This viewer can't be served now; the server closes, and the client comes back after `retry`.
pub const BUSY: &str = "event: busy\ndata: {}\n\n";
/// The token behind this stream has expired; the server closes. With another one the client goes on where it was.
pub const AUTH_EXPIRED: &str = "event: auth-expired\ndata: {}\n\n";

/// How long a client waits before it comes back, in milliseconds.
///
/// ```
/// use batchcast_wire::event;
///
/// // At the head of a stream: whoever loses it waits 3 seconds.
/// assert_eq!(event::retry(3_000), "retry: 3000\n\n");
/// ```
pub fn retry(millis: u64) -> String {
    format!("retry: {millis}\n\n")
}

/// Nothing has changed for long at the viewer's `position`: the server closes, and the client looks in after `retry`.
/// Its `id` makes the client say so.
///
/// ```
/// use batchcast_wire::event;
///
/// // The tab that was left open: told to come back in a minute, then closed.
/// let farewell = event::retry(60_000) + &event::idle("7-42".parse()?);
/// assert!(farewell.ends_with("id: 7-42~idle\nevent: idle\ndata: {}\n\n"));
/// # Ok::<(), batchcast_wire::PositionError>(())
/// ```
pub fn idle(position: Position) -> String {
    format!("id: {}\nevent: idle\ndata: {{}}\n\n", Seen::idle(position))
}

/// The `progress` event that takes a viewer from `since` to an open `state`. `at` is the time of the earliest commit
/// that it covers, in milliseconds since the Unix epoch, where that is known.
///
/// ```
#[doc = include_str!("examples/batch.txt")]
///
/// let state = BatchState::new(head, [])?;
/// let first = event::progress(&state, None, None); // For whoever has nothing yet; later ones begin where it ended.
/// let next = event::progress(&state, Some("7-41".parse()?), None);
/// assert!(first.starts_with("id: 7-42\nevent: progress\n") && first.contains(r#""full":true"#));
/// assert!(!next.contains("full"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn progress(state: &BatchState, since: Option<Position>, at: Option<u64>) -> String {
    let data = Progress { state, delta: state.changes_since(since), position: true, at };
    frame(Some(state.position()), "progress", &to_json(&data))
}

/// The end of a stream: the last `progress`, which carries no position, and `complete`, which alone does.
///
/// ```
/// # use batchcast_wire::{BatchId, BatchState, BatchStatus, Counts, Head, event};
/// # let head = Head::new(BatchId::new("holiday")?, "7-42".parse()?, BatchStatus::Completed, Counts::default(), "");
/// let state = BatchState::new(head, [])?;
/// let text = event::ending(&state, Some("7-41".parse()?), None);
/// let (last, complete) = text.split_once("\n\n").unwrap_or_default();
/// assert!(!last.contains("7-42")); // Cut here, the client comes back with 7-41 and is told again.
/// assert!(complete.starts_with("id: 7-42\nevent: complete\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn ending(state: &BatchState, since: Option<Position>, at: Option<u64>) -> String {
    let data = Progress { state, delta: state.changes_since(since), position: false, at };
    let last = frame(None, "progress", &to_json(&data));
    last + &frame(Some(state.position()), "complete", &state.head().to_json())
}

/// One event. A line break in `data` (white space of an application's JSON) begins a new `data:` line, as it must.
fn frame(id: Option<Position>, event: &str, data: &str) -> String {
    let mut out = String::with_capacity(data.len() + 64);
    if let Some(id) = id {
        out.push_str(&format!("id: {id}\n"));
    }
    out.push_str(&format!("event: {event}\n"));
    for line in data.split(['\n', '\r']) {
        out.push_str("data: ");
        out.push_str(line);
        out.push('\n');
    }
    out.push('\n');
    out
}

struct Progress<'a> {
    state: &'a BatchState,
    delta: Delta<'a>,
    position: bool,
    at: Option<u64>,
}

impl Serialize for Progress<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Progress", 10)?;
        head_fields(&mut out, self.state.head(), self.position)?;
        if let Some(at) = self.at {
            out.serialize_field("at", &at)?;
        }
        if self.delta.full {
            out.serialize_field("full", &true)?;
        }
        out.serialize_field("photos", &self.delta.photos)?;
        out.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        BatchStatus, Json, PhotoStatus,
        state::tests::{head, photo},
    };

    fn state(status: BatchStatus, counts: [u32; 4]) -> BatchState {
        let photos = [photo("a", PhotoStatus::Completed, 41), photo("b", PhotoStatus::Completed, 42)];
        BatchState::new(head(42, status, counts), photos).unwrap()
    }

    /// Pinned: open pages already parse this, so changing it needs a new event name.
    #[test]
    fn the_bytes_of_a_progress_event_are_unchanged() {
        let since = "1795389030082-41".parse().ok();
        assert_eq!(
            progress(&state(BatchStatus::Processing, [1, 0, 2, 0]), since, Some(1_795_389_030_100)),
            concat!(
                "id: 1795389030082-42\nevent: progress\n",
                r#"data: {"v":1,"batchId":"batch-123","position":"1795389030082-42","status":"PROCESSING","#,
                r#""progress":66,"counts":{"total":3,"queued":1,"processing":0,"completed":2,"failed":0},"#,
                r#""updatedAt":"2026-11-22T23:10:30.082Z","at":1795389030100,"#,
                r#""photos":[{"photoId":"b","status":"COMPLETED","version":42}]}"#,
                "\n\n",
            )
        );
    }

    #[test]
    fn a_first_event_says_that_it_is_everything() {
        let first = progress(&state(BatchStatus::Processing, [1, 0, 2, 0]), None, None);
        assert!(first.contains(r#""full":true"#) && first.contains(r#""photoId":"a""#));
    }

    #[test]
    fn only_complete_carries_the_final_position() {
        let end = ending(&state(BatchStatus::Completed, [0, 0, 2, 0]), None, None);
        let (last, complete) = end.split_once("\n\n").unwrap();
        assert!(last.starts_with("event: progress\n") && !last.contains("1795389030082-42"));
        assert!(complete.starts_with("id: 1795389030082-42\nevent: complete\ndata: {"));
        assert!(complete.ends_with("}\n\n") && !complete.contains("photos"));
    }

    #[test]
    fn who_is_sent_away_carries_it_in_the_id() {
        let position = Position::new(1_795_389_030_082, 42).unwrap();
        assert_eq!(idle(position), "id: 1795389030082-42~idle\nevent: idle\ndata: {}\n\n");
    }

    #[test]
    fn line_breaks_in_an_applications_json_do_not_break_the_event() {
        let mut pretty = photo("a", PhotoStatus::Completed, 42);
        pretty.result = serde_json::from_str::<Json>("{\r\n  \"width\": 1\n}").ok();
        let state = BatchState::new(head(42, BatchStatus::Processing, [0, 0, 1, 0]), [pretty]).unwrap();
        let text = progress(&state, None, None);
        assert!(
            text.trim_end().lines().all(|l| ["id: ", "event: ", "data: "].iter().any(|field| l.starts_with(field)))
        );
    }
}
