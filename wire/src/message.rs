//! Messages on a batch's channel.
//!
//! Reading is total: whatever arrives is [`Message::Changes`], [`Message::Invalidate`], [`Message::Ping`] or
//! [`Message::Unknown`], and a reader answers the last one by reading the hash.
//!
//! ```
#![doc = include_str!("examples/batch.txt")]
//! # let changes = Changes::new(Some("7-41".parse()?), head, vec![]);
//! let payload = message::changes(&changes, 1_795_389_030_100); // The time of the commit, in milliseconds.
//! let Message::Changes(news) = Message::parse(payload.as_bytes()) else { panic!("not what was written") };
//! assert_eq!(news.into_changes(), Some(changes));
//! assert_eq!(Message::parse(b"hello"), Message::Unknown); // Read the hash: something was said.
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use serde::{Deserialize, Serialize, Serializer, ser::SerializeStruct};

use crate::{
    BatchId, Changes, Head, Json, Photo, Position, TraceParent,
    limits::MAX_MESSAGE_BYTES,
    state::{BatchStatus, Counts, FORMAT_VERSION, to_json},
};

/// A message as received. One more would be another format (to this one it is [`Message::Unknown`]), so that all may be
/// matched.
///
/// ```
/// use batchcast_wire::{Message, message};
///
/// let must_read = |payload: &str| match Message::parse(payload.as_bytes()) {
///     Message::Changes(news) => news.photos.is_none(), // A nudge says that there is more than it holds.
///     Message::Invalidate | Message::Unknown => true,
///     Message::Ping { .. } => false,
/// };
/// assert!(must_read(&message::invalidate()) && !must_read(&message::ping("n-1")));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// The batch went on.
    Changes(Announcement),
    /// Forget the batch and read it anew.
    Invalidate,
    /// A hub object asks whether the channel still reaches it.
    Ping {
        /// What the asker sent, to tell its own ping from others'.
        nonce: String,
    },
    /// Not ours, or of a version we do not know.
    Unknown,
}

/// A batch went on from a version to its head's.
///
/// ```
#[doc = include_str!("examples/batch.txt")]
/// # let changes = Changes::new(Some("7-41".parse()?), head, vec![]);
/// let Message::Changes(news) = Message::parse(message::changes(&changes, 7).as_bytes()) else { panic!() };
/// // A copy at version 41 or later can take it; one from before has missed something.
/// let fits = |version: u64| news.from <= version;
/// assert!(fits(41) && fits(42) && !fits(40));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Announcement {
    /// The version that the photos are relative to; 0 when they are all of them.
    pub from: u64,
    /// The earliest commit that the message covers.
    pub cause: Cause,
    /// The batch as it is now.
    pub head: Head,
    /// The photos changed after `from`; `None` is a nudge: too many for a message, read the hash.
    pub photos: Option<Vec<Photo>>,
}

/// What a message tells of: the earliest commit that it covers.
///
/// ```
#[doc = include_str!("examples/batch.txt")]
/// # let changes = Changes::new(Some("7-41".parse()?), head, vec![]);
/// let trace: TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse()?;
/// let cause = Cause::new(1_795_389_030_100, trace);
/// let payload = message::changes(&changes, cause); // From the commit on, the update is part of its trace.
/// assert!(payload.contains(trace.as_str()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cause {
    /// Milliseconds since the Unix epoch; 0: not known.
    pub at: u64,
    /// The trace that the commit was part of. It goes as far as the edge's log, and to no viewer.
    pub trace: Option<TraceParent>,
}

impl From<u64> for Cause {
    fn from(at: u64) -> Self {
        Self { at, trace: None }
    }
}

impl Cause {
    /// A commit at `at` (milliseconds since the Unix epoch; 0: not known), and the trace that it was part of.
    ///
    /// ```
    /// use batchcast_wire::{Cause, TraceParent};
    ///
    /// let trace = TraceParent::new(0x0af7_6519, 0xb7ad, true);
    /// assert_eq!(Cause::new(1_795_389_030_100, trace).trace, Some(trace));
    /// assert_eq!(Cause::new(1_795_389_030_100, None), Cause::from(1_795_389_030_100));
    /// ```
    pub fn new(at: u64, trace: impl Into<Option<TraceParent>>) -> Self {
        Self { at, trace: trace.into() }
    }

