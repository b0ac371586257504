//! The frames of a subscription: what stands in the `data` of its events, and the comments between them.
//!
//! `subscribe,CHANNEL,COUNT` once, then `message,CHANNEL,PAYLOAD`; with a pattern, `psubscribe` and
//! `pmessage,PATTERN,CHANNEL,PAYLOAD`. The payload is verbatim, never base64 and never JSON-quoted.
//!
//! ```
//! use batchcast_redis_rest::{Frame, event_stream::{Decoder, Item}};
//!
//! // A server writes a message into the stream; a client reads it out of the bytes.
//! let (sent, mut items) = (Frame::Message { channel: "chat", payload: "hello,\nworld" }, Vec::new());
//! Decoder::default().decode(sent.to_event().as_bytes(), &mut items);
//! let Some(Item::Event(event)) = items.first() else { panic!("no event") };
//! assert_eq!(Frame::parse(&event.data)?, sent);
//! # Ok::<(), batchcast_redis_rest::subscribe::FrameError>(())
//! ```

use std::fmt;

/// The text of the comment that says: the subscription was made anew, messages in between are lost.
pub const RESUBSCRIBED: &str = "resubscribed";

/// [`RESUBSCRIBED`] as the bytes of a stream.
pub const RESUBSCRIBED_BYTES: &str = ": resubscribed\n\n";

/// A keep-alive comment as the bytes of a stream.
pub const KEEP_ALIVE_BYTES: &str = ": keep-alive\n\n";

/// One frame. Borrows from the `data` it was read from. One more would be another protocol, so that all may be matched.
///
/// ```
/// use batchcast_redis_rest::Frame;
///
/// match Frame::parse("message,chat,hello")? {
///     // Only from here on nothing is missed: what was published before is read elsewhere.
///     Frame::Subscribed { .. } | Frame::PatternSubscribed { .. } => println!("listening"),
///     Frame::Message { payload, .. } | Frame::PatternMessage { payload, .. } => assert_eq!(payload, "hello"),
/// }
/// # Ok::<(), batchcast_redis_rest::subscribe::FrameError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The subscription to a channel is confirmed.
    Subscribed {
        /// The channel.
        channel: &'a str,
        /// How many subscriptions this stream has: 1.
        count: u64,
    },
    /// A message on a channel.
    Message {
        /// The channel.
        channel: &'a str,
        /// What was published.
        payload: &'a str,
    },
    /// The subscription to a pattern is confirmed.
    PatternSubscribed {
        /// The pattern.
        pattern: &'a str,
        /// How many subscriptions this stream has: 1.
        count: u64,
    },
    /// A message on a channel that a pattern matches.
    PatternMessage {
        /// The pattern.
        pattern: &'a str,
        /// The channel.
        channel: &'a str,
        /// What was published.
        payload: &'a str,
    },
}

impl<'a> Frame<'a> {
    /// Reads the `data` of an event. A comma in a payload is data; one in a channel cannot be told apart.
    ///
    /// ```
    /// use batchcast_redis_rest::Frame;
    ///
    /// assert_eq!(Frame::parse("subscribe,chat,1")?, Frame::Subscribed { channel: "chat", count: 1 });
    /// assert_eq!(Frame::parse("message,chat,a,b")?, Frame::Message { channel: "chat", payload: "a,b" });
    /// # Ok::<(), batchcast_redis_rest::subscribe::FrameError>(())
    /// ```
    ///
    /// # Errors
    /// [`FrameError`] when it is none of the frames above.
    pub fn parse(data: &'a str) -> Result<Self, FrameError> {
        let (kind, rest) = split(data)?;
        match kind {
            "subscribe" => {
                split(rest).and_then(|(channel, count)| Ok(Self::Subscribed { channel, count: number(count)? }))
            }
            "message" => split(rest).map(|(channel, payload)| Self::Message { channel, payload }),
            "psubscribe" => {
                split(rest).and_then(|(pattern, count)| Ok(Self::PatternSubscribed { pattern, count: number(count)? }))
            }
            "pmessage" => {
                let (pattern, rest) = split(rest)?;
                split(rest).map(|(channel, payload)| Self::PatternMessage { pattern, channel, payload })
            }
            _ => Err(FrameError::UnknownKind),
        }
    }

