//! JSON to replies, straight from the text: no tree of JSON values is built in between.

use super::{Encoding, MAX_DEPTH, Reply};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// The body is not what the protocol says, for instance a proxy's error page.
///
/// ```
/// use batchcast_redis_rest::{Encoding, Reply};
///
/// let error = Reply::from_body(b"<html>502 Bad Gateway", Encoding::Plain).unwrap_err();
/// assert!(error.to_string().starts_with("not a body of the Redis REST protocol")); // So the address may be wrong.
/// ```
#[derive(Debug, thiserror::Error)]
#[error("not a body of the Redis REST protocol: {0}")]
pub struct BodyError(#[from] serde_json::Error);

impl Reply {
    /// Reads the body for one reply. Without base64 every string is a [`Reply::Bulk`].
    ///
    /// ```
    /// use batchcast_redis_rest::{Encoding, Reply};
    ///
    /// assert_eq!(Reply::from_body(br#"{"result":"dmFsdWU="}"#, Encoding::Base64)?, Reply::Bulk(b"value".to_vec()));
    /// assert_eq!(Reply::from_body(br#"{"error":"ERR no"}"#, Encoding::Base64)?, Reply::Error("ERR no".into()));
    /// # Ok::<(), batchcast_redis_rest::reply::BodyError>(())
    /// ```
    ///
    /// # Errors
    /// [`BodyError`] names what is wrong and where. An error of Redis is a [`Reply::Error`], not this.
    pub fn from_body(body: &[u8], encoding: Encoding) -> Result<Self, BodyError> {
        read(body, BodySeed { encoding })
    }
}

/// Reads the body for the replies of a pipeline or a transaction, in order.
///
/// ```
/// use batchcast_redis_rest::{Encoding, Reply, reply};
///
/// // One that failed does not stop the others: each is asked for itself.
/// let body = br#"[{"result":1},{"error":"WRONGTYPE"}]"#;
/// let replies = reply::pipeline_replies(body, Encoding::Plain)?;
/// assert_eq!(replies, [Reply::Int(1), Reply::Error("WRONGTYPE".into())]);
/// # Ok::<(), batchcast_redis_rest::reply::BodyError>(())
/// ```
///
/// # Errors
/// [`BodyError`], also when the server refused the whole request: then read it with [`Reply::from_body`].
pub fn pipeline_replies(body: &[u8], encoding: Encoding) -> Result<Vec<Reply>, BodyError> {
    read(body, BodiesSeed { encoding })
}

fn read<'a, S: DeserializeSeed<'a>>(body: &'a [u8], seed: S) -> Result<S::Value, BodyError> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = seed.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// A list of `{"result":…}` and `{"error":…}`.
struct BodiesSeed {
    encoding: Encoding,
}

impl<'de> DeserializeSeed<'de> for BodiesSeed {
    type Value = Vec<Reply>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for BodiesSeed {
    type Value = Vec<Reply>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of replies")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut replies = Vec::new();
        while let Some(reply) = items.next_element_seed(BodySeed { encoding: self.encoding })? {
            replies.push(reply);
        }
        Ok(replies)
    }
}

/// `{"result":…}` or `{"error":…}`; other members are ignored.
struct BodySeed {
    encoding: Encoding,
}

impl<'de> DeserializeSeed<'de> for BodySeed {
    type Value = Reply;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Reply, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for BodySeed {
    type Value = Reply;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with \"result\" or \"error\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Reply, A::Error> {
        let (mut result, mut error) = (None, None);
        while let Some(name) = members.next_key::<String>()? {
            match name.as_str() {
                "result" => result = Some(members.next_value_seed(ValueSeed { encoding: self.encoding, depth: 0 })?),
                "error" => error = members.next_value::<Option<String>>()?,
                _ => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        error.map(Reply::Error).or(result).ok_or_else(|| A::Error::custom("neither \"result\" nor \"error\""))
    }
}

/// What stands in a `result`.
struct ValueSeed {
    encoding: Encoding,
    /// Arrays around it.
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for ValueSeed {
    type Value = Reply;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Reply, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed {
    type Value = Reply;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, a number, a string or an array")
    }

    fn visit_unit<E: Error>(self) -> Result<Reply, E> {
        Ok(Reply::Nil)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Reply, E> {
        Ok(Reply::Int(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Reply, E> {
        Ok(i64::try_from(number).map_or_else(|_| Reply::Bulk(number.to_string().into_bytes()), Reply::Int))
    }

    /// RESP2 has no floats; a server that sends one means its text.
    fn visit_f64<E: Error>(self, number: f64) -> Result<Reply, E> {
        Ok(Reply::Bulk(number.to_string().into_bytes()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Reply, E> {
        match self.encoding {
            Encoding::Plain => Ok(Reply::Bulk(text.as_bytes().to_vec())),
            // Never base64 (its length is not a multiple of four), so unambiguous at every depth.
            Encoding::Base64 if text == "OK" => Ok(Reply::Status(text.to_owned())),
            Encoding::Base64 => STANDARD.decode(text).map(Reply::Bulk).map_err(E::custom),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Reply, A::Error> {
        if self.depth == MAX_DEPTH {
            return Err(A::Error::custom(format_args!("arrays nested deeper than {MAX_DEPTH}")));
        }
        let mut replies = Vec::new();
        while let Some(reply) = items.next_element_seed(Self { encoding: self.encoding, depth: self.depth + 1 })? {
            replies.push(reply);
        }
        Ok(Reply::Array(replies))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(body: &str) -> Result<Reply, String> {
        Reply::from_body(body.as_bytes(), Encoding::Plain).map_err(|error| error.to_string())
    }

    fn bulk(text: &str) -> Reply {
        Reply::Bulk(text.into())
    }

    #[test]
    fn every_kind_of_result_is_read() {
        assert_eq!(plain(r#"{"result":null}"#), Ok(Reply::Nil));
        assert_eq!(plain(r#"{"result":-7}"#), Ok(Reply::Int(-7)));
        assert_eq!(plain(r#"{"result":"OK"}"#), Ok(bulk("OK")));
        assert_eq!(
            plain(r#"{"result":["a",[1]]}"#),
            Ok(Reply::Array(vec![bulk("a"), Reply::Array(vec![Reply::Int(1)])]))
        );
        assert_eq!(plain(r#"{"result":1.5}"#), Ok(bulk("1.5")));
        assert_eq!(plain(r#"{"result":18446744073709551615}"#), Ok(bulk("18446744073709551615")));
    }

    #[test]
    fn an_error_wins_and_unknown_members_are_ignored() {
        assert_eq!(plain(r#"{"error":"ERR no"}"#), Ok(Reply::Error("ERR no".into())));
        assert_eq!(plain(r#"{"result":null,"error":"ERR no"}"#), Ok(Reply::Error("ERR no".into())));
        assert_eq!(plain(r#"{"took":[{"ms":1}],"result":1}"#), Ok(Reply::Int(1)));
    }

    #[test]
    fn base64_gives_the_exact_bytes_and_a_bare_ok_is_a_status() {
        let read = |body: &str| Reply::from_body(body.as_bytes(), Encoding::Base64).unwrap();
        assert_eq!(read(r#"{"result":"/w=="}"#), Reply::Bulk(vec![0xff]));
        assert_eq!(read(r#"{"result":"OK"}"#), Reply::Status("OK".into()));
        assert_eq!(read(r#"{"result":["OK","T0s="]}"#), Reply::Array(vec![Reply::Status("OK".into()), bulk("OK")]));
    }

    #[test]
    fn the_error_names_what_is_wrong() {
        let refused = |body: &str, words: &str| {
            let error = plain(body).unwrap_err();
            assert!(error.contains(words), "{error}");
        };
        refused("", "EOF");
        refused("<html>", "expected value");
        refused("[]", "an object with \"result\" or \"error\"");
        refused("{}", "neither \"result\" nor \"error\"");
        refused(r#"{"result":true}"#, "boolean");
        refused(r#"{"result":{}}"#, "map");
        refused(r#"{"result":1} trailing"#, "trailing characters");
        assert!(Reply::from_body(br#"{"result":"%"}"#, Encoding::Base64).is_err());
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| plain(&format!("{{\"result\":{}1{}}}", "[".repeat(depth), "]".repeat(depth)));
        assert!(nested(MAX_DEPTH).is_ok());
        assert!(nested(MAX_DEPTH + 1).unwrap_err().contains("nested deeper than 64"));
        assert!(nested(100_000).is_err());
    }

    #[test]
    fn a_pipeline_refused_as_a_whole_is_not_a_list() {
        assert!(pipeline_replies(br#"{"error":"EXECABORT"}"#, Encoding::Plain).is_err());
        let replies = pipeline_replies(br#"[{"result":1},{"error":"ERR no"}]"#, Encoding::Plain).unwrap();
        assert_eq!(replies, [Reply::Int(1), Reply::Error("ERR no".into())]);
    }
}
