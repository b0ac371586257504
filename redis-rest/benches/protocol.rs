//! What the protocol costs: a stream of frames in cuts of any size, requests, replies. With allocations.
//! `cargo bench -p batchcast-redis-rest`.
#![expect(clippy::unwrap_used, reason = "a benchmark that can't be set up has failed")]

use batchcast_redis_rest::{
    Encoding, Frame, Reply,
    event_stream::{Decoder, Item},
    path, reply, request,
};
use divan::{AllocProfiler, Bencher, black_box, counter::BytesCount};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

/// Messages in the stream that is decoded, and the bytes of each.
const MESSAGES: usize = 100;
const MESSAGE_BYTES: usize = 300;

/// The sizes of the cuts: each byte alone, small ones, a packet of Ethernet, a read of a socket.
const CUTS: [usize; 4] = [1, 64, 1_448, 65_536];

/// Fields of a hash.
const FIELDS: [usize; 2] = [100, 1_000];

/// Commands in one pipeline.
const PIPELINE: usize = 10;

fn main() {
    divan::main();
}

fn payload() -> String {
    format!(r#"{{"v":1,"type":"changes","text":"{}"}}"#, "a, \u{e9}".repeat(MESSAGE_BYTES / 5))
}

fn frames() -> String {
    let confirmed = Frame::Subscribed { channel: "batch:b-1", count: 1 }.to_event();
    confirmed + &Frame::Message { channel: "batch:b-1", payload: &payload() }.to_event().repeat(MESSAGES)
}

/// All messages of a stream.
#[divan::bench(args = CUTS)]
fn decode_a_stream(bencher: Bencher<'_, '_>, cut: usize) {
    let (stream, payload) = (frames(), payload());
    let decode = || {
        let (mut decoder, mut items, mut messages) = (Decoder::default(), Vec::new(), 0);
        for bytes in black_box(stream.as_bytes()).chunks(cut) {
            decoder.decode(bytes, &mut items);
            for item in items.drain(..) {
                let Item::Event(event) = item else { continue };
                let frame = Frame::parse(&event.data);
                messages += usize::from(frame == Ok(Frame::Message { channel: "batch:b-1", payload: &payload }));
            }
        }
        messages
    };
    assert_eq!(decode(), MESSAGES);
    bencher.counter(BytesCount::of_str(&stream)).bench_local(decode);
}

#[divan::bench]
fn write_a_frame(bencher: Bencher<'_, '_>) {
    let payload = payload();
    bencher.bench_local(|| Frame::Message { channel: "batch:b-1", payload: black_box(&payload) }.to_event());
}

#[divan::bench]
fn parse_a_command() -> Vec<Vec<u8>> {
    request::parse_command(black_box(br#"["SET","batch:progress:b-1","value","EX",60]"#)).unwrap()
}

#[divan::bench]
fn parse_a_pipeline_of_ten(bencher: Bencher<'_, '_>) {
    let body = request::pipeline(vec![["GET", "batch:progress:b-1"]; PIPELINE]);
    bencher.bench_local(|| request::parse_pipeline(black_box(body.as_bytes()), PIPELINE).unwrap());
}

#[divan::bench]
fn parse_a_path() -> Vec<Vec<u8>> {
    path::command(black_box("/set/batch%3Aprogress%3Ab-1/value"), black_box(Some("EX=60&_token=t")), b"")
}

/// `HGETALL` of so many photos.
fn hash(fields: usize) -> Reply {
    let photo = r#"{"photoId":"photo-00007","status":"COMPLETED","version":41,"result":{"width":4032}}"#;
    let pair = |number| [format!("photo:photo-{number:05}"), photo.to_owned()];
    Reply::Array((0..fields).flat_map(pair).map(|text| Reply::Bulk(text.into_bytes())).collect())
}

#[divan::bench(args = FIELDS)]
fn write_a_hash(bencher: Bencher<'_, '_>, fields: usize) {
    write(bencher, fields, Encoding::Plain);
}

#[divan::bench(args = FIELDS)]
fn write_a_hash_as_base64(bencher: Bencher<'_, '_>, fields: usize) {
    write(bencher, fields, Encoding::Base64);
}

fn write(bencher: Bencher<'_, '_>, fields: usize, encoding: Encoding) {
    let hash = hash(fields);
    let bytes = BytesCount::of_str(&hash.to_body(encoding));
    bencher.counter(bytes).bench_local(|| black_box(&hash).to_body(encoding));
}

#[divan::bench(args = FIELDS)]
fn read_a_hash(bencher: Bencher<'_, '_>, fields: usize) {
    read(bencher, fields, Encoding::Plain);
}

#[divan::bench(args = FIELDS)]
fn read_a_hash_as_base64(bencher: Bencher<'_, '_>, fields: usize) {
    read(bencher, fields, Encoding::Base64);
}

fn read(bencher: Bencher<'_, '_>, fields: usize, encoding: Encoding) {
    let (hash, body) = (hash(fields), hash(fields).to_body(encoding));
    let read = || Reply::from_body(black_box(body.as_bytes()), encoding).unwrap();
    assert!(read() == hash);
    bencher.counter(BytesCount::of_str(&body)).bench_local(read);
}

#[divan::bench]
fn write_ten_replies(bencher: Bencher<'_, '_>) {
    let replies = vec![Reply::Bulk(b"hello".to_vec()); PIPELINE];
    bencher.bench_local(|| reply::pipeline_body(black_box(&replies), Encoding::Plain));
}
