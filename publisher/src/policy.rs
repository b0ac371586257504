//! What the application decides of what leaves its process: what is left out, and how long Redis keeps it.

use std::{borrow::Cow, sync::Arc, time::Duration};

use wire::{BatchState, Changes, Head, Photo, StateError};

type Redact = dyn Fn(&mut Photo) + Send + Sync;
type TtlBy = dyn Fn(&Head) -> Option<Duration> + Send + Sync;

#[derive(Clone)]
pub(crate) struct Policy {
    /// Of batches of which `ttl_by` says nothing.
    pub ttl: Duration,
    pub ttl_by: Option<Arc<TtlBy>>,
    pub redact: Option<Arc<Redact>>,
}

impl Policy {
    pub(crate) fn new(ttl: Duration) -> Self {
        Self { ttl, ttl_by: None, redact: None }
    }

    /// For how many seconds Redis keeps a batch with this head; at least 1.
    pub(crate) fn ttl_secs(&self, head: &Head) -> u64 {
        let ttl = self.ttl_by.as_ref().and_then(|ttl_by| ttl_by(head));
        ttl.unwrap_or(self.ttl).as_secs().max(1)
    }

    pub(crate) fn redacted<'a>(&self, changes: &'a Changes) -> Cow<'a, Changes> {
        if self.redact.is_none() {
            return Cow::Borrowed(changes);
        }
        let mut changes = changes.clone();
        self.redact(&mut changes.photos);
        Cow::Owned(changes)
    }

    pub(crate) fn redacted_state(&self, state: BatchState) -> Result<BatchState, StateError> {
        if self.redact.is_none() {
            return Ok(state);
        }
        let mut photos: Vec<Photo> = state.photos().cloned().collect();
        self.redact(&mut photos);
        BatchState::new(state.head().clone(), photos)
    }

    /// What a photo is, and where it stands, is not the application's to change here.
    pub(crate) fn redact(&self, photos: &mut [Photo]) {
        let Some(redact) = &self.redact else { return };
        for photo in photos {
            let mut shown = photo.clone();
            redact(&mut shown);
            (photo.result, photo.error) = (shown.result, shown.error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::{Json, PhotoId, PhotoStatus, Position};

    const STATE: &str = r#"{"v":1,"batchId":"b-1","position":"7-3","status":"PARTIAL",
        "counts":{"total":2,"queued":0,"processing":0,"completed":1,"failed":1},"photos":[
        {"photoId":"a","status":"COMPLETED","version":2,"result":{"serial":"x-1"}},
        {"photoId":"b","status":"FAILED","version":3,"error":"/home/ada/b.jpg: not a JPEG"}]}"#;

    fn state() -> BatchState {
        BatchState::from_json(STATE.as_bytes()).unwrap()
    }

    fn policy(redact: impl Fn(&mut Photo) + Send + Sync + 'static) -> Policy {
        Policy { redact: Some(Arc::new(redact)), ..Policy::new(Duration::from_secs(60)) }
    }

    #[test]
    fn only_result_and_error_are_taken_from_what_redact_leaves() {
        let policy = policy(|photo| {
            photo.result = Json::new(&1).ok();
            photo.error = None;
            photo.status = PhotoStatus::Queued;
            photo.version = 99;
            photo.photo_id = PhotoId::new("another").unwrap();
        });
        let redacted = policy.redacted_state(state()).unwrap();
        let expected = STATE
            .replace(r#""version":2,"result":{"serial":"x-1"}"#, r#""version":2,"result":1"#)
            .replace(r#""error":"/home/ada/b.jpg: not a JPEG""#, r#""result":1"#);
        assert_eq!(redacted, BatchState::from_json(expected.as_bytes()).unwrap());
        let mut changes = Changes::full(&state(), None);
        changes.since = Some(Position::new(7, 1).unwrap());
        assert!(policy.redacted(&changes).photos.iter().eq(redacted.photos()));
    }

    #[test]
    fn without_redact_nothing_is_copied() {
        let changes = Changes::full(&state(), None);
        let policy = Policy::new(Duration::from_secs(60));
        assert!(matches!(policy.redacted(&changes), Cow::Borrowed(_)));
    }

    #[test]
    fn a_batch_is_kept_as_long_as_is_said_of_it() {
        let ended = state().head().clone();
        let mut policy = Policy::new(Duration::from_secs(60));
        assert_eq!(policy.ttl_secs(&ended), 60);
        policy.ttl_by = Some(Arc::new(|head| head.status.is_terminal().then_some(Duration::from_millis(20))));
        assert_eq!(policy.ttl_secs(&ended), 1, "what is kept no second would be no batch");
        let mut open = ended;
        open.status = wire::BatchStatus::Processing;
        assert_eq!(policy.ttl_secs(&open), 60);
    }
}
