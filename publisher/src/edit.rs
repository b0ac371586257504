//! Batches that live in Redis alone: opened again, and cancelled.

use wire::{BatchState, BatchStatus, Head, PhotoStatus, Position, StateError};

use crate::{PublishError, TrackError, Tracked, track::updated_at};

/// Why a batch was left as it is.
///
/// ```no_run
#[doc = include_str!("examples/publisher.txt")]
/// match publisher.reopen(&batch).await {
///     Ok(state) => println!("{} photos are queued again", state.head().counts.queued),
///     Err(EditError::Open(status)) => println!("nothing to do: it is {status:?}"),
///     Err(EditError::NothingFailed) => println!("nothing to do: all photos are completed"),
///     Err(error) => return Err(error.into()),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// The source's database is the truth: what is changed in Redis alone would stop its updates.
    #[error("the source's database says what the batch is: change it there, and publish it by `publish_latest`")]
    Source,
    /// Redis does not hold the batch.
    #[error("redis does not hold the batch: publish its state, in a new epoch")]
    Unknown,
    /// An open batch can't be opened.
    #[error("it has not ended: it is {0:?}, and goes on by its next update")]
    Open(BatchStatus),
    /// An ended batch can't be cancelled.
    #[error("it has ended already: it is {0:?}")]
    Ended(BatchStatus),
    /// There is no photo to work on again: open, the batch would never end.
    #[error("no photo has failed: there is nothing to work on again")]
    NothingFailed,
    /// Fields of the hash would be lost.
    #[error("{0} fields of what redis holds of it can't be read, and would be lost: publish its whole state")]
    Unreadable(usize),
    /// Somebody else has published since it was read.
    #[error("it was published by somebody else meanwhile, and was left as it is: look at it and try again")]
    Overtaken,
    /// There is no position after the one it has.
    #[error("there is no state after this one: {0}")]
    NoNext(String),
    /// Redis was not reached, or said no.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

impl From<StateError> for EditError {
    fn from(error: StateError) -> Self {
        Self::NoNext(error.to_string())
    }
}

/// What came of a call to the script that counts; `None`: it does not count this batch.
pub(crate) fn counted(result: Result<Tracked, TrackError>) -> Result<Option<Tracked>, EditError> {
    match result {
        Ok(tracked) => Ok(Some(tracked)),
        Err(TrackError::Unknown(_) | TrackError::Untracked(_)) => Ok(None),
        Err(TrackError::Source) => Err(EditError::Source),
        Err(TrackError::Publish(error)) => Err(error.into()),
        Err(error) => Err(EditError::NoNext(error.to_string())),
    }
}

/// The batch, open again: what had failed or not ended is queued. `now` is in milliseconds since the Unix epoch.
pub(crate) fn reopened(state: &BatchState, now: u64) -> Result<BatchState, EditError> {
    let mut head = state.head().clone();
    if !head.status.is_terminal() {
        return Err(EditError::Open(head.status));
    }
    if head.counts.completed == head.counts.total {
        return Err(EditError::NothingFailed);
    }
    let (epoch, version) = (now.max(head.position.epoch() + 1), head.position.version() + 1);
    move_to(&mut head, epoch, version, now)?;
    let counts = &mut head.counts;
    (counts.queued, counts.processing, counts.failed) = (counts.total - counts.completed, 0, 0);
    head.status = if counts.completed == 0 { BatchStatus::Queued } else { BatchStatus::Processing };
    let photos = state.photos().cloned().map(|mut photo| {
        if photo.status != PhotoStatus::Completed {
            (photo.status, photo.version, photo.error) = (PhotoStatus::Queued, version, None);
        }
        photo
    });
    Ok(BatchState::new(head, photos)?)
}

/// The batch, ended by a person.
pub(crate) fn cancelled(state: &BatchState, now: u64) -> Result<BatchState, EditError> {
    let mut head = state.head().clone();
    if head.status.is_terminal() {
        return Err(EditError::Ended(head.status));
    }
    let (epoch, version) = (head.position.epoch(), head.position.version() + 1);
    move_to(&mut head, epoch, version, now)?;
    head.status = BatchStatus::Cancelled;
    Ok(BatchState::new(head, state.photos().cloned())?)
}

