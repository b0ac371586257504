//! Replies to JSON, by the one rule that every known client reads back rightly.
//!
//! With base64 every string is encoded, from its original bytes, but one: a status `OK` that is the whole
//! result stays bare. Clients disagree about an `OK` inside an array, so there it is encoded like the rest.

use super::{Encoding, MAX_EXACT_INT, Reply};
use crate::json;
use base64::{Engine, engine::general_purpose::STANDARD};

impl Reply {
    /// The body for one reply: `{"result":…}` or `{"error":…}`.
    ///
    /// ```
    /// use batchcast_redis_rest::{Encoding, Reply};
    ///
    /// assert_eq!(Reply::Int(3).to_body(Encoding::Plain), r#"{"result":3}"#);
    /// assert_eq!(Reply::Error("ERR no".into()).to_body(Encoding::Plain), r#"{"error":"ERR no"}"#);
    /// ```
    pub fn to_body(&self, encoding: Encoding) -> String {
        let mut body = String::new();
        push_body(&mut body, self, encoding);
        body
    }
}

/// The body for the replies of a pipeline or a transaction, in order.
///
/// ```
/// use batchcast_redis_rest::{Encoding, Reply, reply};
///
/// let replies = [Reply::Status("OK".into()), Reply::Error("WRONGTYPE".into())];
/// assert_eq!(reply::pipeline_body(&replies, Encoding::Plain), r#"[{"result":"OK"},{"error":"WRONGTYPE"}]"#);
/// ```
pub fn pipeline_body(replies: &[Reply], encoding: Encoding) -> String {
    let mut body = String::new();
    json::push_array(&mut body, replies, |body, reply| push_body(body, reply, encoding));
    body
}

fn push_body(body: &mut String, reply: &Reply, encoding: Encoding) {
    match reply {
        Reply::Error(text) => {
            body.push_str("{\"error\":");
            json::push_string(body, text);
        }
        Reply::Status(text) if text == "OK" => body.push_str("{\"result\":\"OK\""),
        reply => {
            body.push_str("{\"result\":");
            push_value(body, reply, encoding);
        }
    }
    body.push('}');
}

fn push_value(body: &mut String, reply: &Reply, encoding: Encoding) {
    match reply {
        Reply::Nil => body.push_str("null"),
        Reply::Int(number) if number.unsigned_abs() <= MAX_EXACT_INT.unsigned_abs() => {
            body.push_str(&number.to_string());
        }
        Reply::Int(number) => push_bytes(body, number.to_string().as_bytes(), encoding),
        // Inside an array an error is its text: an object there is read as null by some clients.
        Reply::Status(text) | Reply::Error(text) => push_bytes(body, text.as_bytes(), encoding),
        Reply::Bulk(bytes) => push_bytes(body, bytes, encoding),
        Reply::Array(items) => json::push_array(body, items, |body, item| push_value(body, item, encoding)),
    }
}

fn push_bytes(body: &mut String, bytes: &[u8], encoding: Encoding) {
    match encoding {
        Encoding::Plain => json::push_string(body, &String::from_utf8_lossy(bytes)),
        Encoding::Base64 => {
            body.push('"');
            STANDARD.encode_string(bytes, body);
            body.push('"');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(bytes: &[u8]) -> Reply {
        Reply::Bulk(bytes.to_vec())
    }

    fn status(text: &str) -> Reply {
        Reply::Status(text.to_owned())
    }

    /// Pinned: `@upstash/redis` and redis-py decode these bodies.
    #[test]
    fn only_a_top_level_status_ok_stays_bare_in_base64() {
        let body = |reply: Reply| reply.to_body(Encoding::Base64);
        assert_eq!(body(status("OK")), r#"{"result":"OK"}"#);
        assert_eq!(body(bulk(b"OK")), r#"{"result":"T0s="}"#);
        assert_eq!(body(status("PONG")), r#"{"result":"UE9ORw=="}"#);
        assert_eq!(body(Reply::Array(vec![status("OK"), Reply::Int(3), Reply::Nil])), r#"{"result":["T0s=",3,null]}"#);
        assert_eq!(body(bulk(b"\xff")), r#"{"result":"/w=="}"#);
        assert_eq!(body(Reply::Error("ERR no".into())), r#"{"error":"ERR no"}"#);
    }

    #[test]
    fn without_base64_bad_bytes_become_replacement_characters() {
        assert_eq!(bulk(b"a\xffb").to_body(Encoding::Plain), "{\"result\":\"a\u{fffd}b\"}");
    }

    #[test]
    fn numbers_beyond_exact_json_are_text() {
        let body = |number| Reply::Int(number).to_body(Encoding::Plain);
        assert_eq!(body(MAX_EXACT_INT), r#"{"result":9007199254740991}"#);
        assert_eq!(body(-MAX_EXACT_INT), r#"{"result":-9007199254740991}"#);
        assert_eq!(body(MAX_EXACT_INT + 1), r#"{"result":"9007199254740992"}"#);
        assert_eq!(body(i64::MIN), r#"{"result":"-9223372036854775808"}"#);
        assert_eq!(Reply::Int(i64::MAX).to_body(Encoding::Base64), r#"{"result":"OTIyMzM3MjAzNjg1NDc3NTgwNw=="}"#);
    }

    #[test]
    fn a_failed_item_of_a_pipeline_is_an_item() {
        let replies = [status("OK"), Reply::Error("WRONGTYPE x".into()), bulk(b"v")];
        let body = pipeline_body(&replies, Encoding::Plain);
        assert_eq!(body, r#"[{"result":"OK"},{"error":"WRONGTYPE x"},{"result":"v"}]"#);
    }

    #[test]
    fn an_error_inside_an_array_is_its_text() {
        let reply = Reply::Array(vec![Reply::Error("ERR in".into())]);
        assert_eq!(reply.to_body(Encoding::Plain), r#"{"result":["ERR in"]}"#);
    }
}
