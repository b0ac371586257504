//! Replies as RESP2, the serialization Redis itself uses: the answer to `Upstash-Response-Format: resp2`.
//!
//! ```
//! use batchcast_redis_rest::{Reply, resp2};
//!
//! // For clients that read Redis' own form and only change what carries it: exact bytes without base64.
//! let mut body = Vec::new();
//! resp2::push(&mut body, &Reply::Bulk(b"\xff\xd8".to_vec()));
//! assert_eq!(body, b"$2\r\n\xff\xd8\r\n");
//! ```

use crate::Reply;

/// Appends `reply` as RESP2. Several replies behind each other are the answer to a pipeline.
///
/// ```
/// use batchcast_redis_rest::{Reply, resp2};
///
/// let mut body = Vec::new();
/// for reply in [Reply::Status("OK".into()), Reply::Int(7)] {
///     resp2::push(&mut body, &reply);
/// }
/// assert_eq!(body, b"+OK\r\n:7\r\n");
/// ```
pub fn push(out: &mut Vec<u8>, reply: &Reply) {
    match reply {
        Reply::Nil => out.extend_from_slice(b"$-1\r\n"),
        Reply::Int(number) => push_line(out, b':', &number.to_string()),
        Reply::Status(text) => push_line(out, b'+', text),
        Reply::Error(text) => push_line(out, b'-', text),
        Reply::Bulk(bytes) => {
            push_line(out, b'$', &bytes.len().to_string());
            out.extend_from_slice(bytes);
            out.extend_from_slice(b"\r\n");
        }
        Reply::Array(items) => {
            push_line(out, b'*', &items.len().to_string());
            for item in items {
                push(out, item);
            }
        }
    }
}

fn push_line(out: &mut Vec<u8>, kind: u8, text: &str) {
    out.push(kind);
    // A line break inside would start a reply of its own.
    out.extend(text.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pinned: the bytes of the RESP2 specification.
    #[test]
    fn every_kind_of_reply_has_its_resp2_bytes() {
        let reply = Reply::Array(vec![
            Reply::Nil,
            Reply::Int(-7),
            Reply::Status("OK".into()),
            Reply::Bulk(b"a\r\n\xff".to_vec()),
            Reply::Error("ERR no\nway".into()),
            Reply::Array(vec![]),
        ]);
        let mut out = Vec::new();
        push(&mut out, &reply);
        assert_eq!(out, b"*6\r\n$-1\r\n:-7\r\n+OK\r\n$4\r\na\r\n\xff\r\n-ERR no way\r\n*0\r\n");
    }
}
