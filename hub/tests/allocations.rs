//! What an event costs a room, held without a clock: in allocations, which are counted.
#![expect(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

use std::sync::Arc;

use batchcast_hub::{Config, Input, Output, Room, ViewerId, Visitor};
use wire::{BatchState, BatchStatus, Changes, Counts, Head, Photo, PhotoId, PhotoStatus, Position, Stored, message};

const EPOCH: u64 = 1_795_389_030_082;
const PHOTOS: u32 = 50;

fn head(version: u64) -> Head {
    Head {
        batch_id: "batch-123".parse().unwrap(),
        position: Position::new(EPOCH, version).unwrap(),
        status: BatchStatus::Processing,
        counts: Counts { total: PHOTOS, queued: 0, processing: PHOTOS, completed: 0, failed: 0 },
        updated_at: String::new(),
    }
}

fn photo(number: u32, version: u64) -> Photo {
    let photo_id = PhotoId::new(&format!("photo-{number}")).unwrap();
    Photo { photo_id, status: PhotoStatus::Processing, version, result: None, error: None }
}

/// One photo changes, from `version` to the next.
fn news(version: u64) -> Vec<u8> {
    let since = Position::new(EPOCH, version).ok();
    let photos = vec![photo(7, version + 1)];
    message::changes(&Changes { since, head: head(version + 1), photos, owner: None }, 1_000).into_bytes()
}

/// A room that so many watch, all of them up to date at version 1.
fn watched_by(viewers: u32) -> Room {
    let state = BatchState::new(head(1), (0..PHOTOS).map(|number| photo(number, 1))).unwrap();
    let stored = Stored { state: Arc::new(state), owner: None, unreadable: 0 };
    let mut room = Room::new(Config::default(), stored.clone(), 7, 0);
    for viewer in 0..viewers {
        let came =
            Input::Came { viewer: ViewerId(viewer), visitor: Visitor::default(), seen: None, stored: stored.clone() };
        room.handle(came, 0, &|_| true);
    }
    room.handle(Input::Confirmed, 0, &|_| true);
    room.handle(Input::HashRead(Ok(Some(stored))), 0, &|_| true);
    room
}

/// The allocations of one message that is shown at once to all.
fn allocations_of_an_event(viewers: u32) -> u64 {
    let mut room = watched_by(viewers);
    // What grows once has grown.
    room.handle(Input::Message(&news(1)), 10_000, &|_| true);
    room.handle(Input::Wake, 11_000, &|_| true);
    let news = news(2);
    let mut written = 0;
    let counted = allocation_counter::measure(|| {
        let out = room.handle(Input::Message(&news), 20_000, &|_| true);
        written = out.iter().map(|output| if let Output::Write { to, .. } = output { to.len() } else { 0 }).sum();
    });
    assert_eq!(written, viewers as usize, "it was shown to all");
    counted.count_total
}

#[test]
fn an_event_costs_a_room_as_much_for_a_thousand_viewers_as_for_ten() {
    let (ten, thousand) = (allocations_of_an_event(10), allocations_of_an_event(1_000));
    // A list of a thousand grows in seven steps more than one of ten; nothing is made for a viewer.
    assert!(thousand <= ten + 8, "{ten} and {thousand} allocations");
    assert!(ten <= 120, "{ten} allocations");
}

#[test]
fn a_viewer_that_is_shown_nothing_costs_nothing() {
    let mut room = watched_by(1_000);
    let counted = allocation_counter::measure(|| drop(room.handle(Input::Wake, 100, &|_| true)));
    assert!(counted.count_total <= 8, "{} allocations", counted.count_total);
}
