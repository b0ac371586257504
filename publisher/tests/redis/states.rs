//! States to publish.

use batchcast_publisher::{
    BatchId, BatchState, BatchStatus, Changes, Counts, Head, Photo, PhotoId, PhotoStatus, Position,
};

pub(crate) const EPOCH: u64 = 1_795_389_030_082;

pub(crate) fn batch(name: &str) -> BatchId {
    BatchId::new(name).unwrap()
}

pub(crate) fn position(epoch: u64, version: u64) -> Position {
    Position::new(epoch, version).unwrap()
}

/// A batch of `total` photos of which the first `version` are done, one a version; it ends when all are.
pub(crate) fn state(id: &BatchId, epoch: u64, version: u64, total: u32) -> BatchState {
    let done = u32::try_from(version).unwrap();
    let status = if done == total { BatchStatus::Completed } else { BatchStatus::Processing };
    let counts = Counts { total, queued: total - done, completed: done, ..Counts::default() };
    let head = Head::new(id.clone(), position(epoch, version), status, counts, "2026-11-22T23:10:30.082Z");
    BatchState::new(head, (1..=version).map(|v| photo(v, PhotoStatus::Completed))).unwrap()
}

pub(crate) fn photo(version: u64, status: PhotoStatus) -> Photo {
    Photo::new(PhotoId::new(&format!("p{version:05}")).unwrap(), status, version)
}

/// The changes that lead from `since` to `state`; everything where `since` is none.
pub(crate) fn changes(state: &BatchState, since: Option<u64>) -> Changes {
    let since = since.map(|version| position(state.position().epoch(), version));
    let photos = state.changes_since(since).photos.into_iter().cloned().collect();
    Changes::new(since, state.head().clone(), photos)
}
