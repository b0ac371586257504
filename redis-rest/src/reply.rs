//! Replies of Redis as JSON bodies, written by a server and read by a client.
//!
//! `{"result":…}` or `{"error":…}`, and a list of those for a pipeline. Replies have RESP2 shapes, so a
//! `result` is never an object, a boolean or a float. A client that must have exact bytes asks for
//!
//! ```
//! use batchcast_redis_rest::{Encoding, Reply};
//!
//! let stored = Reply::Bulk(vec![0xff, 0xd8, 0xff]); // How a JPEG begins: no UTF-8.
//! let body = stored.to_body(Encoding::Base64);
//! assert_eq!(Reply::from_body(body.as_bytes(), Encoding::Base64)?, stored);
//! # Ok::<(), batchcast_redis_rest::reply::BodyError>(())
//! ```
//! [`Encoding::Base64`]; without it, bytes that are not UTF-8 arrive as U+FFFD.

mod read;
mod write;

pub use read::{BodyError, pipeline_replies};
pub use write::pipeline_body;

/// The deepest nesting of arrays that is read. Redis itself nests a handful.
pub const MAX_DEPTH: usize = 64;

/// The largest whole number that every JSON reader keeps exactly (2^53 − 1). Beyond it a number is sent as text.
pub const MAX_EXACT_INT: i64 = (1 << 53) - 1;

/// How strings stand in a body: as asked for with the request header `Upstash-Encoding`. The protocol knows these two,
/// so that both may be matched.
///
/// ```
/// use batchcast_redis_rest::{Encoding, Reply};
///
/// let asked_for = |header: Option<&str>| if header == Some("base64") { Encoding::Base64 } else { Encoding::Plain };
/// let reply = Reply::Bulk(b"caf\xe9".to_vec()); // Latin-1.
/// assert_eq!(reply.to_body(asked_for(None)), "{\"result\":\"caf\u{fffd}\"}");
/// assert_eq!(reply.to_body(asked_for(Some("base64"))), r#"{"result":"Y2Fm6Q=="}"#);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// As JSON text.
    #[default]
    Plain,
    /// Base64 (standard alphabet, padded) of the exact bytes.
    Base64,
}

/// One reply, in RESP2's kinds. There will be no other in RESP2, so that all may be matched.
///
/// ```
/// use batchcast_redis_rest::{Encoding, Reply};
///
/// match Reply::from_body(br#"{"error":"NOAUTH Authentication required."}"#, Encoding::Plain)? {
///     Reply::Error(words) => assert!(words.starts_with("NOAUTH")), // Redis answered, and said no.
///     value => println!("{value:?}"),
/// }
/// # Ok::<(), batchcast_redis_rest::reply::BodyError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// No value.
    Nil,
    /// A whole number.
    Int(i64),
    /// A simple string of the server (`OK`). A body tells it from [`Reply::Bulk`] only where base64 leaves `OK` bare.
    Status(String),
    /// A value, as exact bytes.
    Bulk(Vec<u8>),
    /// Several replies.
    Array(Vec<Reply>),
    /// Redis answered no, in these words (`WRONGTYPE …`).
    Error(String),
}

