//! A room that is watched, for what measures rooms.

use batchcast_hub::{Config, Input, Room, ViewerId, Visitor};
use wire::{BatchState, BatchStatus, Changes, Counts, Head, Photo, PhotoId, PhotoStatus, Position, Stored, message};

const EPOCH: u64 = 1_795_389_030_082;
const PHOTOS: u32 = 50;

fn head(version: u64) -> Head {
    Head::new(
        "batch-123".parse().unwrap(),
        Position::new(EPOCH, version).unwrap(),
        BatchStatus::Processing,
        Counts { total: PHOTOS, queued: 0, processing: PHOTOS, completed: 0, failed: 0 },
        String::new(),
    )
}

fn photo(number: u32, version: u64) -> Photo {
    let photo_id = PhotoId::new(&format!("photo-{number}")).unwrap();
    Photo::new(photo_id, PhotoStatus::Processing, version)
}

/// One photo changes, from `version` to the next.
pub(crate) fn news(version: u64) -> Vec<u8> {
    let since = Position::new(EPOCH, version).ok();
    let photos = vec![photo(7, version + 1)];
    message::changes(&Changes::new(since, head(version + 1), photos), 1_000).into_bytes()
}

/// What Redis holds at version 1.
pub(crate) fn stored() -> Stored {
    let state = BatchState::new(head(1), (0..PHOTOS).map(|number| photo(number, 1))).unwrap();
    Stored::new(state, None)
}

/// A viewer comes, with nothing seen.
pub(crate) fn came(viewer: u32, stored: &Stored) -> Input<'static> {
    let (viewer, visitor) = (ViewerId(viewer), Visitor::default());
    Input::Came { viewer, visitor, seen: None, stored: stored.clone() }
}

/// A room that so many watch, all of them up to date at version 1.
pub(crate) fn watched_by(viewers: u32) -> Room {
    let stored = stored();
    let mut room = Room::new(Config::default(), stored.clone(), 7, 0);
    for viewer in 0..viewers {
        room.handle(came(viewer, &stored), 0, &|_| true);
    }
    room.handle(Input::Confirmed, 0, &|_| true);
    room.handle(Input::HashRead(Ok(Some(stored))), 0, &|_| true);
    room
}