    /// The cause of an update that covers both: the earlier time, and the trace of the earlier that has one.
    ///
    /// ```
    /// use batchcast_wire::Cause;
    ///
    /// // Two commits sent as one: the latency counts from the one that has waited longer.
    /// assert_eq!(Cause::from(1_200).merge(Cause::from(1_000)).at, 1_000);
    /// ```
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        let (first, second) = if other.at < self.at { (other, self) } else { (self, other) };
        Self { at: first.at, trace: first.trace.or(second.trace) }
    }
}

#[derive(Deserialize)]
struct Kind {
    v: u64,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    nonce: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IncomingChanges {
    batch_id: BatchId,
    epoch: u64,
    from: u64,
    to: u64,
    #[serde(default)]
    at: u64,
    #[serde(default)]
    traceparent: Option<Json>,
    status: BatchStatus,
    counts: Counts,
    #[serde(default)]
    updated_at: String,
    #[serde(default)]
    photos: Option<Vec<Photo>>,
}

impl Message {
    /// Reads the payload of a channel message.
    ///
    /// ```
    /// use batchcast_wire::Message;
    ///
    /// assert_eq!(Message::parse(br#"{"v":1,"type":"ping","nonce":"n-1"}"#), Message::Ping { nonce: "n-1".into() });
    /// assert_eq!(Message::parse(br#"{"v":2,"type":"party"}"#), Message::Unknown); // Never an error.
    /// ```
    pub fn parse(payload: &[u8]) -> Self {
        if payload.len() > MAX_MESSAGE_BYTES {
            return Self::Unknown;
        }
        let Ok(kind) = serde_json::from_slice::<Kind>(payload) else { return Self::Unknown };
        match (kind.v, kind.kind.as_str(), kind.nonce) {
            (FORMAT_VERSION, "changes", _) => Self::parse_changes(payload).unwrap_or(Self::Unknown),
            (FORMAT_VERSION, "invalidate", _) => Self::Invalidate,
            (FORMAT_VERSION, "ping", Some(nonce)) => Self::Ping { nonce },
            _ => Self::Unknown,
        }
    }

    fn parse_changes(payload: &[u8]) -> Option<Self> {
        let incoming: IncomingChanges = serde_json::from_slice(payload).ok()?;
        let head = Head {
            batch_id: incoming.batch_id,
            position: Position::new(incoming.epoch, incoming.to).ok()?,
            status: incoming.status,
            counts: incoming.counts,
            updated_at: incoming.updated_at,
        };
        head.check().ok()?;
        if incoming.from > incoming.to {
            return None;
        }
        // Whatever else stands there is no reason to miss an update.
        let trace = incoming.traceparent.and_then(|json| json.as_str().trim_matches('"').parse().ok());
        let cause = Cause { at: incoming.at, trace };
        Some(Self::Changes(Announcement { from: incoming.from, cause, head, photos: incoming.photos }))
    }
}

impl Announcement {
    /// The announcement as changes to merge; `None` for a nudge.
    ///
    /// ```
    #[doc = include_str!("examples/batch.txt")]
    /// # let changes = Changes::new(Some("7-41".parse()?), head, vec![]);
    /// let Message::Changes(mut news) = Message::parse(message::changes(&changes, 7).as_bytes()) else { panic!() };
    /// assert_eq!(news.clone().into_changes(), Some(changes));
    /// news.photos = None;
    /// assert_eq!(news.into_changes(), None); // A nudge: what changed stands in the hash.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_changes(self) -> Option<Changes> {
        let since = Position::new(self.head.position.epoch(), self.from).ok()?;
        Some(Changes { since: Some(since), head: self.head, photos: self.photos?, owner: None })
    }
}

