//! A reader of RESP2, to hold the writer against.

use redis_rest::Reply;

/// The replies in `bytes`.
pub(crate) fn read_all(mut bytes: &[u8]) -> Vec<Reply> {
    let mut replies = Vec::new();
    while !bytes.is_empty() {
        replies.push(read(&mut bytes));
    }
    replies
}

fn read(bytes: &mut &[u8]) -> Reply {
    let (kind, text) = line(bytes);
    let number = || text.parse().expect("a number");
    match kind {
        b':' => Reply::Int(number()),
        b'+' => Reply::Status(text),
        b'-' => Reply::Error(text),
        b'*' => Reply::Array((0..number()).map(|_| read(bytes)).collect()),
        b'$' if text == "-1" => Reply::Nil,
        b'$' => bulk(bytes, text.parse().expect("a length")),
        other => panic!("{other} opens no reply"),
    }
}

fn bulk(bytes: &mut &[u8], length: usize) -> Reply {
    let (value, rest) = bytes.split_at(length);
    *bytes = rest.strip_prefix(b"\r\n").expect("an end of line");
    Reply::Bulk(value.to_vec())
}

fn line(bytes: &mut &[u8]) -> (u8, String) {
    let end = bytes.windows(2).position(|two| two == b"\r\n").expect("a line");
    let (line, rest) = bytes.split_at(end);
    *bytes = &rest[2..];
    let (kind, text) = line.split_first().expect("a kind");
    (*kind, String::from_utf8(text.to_vec()).expect("text"))
}
