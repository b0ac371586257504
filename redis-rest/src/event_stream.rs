//! An incremental decoder of `text/event-stream`, as [WHATWG HTML, "Server-sent events"][spec] defines it.
//!
//! Takes bytes in any cut, also inside a character or between CR and LF, and gives back what they complete.
//! Comments are given too: a keep-alive is a sign of life, and some comments say something. Reconnecting and
//! remembering the last id are the caller's.
//!
//! ```
//! use batchcast_redis_rest::event_stream::{Decoder, Item};
//!
//! let (mut decoder, mut items) = (Decoder::default(), Vec::new());
//! for bytes in [&b"id: 7-3\nevent: prog"[..], b"ress\ndata: {}\r", b"\n\r\n"] {
//!     decoder.decode(bytes, &mut items);
//! }
//! let [Item::Event(event)] = items.as_slice() else { panic!("not one event: {items:?}") };
//! assert_eq!((event.id.as_str(), event.event.as_str()), ("7-3", "progress"));
//! ```
//!
//! [spec]: https://html.spec.whatwg.org/multipage/server-sent-events.html

use std::time::Duration;

/// The default bound on the bytes of one event: a message of the largest size with room for its escapes.
pub const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// What the bytes of a stream complete.
///
/// ```
/// use batchcast_redis_rest::event_stream::{Decoder, Item};
///
/// let mut items = Vec::new();
/// Decoder::default().decode(b"retry: 3000\n: keep-alive\ndata: hello\n\n", &mut items);
/// for item in items {
///     match item {
///         Item::Event(event) => assert_eq!(event.data, "hello"),
///         Item::Comment(_) => {} // A sign of life: whoever waits for one starts to count anew.
///         Item::Retry(pause) => assert_eq!(pause.as_secs(), 3), // For when the stream ends.
///         other => panic!("something was missed: {other:?}"),
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Item {
    /// An event with data.
    Event(Event),
    /// A comment, without its colon and one space behind it.
    Comment(String),
    /// The server asks to wait this long before reconnecting.
    Retry(Duration),
    /// An event, a line or a comment stood here that is larger than the decoder holds.
    TooLarge,
}

/// An event that has data; the others are not dispatched.
///
/// ```
/// use batchcast_redis_rest::event_stream::{Decoder, Item};
///
/// let mut items = Vec::new();
/// Decoder::default().decode(b"id: 7-3\ndata: one\ndata: two\n\nid: 7-4\n\n", &mut items);
/// let [Item::Event(event)] = items.as_slice() else { panic!("an id alone is no event") };
/// assert_eq!((event.event.as_str(), event.data.as_str()), ("message", "one\ntwo"));
/// let resume_with = ("Last-Event-ID", event.id.as_str());
/// # assert_eq!(resume_with.1, "7-3");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// The last id the stream gave, which may stem from an earlier event; empty without any.
    pub id: String,
    /// The type, `message` unless the stream says otherwise.
    pub event: String,
    /// The data, its lines joined by LF.
    pub data: String,
}

impl Event {
    /// An event of these parts: what a test of a reader begins with.
    ///
    /// ```
    /// use batchcast_redis_rest::event_stream::Event;
    ///
    /// let is_mine = |event: &Event| event.event == "progress" && !event.id.is_empty();
    /// assert!(is_mine(&Event::new("7-3", "progress", "{}")));
    /// ```
    pub fn new(id: impl Into<String>, event: impl Into<String>, data: impl Into<String>) -> Self {
        Self { id: id.into(), event: event.into(), data: data.into() }
    }
}

/// The state between two cuts of a stream.
///
/// ```
/// use batchcast_redis_rest::event_stream::{Decoder, Item};
///
/// // One for each connection: after a reconnection nothing of a half line may be left.
/// let (mut decoder, mut items) = (Decoder::default(), Vec::new());
/// decoder.decode("data: caf\u{e9}".as_bytes().split_at(10).0, &mut items); // Cut within the last character.
/// assert!(items.is_empty());
/// decoder.decode(b"\xa9\n\n", &mut items);
/// assert!(matches!(&items[..], [Item::Event(event)] if event.data == "caf\u{e9}"));
/// ```
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
    /// The line that is not complete yet.
    line: Vec<u8>,
    /// The last byte was a CR, so that an LF now belongs to it.
    after_cr: bool,
    /// No line was complete yet, so that a byte order mark may stand here.
    at_start: bool,
    id: String,
    event: String,
    /// The lines of data so far, each with its LF.
    data: String,
    /// The current event is larger than `limit`: it is skipped up to the empty line that ends it.
    too_large: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::with_limit(MAX_EVENT_BYTES)
    }
}