    /// The frame as one event of a stream.
    ///
    /// A payload with line breaks becomes several `data` lines, which a reader of event streams joins again.
    /// A bare CR ends a line there too and comes back as LF.
    ///
    /// Upstash's client takes each line that begins exactly `data: ` for a frame of its own. So only the first begins
    /// so: a payload can't pass off its second line as a message of another channel.
    ///
    /// ```
    /// use batchcast_redis_rest::Frame;
    ///
    /// let frame = Frame::Message { channel: "chat", payload: "one\ntwo" };
    /// assert_eq!(frame.to_event(), "data: message,chat,one\ndata:two\n\n");
    /// ```
    pub fn to_event(&self) -> String {
        let text = self.to_string();
        let mut event = String::with_capacity(text.len() + 16);
        event.push_str("data: ");
        let mut rest = text.as_str();
        while let Some(at) = rest.find(['\r', '\n']) {
            event.push_str(&rest[..at]);
            let end = if rest[at..].starts_with("\r\n") { at + 2 } else { at + 1 };
            rest = &rest[end..];
            // A reader takes one space off, which must not be one of the payload's. No frame begins with a space.
            event.push_str(if rest.starts_with(' ') { "\ndata: " } else { "\ndata:" });
        }
        event.push_str(rest);
        event.push_str("\n\n");
        event
    }
}

/// The `data` of the event, before it is cut into lines.
impl fmt::Display for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subscribed { channel, count } => write!(f, "subscribe,{channel},{count}"),
            Self::Message { channel, payload } => write!(f, "message,{channel},{payload}"),
            Self::PatternSubscribed { pattern, count } => write!(f, "psubscribe,{pattern},{count}"),
            Self::PatternMessage { pattern, channel, payload } => write!(f, "pmessage,{pattern},{channel},{payload}"),
        }
    }
}

/// Why the `data` of an event is not a frame.
///
/// ```
/// use batchcast_redis_rest::{Frame, subscribe::FrameError};
///
/// match Frame::parse("ssubscribe,chat,1") {
///     Err(FrameError::UnknownKind) => {} // A newer server: what it says besides may be let pass.
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// It begins with none of the known words: a newer server may know more.
    #[error("the frame is of an unknown kind")]
    UnknownKind,
    /// A part is missing.
    #[error("the frame has too few parts")]
    TooShort,
    /// The count of subscriptions is not a number.
    #[error("the frame's count is not a number")]
    NotACount,
}

fn split(text: &str) -> Result<(&str, &str), FrameError> {
    text.split_once(',').ok_or(FrameError::TooShort)
}

fn number(text: &str) -> Result<u64, FrameError> {
    text.parse().map_err(|_| FrameError::NotACount)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pinned: `@upstash/redis` reads these bytes.
    #[test]
    fn frames_have_the_bytes_that_clients_read() {
        let event = |frame: Frame<'_>| frame.to_event();
        assert_eq!(event(Frame::Subscribed { channel: "chat", count: 1 }), "data: subscribe,chat,1\n\n");
        assert_eq!(event(Frame::Message { channel: "chat", payload: "a,b" }), "data: message,chat,a,b\n\n");
        assert_eq!(event(Frame::PatternSubscribed { pattern: "c*", count: 1 }), "data: psubscribe,c*,1\n\n");
        assert_eq!(
            event(Frame::PatternMessage { pattern: "c*", channel: "chat", payload: "{}" }),
            "data: pmessage,c*,chat,{}\n\n"
        );
        assert_eq!(RESUBSCRIBED_BYTES, format!(": {RESUBSCRIBED}\n\n"));
    }

    #[test]
    fn commas_in_a_payload_are_data() {
        assert_eq!(Frame::parse("message,c,a,b,"), Ok(Frame::Message { channel: "c", payload: "a,b," }));
        assert_eq!(
            Frame::parse("pmessage,p,c,a,b"),
            Ok(Frame::PatternMessage { pattern: "p", channel: "c", payload: "a,b" })
        );
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        assert_eq!(Frame::parse("hello,c,1"), Err(FrameError::UnknownKind));
        assert_eq!(Frame::parse("message"), Err(FrameError::TooShort));
        assert_eq!(Frame::parse("message,c"), Err(FrameError::TooShort));
        assert_eq!(Frame::parse("pmessage,p,c"), Err(FrameError::TooShort));
        assert_eq!(Frame::parse("subscribe,c,x"), Err(FrameError::NotACount));
    }

    #[test]
    fn every_line_break_of_a_payload_starts_a_data_line_that_is_no_frame() {
        let event = |payload: &str| Frame::Message { channel: "c", payload }.to_event();
        assert_eq!(event("a\nb\r\nc\rd\n"), "data: message,c,a\ndata:b\ndata:c\ndata:d\ndata:\n\n");
        assert_eq!(event("a\n b"), "data: message,c,a\ndata:  b\n\n");
        assert_eq!(event("a\nmessage,other,b"), "data: message,c,a\ndata:message,other,b\n\n");
    }
}
