//! What one side writes, the other reads; any cut of a stream reads alike; no bytes make a reader panic.

use batchcast_redis_rest::event_stream::{Decoder, Event, Item};
use batchcast_redis_rest::{Encoding, Frame, Reply, reply, request};
use proptest::collection::vec;
use proptest::prelude::*;

/// Bytes rich in what the decoder treats specially.
fn stream_bytes() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        Just(b"data: ".to_vec()),
        Just(b"id: 7".to_vec()),
        Just(b"event: x".to_vec()),
        Just(b"retry: 5".to_vec()),
        Just(b": note".to_vec()),
        Just(b"\xef\xbb\xbf".to_vec()),
        Just(b"\r".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\n\n".to_vec()),
        Just("é😀".as_bytes().to_vec()),
        vec(any::<u8>(), 0..8),
    ];
    vec(part, 0..40).prop_map(|parts| parts.concat())
}

fn decode(cuts: &[&[u8]], limit: usize) -> Vec<Item> {
    let mut decoder = Decoder::with_limit(limit);
    let mut items = Vec::new();
    cuts.iter().for_each(|cut| decoder.decode(cut, &mut items));
    items
}

fn any_reply() -> impl Strategy<Value = Reply> {
    let leaf = prop_oneof![
        Just(Reply::Nil),
        any::<i64>().prop_map(Reply::Int),
        prop_oneof![Just("OK".to_owned()), any::<String>()].prop_map(Reply::Status),
        prop_oneof![Just(b"OK".to_vec()), vec(any::<u8>(), 0..20)].prop_map(Reply::Bulk),
        any::<String>().prop_map(Reply::Error),
    ];
    leaf.prop_recursive(4, 32, 8, |inner| vec(inner, 0..8).prop_map(Reply::Array))
}

/// What a client can know of `reply`: JSON has no kinds of strings and no exact numbers beyond 2^53.
fn as_read(reply: Reply, encoding: Encoding, top: bool) -> Reply {
    let text = |bytes: Vec<u8>| match encoding {
        Encoding::Plain => Reply::Bulk(String::from_utf8_lossy(&bytes).into_owned().into_bytes()),
        Encoding::Base64 => Reply::Bulk(bytes),
    };
    match reply {
        Reply::Int(number) if number.unsigned_abs() > reply::MAX_EXACT_INT.unsigned_abs() => {
            text(number.to_string().into_bytes())
        }
        Reply::Status(ok) if top && ok == "OK" && encoding == Encoding::Base64 => Reply::Status(ok),
        Reply::Error(words) if top => Reply::Error(words),
        Reply::Status(words) | Reply::Error(words) => text(words.into_bytes()),
        Reply::Bulk(bytes) => text(bytes),
        Reply::Array(items) => Reply::Array(items.into_iter().map(|item| as_read(item, encoding, false)).collect()),
        other => other,
    }
}

proptest! {
    #[test]
    fn any_cut_of_a_stream_gives_the_same_items(
        bytes in stream_bytes(),
        cuts in vec(any::<prop::sample::Index>(), 0..8),
        limit in prop_oneof![0_usize..60, Just(100_000)],
    ) {
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        ends.push(bytes.len());
        ends.sort_unstable();
        let mut start = 0;
        let pieces: Vec<&[u8]> = ends.into_iter().map(|end| &bytes[std::mem::replace(&mut start, end)..end]).collect();
        prop_assert_eq!(decode(&pieces, limit), decode(&[&bytes], limit));
    }

    #[test]
    fn what_a_client_sends_a_server_reads(commands in vec(vec(any::<String>(), 1..5), 1..5)) {
        let bytes = |command: &[String]| command.iter().map(|arg| arg.clone().into_bytes()).collect::<Vec<_>>();
        let one = request::command(&commands[0]);
        prop_assert_eq!(request::parse_command(one.as_bytes()).unwrap(), bytes(&commands[0]));
        let all = request::pipeline(&commands);
        let expected: Vec<_> = commands.iter().map(|command| bytes(command)).collect();
        prop_assert_eq!(request::parse_pipeline(all.as_bytes(), 5).unwrap(), expected);
    }

    #[test]
    fn what_a_server_answers_a_client_reads(replies in vec(any_reply(), 0..4)) {
        for encoding in [Encoding::Plain, Encoding::Base64] {
            let expected: Vec<_> = replies.iter().map(|reply| as_read(reply.clone(), encoding, true)).collect();
            let body = reply::pipeline_body(&replies, encoding);
            prop_assert_eq!(reply::pipeline_replies(body.as_bytes(), encoding).unwrap(), expected.clone());
            for (reply, expected) in replies.iter().zip(expected) {
                prop_assert_eq!(Reply::from_body(reply.to_body(encoding).as_bytes(), encoding).unwrap(), expected);
            }
        }
    }

    #[test]
    fn a_message_survives_the_stream(channel in "[^,\r\n]{1,20}", payload in "[^\r]*") {
        let frame = Frame::Message { channel: &channel, payload: &payload };
        let items = decode(&[frame.to_event().as_bytes()], 100_000);
        let [Item::Event(Event { data, .. })] = &items[..] else {
            return Err(TestCaseError::fail(format!("{items:?}")));
        };
        prop_assert_eq!(Frame::parse(data), Ok(frame));
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in vec(any::<u8>(), 0..200), text in any::<String>()) {
        let _ = request::parse_command(&bytes);
        let _ = request::parse_pipeline(&bytes, 10);
        let _ = Reply::from_body(&bytes, Encoding::Base64);
        let _ = reply::pipeline_replies(&bytes, Encoding::Plain);
        let _ = Frame::parse(&text);
        let _ = decode(&[&bytes], 50);
    }

    #[test]
    fn no_json_makes_a_reader_panic(text in r#"[\[\]{}",:0-9a-z \\]{0,60}"#) {
        let _ = request::parse_command(text.as_bytes());
        let _ = request::parse_pipeline(text.as_bytes(), 10);
        let _ = Reply::from_body(text.as_bytes(), Encoding::Base64);
        let _ = reply::pipeline_replies(text.as_bytes(), Encoding::Plain);
    }
}
