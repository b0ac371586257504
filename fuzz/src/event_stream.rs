//! `text/event-stream`, as it comes from Redis over HTTP.

use redis_rest::event_stream::{Decoder, Event, Item, MAX_EVENT_BYTES};

/// A limit that short inputs go past.
const SMALL_LIMIT: usize = 24;

/// How many places a stream is cut at, one after the other: enough for the line ends and fields at its beginning.
const CUTS: usize = 16;

/// Any bytes, in any cuts.
///
/// However they are cut, the same items come out, none larger than the decoder holds; and an event that is written
/// again is read as itself.
pub fn event_stream(data: &[u8]) {
    for limit in [SMALL_LIMIT, MAX_EVENT_BYTES] {
        let items = decode(&[data], limit);
        for pieces in cuts(data) {
            assert_eq!(decode(&pieces, limit), items, "cut otherwise");
        }
        items.iter().for_each(|item| is_within(item, limit));
    }
    for item in decode(&[data], MAX_EVENT_BYTES) {
        if let Item::Event(event) = item {
            assert_eq!(decode(&[written(&event).as_bytes()], 2 * MAX_EVENT_BYTES), [Item::Event(event)]);
        }
    }
}

fn decode(pieces: &[&[u8]], limit: usize) -> Vec<Item> {
    let (mut decoder, mut items) = (Decoder::with_limit(limit), Vec::new());
    pieces.iter().for_each(|piece| decoder.decode(piece, &mut items));
    items
}

fn cuts(data: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    let even = [1, 2, 3, 7].into_iter().map(|bytes| data.chunks(bytes).collect());
    let in_two = (0..data.len().min(CUTS)).map(|at| vec![&data[..at], &[], &data[at..]]);
    even.chain(in_two)
}

fn is_within(item: &Item, limit: usize) {
    let bytes = match item {
        Item::Event(event) => event.event.len().max(event.data.len()),
        Item::Comment(text) => text.len(),
        Item::Retry(_) | Item::TooLarge => 0,
        other => panic!("what is its bound? {other:?}"),
    };
    // A byte that is not UTF-8 is replaced by a character of three. `message` stands where the stream names no type.
    assert!(bytes <= (3 * limit).max("message".len()), "{bytes} bytes");
}

fn written(event: &Event) -> String {
    let data: Vec<String> = event.data.split('\n').map(|line| format!("data: {line}\n")).collect();
    format!("id: {}\nevent: {}\n{}\n", event.id, event.event, data.concat())
}