fn move_to(head: &mut Head, epoch: u64, version: u64, now: u64) -> Result<(), EditError> {
    head.position = Position::new(epoch, version).map_err(|error| EditError::NoNext(error.to_string()))?;
    head.updated_at = updated_at(now);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(status: &str, position: &str, counts: &str) -> BatchState {
        let json = format!(
            r#"{{"v":1,"batchId":"b-1","position":"{position}","status":"{status}","counts":{counts},"photos":[
            {{"photoId":"a","status":"COMPLETED","version":2,"result":{{"width":9}}}},
            {{"photoId":"b","status":"FAILED","version":3,"error":"not a JPEG","result":{{"name":"b.jpg"}}}}]}}"#
        );
        BatchState::from_json(json.as_bytes()).unwrap()
    }

    const PARTIAL: &str = r#"{"total":3,"queued":0,"processing":0,"completed":1,"failed":2}"#;
    const OPEN: &str = r#"{"total":3,"queued":1,"processing":0,"completed":1,"failed":1}"#;
    const NOW: u64 = 1_795_389_030_082;

    #[test]
    fn what_failed_is_queued_again_and_what_is_done_stays() {
        let open = reopened(&state("PARTIAL", "7-3", PARTIAL), NOW).unwrap();
        assert_eq!(
            open.to_json(),
            concat!(
                r#"{"v":1,"batchId":"b-1","position":"1795389030082-4","status":"PROCESSING","progress":33,"#,
                r#""counts":{"total":3,"queued":2,"processing":0,"completed":1,"failed":0},"#,
                r#""updatedAt":"2026-11-22T23:10:30.082Z","photos":["#,
                r#"{"photoId":"a","status":"COMPLETED","version":2,"result":{"width":9}},"#,
                r#"{"photoId":"b","status":"QUEUED","version":4,"result":{"name":"b.jpg"}}]}"#,
            )
        );
    }

    #[test]
    fn the_epoch_rises_whatever_the_clock_says() {
        let position = reopened(&state("PARTIAL", "9000000000000-3", PARTIAL), 5).unwrap().position();
        assert_eq!(position.to_string(), "9000000000001-4");
        let last = state("PARTIAL", "9007199254740991-3", PARTIAL);
        assert!(matches!(reopened(&last, 5), Err(EditError::NoNext(_))));
    }

    #[test]
    fn a_batch_of_which_nothing_failed_stays_as_it_ended() {
        let counts = r#"{"total":2,"queued":0,"processing":0,"completed":2,"failed":0}"#;
        let json = format!(r#"{{"batchId":"b","position":"7-3","status":"COMPLETED","counts":{counts}}}"#);
        let completed = BatchState::from_json(json.as_bytes()).unwrap();
        assert!(matches!(reopened(&completed, NOW), Err(EditError::NothingFailed)));
    }

    #[test]
    fn a_cancelled_batch_keeps_its_epoch_and_its_photos() {
        let cancelled = cancelled(&state("PROCESSING", "7-3", OPEN), NOW).unwrap();
        assert_eq!((cancelled.position().to_string(), cancelled.head().status), ("7-4".into(), BatchStatus::Cancelled));
        assert!(cancelled.photos().eq(state("PROCESSING", "7-3", OPEN).photos()));
        assert!(matches!(super::cancelled(&cancelled, NOW), Err(EditError::Ended(BatchStatus::Cancelled))));
    }

    #[test]
    fn a_cancelled_batch_of_which_nothing_was_done_is_queued_and_an_open_one_is_left_alone() {
        let counts = r#"{"total":2,"queued":1,"processing":1,"completed":0,"failed":0}"#;
        let json = format!(r#"{{"batchId":"b","position":"7-3","status":"CANCELLED","counts":{counts}}}"#);
        let cancelled = BatchState::from_json(json.as_bytes()).unwrap();
        let open = reopened(&cancelled, 9).unwrap();
        assert_eq!((open.head().status, open.head().counts.queued), (BatchStatus::Queued, 2));
        assert!(matches!(reopened(&open, 10), Err(EditError::Open(_))));
    }
}
