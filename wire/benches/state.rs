//! What the parts that every event passes through cost: parsing a message, merging it, finding what changed, writing the
//! event. With allocations. `cargo bench -p batchcast-wire`.
#![expect(clippy::unwrap_used, reason = "a benchmark that can't be set up has failed")]

use std::cell::Cell;
use std::sync::Arc;

use batchcast_wire::{
    BatchState, BatchStatus, Changes, Counts, Head, Json, Message, Photo, PhotoId, PhotoStatus, Position, Replica,
    event, message, replica::Received,
};
use divan::{AllocProfiler, Bencher, black_box, counter::BytesCount};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const EPOCH: u64 = 1_795_389_030_082;

/// Photos of a batch.
const PHOTOS: [u32; 3] = [100, 1_000, 10_000];

/// As many as a message of 256 KiB takes; a change of more is a nudge.
const PHOTOS_OF_A_MESSAGE: [u32; 3] = [1, 100, 1_000];

fn main() {
    divan::main();
}

fn position(version: u64) -> Position {
    Position::new(EPOCH, version).unwrap()
}

fn head(photos: u32, version: u64) -> Head {
    Head::new(
        "batch-123".parse().unwrap(),
        position(version),
        BatchStatus::Processing,
        Counts { total: photos, queued: 0, processing: photos, completed: 0, failed: 0 },
        "2026-11-22T23:10:30.082Z".to_owned(),
    )
}

fn photo(number: u32, version: u64) -> Photo {
    let photo_id = PhotoId::new(&format!("photo-{number:05}")).unwrap();
    let result = Json::new(&("image/jpeg", 4032, 3024, "2026-11-22T23:10:30Z")).unwrap();
    Photo::new(photo_id, PhotoStatus::Processing, version).with_result(result)
}

/// A batch of so many photos at version 1.
fn state(photos: u32) -> BatchState {
    BatchState::new(head(photos, 1), (0..photos).map(|number| photo(number, 1))).unwrap()
}

/// The step from `version` to the next: another photo each time.
fn step(photos: u32, version: u64) -> Changes {
    let number = u32::try_from(version * 7_919 % u64::from(photos)).unwrap();
    let changed = vec![photo(number, version + 1)];
    Changes::new(Some(position(version)), head(photos, version + 1), changed)
}

/// A batch of which one photo has changed.
fn stepped(photos: u32) -> BatchState {
    let mut state = state(photos);
    state.apply(step(photos, 1)).unwrap();
    state
}

/// So many changed photos as a message, as it comes from Redis.
fn announced(changed: u32) -> String {
    let photos = (0..changed).map(|number| photo(number, 2)).collect();
    message::changes(&Changes::new(Some(position(1)), head(10_000, 2), photos), 1_000)
}

/// One message after the other, each of one photo.
#[divan::bench(args = PHOTOS)]
fn merge_a_change(bencher: Bencher<'_, '_>, photos: u32) {
    let mut replica = Replica::new(head(photos, 1).batch_id);
    replica.accept(Arc::new(state(photos)));
    let version = Cell::new(1);
    let next = || {
        let from = version.replace(version.get() + 1);
        Message::parse(message::changes(&step(photos, from), 1_000).as_bytes())
    };
    let mut applied = 0;
    bencher.with_inputs(next).bench_local_values(|message| {
        applied += u64::from(replica.receive(message) == Received::Applied);
    });
    assert_eq!(applied + 1, version.get(), "each was news");
}

#[divan::bench(args = PHOTOS)]
fn changes_since_the_last(bencher: Bencher<'_, '_>, photos: u32) {
    let state = stepped(photos);
    assert_eq!(state.changes_since(Some(position(1))).photos.len(), 1);
    bencher.bench_local(|| state.changes_since(black_box(Some(position(1)))));
}

#[divan::bench(args = PHOTOS)]
fn changes_since_nothing(bencher: Bencher<'_, '_>, photos: u32) {
    let state = stepped(photos);
    bencher.bench_local(|| state.changes_since(black_box(None)));
}

/// The event of one changed photo.
#[divan::bench(args = PHOTOS)]
fn encode_the_last_change(bencher: Bencher<'_, '_>, photos: u32) {
    let state = stepped(photos);
    bencher.bench_local(|| event::progress(&state, black_box(Some(position(1))), Some(1_000)));
}

/// The first event of a newcomer.
#[divan::bench(args = PHOTOS)]
fn encode_everything(bencher: Bencher<'_, '_>, photos: u32) {
    let state = stepped(photos);
    let bytes = BytesCount::of_str(&event::progress(&state, None, None));
    bencher.counter(bytes).bench_local(|| event::progress(&state, black_box(None), None));
}

#[divan::bench(args = PHOTOS_OF_A_MESSAGE)]
fn parse_a_message(bencher: Bencher<'_, '_>, changed: u32) {
    let text = announced(changed);
    let Message::Changes(news) = Message::parse(text.as_bytes()) else { unreachable!("it can be read") };
    assert_eq!(news.photos.map(|photos| photos.len()), Some(changed as usize), "it is no nudge");
    bencher.counter(BytesCount::of_str(&text)).bench_local(|| Message::parse(black_box(text.as_bytes())));
}

/// What a publisher makes of what it read.
#[divan::bench(args = PHOTOS_OF_A_MESSAGE)]
fn write_a_message(bencher: Bencher<'_, '_>, changed: u32) {
    let photos = (0..changed).map(|number| photo(number, 2)).collect();
    let changes = Changes::new(Some(position(1)), head(10_000, 2), photos);
    bencher
        .counter(BytesCount::of_str(&announced(changed)))
        .bench_local(|| message::changes(black_box(&changes), 1_000));
}

/// What a room does after a gap.
#[divan::bench(args = PHOTOS)]
fn read_a_hash(bencher: Bencher<'_, '_>, photos: u32) {
    let head = head(photos, 1);
    let mut fields = vec![("head".to_owned(), head.to_json())];
    fields.extend((0..photos).map(|number| (format!("photo:photo-{number:05}"), photo(number, 1).to_json().unwrap())));
    let read = || {
        let fields = fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        BatchState::from_hash(&head.batch_id, fields).unwrap().unwrap()
    };
    assert_eq!(read().state.photos().len(), photos as usize);
    bencher.bench_local(read);
}