impl Decoder {
    /// A decoder that holds at most `limit` bytes of one event, beside the last id.
    ///
    /// ```
    /// use batchcast_redis_rest::event_stream::{Decoder, Item};
    ///
    /// // A hostile server can't fill the memory: what is too large is skipped, and the stream goes on.
    /// let (mut decoder, mut items) = (Decoder::with_limit(16), Vec::new());
    /// decoder.decode(b"data: more than sixteen bytes\n\ndata: few\n\n", &mut items);
    /// assert!(matches!(&items[..], [Item::TooLarge, Item::Event(event)] if event.data == "few"));
    /// ```
    pub fn with_limit(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            after_cr: false,
            at_start: true,
            id: String::new(),
            event: String::new(),
            data: String::new(),
            too_large: false,
        }
    }

    /// Reads the next bytes and appends to `items` what they complete.
    ///
    /// ```
    /// use batchcast_redis_rest::event_stream::Decoder;
    ///
    /// let (mut decoder, mut items) = (Decoder::default(), Vec::new());
    /// for bytes in [b"data: 1\n\nda".as_slice(), b"ta: 2\n\n"] {
    ///     decoder.decode(bytes, &mut items);
    ///     for item in items.drain(..) { // The list is the caller's, and its memory is used again.
    ///         println!("{item:?}");
    ///     }
    /// }
    /// ```
    pub fn decode(&mut self, mut bytes: &[u8], items: &mut Vec<Item>) {
        loop {
            if self.after_cr && !bytes.is_empty() {
                self.after_cr = false;
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
            let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
                return self.hold(bytes);
            };
            self.hold(&bytes[..end]);
            self.after_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            // Taken out and put back, so that its memory serves the next line.
            let mut line = std::mem::take(&mut self.line);
            items.extend(self.take_line(&line));
            line.clear();
            self.line = line;
        }
    }

    fn hold(&mut self, bytes: &[u8]) {
        let held = self.line.len() + self.event.len() + self.data.len();
        if held + bytes.len() > self.limit {
            self.too_large = true;
            (self.event, self.data) = (String::new(), String::new());
        }
        if self.too_large {
            // One byte tells enough: that the line is not empty. The memory of a large one is given back.
            self.line = self.line.first().or(bytes.first()).copied().into_iter().collect();
        } else {
            self.line.extend_from_slice(bytes);
        }
    }

    fn take_line(&mut self, line: &[u8]) -> Option<Item> {
        let first = std::mem::take(&mut self.at_start);
        let line = if first { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
        if line.is_empty() {
            return self.dispatch();
        }
        if self.too_large {
            return None;
        }
        let line = String::from_utf8_lossy(line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        if line.starts_with(':') {
            return Some(Item::Comment(value.to_owned()));
        }
        self.take_field(field, value)
    }

    fn take_field(&mut self, field: &str, value: &str) -> Option<Item> {
        match field {
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "event" => value.clone_into(&mut self.event),
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                // Too many digits for a number, or none, are no time to wait.
                return value.parse().ok().map(Duration::from_millis).map(Item::Retry);
            }
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<Item> {
        if std::mem::take(&mut self.too_large) {
            return Some(Item::TooLarge);
        }
        let event = std::mem::take(&mut self.event);
        let mut data = std::mem::take(&mut self.data);
        data.pop()?;
        let event = if event.is_empty() { "message".to_owned() } else { event };
        Some(Item::Event(Event { id: self.id.clone(), event, data }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> Vec<Item> {
        let mut items = Vec::new();
        Decoder::default().decode(bytes, &mut items);
        items
    }

    fn event(id: &str, event: &str, data: &str) -> Item {
        Item::Event(Event { id: id.into(), event: event.into(), data: data.into() })
    }

    fn message(data: &str) -> Item {
        event("", "message", data)
    }

    #[test]
    fn an_event_ends_with_an_empty_line() {
        assert_eq!(decode(b"data: a\n\ndata: b\n"), [message("a")]);
    }

    #[test]
    fn lines_of_data_are_joined() {
        assert_eq!(decode(b"data: a\ndata:b\ndata\ndata:  c\n\n"), [message("a\nb\n\n c")]);
    }

    #[test]
    fn an_event_without_data_is_not_dispatched_and_an_empty_one_is() {
        assert_eq!(decode(b"event: x\n\ndata\n\n"), [message("")]);
    }

    #[test]
    fn every_line_ending_counts() {
        assert_eq!(decode(b"data: a\r\n\r\ndata: b\r\rdata: c\n\r\n"), [message("a"), message("b"), message("c")]);
    }

    #[test]
    fn an_id_stays_until_the_next_and_one_with_nul_is_ignored() {
        let items = decode(b"id: 1\nevent: e\ndata: a\n\ndata: b\n\nid: 2\0\ndata: c\n\nid\ndata: d\n\n");
        assert_eq!(items, [event("1", "e", "a"), event("1", "message", "b"), event("1", "message", "c"), message("d")]);
    }

    #[test]
    fn retry_is_digits_only() {
        let items = decode(b"retry: 1500\nretry: 1s\nretry: -1\nretry:\nretry: 99999999999999999999999\n");
        assert_eq!(items, [Item::Retry(Duration::from_millis(1500))]);
    }

    #[test]
    fn comments_are_given() {
        assert_eq!(
            decode(b": resubscribed\n\n:\n:  x: y\n"),
            ["resubscribed", "", " x: y"].map(|text| Item::Comment(text.into()))
        );
    }

    #[test]
    fn a_byte_order_mark_is_skipped_once() {
        assert_eq!(decode(b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n"), [message("a")]);
    }

    #[test]
    fn unknown_fields_are_ignored_and_bad_bytes_replaced() {
        assert_eq!(decode(b"what: x\ndata: \xff\n\n"), [message("\u{fffd}")]);
    }

    #[test]
    fn an_event_over_the_limit_is_skipped_and_the_next_one_read() {
        let mut decoder = Decoder::with_limit(20);
        let mut items = Vec::new();
        decoder.decode(b"data: 1\n\nid: 7\ndata: 0123456\n", &mut items);
        decoder.decode(b"data: 0123456\nevent: x\n\ndata: 2\n\n", &mut items);
        assert_eq!(items, [message("1"), Item::TooLarge, event("7", "message", "2")]);
    }

    #[test]
    fn a_line_without_an_end_is_bounded() {
        let mut decoder = Decoder::with_limit(100);
        let mut items = Vec::new();
        for _ in 0..1_000 {
            decoder.decode(b"0123456789", &mut items);
            assert!(decoder.line.len() <= 100);
        }
        decoder.decode(b"\n\ndata: 1\n\n", &mut items);
        assert_eq!(items, [Item::TooLarge, message("1")]);
    }
}
