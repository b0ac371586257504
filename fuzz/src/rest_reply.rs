//! Replies of Redis over HTTP, as a client reads them.

use redis_rest::{Encoding, Reply, reply, resp2};

use crate::resp2::read_all;

/// A body, in both encodings, for one command and for several.
///
/// What is read and written again is read as the same, up to what the format cannot tell apart: numbers and statuses
/// may come back as their text. In RESP2 every reply comes back as it was.
pub fn rest_reply(body: &[u8]) {
    for encoding in [Encoding::Plain, Encoding::Base64] {
        if let Ok(reply) = Reply::from_body(body, encoding) {
            one(&reply, encoding);
        }
        if let Ok(replies) = reply::pipeline_replies(body, encoding) {
            several(&replies, encoding);
        }
    }
}

fn one(reply: &Reply, encoding: Encoding) {
    let again = read_back(reply, encoding);
    assert_eq!(as_text(&again), as_text(reply));
    assert_eq!(read_back(&again, encoding), again);
    assert!(again.weight_bytes() < 1 << 24);
    if let Some(pairs) = reply.pairs() {
        assert_eq!(Some(2 * pairs.len()), reply.as_array().map(<[_]>::len));
    }
    if let Some(number) = reply.as_int() {
        assert_eq!(again.as_int(), Some(number));
    }
}

fn several(replies: &[Reply], encoding: Encoding) {
    let body = reply::pipeline_body(replies, encoding);
    let again = reply::pipeline_replies(body.as_bytes(), encoding).expect("what we write we read");
    let texts = |replies: &[Reply]| replies.iter().map(as_text).collect::<Vec<_>>();
    assert_eq!(texts(&again), texts(replies));
    let mut bytes = Vec::new();
    replies.iter().for_each(|reply| resp2::push(&mut bytes, reply));
    assert_eq!(read_all(&bytes), replies.iter().map(on_one_line).collect::<Vec<_>>());
}

fn read_back(reply: &Reply, encoding: Encoding) -> Reply {
    Reply::from_body(reply.to_body(encoding).as_bytes(), encoding).expect("what we write we read")
}

/// The reply with its numbers and statuses as text.
fn as_text(reply: &Reply) -> Reply {
    match reply {
        Reply::Int(number) => Reply::Bulk(number.to_string().into_bytes()),
        Reply::Status(text) => Reply::Bulk(text.clone().into_bytes()),
        Reply::Array(items) => Reply::Array(items.iter().map(as_text).collect()),
        other => other.clone(),
    }
}

/// The reply as RESP2 can say it: the words of an error are one line.
fn on_one_line(reply: &Reply) -> Reply {
    match reply {
        Reply::Error(words) => Reply::Error(words.replace(['\r', '\n'], " ")),
        other => other.clone(),
    }
}