/// The message that announces `changes`; a nudge where the photos would make it larger than [`MAX_MESSAGE_BYTES`].
///
/// ```
#[doc = include_str!("examples/batch.txt")]
/// # let changes = Changes::new(Some("7-41".parse()?), head, vec![]);
/// // For a publisher of one's own, which writes the hash and then says so: PUBLISH batch:holiday PAYLOAD.
/// let payload = message::changes(&changes, 1_795_389_030_100);
/// assert!(payload.starts_with(r#"{"v":1,"type":"changes","batchId":"holiday","epoch":7,"from":41,"to":42,"#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn changes(changes: &Changes, cause: impl Into<Cause>) -> String {
    let cause = cause.into();
    let whole = to_json(&Outgoing { changes, cause, photos: Some(&changes.photos) });
    if whole.len() <= MAX_MESSAGE_BYTES { whole } else { to_json(&Outgoing { changes, cause, photos: None }) }
}

/// The message that announces that a batch is to be read anew.
///
/// ```
/// use batchcast_wire::message;
///
/// // After a repair by hand of what the database says: PUBLISH batch:ID PAYLOAD.
/// assert_eq!(message::invalidate(), r#"{"v":1,"type":"invalidate"}"#);
/// ```
pub fn invalidate() -> String {
    format!(r#"{{"v":{FORMAT_VERSION},"type":"invalidate"}}"#)
}

/// The message that a hub object sends to itself through Redis.
///
/// ```
/// use batchcast_wire::{Message, message};
///
/// // One's own nonce that comes back proves that the subscription still hears what is published.
/// let heard = Message::parse(message::ping("n-1").as_bytes());
/// assert_eq!(heard, Message::Ping { nonce: "n-1".into() });
/// ```
pub fn ping(nonce: &str) -> String {
    #[derive(Serialize)]
    struct Ping<'a> {
        v: u64,
        r#type: &'static str,
        nonce: &'a str,
    }
    to_json(&Ping { v: FORMAT_VERSION, r#type: "ping", nonce })
}

struct Outgoing<'a> {
    changes: &'a Changes,
    cause: Cause,
    photos: Option<&'a Vec<Photo>>,
}

impl Serialize for Outgoing<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let head = &self.changes.head;
        let mut out = serializer.serialize_struct("Changes", 13)?;
        out.serialize_field("v", &FORMAT_VERSION)?;
        out.serialize_field("type", "changes")?;
        out.serialize_field("batchId", &head.batch_id)?;
        out.serialize_field("epoch", &head.position.epoch())?;
        out.serialize_field("from", &self.changes.since.map_or(0, Position::version))?;
        out.serialize_field("to", &head.position.version())?;
        out.serialize_field("at", &self.cause.at)?;
        if let Some(trace) = &self.cause.trace {
            out.serialize_field("traceparent", trace)?;
        }
        out.serialize_field("status", &head.status)?;
        out.serialize_field("progress", &head.progress())?;
        out.serialize_field("counts", &head.counts)?;
        out.serialize_field("updatedAt", &head.updated_at)?;
        out.serialize_field("photos", &self.photos)?;
        out.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        PhotoStatus,
        state::tests::{head, photo},
    };
    use proptest::{collection::vec, prelude::*};

    fn step(from: u64, photos: Vec<Photo>) -> Changes {
        let head = head(42, BatchStatus::Processing, [1, 0, 1, 0]);
        Changes {
            since: Some(Position::new(head.position.epoch(), from).unwrap()),
            head,
            photos,
            owner: Some("u".into()),
        }
    }

    /// Pinned: workers in other languages and rooms of older deployments already speak this.
    #[test]
    fn the_bytes_of_an_announcement_are_unchanged() {
        assert_eq!(
            changes(&step(41, vec![photo("a", PhotoStatus::Queued, 42)]), 1_795_389_030_100),
            concat!(
                r#"{"v":1,"type":"changes","batchId":"batch-123","epoch":1795389030082,"from":41,"to":42,"#,
                r#""at":1795389030100,"status":"PROCESSING","progress":50,"#,
                r#""counts":{"total":2,"queued":1,"processing":0,"completed":1,"failed":0},"#,
                r#""updatedAt":"2026-11-22T23:10:30.082Z","photos":[{"photoId":"a","status":"QUEUED","version":42}]}"#,
            )
        );
        assert_eq!(invalidate(), r#"{"v":1,"type":"invalidate"}"#);
        assert_eq!(ping("n-1"), r#"{"v":1,"type":"ping","nonce":"n-1"}"#);
    }

    #[test]
    fn an_announcement_is_read_as_it_was_written() {
        let sent = step(41, vec![photo("a", PhotoStatus::Queued, 42)]);
        let Message::Changes(read) = Message::parse(changes(&sent, 7).as_bytes()) else { panic!("not changes") };
        assert_eq!((read.cause, read.from), (7.into(), 41));
        assert_eq!(read.into_changes(), Some(Changes { owner: None, ..sent }));
    }

    #[test]
    fn a_trace_travels_and_what_is_none_is_no_reason_to_miss_an_update() {
        let trace: TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap();
        let sent = changes(&step(41, vec![]), Cause { at: 7, trace: Some(trace) });
        let traced = |message: &str| match Message::parse(message.as_bytes()) {
            Message::Changes(news) => news.cause,
            other => panic!("not changes: {other:?}"),
        };
        assert!(sent.contains(&format!(r#""at":7,"traceparent":"{trace}","#)), "{sent}");
        assert_eq!(traced(&sent), Cause { at: 7, trace: Some(trace) });
        for other in ["null", "7", r#""mine""#, r#"{"a":"00-1"}"#] {
            assert_eq!(traced(&sent.replace(&format!(r#""{trace}""#), other)).trace, None, "{other}");
        }
    }

    #[test]
    fn an_update_of_two_commits_names_the_earlier_and_the_trace_of_the_earlier_that_has_one() {
        let trace = |id| Some(TraceParent::new(id, 1, false));
        let cause = |at, trace| Cause { at, trace };
        assert_eq!(cause(2, trace(2)).merge(cause(1, trace(1))), cause(1, trace(1)));
        assert_eq!(cause(1, None).merge(cause(2, trace(2))), cause(1, trace(2)));
        assert_eq!(cause(2, trace(2)).merge(cause(1, None)), cause(1, trace(2)));
        assert_eq!(cause(1, trace(1)).merge(cause(1, trace(2))), cause(1, trace(1)));
    }

    #[test]
    fn the_owner_never_travels() {
        assert!(!changes(&step(41, vec![]), 7).contains("owner"));
    }

    #[test]
    fn a_change_too_large_for_a_message_becomes_a_nudge() {
        let mut large = photo("a", PhotoStatus::Failed, 42);
        large.error = Some("x".repeat(4_000));
        let message = changes(&step(41, vec![large; 80]), 7);
        assert!(message.len() < 1_000);
        let Message::Changes(read) = Message::parse(message.as_bytes()) else { panic!("not changes") };
        assert_eq!(read.photos, None);
        assert_eq!(read.into_changes(), None);
    }

    #[test]
    fn whatever_is_not_ours_is_unknown() {
        let contradiction = changes(&step(41, vec![]), 7).replace("\"total\":2", "\"total\":3");
        let backwards = changes(&step(41, vec![]), 7).replace("\"from\":41", "\"from\":43");
        for payload in [
            "",
            "hello",
            "{}",
            "[]",
            r#"{"v":2,"type":"changes"}"#,
            r#"{"v":1,"type":"party"}"#,
            r#"{"v":1,"type":"ping"}"#,
            r#"{"v":1,"type":"changes"}"#,
            &contradiction,
            &backwards,
        ] {
            assert_eq!(Message::parse(payload.as_bytes()), Message::Unknown, "{payload}");
        }
        assert_eq!(Message::parse(&vec![b' '; MAX_MESSAGE_BYTES + 1]), Message::Unknown);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in vec(any::<u8>(), 0..200)) {
            let _ = Message::parse(&bytes);
        }
    }
}