impl Reply {
    /// The text of a string; `None` for other kinds and for bytes that are not UTF-8.
    ///
    /// ```
    /// use batchcast_redis_rest::Reply;
    ///
    /// // Of a value and a status alike: a body does not always tell them apart.
    /// assert_eq!(Reply::Status("PONG".into()).as_str(), Some("PONG"));
    /// assert_eq!(Reply::Bulk(b"PONG".to_vec()).as_str(), Some("PONG"));
    /// assert_eq!(Reply::Nil.as_str(), None);
    /// ```
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Status(text) => Some(text),
            Self::Bulk(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The number, also when it travelled as text.
    ///
    /// ```
    /// use batchcast_redis_rest::Reply;
    ///
    /// // INCR answers with a number, GET with the text of the same.
    /// assert_eq!(Reply::Int(42).as_int(), Some(42));
    /// assert_eq!(Reply::Bulk(b"42".to_vec()).as_int(), Some(42));
    /// ```
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            other => other.as_str()?.parse().ok(),
        }
    }

    /// The items of an array.
    ///
    /// ```
    /// use batchcast_redis_rest::{Encoding, Reply};
    ///
    /// let reply = Reply::from_body(br#"{"result":["7",null]}"#, Encoding::Plain)?; // HMGET batch epoch missing
    /// let Some([epoch, missing]) = reply.as_array() else { panic!("not what was asked for") };
    /// assert_eq!((epoch.as_int(), missing), (Some(7), &Reply::Nil));
    /// # Ok::<(), batchcast_redis_rest::reply::BodyError>(())
    /// ```
    pub fn as_array(&self) -> Option<&[Reply]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The pairs of a flat array, as `HGETALL` answers with; `None` unless every part is text and has its other.
    ///
    /// ```
    /// use batchcast_redis_rest::{Encoding, Reply};
    /// let reply = Reply::from_body(br#"{"result":["epoch","7","version","3"]}"#, Encoding::Plain)?;
    /// assert_eq!(reply.pairs(), Some(vec![("epoch", "7"), ("version", "3")]));
    /// # Ok::<_, batchcast_redis_rest::reply::BodyError>(())
    /// ```
    pub fn pairs(&self) -> Option<Vec<(&str, &str)>> {
        let (pairs, rest) = self.as_array()?.as_chunks::<2>();
        if !rest.is_empty() {
            return None;
        }
        pairs.iter().map(|[name, value]| Some((name.as_str()?, value.as_str()?))).collect()
    }

    /// The bytes of all strings in it: about what it takes in memory and in a body.
    ///
    /// ```
    /// use batchcast_redis_rest::Reply;
    ///
    /// // A server that will not send more than it can hold asks before it writes the body.
    /// let reply = Reply::Array(vec![Reply::Bulk(vec![0; 1_000]), Reply::Nil]);
    /// assert!(reply.weight_bytes() > 1_000);
    /// ```
    pub fn weight_bytes(&self) -> usize {
        match self {
            Self::Nil | Self::Int(_) => 8,
            Self::Status(text) | Self::Error(text) => text.len(),
            Self::Bulk(bytes) => bytes.len(),
            Self::Array(items) => items.iter().map(Self::weight_bytes).sum(),
        }
    }

    /// The reply, with an error of Redis taken out.
    ///
    /// ```
    /// use batchcast_redis_rest::{Encoding, Reply};
    ///
    /// let refused = Reply::from_body(br#"{"error":"WRONGTYPE"}"#, Encoding::Plain)?.into_result();
    /// assert_eq!(refused, Err("WRONGTYPE".to_owned()));
    /// # Ok::<(), batchcast_redis_rest::reply::BodyError>(())
    /// ```
    ///
    /// # Errors
    /// Redis' own words.
    pub fn into_result(self) -> Result<Self, String> {
        match self {
            Self::Error(text) => Err(text),
            reply => Ok(reply),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Reply {
        Reply::Bulk(text.into())
    }

    #[test]
    fn numbers_are_read_from_text_too() {
        assert_eq!(bulk("9223372036854775807").as_int(), Some(i64::MAX));
        assert_eq!(Reply::Int(3).as_int(), Some(3));
        assert_eq!(Reply::Nil.as_int(), None);
    }

    #[test]
    fn an_odd_array_has_no_pairs() {
        assert_eq!(Reply::Array(vec![bulk("a")]).pairs(), None);
        assert_eq!(Reply::Array(vec![bulk("a"), Reply::Int(1)]).pairs(), None);
        assert_eq!(Reply::Array(vec![]).pairs(), Some(vec![]));
        assert_eq!(Reply::Nil.pairs(), None);
    }

    #[test]
    fn a_reply_weighs_what_its_strings_do() {
        let reply = Reply::Array(vec![bulk("abc"), Reply::Array(vec![Reply::Status("OK".into())]), Reply::Nil]);
        assert_eq!(reply.weight_bytes(), 13);
    }

    #[test]
    fn an_error_is_taken_out() {
        assert_eq!(Reply::Error("ERR no".into()).into_result(), Err("ERR no".to_owned()));
        assert_eq!(Reply::Nil.into_result(), Ok(Reply::Nil));
    }
}
