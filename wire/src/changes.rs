//! A step from one position to the next: what an application's database gives and a channel message carries.

use crate::{BatchId, BatchState, Head, Photo, Position, StateError, limits::MAX_OWNER_BYTES};

/// The head of a batch and the photos that changed after `since`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Changes {
    /// What the photos are relative to; `None`: they are all of them.
    pub since: Option<Position>,
    /// The batch as it is now.
    pub head: Head,
    /// The photos changed after `since`.
    pub photos: Vec<Photo>,
    /// The application's user id. Stored beside the head, never sent to a viewer.
    pub owner: Option<String>,
}

impl Changes {
    /// The head, and the photos that changed after `since`; all of them where that is `None`.
    pub fn new(since: Option<Position>, head: Head, photos: Vec<Photo>) -> Self {
        Self { since, head, photos, owner: None }
    }

    /// The same with the application's user id of whom the batch is; without one, the one stays that Redis holds.
    #[must_use]
    pub fn owned_by(self, owner: impl Into<Option<String>>) -> Self {
        Self { owner: owner.into(), ..self }
    }

    /// Everything there is to say of a batch.
    pub fn full(state: &BatchState, owner: Option<String>) -> Self {
        Self { since: None, head: state.head().clone(), photos: state.photos().cloned().collect(), owner }
    }

    /// Which batch.
    pub fn batch_id(&self) -> &BatchId {
        &self.head.batch_id
    }

    /// Checks what is about to be published against the rules for what enters.
    ///
    /// # Errors
    /// The first rule that is broken; for a full change also those of a whole state.
    pub fn check(&self) -> Result<(), StateError> {
        if let Some(owner) = self.owner.as_ref().filter(|o| o.len() > MAX_OWNER_BYTES) {
            return Err(StateError::Owner(owner.len()));
        }
        BatchState::new(self.head.clone(), self.photos.iter().cloned()).map(drop)
    }
}
